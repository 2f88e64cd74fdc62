import os
import re
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import media
import numpy as np
import pytest
from joined import copy

from mtujax.errors import UserError
from mtujax.video import reader as reader_module
from mtujax.video.decoding import Decoder
from mtujax.video.media import before_first_key, mean_rate
from mtujax.video.reader import VideoReader

HEVC, VP9, AV1 = {"codec": "libx265"}, {"codec": "libvpx-vp9"}, {"codec": "libsvtav1"}
MPEG2 = {"codec": "mpeg2video"}
MJPEG = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
INDEX_FIRST = {"container_options": {"movflags": "faststart"}}


def read(path, **where):
    with VideoReader(path) as reader:
        found = list(reader.frames(**where))
        return [f for f, _ in found], [t for _, t in found], reader.late_notes


def one_damaged(notes):
    return notes == ("1 damaged frame replaced by the one before",)


DAMAGED = {
    # name: settings, damaged frames; noise that a decoder takes for a picture is none
    "h264.mp4": ({}, (2, 6, 12, 16, 22)),
    "h264.mkv": ({}, (2, 6, 12, 16, 22)),
    "h264.ts": ({}, (8, 12, 16)),
    "mpeg2.mpg": (MPEG2, (2, 12, 16, 22)),
    "mpeg2.ts": (MPEG2, (2, 12, 16)),
    "mjpeg.avi": (MJPEG, (2, 12, 23)),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_frame_is_replaced_by_the_one_before_and_said(tmp_path, name):
    settings, places = DAMAGED[name]
    path = media.clip(tmp_path / name, media.scene(24), **settings)
    whole, pts, notes = read(path)
    assert notes == ()
    for at in places:
        frames, times, notes = read(media.corrupt(tmp_path / f"bad-{name}", path, at))
        assert times == pts and "damaged frame" in notes[0]
        if at != 22 or name == "mpeg2.mpg":  # there PyAV loses more
            assert one_damaged(notes)
        np.testing.assert_array_equal(frames[at], frames[at - 1])
        early = at - 4 if at > 4 else 1  # those that do not refer to it
        np.testing.assert_array_equal(frames[:early], whole[:early])


@pytest.mark.parametrize("name", ["hevc.mkv", "vp9.webm", "av1.mkv"])
def test_damage_never_moves_or_loses_a_frame(tmp_path, name):
    settings = {"hevc": HEVC, "vp9": VP9, "av1": AV1}[name.split(".")[0]]
    path = media.clip(tmp_path / name, media.scene(24), **settings)
    _, pts, _ = read(path)
    for at in (1, 2, 6, 14, 23):
        assert read(media.corrupt(tmp_path / f"bad-{name}", path, at))[1] == pts


def test_damage_is_said_only_of_frames_that_were_given(tmp_path):
    whole = media.clip(tmp_path / "a.mp4", media.scene(60, 48, 32))
    path = media.corrupt(tmp_path / "b.mp4", whole, at=16)
    assert one_damaged(read(path)[2]) and one_damaged(read(path, end=1.0)[2])
    assert read(path, end=0.4)[2] == read(path, start=0.8)[2] == ()
    assert read(path, start=1.4)[2] == ()


def test_notes_do_not_pile_up(tmp_path):
    with VideoReader(media.size_change(tmp_path / "a.ts")) as reader:
        for _ in range(2):
            assert len(list(reader.frames(end=0.8))) == 20
            assert len(reader.late_notes) == 1


@pytest.mark.parametrize(
    ("name", "settings", "promised"),
    [
        ("a.mp4", INDEX_FIRST, True),
        ("a.mkv", {}, True),
        ("a.webm", VP9, True),
        ("a.avi", MJPEG, True),
        ("a.ts", {}, False),  # whose length nothing tells
        ("a.mpg", MPEG2, False),
    ],
)
def test_what_is_left_of_a_truncated_file_is_given(tmp_path, name, settings, promised):
    path = media.clip(tmp_path / name, media.scene(24), **settings)
    whole, pts, _ = read(path)
    path = media.truncated(tmp_path / f"cut-{name}", path)
    frames, times, notes = read(path)
    assert 5 < len(frames) < 24 and times == pts[: len(times)]
    np.testing.assert_array_equal(frames[:-1], whole[: len(frames) - 1])
    if promised:
        end = f"truncated: its pictures end at {0.04 * (len(frames) - 1):.2f} s of 0.96"
        assert end in notes[-1] and str(path) in notes[-1]


def test_lost_packets_leave_all_other_frames_at_their_times(tmp_path):
    path = media.h264_ts(tmp_path / "a.ts", media.scene(24))
    whole, pts, _ = read(path)
    frames, times, notes = read(media.lost_packets(tmp_path / "b.ts", path))
    assert times == pts and "damaged" in notes[0]
    np.testing.assert_array_equal(frames[:5], whole[:5])


def test_a_recording_that_begins_in_the_middle_keeps_its_times(tmp_path):
    path = media.h264_ts(tmp_path / "a.ts", media.scene(40))
    data = path.read_bytes()
    late = tmp_path / "b.ts"
    late.write_bytes(data[188 * (len(data) // 188 // 5) :])
    whole, pts, _ = read(path)
    frames, times, _ = read(late)
    assert len(frames) == 28  # from the next key frame on
    np.testing.assert_array_equal(frames, whole[12:])
    assert np.diff(times).tolist() == np.diff(pts[12:]).tolist() and times[0] > 0


def test_another_size_in_mid_stream_is_scaled_and_said(tmp_path):
    frames, times, notes = read(media.size_change(tmp_path / "a.ts"))
    assert {f.shape for f in frames} == {(48, 64, 3)} and len(frames) == 24
    assert np.diff(times).tolist() == [3600] * 23
    assert notes == ("12 frames of 96x80 in mid-stream scaled to 64x48",)
    scaled = [cv2.resize(f, (64, 48)) for f in media.scene(12, 96, 80)]
    assert np.abs(np.array(frames[12:]).astype(float) - scaled).mean() < 6


@pytest.mark.parametrize("name", ["a.h264", "a.avi"])
def test_frames_without_timestamps_follow_each_other_evenly(tmp_path, name):
    path = media.no_timestamps(tmp_path / name)
    with VideoReader(path) as reader:
        frames, times = zip(*reader.frames(), strict=True)
        assert [t * reader.info.time_base * 25 for t in times] == list(range(20))
        said = "20 frames had no usable timestamp: placed after the mean rate"
        assert reader.late_notes == ((said,) if name == "a.h264" else ())
    error = np.array(frames).astype(float) - np.array(media.scene())
    assert np.abs(error).mean() < 5  # in the order of display


def made_without_times_of_showing(path):
    """H.264 with B-frames and sound, 60 frames of which only decoding is timed."""
    sound = "pcm_s16le" if path.suffix == ".mxf" else "aac"
    media.clip(path, media.scene(60), audio=sound)
    if path.suffix in (".mp4", ".mov"):
        data = path.read_bytes()
        path.write_bytes(data.replace(b"ctts", b"free").replace(b"edts", b"free"))
    return path


@pytest.mark.parametrize("name", ["a.asf", "a.mxf", "a.mp4", "a.mov"])
def test_where_only_decoding_is_timed_no_frame_is_added_or_moved(tmp_path, name):
    path = made_without_times_of_showing(tmp_path / name)
    with VideoReader(path) as reader:
        frames, times = zip(*reader.frames(), strict=True)
        times = np.array([float(t * reader.info.time_base) for t in times])
        np.testing.assert_allclose(times, np.arange(60) / 25 + times[0])
        assert times[0] < 0.1 and reader.info.notes == reader.late_notes == ()
        wanted = media.scene(60)
        assert np.abs(np.array(frames).astype(float) - wanted).mean() < 5
        part = [f for f, _ in reader.frames(start=1.2, end=1.6)]
        assert np.abs(np.array(part).astype(float) - wanted[30:40]).mean() < 5


@pytest.mark.parametrize("make, suffix", [(media.h264_mp4, "mp4"), (media.clip, "mpg")])
def test_reading_that_breaks_off_is_said(tmp_path, monkeypatch, make, suffix):
    class Failing:
        def __init__(self, container):
            self.format, self._container = container.format, container

        def demux(self, stream):
            for number, packet in enumerate(self._container.demux(stream)):
                if number == 10:
                    raise av.error.InvalidDataError(1, "the disk is broken")
                yield packet

    class BreakingOff(Decoder):
        def __init__(self, container, stream, clock, **options):
            super().__init__(Failing(container), stream, clock, **options)

    monkeypatch.setattr(reader_module, "Decoder", BreakingOff)
    frames, _, notes = read(make(tmp_path / f"a.{suffix}", media.scene()))
    assert 8 <= len(frames) <= 10
    assert "the disk is broken" in notes[-1] and f"a.{suffix}" in notes[-1]
    if suffix == "mpg":  # every packet that came
        assert len(frames) == 10


def garbage(path):
    path.write_bytes(np.random.default_rng(0).bytes(20000))
    return path


def text(path):
    path.write_text("This is no video.\n" * 40)
    return path


def empty(path):
    path.touch()
    return path


REFUSED = {
    (garbage, "a.mkv"): "cannot be read as a video",
    (text, "a.mp4"): "cannot be read as a video",
    (text, "a.txt"): "text",  # which libav would draw
    (empty, "a.mp4"): "cannot be read as a video",
    (empty, "a.ts"): "cannot be read as a video",
    (media.zero_frames, "a.mp4"): "has no frame that can be decoded",
    (media.zero_frames, "a.avi"): "has no frame that can be decoded",
    (media.audio_only, "a.m4a"): "has no video stream",
    (media.encrypted, "a.mp4"): "its video is encrypted",
}


def open_files():
    folder = "/proc/self/fd"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0


@pytest.mark.parametrize(("maker", "name"), REFUSED)
def test_what_is_no_video_is_refused_in_one_line(tmp_path, maker, name):
    path = maker(tmp_path / name)
    before = open_files()
    with pytest.raises(UserError) as caught:
        VideoReader(path)
    assert REFUSED[maker, name] in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert open_files() == before


def test_a_file_without_its_index_is_refused(tmp_path):
    whole = media.clip(tmp_path / "a.mp4", media.scene())  # its index is last
    with pytest.raises(UserError, match="b.mp4: cannot be read .*is it complete?"):
        VideoReader(media.truncated(tmp_path / "b.mp4", whole))


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_an_unknown_codec_is_named(tmp_path, suffix):
    whole = media.no_timestamps(tmp_path / f"a{suffix}")
    path = media.unknown_codec(tmp_path / f"b{suffix}", whole)
    with pytest.raises(UserError, match=r"b.*: its video codec \(zq7x\) is not known"):
        VideoReader(path)


def test_files_are_closed_after_use_and_after_errors(tmp_path):
    path = media.clip(tmp_path / "a.mp4", media.scene(60, 48, 32))
    before = open_files()
    with pytest.raises(RuntimeError, match="mine"):
        with VideoReader(path) as reader:
            next(reader.frames(start=1.2))
            raise RuntimeError("mine")
    read(path, start=0.5, end=1.0)
    assert open_files() == before


@pytest.mark.parametrize(
    "mean, nominal, rate",
    [
        ("29998/1000", "30", "30"),  # of rounded timestamps
        ("30000/1001", "30", "30000/1001"),
        ("25", "30", "25"),
        ("25", None, "25"),
    ],
)
def test_the_rate_is_the_mean_but_for_rounding(mean, nominal, rate):
    mean, nominal = (x and Fraction(x) for x in (mean, nominal))
    stream = SimpleNamespace(average_rate=mean, guessed_rate=nominal)
    container = SimpleNamespace(duration=1_000_000, format=av.ContainerFormat("mp4"))
    assert mean_rate("a.mp4", container, stream) == Fraction(rate)


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video", "mpeg4", "libx264"])
@pytest.mark.parametrize("suffix", "ts mpg nut avi mkv mp4 asf".split())
@pytest.mark.parametrize("reordered", ["0", "2"])
def test_frames_are_not_taken_for_fields(tmp_path, codec, suffix, reordered):
    """libav names twice the rate for MPEG-1, whose frames are all progressive."""
    options = {"bf": reordered}
    rate = Fraction(30000, 1001) if suffix == "ts" else Fraction(25)
    path = tmp_path / f"a.{suffix}"
    media.clip(path, media.scene(30), codec=codec, rate=rate, options=options)
    with VideoReader(path) as reader:
        assert reader.info.rate == rate
        times = [float(pts * reader.info.time_base) for _, pts in reader.frames()]
    assert len(times) == 30 and np.allclose(np.diff(times), float(1 / rate), 0.1)
    if suffix in ("ts", "mpg", "nut", "mkv"):
        path.write_bytes(2 * path.read_bytes())
        with VideoReader(path) as reader:
            assert reader.info.rate == rate


def test_the_time_of_the_next_picture_is_not_taken(tmp_path):
    """Of two packets that libav gives one time, in MPEG-PS the second has it."""
    path = Path(__file__).parents[1] / "golden" / "program_stream.mpg"
    with VideoReader(path) as reader:
        times = [pts * reader.info.time_base for _, pts in reader.frames()]
    assert times == [Fraction(i, 25) for i in range(13)]
    broken = tmp_path / "a.mpg"  # in the second block
    broken.write_bytes(path.read_bytes()[:3000])
    with VideoReader(broken) as reader:
        times = [pts * reader.info.time_base for _, pts in reader.frames()]
    assert times == [Fraction(i, 25) for i in range(len(times))] and len(times) >= 8


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video", "libx264"])
def test_a_header_of_twice_the_rate_is_not_believed(tmp_path, codec):
    path = tmp_path / "a.ts"
    media.clip(path, media.scene(30), codec=codec, time_base=Fraction(1, 50))
    with VideoReader(path) as reader:
        assert reader.info.rate == 25


@pytest.mark.parametrize("codec, name", [("mpeg1video", "m1v"), ("mpeg2video", "m2v")])
def test_a_bare_stream_has_the_rate_of_its_header(tmp_path, codec, name):
    rate = Fraction(30000, 1001)
    path = media.clip(tmp_path / f"a.{name}", media.scene(30), codec=codec, rate=rate)
    with VideoReader(path) as reader:
        assert reader.info.rate == rate and len(list(reader.frames())) == 30


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_a_film_behind_the_first_is_said(tmp_path, name):
    path = media.joined(tmp_path / name, 0, 0, count=3, audio="aac")
    with VideoReader(path) as reader:
        assert len(list(reader.frames())) == 3
        said = ("only the first of the films joined in this file is read",)
        assert reader.info.notes == said
    path = media.joined(tmp_path / name, 0, count=3, audio="aac", **INDEX_FIRST)
    path.write_bytes(path.read_bytes() + bytes(1000))
    with VideoReader(path) as reader:
        assert reader.info.notes == () and len(list(reader.frames())) == 3


@pytest.mark.parametrize("name", ["a.flv", "a.asf", "a.wmv"])
def test_a_recording_behind_the_first_of_flv_and_asf_is_said(tmp_path, name):
    for starts in ((0,), (0, 0)):
        with VideoReader(media.joined(tmp_path / name, *starts)) as reader:
            said = "only the first of the films joined in this file is read"
            assert reader.info.notes == (said,) * (len(starts) - 1)


@pytest.mark.parametrize("count", [1, 3])
def test_further_pages_of_a_tiff_are_said(tmp_path, count):
    frames = [np.ascontiguousarray(f[..., ::-1]) for f in media.scene(count)]
    assert cv2.imwritemulti(str(tmp_path / "a.tif"), frames)
    with VideoReader(tmp_path / "a.tif") as reader:
        (found,) = [f for f, _ in reader.frames()]
        said = ("only the first page is read: give pages as a folder of PNG",)
        assert reader.info.notes == said * (count > 1)
    np.testing.assert_array_equal(found, media.scene(count)[0])


def test_the_alpha_of_vp9_is_said_to_be_dropped_and_not_promised(tmp_path):
    path = media.clip(
        tmp_path / "a.webm", media.scene(3), codec="libvpx-vp9", pix_fmt="yuva420p"
    )
    with VideoReader(path) as reader:
        assert reader.info.notes == ("the alpha channel is dropped",)
    assert copy(path, tmp_path / "b.webm") == []
    with av.open(str(tmp_path / "b.webm")) as container:
        assert "alpha_mode" not in container.streams.video[0].metadata


def cut_short(path, source, drop=5):
    """A copy without its first packets, so that no key frame is before the rest."""
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        streams = [out.add_stream_from_template(s, opaque=True) for s in given.streams]
        dropped = 0
        for packet in given.demux():
            if packet.size and packet.stream.type == "video" and dropped < drop:
                dropped += 1
            elif packet.size:
                if packet.stream.type == "video" and Path(path).suffix == ".avi":
                    packet.dts -= drop  # it has no times but by counting
                    packet.pts = packet.dts
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv", "a.ts", "hevc.mkv"])
def test_frames_before_the_first_key_frame_are_said_and_take_their_time(tmp_path, name):
    settings = {"audio": "pcm_s16le"} if name == "a.avi" else {"audio": "aac"}
    settings |= HEVC if name == "hevc.mkv" else {}
    whole = media.clip(tmp_path / f"whole-{name}", media.scene(36), **settings)
    path = cut_short(tmp_path / name, whole)
    with VideoReader(path) as reader:
        found = [(f, pts * reader.info.time_base) for f, pts in reader.frames()]
        assert reader.late_notes == ()
        early = re.fullmatch(
            "([0-9]+) frames before the first key frame cannot be decoded",
            reader.info.notes[0],
        )
    assert 4 <= int(early[1]) <= 7  # some of HEVC's come after it
    assert len(found) == 24
    # The sound starts at zero; in AVI, which counts, pictures come 5 frames earlier.
    first = 12 - 5 * (name == "a.avi")
    assert abs(float(found[0][1]) * 25 - first) < 1.1
    steps = np.diff([float(time) for _, time in found])
    np.testing.assert_allclose(steps, 1 / 25, atol=0.002)


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.ts"])
def test_a_video_that_starts_with_a_key_frame_has_nothing_before_it(tmp_path, name):
    path = media.clip(tmp_path / name, media.scene(20))
    assert before_first_key(path, 0) == (0, 0)
