import math
from fractions import Fraction

import av
import media
import numpy as np
import pytest

from mtujax.video.codecs import choose
from mtujax.video.info import Colour, VideoInfo
from mtujax.video.reader import VideoReader
from mtujax.video.writer import VideoWriter

COLOURS = [(200, 40, 90), (20, 180, 60), (30, 60, 220), (255, 255, 255), (0, 0, 0)]
LUMA = {1: (0.2126, 0.7152, 0.0722), 6: (0.299, 0.587, 0.114)}  # H.273, table 4
LUMA[9] = (0.2627, 0.678, 0.0593)


def info(width=32, height=24, **fields):
    defaults = {"rate": Fraction(30), "time_base": Fraction(1, 30)}
    return VideoInfo(width, height, None, **(defaults | fields))


def flat(colour, width=32, height=24):
    return np.full((height, width, 3), colour, np.uint8)


def gradient(width=64, height=48):
    """A colour that passes into another."""
    across = np.linspace(90, 150, width)[None] + np.linspace(0, 30, height)[:, None]
    return np.stack([across, 250 - across, across / 2 + 60], -1).round().astype("uint8")


def write(path, frames, *, times=None, encoding=None, **fields):
    height, width, _ = frames[0].shape
    with VideoWriter(path, info(width, height, **fields), encoding) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, times[i] if times else i)
    return path


def read(path):
    with VideoReader(path) as reader:
        frames = list(reader.frames())
        return reader.info, [f for f, _ in frames], [t for _, t in frames]


def apart(frames, others):
    """The largest difference of two lists of frames, or of frames and a colour."""
    return np.abs(np.array(frames).astype(int) - np.array(others)).max()


def given(path, **where):
    with VideoReader(path) as reader:
        found = list(reader.frames(**where))
    return [f for f, _ in found], [t for _, t in found]


KINDS = {
    (media.h264_mp4, ".mp4"): (1, False),  # matrix, full range
    (media.hevc_mov, ".mov"): (1, False),
    (media.vp9_webm, ".webm"): (6, False),
    (media.av1_mkv, ".mkv"): (6, False),
    (media.mpeg2_mpg, ".mpg"): (6, False),
    (media.mpeg2_ts, ".ts"): (6, False),
    (media.h264_ts, ".ts"): (6, False),
    (media.mjpeg_avi, ".avi"): (5, True),
    (media.bt601_small, ".mp4"): (6, False),
    (media.full_range, ".mkv"): (1, True),
    (media.ten_bit_sdr, ".mp4"): (1, False),
}


@pytest.mark.parametrize(("maker", "suffix"), KINDS)
def test_every_kind_of_file_gives_the_scene(tmp_path, maker, suffix):
    found, frames, times = read(maker(tmp_path / f"a{suffix}"))
    assert (found.width, found.height, len(frames)) == (64, 48, 20)
    error = np.array(frames).astype(float) - np.array(media.scene())
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 33
    assert found.rate == 25
    assert abs(found.frames - 20) <= (0 if found.counted else 3)  # or rate * duration
    steps = np.diff([float(t * found.time_base) for t in times])
    np.testing.assert_allclose(steps, 0.04, atol=1e-6)
    assert (found.colour.matrix, found.full_range) == KINDS[maker, suffix]
    ten_bits = ("10-bit input is converted to 8 bits",)
    assert found.notes == (ten_bits if maker is media.ten_bit_sdr else ())


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colours_survive_writing_and_reading(tmp_path, matrix, full):
    fields = {"colour": Colour(matrix, matrix, 1), "full_range": full}
    for colour in COLOURS:
        found, frames, _ = read(write(tmp_path / "a.mp4", [flat(colour)] * 2, **fields))
        assert apart(frames, colour) <= 2
        assert (found.colour, found.full_range) == (fields["colour"], full)
    lossless = choose(".mp4", info(64, 48, **fields), crf=0)
    path = write(tmp_path / "b.mp4", [gradient()] * 2, encoding=lossless, **fields)
    (_, frames, _), inner = read(path), np.s_[2:-2, 2:-2]
    limit = 2 + full  # libswscale's full range is half a level too dark
    assert apart([f[inner] for f in frames], gradient()[inner]) <= limit


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "mpeg2"])
@pytest.mark.parametrize("matrix", [1, 6])
@pytest.mark.parametrize("full", [False, True])
def test_luma_and_tags_written_are_those_of_the_input(tmp_path, codec, matrix, full):
    fields = {"colour": Colour(matrix, 1, 13), "full_range": full}
    red_green_blue = (200, 40, 90)
    encoding = choose(".mp4", info(64, 48, **fields), codec=codec)
    frames = [flat(red_green_blue, 64, 48)] * 5
    path = write(tmp_path / "a.mp4", frames, encoding=encoding, **fields)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    full = full and codec != "mpeg2"  # which has no full range, and says so
    luma = np.dot(LUMA[matrix], red_green_blue)
    luma = luma if full else 16 + 219 / 255 * luma
    assert abs(np.median(frame.to_ndarray()[:48]) - luma) <= 1
    assert media.probe(path).colour == (matrix, 1 + full, 1, 13)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1", "mpeg2"])
def test_colours_stay_at_their_places(tmp_path, codec):
    encoding = choose(".mkv", info(64, 48), codec=codec, crf=1)
    shifts = []
    for slope in (2.5, -2.5):  # errors of rounding have opposite effects
        blue = np.broadcast_to(125 + slope * (np.arange(64) - 31.5), (48, 64))
        ramp = np.stack([np.full((48, 64), 100.0)] * 2 + [blue], -1).round()
        frames = [ramp.astype(np.uint8)] * 5
        found = read(write(tmp_path / "a.mkv", frames, encoding=encoding))[1]
        error = (np.array(found) - blue[None, ..., None])[:, 6:-6, 6:-6, 2]
        shifts.append(error.mean() / slope)
    assert abs(np.mean(shifts)) < 0.1  # pixels


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_matrix_and_range_of_the_input_are_heeded(tmp_path, matrix, full, pix_fmt):
    for colour in COLOURS[:3]:
        frames = [flat(colour)] * 2
        path = media.clip(
            tmp_path / "a.mp4", frames, matrix=matrix, full=full, pix_fmt=pix_fmt
        )
        found, frames, _ = read(path)
        assert apart(frames, colour) <= 3
        assert (found.full_range, found.colour.matrix) == (full, matrix)


@pytest.mark.parametrize(("size", "matrix"), [((320, 240), 6), ((1280, 720), 1)])
def test_untagged_video_is_bt601_if_small_and_bt709_if_large(tmp_path, size, matrix):
    path = media.clip(tmp_path / "a.mp4", [flat(COLOURS[0], *size)])
    found, frames, _ = read(path)
    assert found.colour == Colour(matrix, 2, 2)
    assert (apart(frames, COLOURS[0]) <= 3) == (matrix == 6)  # as it was made


def test_what_8_bits_cannot_hold_is_named(tmp_path):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuva444p10le"
        frame = av.VideoFrame.from_ndarray(flat(COLOURS[0]))
        container.mux(stream.encode(frame.reformat(format="yuva444p10le")))
        container.mux(stream.encode())
    found, frames, _ = read(path)
    assert apart(frames, COLOURS[0]) <= 2
    assert found.notes == (
        "10-bit input is converted to 8 bits",
        "the alpha channel is dropped",
    )


@pytest.mark.parametrize("width, height", [(1, 1), (5, 3), (31, 24), (32, 24)])
def test_sizes_and_frame_counts_are_exact(tmp_path, width, height):
    frames = [flat(c, width, height) for c in COLOURS]
    found, restored, _ = read(write(tmp_path / "a.mp4", frames))
    assert (found.width, found.height, found.frames) == (width, height, 5)
    assert found.counted
    assert [f.shape for f in restored] == [(height, width, 3)] * 5
    assert apart(restored, frames) <= 3


def test_frames_may_be_floats_from_0_to_1(tmp_path, rng):
    whole = rng.integers(0, 256, (24, 32, 3), np.uint8)
    noisy = np.where(whole > 128, whole / 255 + 0.001, whole / 255 - 0.001)
    paths = [
        write(tmp_path / f"{i}.mp4", [frame])
        for i, frame in enumerate((whole, noisy.astype(np.float32)))
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_timestamps_of_variable_rate_and_late_start_are_kept(tmp_path, suffix):
    times, base = [3000, 6003, 9000, 18000, 18900], Fraction(1, 90000)
    frames = [flat(COLOURS[0])] * 5
    path = write(tmp_path / f"a{suffix}", frames, times=times, time_base=base)
    found, _, read_times = read(path)
    seconds = [float(t * found.time_base) for t in read_times]
    exact = suffix in (".mp4", ".mov")  # the others count milliseconds
    wanted = [t / 90000 for t in times]
    np.testing.assert_allclose(seconds, wanted, atol=0 if exact else 5.1e-4)


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(1), Fraction(10, 11)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_pixel_aspects_are_read_and_written(tmp_path, aspect, suffix):
    path = media.anamorphic(tmp_path / f"a{suffix}", aspect=aspect)
    assert read(path)[0].aspect == aspect
    path = write(tmp_path / f"b{suffix}", media.scene(3), aspect=aspect)
    assert media.probe(path).aspect == aspect


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_player_can_start_before_the_file_is_there(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", media.scene(5))
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index comes first


def test_an_error_while_writing_leaves_no_open_file(tmp_path):
    with pytest.raises(RuntimeError, match="mine"):
        with VideoWriter(tmp_path / "a.mp4", info()) as writer:
            writer.write(flat(COLOURS[0]), 0)
            raise RuntimeError("mine")
    with pytest.raises(RuntimeError, match="mine"):
        with VideoWriter(tmp_path / "b.mp4", info()):
            raise RuntimeError("mine")


ENTERED = {
    "h264.mp4": {},
    "h264.mkv": {},
    "h264.ts": {},
    "h264.avi": {},
    "h264.h264": {"container": "h264"},
    "late.mp4": {"start": 100},
    "late.mkv": {"start": 100},
    "hevc.mov": {"codec": "libx265"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12"}},
    "av1.mkv": {"codec": "libsvtav1", "options": {"g": "12"}},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "mpeg2.ts": {"codec": "mpeg2video", "start": 77},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


@pytest.mark.parametrize("name", ENTERED)
def test_a_range_is_a_slice_of_the_whole(tmp_path, name):
    path = media.clip(tmp_path / name, media.scene(60), **ENTERED[name])
    whole, pts = given(path)
    assert len(whole) == 60 and np.unique(np.diff(pts)).size == 1
    for start, end in ((0.5, None), (0.5, 0.9), (1.3, None), (1.3, 1.7), (None, 1.2)):
        first, last = math.ceil(25 * (start or 0)), math.ceil(25 * (end or 2.4))
        for skip in (0, 3):
            frames, times = given(path, start=start, end=end, skip=skip)
            np.testing.assert_array_equal(frames, whole[first + skip : last])
            origin = pts[first] if start else 0
            assert times == [t - origin for t in pts[first + skip : last]]
    assert given(path, start=9.0) == ([], [])


def test_one_reader_can_read_again_and_from_elsewhere(tmp_path):
    path = media.clip(tmp_path / "a.mp4", media.scene(60, 48, 32))
    with VideoReader(path) as reader:
        passes = [list(reader.frames(start=s)) for s in (None, None, 1.2, 0.2, 2.0)]
    assert [len(p) for p in passes] == [60, 60, 30, 55, 10]
    np.testing.assert_array_equal(passes[0][30][0], passes[2][0][0])
