"""What a video file holds besides pictures: sound, subtitles, chapters, tags.

It is copied unchanged, shifted in time; what a container cannot hold is reported.
"""

import dataclasses
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError
from av.stream import Disposition

from mtujax.common.text import printable
from mtujax.video.media import (
    ANY_BYTES,
    Clock,
    first_payload,
    is_cover,
    open_media,
    readable,
)

# Of the container itself, not of the video.
OWN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_STREAM_TAGS = {"encoder", "rotate", "vendor_id", "_statistics_tags", "duration"}
_STREAM_TAGS |= {"alpha_mode"}  # of what is not written

# What libav writes as MP4's own tags; with others the general form must be used.
MP4_TAGS = (
    "title artist author album_artist album composer writer date year comment genre "
    "copyright grouping lyrics description synopsis show episode_id episode_sort "
    "network season_number encoder creation_time tmpo track disc location make model"
).split()


def file_tags(container) -> dict[str, str]:
    """The tags of PyAV's input container that are to be copied."""
    tags = {k: v for k, v in container.metadata.items() if k.lower() not in OWN_TAGS}
    # MP4 may hold it twice, in a form of its own and as a tag; FFmpeg 9 joins the two.
    made = tags.get("creation_time", "").split(";")
    if len(made) == 2 and made[0] == made[1]:
        tags["creation_time"] = made[0]
    return tags


def lost_tags(path: Path, source: Path) -> list[str]:
    """Names of the source's tags that the written file did not take."""
    with open_media(source) as origin, open_media(path) as written:
        kept = {k.lower() for k in written.metadata}
        return [printable(k) for k in file_tags(origin) if k.lower() not in kept]


def stream_tags(stream) -> dict[str, str]:
    """The tags of PyAV's stream that are to be copied."""
    tags = stream.metadata.items()
    tags = {k: v for k, v in tags if k.split("-")[0].lower() not in _STREAM_TAGS}
    named = next((k for k in tags if k.lower() == "name"), None)
    if named and "title" not in tags:  # as libav reads the title of an MP4's track
        tags["title"] = tags.pop(named)
    return tags


# One suffix for each format, in the order in which they are recommended.
_FORMATS = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov", ".webm": "webm"}
_WITHOUT_CHAPTERS = ("mpeg",)
_NEGATIVE_TIMES = ("mp4", "mov")  # the others would shift every stream instead


@dataclasses.dataclass(frozen=True)
class Extras:
    """What is copied from a file in addition to its main video."""

    path: Path
    main: int  # index of the video stream that is not copied
    kept: tuple[int, ...]  # indices of the streams that are
    suffix: str  # of the file to write
    chapters: bool  # whether chapters are copied
    shift: Fraction = Fraction(0)  # seconds to subtract from every time
    start: Fraction | None = None  # seconds before which nothing is copied, or None
    end: Fraction | None = None  # seconds from which on nothing is copied, or None
    notes: tuple[str, ...] = ()  # what is left out, one sentence each
    clock: Clock = Clock()  # by how much packets are moved before all this


def plan(path: Path, container, main: int, suffix: str, format: str) -> Extras:
    """Decides what of a file a format (libav's name) can hold; shifts nothing yet."""
    kept, notes = [], []
    chapters = container.chapters()
    for stream in container.streams:
        if stream.index == main or _is_made_anew(path, stream, chapters):
            continue
        if stream.type == "video" and not is_cover(stream):
            notes.append(f"only the main video is restored: left out {name(stream)}")
        elif _holds(format, stream):
            kept.append(stream.index)
        else:
            notes.append(
                f"left out, as {suffix} cannot hold it: {name(stream)}{_keeper(stream)}"
            )
    if chapters and format in _WITHOUT_CHAPTERS:
        notes.append(
            f"left out, as {suffix} cannot hold them: chapters; .mkv keeps them"
        )
        chapters = []
    return Extras(path, main, tuple(kept), suffix, bool(chapters), notes=tuple(notes))


def name(stream) -> str:
    """Names a stream in a note, by its kind, codec and language."""
    kind = "subtitles" if stream.type == "subtitle" else stream.type
    kind = "a cover picture" if is_cover(stream) else kind
    tags = stream.metadata
    about = [_codec(stream), tags.get("language")]
    about += [tags.get("handler_name")] if stream.type == "data" else []
    about = [printable(text) for text in about if text and text != "und"]
    return f"{kind} ({', '.join(about)})" if about else kind


class Copier:
    """Copies streams, chapters and tags from one file into another."""

    def __init__(self, extras: Extras):
        """Opens the file that the extras are copied from."""
        self.lost = 0  # packets that could not be copied
        self._extras = extras
        self._source = open_media(extras.path)
        self._streams = {}

    def close(self) -> None:
        """Closes the file."""
        self._source.close()

    def muxer_options(self, format: str) -> dict[str, str]:
        """Container options, to be joined with others, that keep all tags."""
        if format not in ("mp4", "mov"):
            return {}
        unusual = {key.lower() for key in file_tags(self._source)} - set(MP4_TAGS)
        covers = any(is_cover(self._source.streams[i]) for i in self._extras.kept)
        if not unusual or covers:  # that form has no cover
            return {}
        return {"movflags": "+use_metadata_tags"}

    def add_to(self, container, video) -> None:
        """Adds streams, chapters and tags; call before the first packet is written."""
        container.metadata.update(file_tags(self._source))
        main = self._source.streams[self._extras.main]
        video.metadata.update(stream_tags(main))
        video.disposition = main.disposition
        for index in self._extras.kept:
            template = self._source.streams[index]
            if is_cover(template) and container.format.name == "matroska":
                kind = "png" if template.codec_context.name == "png" else "jpeg"
                data = first_payload(self._extras.path, index)
                container.add_attachment(f"cover.{kind[-3:]}", f"image/{kind}", data)
                continue
            stream = container.add_stream_from_template(template, opaque=True)
            stream.metadata.update(stream_tags(template))
            stream.disposition = template.disposition
            self._streams[index] = stream
        if self._extras.chapters:
            container.set_chapters(list(self._shifted_chapters()))

    def packets(self) -> Iterator[tuple[Fraction, object]]:
        """Yields each kept packet with its output time in seconds, in file order."""
        if not self._streams:
            return
        demuxed = self._source.demux([self._source.streams[i] for i in self._streams])
        for packet in self._extras.clock.moved(readable(demuxed)):
            if packet.size and (moved := self._moved(packet)):
                yield moved

    def _moved(self, packet):
        extras, index = self._extras, packet.stream.index
        cover, opus = is_cover(packet.stream), _codec(packet.stream) == "opus"
        base, time = packet.time_base, packet.pts if packet.dts is None else packet.dts
        packet.stream = self._streams[index]
        if cover:
            packet.pts = packet.dts = 0
            return Fraction(0), packet
        if time is None:
            self.lost += 1
            return None
        seconds = time * base
        shifted = seconds - extras.shift
        if extras.start is not None and seconds < extras.start:
            return None
        if extras.end is not None and seconds >= extras.end:
            return None
        if shifted < 0 and not self._takes_run_in(packet, shifted, base, opus):
            return None
        move = round(extras.shift / base)
        packet.pts = None if packet.pts is None else packet.pts - move
        packet.dts = None if packet.dts is None else packet.dts - move
        return shifted, packet

    def _takes_run_in(self, packet, seconds, base, opus):
        """Whether the output holds a packet from before zero, which is not heard."""
        # Matroska notes per stream how much of its beginning is not heard. That is
        # known of a stream from Matroska, and of Opus in any case.
        output = packet.stream.container.format.name
        if output in _NEGATIVE_TIMES or output not in ("matroska", "webm"):
            return output in _NEGATIVE_TIMES
        if self._source.format.name.startswith("matroska"):
            return True
        return opus and seconds + (packet.duration or 0) * base > 0

    def _shifted_chapters(self):
        extras = self._extras
        for chapter in self._source.chapters():
            base = chapter["time_base"]
            start, end = chapter["start"] * base, chapter["end"] * base
            start = start if extras.start is None else max(start, extras.start)
            end = end if extras.end is None else min(end, extras.end)
            if end > start:
                start, end = start - extras.shift, end - extras.shift
                times = {"start": round(start / base), "end": round(end / base)}
                yield {**chapter, **times}


def _codec(stream):
    """Name of a stream's codec, or None if it has none."""
    context = getattr(stream, "codec_context", None)
    return context and context.codec.canonical_name


def _is_made_anew(path, stream, chapters):
    """Whether a muxer writes a stream itself: chapter titles or a time code."""
    if stream.type != "data":
        return False
    if "timecode" in stream.metadata:  # which libav reads from Sony's metadata, too
        return len(first_payload(path, stream.index)) <= 4
    return chapters and stream.name == "bin_data"


def _keeper(stream):
    suffix = next((s for s, f in _FORMATS.items() if _holds(f, stream)), None)
    return f"; {suffix} keeps it" if suffix else "; nor can any other that is written"


def _holds(format, stream):
    """Whether a container takes a stream, found by trying in memory."""
    if is_cover(stream):  # .mov takes it and forgets it
        thumbnails = stream.disposition & Disposition.timed_thumbnails
        return format in ("mp4", "matroska") and not thumbnails
    if stream.type == "attachment":  # .webm takes it and forgets it
        return format == "matroska"
    if stream.type == "subtitle" and format == "mpeg":  # which takes any for these
        return _codec(stream) == "dvd_subtitle"
    file = io.BytesIO()
    try:
        with av.open(file, "w", format, **ANY_BYTES) as probe:
            copied = probe.add_stream_from_template(stream, opaque=True)
            probe.start_encoding()
            if stream.type != "data":
                return True
            # Of data whose kind libav has no name for, a muxer takes anything, and
            # writes a track that says nothing of what is in it.
            packet = av.Packet(bytes(8))
            packet.stream, packet.pts, packet.dts, packet.duration = copied, 0, 0, 1
            probe.mux_one(packet)
        file.seek(0)
        with av.open(file) as written:
            kinds = [(s.type, s.name) for s in written.streams]
            return stream.name is not None and ("data", stream.name) in kinds
    except (FFmpegError, ValueError, OSError):
        return False
