"""What an output keeps besides frames: languages, subtitles, chapters, tags, covers."""

from types import SimpleNamespace

import av
import media
import numpy as np
import pytest
from av.stream import Disposition
from joined import copy, packets

from mtujax.video.side_streams import file_tags


def kinds(path):
    return [stream[0] for stream in media.probe(path).streams]


def two_languages(path):
    """As `media` makes them, of which the second is the one to be played."""
    plain = media.two_audio_and_subtitles(path.with_stem("plain"))
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        streams = [out.add_stream_from_template(s, opaque=True) for s in source.streams]
        for stream, template in zip(streams, source.streams, strict=True):
            tags = template.metadata.items()
            stream.metadata.update({k: v for k, v in tags if k != "DURATION"})
        streams[2].disposition = Disposition.default | Disposition.comment
        streams[3].disposition = Disposition.forced
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


def tracks(path):
    with av.open(str(path)) as container:
        found = [(s, s.metadata) for s in list(container.streams)[1:]]
        return [
            (s.type, s.language, tags.get("title") or tags.get("name"), s.disposition)
            for s, tags in found
        ]


def test_languages_titles_and_dispositions_are_kept(tmp_path):
    source = two_languages(tmp_path / "a.mkv")
    wanted = [
        ("audio", "eng", "Talk", Disposition(0)),
        ("audio", "fra", "Paroles", Disposition.default | Disposition.comment),
        ("subtitle", "deu", "Untertitel", Disposition.forced),
    ]
    assert copy(source, tmp_path / "b.mkv") == []
    assert tracks(tmp_path / "b.mkv") == tracks(source) == wanted
    for kind, index in (("audio", 0), ("audio", 1), ("subtitles", 0)):
        copied = packets(tmp_path / "b.mkv", kind, index)
        assert copied == packets(source, kind, index)
    said = "left out, as .mp4 cannot hold it: subtitles (subrip, deu); .mkv keeps it"
    assert copy(source, tmp_path / "b.mp4") == [said]
    assert tracks(tmp_path / "b.mp4") == wanted[:2]
    for again in ("c.mp4", "c.mov", "c.mkv"):  # and from there on
        assert copy(tmp_path / "b.mp4", tmp_path / again) == []
        assert [t[:3] for t in tracks(tmp_path / again)] == [w[:3] for w in wanted[:2]]


def test_subtitles_stay_at_their_times(tmp_path):
    settings = {"subtitles": "subrip", "start": 10}
    source = media.clip(tmp_path / "a.mkv", media.scene(50), **settings)
    for start, moved in ((None, 0), (1.0, 1.4)):  # shown from 0.4 s and from 1.4 s on
        copy(source, tmp_path / "b.mkv", start=start)
        with av.open(str(tmp_path / "b.mkv")) as container:
            found = [p.pts / 1000 for p in container.demux(subtitles=0) if p.size]
        assert found == [t - moved for t in (0.4, 1.4) if t >= moved]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_chapters_are_kept(tmp_path, suffix):
    source = media.chaptered(tmp_path / "a.mp4")
    assert copy(source, tmp_path / f"b{suffix}") == []
    found = media.probe(tmp_path / f"b{suffix}")
    assert found.chapters == ((0, 0.4, "One"), (0.4, 0.8, "Two"))
    copy(source, tmp_path / f"b{suffix}", start=0.2, end=0.6)
    found = media.probe(tmp_path / f"b{suffix}").chapters
    np.testing.assert_allclose([c[:2] for c in found], [(0, 0.2), (0.2, 0.4)])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("origin", [".mp4", ".mov", ".mkv"])
def test_tags_are_kept_also_unusual_ones(tmp_path, origin, suffix):
    tags = {
        "title": "Arches",
        "comment": "a; b=c",
        "creation_time": "2020-01-02T03:04:05.000000Z",
        "com.apple.quicktime.location.ISO6709": "+48.1+011.5/",
        "scanner": "Ünicode",
    }
    keys = None if origin == ".mkv" else {"movflags": "use_metadata_tags"}
    source = tmp_path / f"a{origin}"
    media.clip(source, media.scene(5), metadata=tags, container_options=keys)
    assert copy(source, tmp_path / f"b{suffix}") == []
    with av.open(str(tmp_path / f"b{suffix}")) as written:
        found = {key.lower(): value for key, value in file_tags(written).items()}
    assert {k: found.get(k.lower()) for k in tags} == tags


def test_a_time_that_is_told_twice_is_copied_once():
    """MP4 holds it in two places, and FFmpeg 9 gives both."""
    once, other = "2020-01-02T03:04:05.000000Z", "2021-01-02T03:04:05.000000Z"
    for told, kept in (
        (f"{once};{once}", once),
        (once, once),
        (f"{once};{other}", f"{once};{other}"),
    ):
        source = SimpleNamespace(metadata={"creation_time": told, "encoder": "x"})
        assert file_tags(source) == {"creation_time": kept}


def test_tags_that_were_not_taken_are_named(tmp_path):
    source = media.with_cover_art(tmp_path / "a.mkv", metadata={"scanner": "x"})
    said = ".mp4 did not take these tags: SCANNER"  # with a cover it has no room
    assert copy(source, tmp_path / "b.mp4") == [said]
    said = ".mpg did not take these tags: title"
    assert said in copy(media.chaptered(tmp_path / "c.mp4"), tmp_path / "d.mpg")


@pytest.mark.parametrize("origin", [".mp4", ".mkv"])
def test_a_cover_picture_is_kept_or_named(tmp_path, origin):
    source = media.with_cover_art(tmp_path / f"a{origin}")
    with av.open(str(source)) as container:
        cover = next(bytes(p) for p in container.demux(container.streams[1]) if p.size)
    for suffix in (".mp4", ".mkv"):
        assert copy(source, tmp_path / f"b{suffix}") == []
        assert kinds(tmp_path / f"b{suffix}") == ["video", "picture"]
        assert packets(tmp_path / f"b{suffix}", "video", 1) == [cover]
    for suffix in (".mov", ".webm"):
        (note,) = copy(source, tmp_path / f"b{suffix}")
        assert "cannot hold it: a cover picture (mjpeg); .mkv keeps it" in note
        assert kinds(tmp_path / f"b{suffix}") == ["video"]


def test_what_a_container_cannot_hold_is_named_with_one_that_can(tmp_path):
    font = media.with_font_attachment(tmp_path / "a.mkv")
    assert copy(font, tmp_path / "b.mkv") == []
    assert kinds(tmp_path / "b.mkv") == ["video", "subtitle", "attachment"]
    with av.open(str(font)) as one, av.open(str(tmp_path / "b.mkv")) as other:
        assert one.streams[2].data == other.streams[2].data
    notes = copy(font, tmp_path / "b.mp4")
    assert [n.split(": ")[1] for n in notes] == [
        "subtitles (subrip); .mkv keeps it",
        "attachment; .mkv keeps it",
    ]
    said = copy(media.h264_mp4(tmp_path / "c.mp4"), tmp_path / "d.webm")
    assert said == ["left out, as .webm cannot hold it: audio (aac); .mkv keeps it"]
    said = copy(media.chaptered(tmp_path / "e.mp4"), tmp_path / "d.mpg")
    assert "left out, as .mpg cannot hold them: chapters; .mkv keeps them" in said


def test_a_time_code_survives_all_containers_that_have_one(tmp_path):
    path = media.with_data_stream(tmp_path / "a.mov")
    for suffix in (".mov", ".mp4", ".mkv", ".mov"):
        output = tmp_path / f"out{suffix}"
        assert copy(path, output) == []
        path = output.rename(tmp_path / f"in{suffix}")
        with av.open(str(path)) as container:
            tags = {k.lower(): v for k, v in container.streams[0].metadata.items()}
        assert tags["timecode"] == "01:00:00:00"
        assert kinds(path) == (["video"] if suffix == ".mkv" else ["video", "data"])
