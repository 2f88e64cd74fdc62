import dataclasses
from fractions import Fraction

import av
import media
import numpy as np
import pytest
from joined import copy, packets
from networks import slow

CODECS = ["h264", "hevc", "vp9", "av1", "mpeg2"]
OPUS = {"codec": "libvpx-vp9", "audio": "libopus"}
MP2 = {"codec": "mpeg2video", "audio": "mp2"}


def seconds(path):
    found = media.probe(path)
    return np.array([float(pts * found.time_base) for pts in found.pts])


@pytest.mark.parametrize("every", [slow(1), 2, slow(7)])
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_parts_make_the_file_that_one_part_makes(tmp_path, codec, suffix, every):
    source = media.h264_mp4(tmp_path / f"a{suffix}", audio=())
    whole, parts = tmp_path / f"b{suffix}", tmp_path / f"c{suffix}"
    assert copy(source, whole, codec=codec) == []
    assert copy(source, parts, codec=codec, every=every) == []
    one, many = media.probe(whole), media.probe(parts)
    assert (one.pts, one.frames) == (media.probe(source).pts, 20)
    assert dataclasses.replace(many, pix_fmt=one.pix_fmt) == one
    error = np.array(media.decode(parts)).astype(float) - media.decode(source)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 30
    with av.open(str(parts)) as container:
        found = [p for p in container.demux(video=0) if p.size]
    dts = [p.dts for p in found]
    assert suffix == ".mkv" or dts == sorted(set(dts))  # which stores none
    assert all(p.dts is None or p.dts <= p.pts for p in found)
    assert sum(p.is_keyframe for p in found) >= -(-20 // every)


SOURCES = {
    "a.mp4": {"audio": "aac"},
    "late.mp4": {"audio": "aac", "start": 3},
    "a.mkv": {"audio": "ac3", "start": 10},
    "a.ts": {"audio": "aac", "start": 250},
    "b.ts": MP2 | {"start": 100},
    "a.mpg": MP2,
    "a.webm": OPUS,
    "ntsc.mp4": {"audio": "aac", "rate": Fraction(30000, 1001)},
    "a.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "audio": "pcm_s16le"},
}
PAIRS = [(s, ".mp4") for s in SOURCES] + [(s, ".mkv") for s in SOURCES]
PAIRS += [("a.mp4", ".mov"), ("a.webm", ".webm"), ("a.mpg", ".mpg"), ("b.ts", ".mpg")]


@pytest.mark.parametrize("span", [(None, None), (0.24, None), (0.24, 0.7)])
@pytest.mark.parametrize(("name", "suffix"), PAIRS)
def test_times_and_sound_stay_where_they_were(tmp_path, name, suffix, span):
    source = media.clip(tmp_path / name, media.scene(), **SOURCES[name])
    output = tmp_path / f"out{suffix}"
    copy(source, output, every=6, start=span[0], end=span[1])
    before, after = seconds(source), seconds(output)
    shown = before - before[0] + 1e-6
    wanted = before[(shown >= (span[0] or 0)) & (shown < (span[1] or np.inf))]
    # Matroska counts milliseconds, so half of one may be lost at either end.
    np.testing.assert_allclose(
        after - after[0], wanted - wanted[0], rtol=0, atol=1.001e-3
    )
    heard = np.array(media.ticks(source)) - wanted[0]
    heard = heard[(heard > 0.03) & (heard < wanted[-1] - wanted[0])]
    ticks = np.array(media.ticks(output)) - after[0]
    np.testing.assert_allclose(ticks[: len(heard)], heard, rtol=0, atol=5e-3)
    assert len(heard) >= 2


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_clock_that_begins_anywhere_begins_at_the_file(tmp_path, suffix):
    for name in ("a.ts", "b.ts", "a.mpg"):
        source = media.clip(tmp_path / name, media.scene(), **SOURCES[name])
        with av.open(str(source)) as container:
            start = container.start_time / av.time_base
        copy(source, tmp_path / f"out{suffix}")
        found = seconds(tmp_path / f"out{suffix}")
        np.testing.assert_allclose(found, seconds(source) - start, atol=1e-3)
        assert found[0] < 0.1


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_late_start_and_a_variable_rate_are_kept(tmp_path, suffix):
    times = [90, 130, 131, 200, 333, 334, 335, 700, 999, 1000]
    settings = {"times": times, "time_base": Fraction(1, 1000), "start": 77}
    source = media.clip(tmp_path / "a.mkv", media.scene(10), **settings)
    copy(source, tmp_path / f"b{suffix}", every=3)
    found = seconds(tmp_path / f"b{suffix}")
    np.testing.assert_allclose(found, (np.array(times) + 77) / 1000, rtol=0, atol=1e-9)


def test_a_constant_rate_may_begin_between_two_counts(tmp_path):
    settings = {"time_base": Fraction(1, 1000), "start": 20}  # half a frame late
    source = media.clip(tmp_path / "a.mkv", media.scene(), **settings)
    copy(source, tmp_path / "b.mpg")
    np.testing.assert_allclose(np.diff(seconds(tmp_path / "b.mpg")), 0.04)


EXACT = [("a.mp4", ".mp4"), ("a.mp4", ".mov"), ("a.webm", ".webm"), ("a.webm", ".mkv")]
EXACT += [("a.webm", ".mp4"), ("a.mpg", ".mpg"), ("a.mpg", ".mkv"), ("a.avi", ".mkv")]


@pytest.mark.parametrize(("name", "suffix"), EXACT)
def test_sound_is_copied_bit_by_bit(tmp_path, name, suffix):
    source = media.clip(tmp_path / name, media.scene(), **SOURCES[name])
    copy(source, tmp_path / f"b{suffix}")
    assert packets(tmp_path / f"b{suffix}", "audio") == packets(source, "audio")


def test_only_the_run_in_of_a_sound_is_left_out(tmp_path):
    source = media.h264_mp4(tmp_path / "a.mp4")
    copy(source, tmp_path / "b.mkv")  # has no times before zero
    assert packets(tmp_path / "b.mkv", "audio") == packets(source, "audio")[1:]


def test_of_a_truncated_file_all_streams_are_kept_as_far_as_they_go(tmp_path):
    whole = media.h264_mp4(tmp_path / "a.mp4", media.scene(24))
    source = media.truncated(tmp_path / "b.mp4", whole)
    (note,) = copy(source, tmp_path / "c.mp4")
    assert "truncated" in note
    assert seconds(tmp_path / "c.mp4").tolist() == seconds(source).tolist()
    copied, first = packets(tmp_path / "c.mp4", "audio"), packets(whole, "audio")
    assert len(copied) > 10 and copied[:-1] == first[: len(copied) - 1]
