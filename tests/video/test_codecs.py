import os
import re
import subprocess
import sys
from fractions import Fraction

import av
import media
import numpy as np
import pytest
from places import ROOT

from mtujax.errors import UsageError, UserError
from mtujax.video.codecs import CODECS, CONTAINERS, MPEG2_RATES, check_settings, choose
from mtujax.video.color import sampling
from mtujax.video.info import VideoInfo
from mtujax.video.reader import VideoReader
from mtujax.video.writer import VideoWriter

LIBAV = {"mpeg2": "mpeg2video"}
PAIRS = [(s, c) for s in (".mp4", ".mov", ".mkv") for c in CONTAINERS[s].codecs]
PAIRS += [(".webm", "vp9"), (".webm", "av1"), (".mpg", "mpeg2")]


def info(width=64, height=48, rate=25, **fields):
    return VideoInfo(width, height, None, Fraction(rate), 1 / Fraction(rate), **fields)


def write(path, frames, encoding=None, **fields):
    height, width, _ = frames[0].shape
    about = info(width, height, **fields)
    with VideoWriter(path, about, encoding) as writer:
        for i, frame in enumerate(frames):
            writer.write(frame, i)
    return path


def psnr(frames, others):
    error = np.array(frames).astype(float) - np.array(others)
    return 10 * np.log10(255**2 / np.mean(error**2))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    {
        ".mp4": "h264",
        ".M4V": "h264",
        ".mov": "h264",
        ".MKV": "h264",
        ".webm": "vp9",
        ".mpg": "mpeg2",
        ".mpeg": "mpeg2",
    }.items(),
)
def test_every_container_has_a_default_codec(suffix, codec):
    assert choose(suffix, info()).codec is CODECS[codec]


@pytest.mark.parametrize(("suffix", "codec"), PAIRS)
def test_every_container_holds_its_codecs(tmp_path, suffix, codec):
    frames = media.scene(5)
    encoding = choose(suffix, info(), codec=codec)
    path = write(tmp_path / f"a{suffix}", frames, encoding)
    found = media.probe(path)
    assert (found.codec, found.frames) == (LIBAV.get(codec, codec), 5)
    assert found.size == (64, 48) and found.pix_fmt == "yuv420p"
    assert psnr(media.decode(path), frames) > 31  # subsampled chroma allows 36
    assert encoding.notes == ()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("codec", CODECS)
def test_videos_of_few_frames_can_be_written(tmp_path, codec, count):
    encoding, path = choose(".mp4", info(), codec=codec), tmp_path / "a.mp4"
    for _ in range(5):  # as x265 makes up other times each time
        write(path, media.scene(count), encoding)
        assert media.probe(path).pts == tuple(range(0, 512 * count, 512))


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_hevc_is_tagged_as_apple_wants_it(tmp_path, suffix):
    encoding = choose(suffix, info(), codec="hevc")
    path = write(tmp_path / f"a{suffix}", media.scene(5), encoding)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_tag == "hvc1"


@pytest.mark.parametrize(
    ("codec", "good", "bad"),
    [("h264", 10, 40), ("hevc", 10, 40), ("vp9", 10, 55), ("av1", 10, 55)]
    + [("mpeg2", 2, 25)],
)
def test_lower_crf_is_better_and_larger(tmp_path, codec, good, bad):
    sizes, quality = [], []
    for crf in (good, bad):
        encoding = choose(".mkv", info(), codec=codec, crf=crf)
        path = write(tmp_path / f"{crf}.mkv", media.scene(4), encoding)
        sizes.append(path.stat().st_size)
        quality.append(psnr(media.decode(path), media.scene(4)))
    assert sizes[0] > 1.5 * sizes[1] and quality[0] > quality[1] + 3


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_the_fastest_and_the_slowest_preset_encode(tmp_path, codec):
    for preset in (CODECS[codec].presets[0], CODECS[codec].presets[-1]):
        encoding = choose(".mkv", info(), codec=codec, preset=preset)
        path = write(tmp_path / "a.mkv", media.scene(2), encoding)
        assert media.probe(path).frames == 2


def test_quality_and_preset_reach_the_encoder():
    for codec in ("h264", "hevc", "av1"):
        options = choose(".mkv", info(), codec=codec, crf=21.5, preset=None).options
        assert (options["crf"], options["preset"]) == ("21.5", CODECS[codec].preset)
    options = choose(".mp4", info(), preset="slow").options
    assert (options["crf"], options["preset"]) == ("17", "slow")
    options = choose(".webm", info(), crf=30, preset="8").options
    assert (options["crf"], options["cpu-used"], options["b"]) == ("30", "8", "0")


QUIET = """
import numpy, pathlib, fractions, mtujax.video.info, mtujax.video.writer as writer
rate = fractions.Fraction(25)
info = mtujax.video.info.VideoInfo(64, 64, None, rate, 1 / rate)
for codec in ("h264", "hevc", "vp9", "av1", "mpeg2"):
    encoding = writer.choose(".mkv", info, codec=codec)
    with writer.VideoWriter(pathlib.Path("a.mkv"), info, encoding) as out:
        for i in range(4):
            out.write(numpy.zeros((64, 64, 3), numpy.uint8), i)
"""


def test_encoders_keep_quiet(tmp_path):
    silenced = {k: v for k, v in os.environ.items() if k != "SVT_LOG"}  # by `media`
    command = [sys.executable, "-c", QUIET]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=silenced)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("size", [(65, 49), (64, 49), (65, 48)])
@pytest.mark.parametrize(("suffix", "codec"), PAIRS)
def test_odd_sizes_are_kept_exactly_and_said(tmp_path, suffix, codec, size):
    encoding = choose(suffix, info(*size), codec=codec)
    assert f"odd size {size[0]}x{size[1]}: kept exactly" in encoding.notes[0]
    path = write(tmp_path / f"a{suffix}", media.scene(5, *size), encoding)
    found = media.probe(path)
    assert found.size == size and found.frames == 5
    full_chroma = codec in ("h264", "hevc")
    assert found.pix_fmt == ("yuv444p" if full_chroma else "yuv420p")
    assert ("4:4:4" in encoding.notes[0]) == full_chroma
    assert psnr(media.decode(path), media.scene(5, *size)) > 31


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt"),
    [(s, c, p) for s, c in PAIRS for p in CODECS[c].pix_fmts],
)
def test_pixel_formats_are_written_as_chosen(tmp_path, suffix, codec, pix_fmt):
    frames = media.scene(5)
    encoding = choose(suffix, info(), codec=codec, pix_fmt=pix_fmt)
    found = write(tmp_path / f"a{suffix}", frames, encoding)
    assert media.probe(found).pix_fmt == pix_fmt
    plain = choose(suffix, info(), codec=codec)
    plain = write(tmp_path / f"b{suffix}", frames, plain)
    # More samples of colour are nearer to the frames, and as well placed.
    near, nearer = psnr(media.decode(plain), frames), psnr(media.decode(found), frames)
    assert nearer >= near - 0.05 and (pix_fmt == "yuv420p" or nearer > near)


SAMPLED = {
    # pixel format of the input: what is said of it in .mp4
    "yuv420p": (),
    "gray": (),
    "yuv422p": ("4:2:2 input is written as 4:2:0; --pix-fmt yuv422p keeps it",),
    "yuv444p": ("4:4:4 input is written as 4:2:0; --pix-fmt yuv444p keeps it",),
    "gbrp": ("RGB input is written as 4:2:0; --pix-fmt yuv444p keeps it",),
    "pal8": ("RGB input is written as 4:2:0; --pix-fmt yuv444p keeps it",),
    "rgba": ("RGB input is written as 4:2:0; --pix-fmt yuv444p keeps it",),
    "yuva420p": (),
    "yuv420p10le": (),
    "yuv422p12le": ("4:2:2 input is written as 4:2:0; --pix-fmt yuv422p keeps it",),
    "yuv411p": ("4:1:1 input is written as 4:2:0; --pix-fmt yuv422p keeps it",),
    "yuv440p": ("4:4:0 input is written as 4:2:0; --pix-fmt yuv444p keeps it",),
    "ya8": (),
    "nv12": (),
    "yuyv422": ("4:2:2 input is written as 4:2:0; --pix-fmt yuv422p keeps it",),
}


@pytest.mark.parametrize("pix_fmt", SAMPLED)
def test_colour_that_is_thinned_out_is_said(pix_fmt):
    found = sampling(av.VideoFormat(pix_fmt))
    assert choose(".mp4", info(sampling=found)).notes == SAMPLED[pix_fmt]
    assert choose(".mp4", info(sampling=found), pix_fmt="yuv444p").notes == ()


def test_what_a_codec_cannot_sample_is_said_or_refused():
    note = choose(".mp4", info(sampling="4:4:4"), codec="av1").notes[0]
    assert note == "4:4:4 input is written as 4:2:0; AV1 has no other"
    with pytest.raises(UsageError, match="pix_fmt 'yuv444p' of AV1"):
        choose(".mp4", info(), codec="av1", pix_fmt="yuv444p")
    with pytest.raises(UsageError, match="pix_fmt 'yuv44p': did you mean yuv444p"):
        check_settings(None, None, None, "yuv44p")
    with pytest.raises(UserError, match="odd size 65x48 so; yuv444p can"):
        choose(".mp4", info(65, 48), pix_fmt="yuv422p")
    assert choose(".mp4", info(64, 49), pix_fmt="yuv422p").pix_fmt == "yuv422p"


@pytest.mark.parametrize(("suffix", "codec"), PAIRS)
def test_a_pixel_aspect_is_kept_or_its_loss_is_said(tmp_path, suffix, codec):
    about = info(aspect=Fraction(4, 3))
    encoding = choose(suffix, about, codec=codec)
    path = write(tmp_path / f"a{suffix}", media.scene(5), encoding, aspect=about.aspect)
    kept = media.probe(path).aspect == Fraction(4, 3)
    assert kept == (encoding.notes == ())
    assert kept or "4/3 are shown square" in encoding.notes[0]


def test_mpeg2_says_that_it_has_no_full_range():
    encoding = choose(".mpg", info(full_range=True))
    assert "full-range input is written in limited range" in encoding.notes[0]
    assert not encoding.full_range
    assert choose(".mp4", info(full_range=True)).full_range


@pytest.mark.parametrize("rate", MPEG2_RATES)
def test_mpeg2_writes_all_rates_it_has(tmp_path, rate):
    path = write(tmp_path / "a.mpg", media.scene(3), rate=rate)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == rate


REFUSED = {
    # settings, frame rate: words of the message
    (".avi", (), 25): r"\.avi: not a video format .* one of \.mp4, .*\.mpg",
    (".ts", (), 25): r"\.ts: not a video format that can be written",
    ("", (), 25): "not a video format that can be written",
    (".mp4", ("h265",), 25): "unknown codec 'h265': did you mean h264",
    (".mp4", ("xyz",), 25): "unknown codec 'xyz': there are h264, hevc",
    (".webm", ("h264",), 25): r"\.webm cannot hold H\.264; it can hold vp9, av1",
    (".mov", ("av1",), 25): r"\.mov cannot hold AV1; .*\.mp4.*\.webm av1",
    (".mpg", ("h264",), 25): r"\.mpg cannot hold H\.264; it can hold mpeg2",
    (".mp4", ("h264", 52), 25): r"crf 52: H\.264 takes 0 to 51, 17 if not given",
    (".mp4", ("h264", -1), 25): "crf -1: .* takes 0 to 51",
    (".mp4", ("h264", float("nan")), 25): "crf nan: .* takes 0 to 51",
    (".webm", (None, 64), 25): "crf 64: VP9 takes 0 to 63, 24 if not given",
    (".mpg", (None, 0), 25): "crf 0: MPEG-2 takes 1 to 31, 3 if not given",
    (".mp4", (None, None, "fats"), 25): "preset 'fats' of H.264: did you mean fast",
    (".webm", (None, None, "9"), 25): "preset '9' of VP9: there are 0, 1, .*8",
    (".mp4", ("av1", None, "slow"), 25): "preset 'slow' of AV1: there are 0, 1",
    (".mpg", (None, None, "fast"), 25): "preset 'fast': MPEG-2 has none",
    (".mpg", (), 15): r"MPEG-2 has no 15 frames/s \(only 23.976, 24.*60\): write .mp4",
    (".mkv", ("mpeg2",), 21): "MPEG-2 has no 21 frames/s",
}


@pytest.mark.parametrize(("suffix", "settings", "rate"), REFUSED)
def test_what_cannot_be_written_is_refused_in_one_line(suffix, settings, rate):
    given = dict(zip(("codec", "crf", "preset"), settings, strict=False))
    with pytest.raises(UserError) as caught:
        choose(suffix, info(rate=rate), **given)
    assert re.search(REFUSED[suffix, settings, rate], str(caught.value))
    assert "\n" not in str(caught.value)
    usage = isinstance(caught.value, UsageError)
    assert usage == (rate == 25)  # else the video is at fault


@pytest.mark.parametrize(
    "settings",
    [("h265", None, None), (None, 64, None), (None, -1, None), (None, None, "fats")]
    + [("h264", 52, None), ("av1", None, "slow"), ("mpeg2", None, "fast")]
    + [("mpeg2", 0, None)],
)
def test_settings_that_fit_no_video_are_refused_before_any_is_opened(settings):
    with pytest.raises(UsageError):
        check_settings(*settings)


@pytest.mark.parametrize(
    "settings",
    [(None, None, None), ("hevc", 51, "slow"), (None, 63, None), (None, None, "8")],
)
def test_settings_that_fit_some_video_are_not_refused_early(settings):
    check_settings(*settings)


@pytest.mark.parametrize(
    ("codec", "size"),
    [("h264", (20000, 16)), ("hevc", (5, 3)), ("av1", (5, 3))]
    # At which x265 4.2 and SVT-AV1 4.2 write past their memory.
    + [("hevc", (48, 32)), ("av1", (64, 8))],
)
def test_a_size_that_a_codec_cannot_hold_names_the_way_out(tmp_path, codec, size):
    encoding, name = choose(".mp4", info(*size), codec=codec), "{}x{}".format(*size)
    with pytest.raises(UserError, match=f"cannot hold frames of {name} .*folder"):
        VideoWriter(tmp_path / "a.mp4", info(*size), encoding)


def test_mpeg2_refuses_frames_that_come_unevenly(tmp_path):
    with VideoWriter(tmp_path / "a.mpg", info()) as writer:
        writer.write(media.scene(1)[0], 0)
        with pytest.raises(UserError, match="MPEG-2 needs a constant frame rate"):
            writer.write(media.scene(1)[0], 2)


@pytest.mark.parametrize(
    ("name", "settings", "constant"),
    [
        ("a.mp4", {}, True),
        ("a.mkv", {"rate": Fraction(30000, 1001)}, True),  # on a clock of 1 ms
        ("a.ts", {"start": 77}, True),
        ("a.avi", {}, True),
        ("a.h264", {"container": "h264"}, True),
        ("b.mp4", {"times": [*range(10), *range(11, 21)]}, False),
        ("b.mkv", {"times": [0, 1, 2, 3, 5] + [*range(6, 21)]}, False),
    ],
)
def test_only_a_variable_rate_is_refused_where_a_constant_is_needed(
    tmp_path, name, settings, constant
):
    path = media.clip(tmp_path / name, media.scene(), **settings)
    with VideoReader(path) as reader:
        if constant:
            reader.check_constant_rate("MPEG-2")
            return
        with pytest.raises(UserError, match=f"{name}: has a variable frame rate, .*2"):
            reader.check_constant_rate("MPEG-2")


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc's MALLOC_PERTURB_")
def test_equal_frames_give_equal_bytes_whatever_is_in_memory(tmp_path):
    """Of a size that is no multiple of 16; resumed work relies on it."""
    found = [_digests(tmp_path, filling) for filling in ("0", "85")]
    assert found[0] == found[1]
    assert len(set(found[0])) == len(CODECS)


def _digests(folder, filling):
    """A line for each codec, from a process whose new memory holds one byte."""
    done = subprocess.run(
        [sys.executable, "-c", PERTURBED, str(folder / "out.mkv")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"MALLOC_PERTURB_": filling, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


PERTURBED = """
import hashlib, pathlib, sys
from fractions import Fraction
import numpy as np
from mtujax.video.codecs import CODECS, choose
from mtujax.video.info import VideoInfo
from mtujax.video.writer import VideoWriter

path, rng = pathlib.Path(sys.argv[1]), np.random.default_rng(0)
wide = np.kron(rng.integers(0, 255, (16, 40, 3)), np.ones((8, 8, 1)))
info = VideoInfo(180, 100, None, Fraction(25), Fraction(1, 25))
for codec in CODECS:
    with VideoWriter(path, info, choose(".mkv", info, codec=codec)) as writer:
        for k in range(40):
            frame = wide[k // 2 : k // 2 + 100, 3 * k : 3 * k + 180]
            frame = frame + np.random.default_rng(k).normal(0, 6, frame.shape)
            writer.write(frame.clip(0, 255).astype(np.uint8), k)
    print(hashlib.sha256(path.read_bytes()).hexdigest())
"""
