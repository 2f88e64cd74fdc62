"""From packets to progressive frames, in time even where a file is damaged.

An interlaced frame weaves two fields, half a frame's time apart: every other row shows
another moment, and moving objects show combing. bwdif of libavfilter makes such frames
progressive, one for one.
"""

import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.error import BlockingIOError, EOFError, FFmpegError

from mtujax.common.text import counted
from mtujax.video.media import Clock, open_media

_EARLY = 8  # frames after which an absent field means damage
_LOOK = 32  # packets by which it is found out what their times are
_CUT_PACKETS = ("mov,mp4,m4a,3gp,3g2,mj2",)  # where a corrupt packet is one cut short


class Decoder:
    """Decodes one stream's frames in display order, replacing damaged ones."""

    def __init__(self, container, stream, clock: Clock, *, by_decoding: bool):
        """Takes PyAV's input container and its video stream; decodes nothing yet."""
        # `by_decoding` as `has_times_of_decoding` finds it.
        # How many frames were replaced by the one before, each under its own timestamp
        # so that sound stays in time; and why reading ended before the end of the file.
        self.damaged, self.broken_off = 0, None
        self._container, self._stream, self._clock = container, stream, clock
        self._due = []  # timestamps of packets whose frames have not come, a heap
        # Whether packets without a frame are normal, so that none can be missed.
        self._gaps = by_decoding or stream.codec_context.name == "vp8"
        self._given, self._last = 0, None  # how many frames, and when the last one was
        self._failures = 0  # packets that failed and whose frames are still due
        self._previous = None

    @property
    def lost(self) -> int:
        """How many frames could neither be decoded nor replaced."""
        return self._failures if self._gaps else 0

    def frames(self) -> Iterator[tuple]:
        """Decodes to the end, yielding PyAV's frames and their timestamps or None."""
        # The caller keeps the generator to the end: it may hold frames not yet yielded.
        for packet in self._packets():
            timed = packet and packet.size and packet.pts is not None
            if timed and not packet.is_discard:  # it holds a frame, at a known time
                heapq.heappush(self._due, packet.pts)
            for frame in self._decoded(packet):
                yield from self._in_time(frame)
        # After an error PyAV keeps the last frames that other threads hold to itself.
        if self._previous is not None and not self._gaps:
            yield from self._repeated(sorted(self._due))

    def _packets(self):
        try:
            packets = self._clock.moved(self._container.demux(self._stream))
            if self._container.format.name == "mpeg":
                packets = _timed_once(packets)
            yield from packets
        except FFmpegError as error:
            self.broken_off = error.strerror
            yield None

    def _decoded(self, packet):
        """The frames that became ready; None for a packet flushes the decoder."""
        if packet and packet.is_corrupt and self._container.format.name in _CUT_PACKETS:
            # Its error would take good frames with it that other threads still hold.
            self._failures += 1
            return []
        try:
            return packet.decode() if packet else self._stream.decode(None)
        except FFmpegError:
            self._failures += 1
            return []

    def _in_time(self, frame):
        missing, late = self._missing(frame.pts), False
        if frame.pts is not None:
            late, self._last = self._is_late(frame.pts), frame.pts
        fields = frame.interlaced_frame and 0 < self._given < _EARLY
        if late or (missing and fields and not self._failures):
            self._gaps = True
        if not self._gaps and self._previous is not None:
            yield from self._repeated(missing)
            # Frames come in another order than packets: a failure shows only later.
            self._failures = max(0, self._failures - len(missing))
        self._given += 1
        if frame.is_corrupt and self._previous is not None:
            self.damaged += 1
        else:
            self._previous = frame
        yield self._previous, frame.pts

    def _missing(self, pts):
        """Removes `pts` and all that is due before it, and returns the latter."""
        missing = []
        while pts is not None and self._due and self._due[0] <= pts:
            due = heapq.heappop(self._due)
            missing += [due] * (due < pts and not self._is_late(due))
        return missing

    def _is_late(self, pts):
        return self._last is not None and pts <= self._last

    def _repeated(self, times):
        for pts in times:
            self.damaged += 1
            yield self._previous, pts


def _timed_once(packets):
    """Takes times from packets that libav gives those of the next picture."""
    # Where a picture of MPEG-PS ends in the block in which the next one begins, libav
    # may give the time of that block to both.
    last = next(packets, None)
    try:
        for packet in packets:
            same = (last.pts, last.pos) == (packet.pts, packet.pos)
            if same and last.pts is not None:
                last.pts = last.dts = None
            yield last
            last = packet
    except FFmpegError:
        yield last  # which came whole before reading broke off
        raise
    if last is not None:
        yield last


def has_times_of_decoding(path: Path, index: int) -> bool:
    """Whether the times of a stream with B-frames are those of decoding."""
    # So it is in ASF, in some MXF, and in MP4 and FLV whose writer forgot the times of
    # showing. AVI never has others.
    with open_media(path) as container:
        stream = container.streams[index]
        last = shown = float("-inf")
        with contextlib.suppress(FFmpegError):
            for packet in itertools.islice(container.demux(stream), _LOOK):
                if packet.size:
                    if packet.pts is None or packet.pts < last:
                        return False
                    last = packet.pts
                for frame in packet.decode():
                    if frame.pts is not None and frame.pts < shown:
                        return True
                    shown = shown if frame.pts is None else frame.pts
    return False


def damage_notes(replaced: int, lost: int, untimed: int) -> tuple[str, ...]:
    """Says which frames were replaced, lost or untimed, one sentence per kind."""
    notes = []
    if replaced:
        frames = counted(replaced, "damaged frame")
        notes.append(f"{frames} replaced by the one before")
    if lost:
        notes.append(f"{counted(lost, 'damaged frame')} left out")
    if untimed:
        frames = counted(untimed, "frame")
        notes.append(f"{frames} had no usable timestamp: placed after the mean rate")
    return tuple(notes)


def end_notes(
    path: Path, last: float, end: float | None, broken_off: str | None
) -> tuple[str, ...]:
    """Says whether a video ends too early; `last` and `end` are in seconds."""
    if broken_off:
        return (f"{path} could be read only to {last:.2f} s ({broken_off})",)
    if end is not None:
        return (
            f"{path} is truncated: its pictures end at {last:.2f} s of {end:.2f} s",
        )
    return ()


# One frame per frame, at the time of its first field; progressive ones pass through;
# each frame says which field is first.
_BWDIF = "mode=send_frame:parity=auto:deint=interlaced"
_SMALLEST = 16  # rows or columns; with subsampled chroma, bwdif has a limit below it


def is_interlaced(frame: av.VideoFrame) -> bool:
    """Whether a decoded frame is flagged as two fields and can be deinterlaced."""
    return frame.interlaced_frame and min(frame.width, frame.height) >= _SMALLEST


def deinterlaced(
    frames: Iterator[tuple[av.VideoFrame, int | None]], *, time_base: Fraction
) -> Iterator[tuple[av.VideoFrame, int | None]]:
    """Makes interlaced frames progressive, one for one; progressive ones pass."""
    # Each comes with its timestamp, and keeps it. The rows of the first field stay;
    # those of the second are interpolated from the rows around them and the frames
    # before and after. At most two frames are held. Where size, pixel format or colour
    # coding change, a new graph starts.
    stage, coding = None, None
    for frame, pts in frames:
        if stage is not None and _coding(frame) != coding:
            yield from stage.push(None)
            stage = None
        if stage is None and is_interlaced(frame):
            stage, coding = _Stage(frame, time_base), _coding(frame)
        if stage is None:
            yield frame, pts  # no graph, and no delay, where it is not needed
        else:
            yield from stage.push(frame, pts)
    if stage is not None:
        yield from stage.push(None)


def _coding(frame):
    return (
        frame.width,
        frame.height,
        frame.format.name,
        int(frame.colorspace),
        int(frame.color_range),
    )


class _Stage:
    """A filter graph for frames of one size and coding."""

    def __init__(self, frame, time_base):
        width, height, name, matrix, levels = _coding(frame)
        self._graph = av.filter.Graph()
        source = self._graph.add(
            "buffer",
            video_size=f"{width}x{height}",
            pix_fmt=name,
            time_base=str(time_base),
            colorspace=str(matrix),
            range=str(levels),
        )
        # Packed formats, which bwdif lacks, are unpacked for it and packed again.
        steps = self._graph.add("bwdif", _BWDIF), self._graph.add("format", name)
        self._graph.link_nodes(source, *steps, self._graph.add("buffersink"))
        self._graph.configure()
        self._inside = deque()  # those pushed and not yet yielded, one or two
        self._pushed = 0

    def push(self, frame, pts=None):
        """Takes a frame, or None at the end; yields those that are ready."""
        if frame is not None:
            self._inside.append((frame, pts))
            # The filter changes timestamps, and wants every frame to have one.
            own, frame.pts = frame.pts, self._pushed
            self._pushed += 1
        try:
            self._graph.vpush(frame)
        finally:
            if frame is not None:
                frame.pts = own
        while True:
            try:
                ready = self._graph.vpull()
            except (BlockingIOError, EOFError):
                return
            original, pts = self._inside.popleft()
            # The filter may have changed more than the picture.
            for name in ("pts", "dts", "time_base", "colorspace", "color_range"):
                setattr(ready, name, getattr(original, name))
            yield (ready if is_interlaced(original) else original), pts
