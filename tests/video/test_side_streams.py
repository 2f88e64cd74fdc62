from fractions import Fraction

import av
import media
import pytest
from joined import copy, packets

NO_OTHER = "; nor can any other that is written"


def with_telemetry(path, tag=b"gpmd"):
    """MP4 with a track of data beside the film, by the name that its maker gave it."""

    def telemetry(out):
        stream = out.add_data_stream("bin_data")
        stream.time_base, stream.metadata["handler_name"] = Fraction(1, 1000), "Camera"
        found = [av.Packet(bytes([65 + k]) * 32) for k in range(3)]
        for k, packet in enumerate(found):
            packet.stream, packet.pts, packet.dts = stream, 40 * k, 40 * k
            packet.duration, packet.time_base = 40, Fraction(1, 1000)
        return found

    media.clip(path, media.scene(5), audio="aac", extras=telemetry)
    path.write_bytes(path.read_bytes().replace(b"gpmd", tag))
    return path


def kinds(path):
    return [stream[0] for stream in media.probe(path).streams]


@pytest.mark.parametrize("tag", [b"mebx", b"camm", b"rtmd", b"mett"])
@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_data_of_a_kind_that_cannot_be_written_is_left_out_and_named(
    tmp_path, tag, suffix
):
    source = with_telemetry(tmp_path / "a.mp4", tag)
    assert kinds(source) == ["video", "audio", "data"]
    output = tmp_path / f"b{suffix}"
    said = f"left out, as {suffix} cannot hold it: data (Camera){NO_OTHER}"
    assert copy(source, output) == [said]
    assert kinds(output) == ["video", "audio"]


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_telemetry_that_a_container_has_a_name_for_is_kept(tmp_path, suffix):
    source, output = with_telemetry(tmp_path / "a.mp4"), tmp_path / f"b{suffix}"
    assert copy(source, output) == []
    assert kinds(output) == ["video", "audio", "data"]
    assert packets(output, "data") == packets(source, "data")
    assert b"gpmd" in output.read_bytes()


def test_what_a_muxer_takes_and_forgets_is_named(tmp_path):
    source = media.with_font_attachment(tmp_path / "a.mkv", media.scene(3))
    for suffix, codec in ((".webm", "vp9"), (".mpg", "mpeg2")):
        output = tmp_path / f"b{suffix}"
        assert copy(source, output, codec=codec) == [
            f"left out, as {suffix} cannot hold it: {what}; .mkv keeps it"
            for what in ("subtitles (subrip)", "attachment")
        ]
        assert kinds(output) == ["video"]


@pytest.mark.parametrize("origin", ["a.mp4", "a.mov", "a.mkv", "a.avi"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_tags_that_are_not_utf_8_are_copied_as_they_are(tmp_path, origin, suffix):
    source = media.clip(tmp_path / origin, media.scene(2), metadata={"title": "Caf#"})
    source.write_bytes(source.read_bytes().replace(b"Caf#", b"Caf\xe9"))
    output = tmp_path / f"b{suffix}"
    assert copy(source, output) == []
    assert b"Caf\xe9" in output.read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_titles_of_tracks_and_chapters_need_not_be_utf_8(tmp_path, suffix):
    source = media.clip(
        tmp_path / f"a{suffix}",
        media.scene(20),
        audio=[("aac", {"title": "Caf#1"})],
        chapters=[(0, 0.4, "Caf#2"), (0.4, 0.8, "Two")],
    )
    source.write_bytes(source.read_bytes().replace(b"Caf#", b"Caf\xe9"))
    output = tmp_path / f"b{suffix}"
    assert copy(source, output) == []
    for title in (b"Caf\xe91", b"Caf\xe92"):
        assert title in output.read_bytes()


def test_names_in_notes_can_be_shown(tmp_path):
    data = [("subrip", {"language": "d#u"})]
    source = media.clip(tmp_path / "a.mkv", media.scene(3), subtitles=data)
    source.write_bytes(source.read_bytes().replace(b"d#u", b"d\xe9u"))
    (note,) = copy(source, tmp_path / "b.mp4")
    assert r"subtitles (subrip, d\xe9u)" in note
