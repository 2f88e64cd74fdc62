"""Video files out, through PyAV, with the timestamps and colours of the input.

An interrupted job can resume, as its video is written in parts, each of which starts
with a key frame. They are joined with the source's other streams by copying packets:
nothing is encoded again. Letters: H W pixels.
"""

import collections
import contextlib
import dataclasses
import errno
import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import numpy as np
from av.codec.context import Flags
from av.error import FFmpegError

from mtujax.errors import UserError
from mtujax.video.codecs import Encoding, choose
from mtujax.video.info import FULL, LIMITED, MATRICES, VideoInfo
from mtujax.video.media import open_media
from mtujax.video.side_streams import Copier, Extras, lost_tags

# libavfilter's names of `info.MATRICES`.
_MATRICES = dict(
    zip(MATRICES, "bt709 fcc bt470 smpte170m smpte240m bt2020".split(), strict=True)
)
PART_FORMAT = "nut"  # holds every codec and keeps every time base exactly


class VideoWriter(contextlib.AbstractContextManager):
    """Writes a video file frame by frame; a context manager.

    Odd sizes are kept exactly; matrix, range, tags, pixel aspect and orientation are
    those of the input.

    Examples:
        >>> with VideoReader(Path("shaky.mp4")) as reader:
        ...     with VideoWriter(Path("copy.mp4"), reader.info) as writer:
        ...         for frame, timestamp in reader.frames():
        ...             writer.write(frame, timestamp)
        >>> Path("copy.mp4").stat().st_size > 0
        True

    Attributes:
        notes: what a viewer should know, one sentence each.
        reorder: after `close`, by how many places the encoder moved frames forward.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        encoding: Encoding | None = None,
        *,
        part: bool = False,
    ):
        """Opens the file and the encoder.

        Args:
            path: the file, with one of the suffixes in `codecs.CONTAINERS`; replaced.
            info: size, rate, time base, colours and orientation to write.
            encoding: codec and settings; None takes the suffix's defaults.
            part: write a part for `join` instead; any suffix is allowed.

        Raises:
            UserError: if the codec cannot hold frames of this size.
        """
        self._info = info
        self._encoding = encoding or choose(path.suffix, info)
        self.notes, self.reorder = self._encoding.notes, 0
        self._order, self._first, self._last = [], None, None
        self._to_yuv = _to_yuv(info, self._encoding)
        options = {} if part else container_options(self._encoding, info)
        self._container = open_media(
            path,
            "w",
            format=PART_FORMAT if part else self._encoding.container.format,
            container_options=options,
        )
        try:
            self._stream = add_video(self._container, info, self._encoding)
        except BaseException:
            self._container.close()
            raise

    def __exit__(self, kind, *_):
        """Closes the file; after an error without raising another one."""
        if kind is None:
            self.close()
        else:
            self.abandon()

    def abandon(self) -> None:
        """Closes the file as it is, and ignores errors."""
        with contextlib.suppress(FFmpegError, OSError):
            self._container.close()

    def write(self, frame: np.ndarray, pts: int) -> None:
        """Encodes the next frame.

        Args:
            frame: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1].
            pts: its timestamp in units of `info.time_base`; ascending.

        Raises:
            UserError: if the codec needs a constant rate and the timestamps have none.
            OSError: if the file cannot be written to.
        """
        rgb = av.VideoFrame.from_ndarray(to_uint8(frame), format="rgb24")
        self._to_yuv.push(rgb)
        yuv = self._to_yuv.pull()
        base = encoder_time_base(self._info, self._encoding)
        yuv.pts, yuv.time_base = self._counted(pts, base), base
        self._mux(self._stream.encode(yuv))

    def close(self) -> None:
        """Writes what the encoder still holds and ends the file.

        Raises:
            OSError: if the file cannot be written to.
        """
        packets = self._stream.encode()
        if len(self._order) + len(packets) <= 2:
            for packet in packets:  # so few are in order; x265 gives no times for them
                packet.dts = packet.pts
        self._mux(packets)
        self._container.close()
        rank = {pts: i for i, pts in enumerate(sorted(self._order))}
        moved = [i - rank[pts] for i, pts in enumerate(self._order)]
        self.reorder = max(moved, default=0)

    def _mux(self, packets):
        self._order += [p.pts for p in packets]
        self._container.mux(packets)

    def _counted(self, pts, base):
        """Converts a timestamp to units of the encoder's time base."""
        if self._encoding.codec.name != "mpeg2":
            return pts
        if self._first is None:
            self._first = pts
        # Counted from the first frame, which may be halfway between two counts.
        ticks = self._info.time_base / base
        pts = round(self._first * ticks) + round((pts - self._first) * ticks)
        if self._last is not None and pts != self._last + 1:
            raise UserError(
                f"{self._encoding.codec.title} needs a constant frame rate, which this "
                "video has not: write .mp4 or .mkv"
            )
        self._last = pts
        return pts


def _to_yuv(info, encoding):
    """Builds a filter from RGB to the encoder's frames."""
    # PyAV's own conversion puts chroma between two columns, where H.264, HEVC and
    # MPEG-2 have it on the left one: all colours would move by half a pixel.
    settings = {
        "flags": "bicubic+full_chroma_int+full_chroma_inp+accurate_rnd",
        "out_color_matrix": _MATRICES[info.colour.matrix],
        "out_range": "full" if encoding.full_range else "limited",
    }
    if encoding.codec.left and encoding.pix_fmt != "yuv444p":
        rows = {"out_v_chr_pos": "128"} if encoding.pix_fmt == "yuv420p" else {}
        settings |= {"out_h_chr_pos": "0"} | rows
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=info.width,
        height=info.height,
        format=av.VideoFormat("rgb24"),
        time_base=info.time_base,
    )
    scale = graph.add("scale", ":".join(f"{k}={v}" for k, v in settings.items()))
    to_format = graph.add("format", encoding.pix_fmt)
    graph.link_nodes(source, scale, to_format, graph.add("buffersink")).configure()
    return graph


def to_uint8(frame: np.ndarray) -> np.ndarray:
    """Rounds [H, W, 3], uint8 or float in [0, 1], to contiguous uint8."""
    if frame.dtype != np.uint8:
        frame = np.round(np.clip(frame, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(frame)


def encoder_time_base(info: VideoInfo, encoding: Encoding) -> Fraction:
    """Seconds per unit of the encoder's timestamps; MPEG-2 counts frames."""
    return 1 / info.rate if encoding.codec.name == "mpeg2" else info.time_base


def container_options(encoding: Encoding, info: VideoInfo) -> dict[str, str]:
    """The muxer's settings, as `av.open` takes them in `container_options`."""
    if encoding.container.format in ("matroska", "webm"):
        return {"fflags": "+bitexact"}  # else each file has a random number in it
    if encoding.container.format not in ("mp4", "mov"):
        return {}
    # A late start is stored in units of the movie, milliseconds by default.
    units = info.time_base.denominator
    units *= -(-1000 // units)
    return {"movflags": "faststart", "movie_timescale": str(units)}


def add_video(container, info: VideoInfo, encoding: Encoding):
    """Adds a stream with an open encoder; UserError if the size does not fit it."""
    codec = encoding.codec
    if codec.name == "av1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only: else its settings, too
    stream = container.add_stream(codec.encoder, rate=info.rate)
    stream.width, stream.height = info.width, info.height
    stream.pix_fmt, stream.options = encoding.pix_fmt, encoding.options
    context = stream.codec_context
    context.time_base = encoder_time_base(info, encoding)
    context.sample_aspect_ratio = info.aspect
    context.colorspace = info.colour.matrix
    context.color_range = FULL if encoding.full_range else LIMITED
    context.color_primaries = info.colour.primaries
    context.color_trc = info.colour.transfer
    if encoding.container.format == "mpeg":
        # Headers go before every key frame, even where a part stores them separately.
        context.flags &= ~int(Flags.global_header)
    if codec.name == "hevc" and container.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # the only form that Apple's players take
    if info.orientation.matrix and container.format.name != PART_FORMAT:
        stream.set_display_matrix(info.orientation.matrix)
    try:
        if _overruns(codec.name, info):
            raise av.error.ArgumentError(errno.EINVAL, "a size that it fails at")
        context.open()
    except FFmpegError as error:
        raise UserError(
            f"{codec.title} cannot hold frames of {info.width}x{info.height} "
            f"({error.strerror}): give a folder, for PNG frames, as the output"
        ) from error
    return stream


def _overruns(codec, info):
    """Whether an encoder writes past its memory at this size, which kills us too."""
    if codec == "hevc":  # x265 4.2
        return 33 <= info.width <= 48
    return codec == "av1" and min(info.width, info.height) < 16  # SVT-AV1 4.2


@dataclasses.dataclass(frozen=True)
class Part:
    """Some consecutive frames, encoded by `VideoWriter` with `part=True`."""

    path: Path
    first: int  # timestamp of the first frame, in units of the video's time base
    last: int  # timestamp of the last frame, likewise
    reorder: int  # by how many places the encoder moved frames forward


def join(
    path: Path,
    info: VideoInfo,
    encoding: Encoding,
    parts: Sequence[Part],
    extras: Extras | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> None:
    """Joins one or more parts, in order, with the extras; replaces the file."""
    copier = Copier(extras) if extras else None
    try:
        _join(path, info, encoding, parts, copier)
    finally:
        if copier:
            copier.close()
    if copier and copier.lost:
        on_note(f"{copier.lost} packets of other streams were damaged and left out")
    if extras and (lost := lost_tags(path, extras.path)):
        on_note(f"{extras.suffix} did not take these tags: {', '.join(lost)}")


def _join(path, info, encoding, parts, copier):
    format = encoding.container.format
    options = container_options(encoding, info)
    if copier:
        for key, value in copier.muxer_options(format).items():
            options[key] = options.get(key, "") + value
    with open_media(path, "w", format=format, container_options=options) as out:
        video = add_video(out, info, encoding)
        if copier:
            copier.add_to(out, video)
        streams = [_pictures(parts, video, info)]
        streams += [copier.packets()] if copier else []
        for _, packet in heapq.merge(*streams, key=lambda timed: timed[0]):
            _mux(out, packet, video, copier)


def _mux(out, packet, video, copier):
    try:
        out.mux_one(packet)
    except FFmpegError:
        # The pictures must be whole; a stream that is copied may have been damaged.
        if packet.stream is video or not isinstance(packet.stream.container, type(out)):
            raise
        copier.lost += 1


def _pictures(parts, stream, info) -> Iterator[tuple[Fraction, object]]:
    """Yields the parts' packets in decoding order, with times on one time line."""
    # Decoding times are computed here: a part's own ignore the part before it.
    delay = max(part.reorder for part in parts)
    step = max(1, round(1 / (info.rate * info.time_base)))
    first = parts[0].first
    due = collections.deque(first - (delay - k) * step for k in range(delay))
    for number, part in enumerate(parts):
        with open_media(part.path) as source:
            # A part has a time base of its own.
            scale = source.streams.video[0].time_base / info.time_base
            order = sorted(p.pts for p in source.demux(video=0) if p.size)
        times = {p: part.first + round((p - order[0]) * scale) for p in order}
        after = parts[number + 1].first if number + 1 < len(parts) else None
        following = [times[p] for p in order][1:]
        following.append(times[order[-1]] + step if after is None else after)
        until = dict(zip(order, following, strict=True))
        due.extend(times[p] for p in order)
        with open_media(part.path) as source:
            for packet in source.demux(video=0):
                if packet.size:
                    own = packet.pts
                    packet.stream, packet.time_base = stream, info.time_base
                    packet.pts, packet.dts = times[own], due.popleft()
                    packet.duration = until[own] - times[own]
                    yield packet.dts * info.time_base, packet
