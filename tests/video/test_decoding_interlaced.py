import itertools
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from mtujax.video import decoding as deinterlace
from mtujax.video.decoding import is_interlaced

HEIGHT, WIDTH, SPEED = 96, 160, 3  # SPEED in pixels per field
TICK = Fraction(1, 25)
TIMES = [0, 3, 4, 11, 12, 13, 20, 29]  # of variable rate


@pytest.fixture(scope="module")
def texture():
    noise = np.random.default_rng(0).random((HEIGHT, 2 * WIDTH))
    soft = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(soft, None, 20, 230, cv2.NORM_MINMAX).astype(np.uint8)


def at(texture, field):
    """[H, W] uint8: the scene at the time of a field."""
    return np.roll(texture, -SPEED * field, axis=1)[:, :WIDTH]


def woven(texture, i, *, top_first=True):
    """[H, W] uint8: frame i, its rows from two moments."""
    frame = at(texture, 2 * i).copy()
    second = slice(1, None, 2) if top_first else slice(0, None, 2)
    frame[second] = at(texture, 2 * i + 1)[second]
    return frame


def flagged(grey, mode, *, pts=0, pixels="yuv420p"):
    """A video frame of grey [H, W] flagged `tff`, `bff` or `prog`."""
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixels)
    frame.colorspace, frame.color_range = 5, 1
    height, width = grey.shape
    graph = av.filter.Graph()
    source = graph.add(
        "buffer", video_size=f"{width}x{height}", pix_fmt=pixels, time_base="1/25"
    )
    flag = graph.add("setparams", f"field_mode={mode}")
    graph.link_nodes(source, flag, graph.add("buffersink")).configure()
    graph.vpush(frame)
    frame = graph.vpull()
    frame.pts, frame.time_base = pts, TICK
    return frame


def deinterlaced(frames):
    timed = ((frame, frame.pts) for frame in frames)
    for frame, pts in deinterlace.deinterlaced(timed, time_base=TICK):
        assert pts == frame.pts
        yield frame


def luma(frame):
    """[H, W] float: the grey that was given to `flagged`."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return (rows[:, : plane.width].astype(float) - 16) * 255 / 219


def combing(grey):
    """Mean difference of a row from the mean of its neighbours."""
    grey = grey.astype(float)
    return np.abs(grey[:-2] - 2 * grey[1:-1] + grey[2:]).mean() / 2


def planes(frame):
    return [bytes(p) for p in frame.planes]


@pytest.mark.parametrize("top_first", [True, False])
def test_combing_is_gone_and_the_first_field_stays(texture, top_first):
    mode = "tff" if top_first else "bff"
    scenes = [woven(texture, i, top_first=top_first) for i in range(8)]
    given = [flagged(s, mode, pts=i) for i, s in enumerate(scenes)]
    found = list(deinterlaced(given))
    first = slice(0, None, 2) if top_first else slice(1, None, 2)
    for i, frame in enumerate(found):
        restored, truth = luma(frame), at(texture, 2 * i)
        assert combing(scenes[i]) > 4 * combing(truth)
        assert combing(restored) < 1.2 * combing(truth)
        assert np.array_equal(restored[first], luma(given[i])[first])
        assert np.abs(restored - truth).mean() < 0.15 * np.abs(scenes[i] - truth).mean()


def test_static_content_keeps_its_detail():
    fine = np.random.default_rng(1).integers(40, 200, (HEIGHT, WIDTH), np.uint8)
    frames = [flagged(fine, "tff", pts=i) for i in range(6)]
    for given, found in list(zip(frames, deinterlaced(frames), strict=True))[1:5]:
        error = np.square(luma(given) - luma(found)).mean()
        assert 10 * np.log10(255**2 / max(error, 1e-9)) > 50


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_as_many_frames_come_out_with_the_same_times(texture, count):
    given = [flagged(woven(texture, i), "tff", pts=TIMES[i]) for i in range(count)]
    found = list(deinterlaced(given))
    assert [f.pts for f in found] == TIMES[:count]
    assert [f.pts for f in given] == TIMES[:count]
    assert {f.time_base for f in found} <= {TICK}
    assert not any(f.interlaced_frame for f in found)


def test_frames_without_timestamps_are_deinterlaced_too(texture):
    given = [flagged(woven(texture, i), "tff", pts=None) for i in range(5)]
    timed = [flagged(woven(texture, i), "tff", pts=i) for i in range(5)]
    found = list(deinterlaced(given))
    assert [f.pts for f in found] == [None] * 5
    for frame, expected in zip(found, deinterlaced(timed), strict=True):
        assert planes(frame) == planes(expected)


def test_progressive_frames_pass_bit_by_bit_also_between_interlaced_ones(texture):
    modes = ["prog", "prog", "tff", "prog", "bff", "tff", "prog", "prog"]
    given = [flagged(woven(texture, i), m, pts=TIMES[i]) for i, m in enumerate(modes)]
    found = list(deinterlaced(given))
    assert [f.pts for f in found] == TIMES
    same = [planes(a) == planes(b) for a, b in zip(given, found, strict=True)]
    assert same == [m == "prog" for m in modes]


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuv422p10le", "yuv444p", "nv12", "uyvy422", "yuva420p"]
)
def test_pixel_format_and_colour_tags_are_kept(texture, pixels):
    given = [flagged(woven(texture, i), "tff", pts=i, pixels=pixels) for i in range(4)]
    tags = [t for t in ("color_primaries", "color_trc") if hasattr(given[0], t)]
    for frame, tag in itertools.product(given, tags):
        setattr(frame, tag, 6)
    for frame in deinterlaced(given):
        assert (frame.format.name, frame.width, frame.height) == (pixels, WIDTH, HEIGHT)
        assert (frame.colorspace, frame.color_range) == (5, 1)
        assert all(getattr(frame, tag) == 6 for tag in tags)
    rgb = frame.reformat(format="rgb24").to_ndarray()
    assert np.abs(rgb[::2, :, 1] - at(texture, 6)[::2].astype(float)).max() < 6


def test_size_and_format_may_change(texture):
    small = [flagged(woven(texture, i)[:64, :96], "tff", pts=i) for i in range(3)]
    large = [flagged(woven(texture, i), "tff", pts=i + 3) for i in range(3)]
    deep = [
        flagged(woven(texture, i), "bff", pts=i + 6, pixels="yuv420p10le")
        for i in range(3)
    ]
    together = list(deinterlaced(small + large + deep))
    alone = [f for part in (small, large, deep) for f in deinterlaced(part)]
    assert [f.pts for f in together] == list(range(9))
    assert [planes(f) for f in together] == [planes(f) for f in alone]


def test_memory_is_bounded_and_a_progressive_video_not_delayed(texture):
    for mode, most in (("tff", 2), ("prog", 1)):
        frame, taken = flagged(woven(texture, 0), mode), 0

        def endless(frame=frame):
            nonlocal taken
            while True:
                taken += 1
                yield frame

        for given, _ in enumerate(itertools.islice(deinterlaced(endless()), 40)):
            assert taken - given <= most


def test_tiny_frames_are_passed_on():
    tiny = flagged(np.zeros((6, 8), np.uint8), "tff")
    assert tiny.interlaced_frame and not is_interlaced(tiny)
    assert [planes(f) for f in deinterlaced([tiny])] == [planes(tiny)]


@pytest.mark.parametrize(
    "codec, suffix",
    [
        ("libx264", ".mp4"),
        ("libx264", ".mkv"),
        ("libx264", ".ts"),
        ("mpeg2video", ".mpg"),
        ("mpeg2video", ".ts"),
    ],
)
@pytest.mark.parametrize("mode", ["tff", "bff", "prog"])
def test_files_tell_what_is_interlaced(tmp_path, texture, codec, suffix, mode):
    path = tmp_path / f"a{suffix}"
    flags = {} if mode == "prog" else {"flags": "+ildct+ilme"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=flags)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 8_000_000
        for i in range(8):
            scene = woven(texture, i, top_first=mode == "tff")
            scene = at(texture, 2 * i) if mode == "prog" else scene
            container.mux(stream.encode(flagged(scene, mode, pts=i)))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    assert [is_interlaced(f) for f in decoded] == [mode != "prog"] * 8
    found = list(deinterlaced(decoded))
    assert [f.pts for f in found] == [f.pts for f in decoded]
    for i, frame in enumerate(found):
        assert np.abs(luma(frame) - at(texture, 2 * i)).mean() < 4
