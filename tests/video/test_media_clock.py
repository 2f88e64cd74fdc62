from fractions import Fraction

import av
import media
import numpy as np
import pytest
from joined import copy, packets

from mtujax.video.media import read_clock
from mtujax.video.reader import VideoReader

MP2 = {"codec": "mpeg2video", "audio": "mp2"}
LIVE = {"container_options": {"live": "1"}}  # no sizes, as browsers record
SAID = ["its clock jumps once: each part is placed after the one before"]
JOINED = {
    # name: where the clocks start, in frames; settings
    "a.ts": ((36, 36), {"audio": "aac"}),
    "ahead.ts": ((36, 3600), {"audio": "aac"}),
    "behind.ts": ((90000, 36), {"audio": "aac"}),
    "mpeg2.ts": ((36, 36), MP2),
    "a.mpg": ((36, 36), MP2),
    "a.vob": ((36, 36), {"codec": "mpeg2video", "audio": "ac3", "container": "vob"}),
    "a.mkv": ((0, 0), {"audio": "aac"}),
    "a.webm": ((0, 0), {"codec": "libvpx-vp9", "audio": "libopus"}),
    "live.webm": ((0, 0), {"codec": "libvpx-vp9", "audio": "libopus"} | LIVE),
}


@pytest.mark.parametrize("name", JOINED)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_joined_recordings_keep_all_pictures_and_sound(tmp_path, name, suffix):
    starts, settings = JOINED[name]
    source = media.joined(tmp_path / name, *starts, **settings)
    output = tmp_path / f"out{suffix}"
    assert copy(source, output) == []
    with VideoReader(source) as reader:
        assert list(reader.info.notes) == SAID and reader.info.frames == 50
    pairs = zip(packets(output, "audio"), packets(source, "audio"), strict=True)
    assert all(theirs.endswith(ours) for ours, theirs in pairs)  # AAC has headers in TS
    found = media.probe(output)
    times = np.array([float(t * found.time_base) for t in found.pts])
    steps = np.diff(times)
    assert found.frames == 50 and 0 < steps.min() and steps.max() < 0.1
    # Sound and picture of the second recording stay together, to a step of the clock.
    with av.open(str(output)) as container:
        heard = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
    gap = np.argmax(steps) if steps.max() > 0.0411 else 24
    apart = times[gap + 1] - times[0]
    assert heard == sorted(heard) and heard[-1] > 1.9
    assert abs(heard[len(heard) // 2] - heard[0] - apart) < 0.03


def test_of_joined_nut_files_no_part_is_left_out(tmp_path):
    """FFmpeg loses packets at the seam, as after any damage, which is said."""
    with VideoReader(media.joined(tmp_path / "a.nut", 0, 0)) as reader:
        assert list(reader.info.notes) == SAID
        times = [pts for _, pts in reader.frames()]
        assert len(times) >= 50 and times == sorted(set(times))


STEADY = {
    "a.ts": {"audio": "aac", "start": 250},
    "slow.ts": {"rate": Fraction(3)},
    "b.mpg": MP2,
    "live.mkv": {"audio": "aac", **LIVE},
    "slow.mkv": {"rate": Fraction(2), **LIVE},
    "live.webm": {"codec": "libvpx-vp9", "audio": "libopus", **LIVE},
    "a.mkv": {"audio": "aac", "subtitles": "subrip"},
}


@pytest.mark.parametrize("name", STEADY)
def test_a_clock_that_does_not_jump_is_left_alone(tmp_path, name):
    path = media.clip(tmp_path / name, media.scene(40), **STEADY[name])
    with av.open(str(path)) as container:
        format = container.format.name
    assert read_clock(path, format, 0).moves == ()
    if name != "a.mkv":  # whose one segment is the file, and is not read for this
        grown = tmp_path / f"grown-{name}"
        grown.write_bytes(path.read_bytes() + bytes(100))
        assert read_clock(grown, format, 0).moves == ()


@pytest.mark.parametrize("start", [36, 9000])
def test_a_part_without_sound_is_placed_like_any_other(tmp_path, start):
    sound = media.clip(tmp_path / "1.ts", media.scene(25), start=36, audio="mp2")
    mute = media.clip(tmp_path / "2.ts", media.scene(25), start=start)
    path = tmp_path / "a.ts"
    path.write_bytes(sound.read_bytes() + mute.read_bytes() + sound.read_bytes())
    assert copy(path, tmp_path / "b.mkv") == []
    found = media.probe(tmp_path / "b.mkv")
    times = np.array([float(t * found.time_base) for t in found.pts])
    assert found.frames == 75 and np.diff(times).max() < 0.07
    assert packets(tmp_path / "b.mkv", "audio") == packets(path, "audio")
    with av.open(str(tmp_path / "b.mkv")) as container:
        heard = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.size]
    assert 0.9 < np.diff(heard).max() < 1.1 and heard == sorted(heard)


def test_pictures_that_are_missing_leave_the_sound_where_it_is(tmp_path):
    times = [*range(36, 48), *range(36 + 400, 36 + 412)]
    path = media.clip(
        tmp_path / "a.ts",
        media.scene(24),
        times=[t - 36 for t in times],
        start=36,
        audio="mp2",
    )
    assert read_clock(path, "mpegts", 0).moves == ()


def test_one_wrong_time_is_no_jump(tmp_path):
    whole = media.clip(tmp_path / "a.ts", media.scene(30), start=100)
    with av.open(str(whole)) as source:
        times = [p.dts for p in source.demux() if p.size]
    data = whole.read_bytes()
    with av.open(str(whole)) as source:
        places = [p.pos for p in source.demux() if p.size]
    at = places[10] + 4
    at = data.index(b"\0\0\1\xe0", at) + 9 + 5  # after the header: the decoding time
    assert _time(data[at : at + 5]) % 2**33 == times[10]
    wrong = bytearray(data)
    wrong[at : at + 5] = _coded(times[10] + 90000 * 60)
    whole.write_bytes(wrong)
    assert read_clock(whole, "mpegts", 0).moves == ()


def _time(b):
    return (b[0] >> 1 & 7) << 30 | b[1] << 22 | b[2] >> 1 << 15 | b[3] << 7 | b[4] >> 1


def _coded(t):
    parts = t >> 29 & 14 | 0x11, t >> 22 & 255, t >> 14 & 255 | 1, t >> 7 & 255
    return bytes([*parts, (t << 1 | 1) & 255])


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
def test_a_range_of_joined_recordings_is_found(tmp_path, name):
    path = media.joined(tmp_path / name, 36, 36, audio="mp2")
    with VideoReader(path) as reader:
        whole = [(f, pts * reader.info.time_base) for f, pts in reader.frames()]
        part = [(f, pts) for f, pts in reader.frames(start=1.2, end=1.6)]
    assert len(part) == 10
    first = next(n for n, (_, time) in enumerate(whole) if time >= whole[0][1] + 1.2)
    for (found, _), (wanted, _) in zip(part, whole[first:], strict=False):
        np.testing.assert_array_equal(found, wanted)


def test_the_parts_are_placed_end_to_end(tmp_path):
    path = media.joined(tmp_path / "a.ts", 100, 50, 9000)
    with VideoReader(path) as reader:
        base = reader.info.time_base
        times = [pts * base for _, pts in reader.frames()]
        assert reader.late_notes == ()
    assert times == [Fraction(n, 25) for n in range(75)]
