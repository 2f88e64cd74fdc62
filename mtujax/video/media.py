"""Media files as PyAV opens them: what streams and packets say without being decoded.

A file's clock jumps where recordings were joined end to end. It is then a row of parts,
each with times of its own; here each part is placed after the one before, for all
streams alike.
"""

import array
import bisect
import collections
import contextlib
import dataclasses
import itertools
import mmap
import os
import re
import struct
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import numpy as np
from av.error import FFmpegError
from av.format import Flags
from av.sidedata.sidedata import Type
from av.stream import Disposition

# Tags that are not UTF-8 are read as Python reads such file names, and written as they
# were: since PyAV 19 always.
_OLD = int(av.__version__.split(".")[0]) < 19
ANY_BYTES = {"metadata_errors": "surrogateescape"} if _OLD else {}
"""Options of `av.open` that let tags hold any bytes."""


def open_media(path: Path, mode: str = "r", **options):
    """Opens a file with PyAV, whose options these are; tags may hold any bytes."""
    # The prefix keeps names with a colon from being taken for a protocol. And a picture
    # called a%d.jpg is one picture, not the pattern of many.
    if mode == "r":
        options["options"] = {"pattern_type": "none"}
    name = f"file:{path}"
    return av.open(name, mode, **ANY_BYTES, **options)


def readable(packets: Iterator) -> Iterator:
    """Passes PyAV's packets on, up to damage that ends the file."""
    with contextlib.suppress(FFmpegError):
        yield from packets


def is_cover(stream) -> bool:
    """Whether a video stream is no film: a cover picture or thumbnails of chapters."""
    return bool(stream.disposition & Disposition.attached_pic)


def is_tile(stream) -> bool:
    """Whether a video stream is but a part of pictures, as the tiles of HEIC are."""
    return bool(stream.disposition & Disposition.dependent)


def main_video(container):
    """The video stream to restore; None without one that is a film or whole picture."""
    best = container.streams.best("video")
    if best is not None and (is_cover(best) or is_tile(best)):
        whole = [s for s in container.streams.video if not (is_cover(s) or is_tile(s))]
        best = next((s for s in whole if s.codec_context is not None), None)
    return best


def side_data(frame, name: str) -> bytes | None:
    """Side data of PyAV's frame, by PyAV's name of its type, or None."""
    found = frame.side_data.get(name)
    return None if found is None else bytes(found)


def _unknown(kind, number):
    """Stands for a type of side data that libav knows and PyAV does not."""
    member = object.__new__(kind)
    member._name_, member._value_ = f"UNKNOWN_{number}", number
    return member


# PyAV looks up the type of all side data before it gives any of them, and refuses the
# frame for one that it does not know: of a JPEG, its EXIF.
Type._missing_ = classmethod(_unknown)


_ENCRYPTED = ("encv", "drmi")  # codec tags of common encryption and FairPlay
_SAME_RATE = Fraction(1, 2000)  # 30 and 30/1.001 are twice as far apart
# A nominal rate, and a header's, may be of fields, also where frames are progressive.
_FIELDS = (Fraction(1, 2), Fraction(1, 4), 2)
_MEASURED = 64  # packets by which a rate is found that the file does not tell
_LONGEST_GROUP = 1000  # frames; without a key frame in so many, there are none
_OWN_DURATION = ("mov", "matroska", "avi", "asf", "flv")  # others' is only estimated


def is_encrypted(path: Path, index: int, tag: str) -> bool:
    """Whether a stream is encrypted, by its codec tag or its first packet."""
    if tag in _ENCRYPTED:
        return True
    first = next(_packets(path, index), None)
    return first is not None and first.has_sidedata("encryption_info")


_level = threading.Lock()  # the library has one level for all threads


def unknown_codec(path: Path) -> str:
    """The container's four-character name of a codec that libav lacks, or "?"."""
    with _level:
        before = av.logging.get_level()
        av.logging.set_level(av.logging.WARNING)
        try:
            with av.logging.Capture() as lines, open_media(path):
                pass
        finally:
            av.logging.set_level(before)
    found = re.search(r"Video: none \((\S+)", " ".join(line for *_, line in lines))
    return found.group(1) if found else "?"


def mean_rate(path: Path, container, stream) -> Fraction:
    """Frames per second: the mean, else the nominal rate, else 30."""
    mean, nominal = stream.average_rate, stream.guessed_rate
    if container.format.flags & Flags.no_timestamps.value:
        return nominal or mean or Fraction(30)  # of a bare stream libav invents a mean
    known = mean and container.duration is not None
    if known and not (nominal and _nearest(nominal / mean, _FIELDS, _SAME_RATE)):
        near = nominal and abs(nominal / mean - 1) < _SAME_RATE
        return nominal if near else mean  # which then is of rounded timestamps
    if nominal:
        measured, error = _measured_rate(path, stream.index)
        ratio = _nearest(measured / nominal, (1, *_FIELDS), max(_SAME_RATE, error))
        if ratio:
            return ratio * nominal
    return (mean if known else nominal or mean) or Fraction(30)


def _nearest(ratio, candidates, near):
    """The candidate that a ratio is but for rounding, None if it is none of them."""
    return next((c for c in candidates if abs(ratio / c - 1) < near), None)


def _measured_rate(path, index):
    """Rate by the first packets' times, 0 without any, and how far it may be off."""
    last, before, steps = None, 0, []
    for number, packet in enumerate(itertools.islice(_packets(path, index), _MEASURED)):
        time = packet.pts if packet.dts is None else packet.dts
        if time is not None:
            if last is not None and time > last:
                steps.append(Fraction(time - last, number - before))
            last, before = time, number
    usual = sorted(steps)[len(steps) // 2] if steps else 0
    # Without pauses, and where the clock jumps.
    steps = [step for step in steps if step < 2 * usual]
    if not steps:
        return 0, 0
    return len(steps) / (sum(steps) * packet.time_base), float(2 / sum(steps))


def has_constant_rate(path: Path, index: int, rate: Fraction) -> bool:
    """Whether all timestamps fit the mean rate, to the clock's resolution."""
    found = [p for p in _packets(path, index) if p.pts is not None]
    times = sorted(p.pts * p.time_base for p in found)
    coarse = max((p.time_base for p in found[:1]), default=Fraction(0))
    limit = max(Fraction(1, 4), 2 * coarse * rate)
    return all(
        abs((time - times[0]) * rate - number) <= limit
        for number, time in enumerate(times)
    )


def missing_end(path: Path, index: int, last: float, rate: Fraction) -> float | None:
    """Seconds after the first frame at which a truncated stream should end, or None."""
    # `last` is the time of the last frame read, also in seconds after the first.
    least = 5 / float(rate)
    with open_media(path) as container:
        stream = container.streams[index]
        if not container.format.name.startswith(_OWN_DURATION):
            return None
        own = stream.duration and float(stream.duration * stream.time_base)
        if container.format.name == "avi":  # whose duration covers only what is there
            own = max(own or 0, stream.frames / float(rate))
        end = own or (container.duration or 0) / av.time_base
    if end - last <= least:
        return None
    # The container's duration is that of its longest stream, which may be the sound.
    timed = (p for p in _packets(path) if p.pts is not None)
    ends = (float((p.pts + (p.duration or 0)) * p.time_base) for p in timed)
    return end if own or end - max(ends, default=0.0) > least else None


def before_first_key(path: Path, index: int) -> tuple[int, Fraction]:
    """How many frames come before the first key frame, and for how many seconds."""
    early = []
    for packet in _packets(path, index):
        time = packet.dts if packet.pts is None else packet.pts
        if packet.is_keyframe:
            if not early or None in (time, *early):
                break
            return len(early), max(Fraction(0), (time - min(early)) * packet.time_base)
        early.append(time)
        if len(early) == _LONGEST_GROUP:
            break
    return 0, Fraction(0)


# How files begin, by format, of which FFmpeg reads one where several are joined.
_HEADS = {
    "asf": re.compile(re.escape(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"))),
    "flv": re.compile(rb"FLV\x01[\x01\x04\x05]\0\0\0\x09\0\0\0\0"),
}


def has_another_film(path: Path, format: str) -> bool:
    """Whether an MP4, MOV, ASF or FLV has a further film, which FFmpeg skips."""
    if head := _HEADS.get(format):
        with path.open("rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return head.search(data, 1) is not None
    if not format.startswith("mov"):
        return False
    at, films = 0, 0
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8:  # of the boxes one after the other
            size = int.from_bytes(head[:4])
            films += head[4:8] == b"ftyp"
            size = int.from_bytes(head[8:]) if size == 1 else size
            at += size
            if size < 8 or at >= path.stat().st_size:  # the last one
                break
            file.seek(at)
    return films > 1


def has_more_pages(path: Path) -> bool:
    """Whether a TIFF file has pages after its first, which libav does not read."""
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        try:
            if head[2:4] in (b"+\0", b"\0+"):  # BigTIFF
                kind, many, entry, place = "Q", "Q", 20, 8
            else:
                kind, many, entry, place = "I", "H", 12, 4
            (at,) = struct.unpack_from(order + kind, head, place)
            file.seek(at)
            (count,) = struct.unpack(order + many, file.read(struct.calcsize(many)))
            file.seek(count * entry, 1)
            return any(file.read(struct.calcsize(kind)))
        except (struct.error, OverflowError, OSError):
            return False


def first_payload(path: Path, index: int) -> bytes:
    """The bytes of a stream's first packet, as of a cover picture; may be empty."""
    return bytes(next(_packets(path, index), b""))


def _packets(path, index=None):
    """Yields the packets of one stream or of all, as far as they can be read."""
    with open_media(path) as container:
        streams = () if index is None else (container.streams[index],)
        yield from (p for p in readable(container.demux(*streams)) if p.size)


ARBITRARY = ("mpegts", "mpeg")  # formats whose clocks start anywhere

# As ffmpeg has it: decoding times only ascend, and a longer pause is a new recording.
_BACK, _FORWARD = 0.1, 10.0  # seconds
_REORDERED = 8  # frames by which those of Matroska, which are guessed, may be wrong


@dataclasses.dataclass(frozen=True)
class Clock:
    """By how much each packet's times are to be moved."""

    # by stream index, at which of its packets each part but the first starts
    starts: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    moves: tuple[Fraction, ...] = ()  # seconds to add to the times of these parts
    # how many packets the main video has, None if nothing was counted
    frames: int | None = None

    def moved(self, packets: Iterator) -> Iterator:
        """Passes on PyAV's packets of a file from its start, their times moved."""
        return self._moved(packets) if self.moves else packets

    def _moved(self, packets):
        counts = collections.Counter()
        for packet in packets:
            index = packet.stream.index
            if packet.size:
                part = bisect.bisect_right(self.starts.get(index, ()), counts[index])
                counts[index] += 1
                if part:
                    ticks = round(self.moves[part - 1] / packet.time_base)
                    packet.pts = None if packet.pts is None else packet.pts + ticks
                    packet.dts = None if packet.dts is None else packet.dts + ticks
            yield packet


def read_clock(path: Path, format: str, main: int) -> Clock:
    """Finds where a file's clock jumps, by all its packets if its format allows it."""
    joinable = format in (*ARBITRARY, "nut") or _is_joined_matroska(path)
    if not joinable:
        return Clock()
    streams = _streams(path)
    for limit in (_FORWARD, float("inf")):
        own = {i: s.jumps(limit) for i, s in streams.items() if s.continuous}
        jumps = own.pop(main)
        gaps = [streams[main].gap(jump) for jump in jumps]
        gaps = [gap for gap in gaps if gap[0] < gap[1]]
        if not any(streams[i].has_within(*gap) for i in own for gap in gaps):
            break  # else sound continues where pictures are missing: it is no jump
    if not jumps:
        return Clock()
    places = [streams[main].places[jump] for jump in jumps]
    starts, joined = {main: jumps}, {main}
    for index, stream in streams.items():
        if len(own.get(index, ())) == len(jumps):
            starts[index] = own[index]
            if abs(stream.span([], 0)[0] - streams[main].span([], 0)[0]) < _FORWARD:
                joined.add(index)  # of the same program, with the same clock
        elif index != main:  # sparse, or with jumps of its own: by place in the file
            starts[index] = [sum(p < place for p in stream.places) for place in places]
    moves, move = [], Fraction(0)
    for part in range(len(jumps)):
        end = max(streams[i].span(starts[i], part)[1] for i in joined)
        start = min(streams[i].span(starts[i], part + 1)[0] for i in joined)
        move += end - start
        moves.append(move)
    starts = {index: tuple(numbers) for index, numbers in starts.items()}
    return Clock(starts, tuple(moves), len(streams[main].places))


def _is_joined_matroska(path):
    """Whether a Matroska file, WebM included, may have more than its first segment."""
    with path.open("rb") as file:
        if file.read(4) != b"\x1a\x45\xdf\xa3":
            return False
        file.seek(_element_size(file) or 0, os.SEEK_CUR)
        if file.read(4) != b"\x18\x53\x80\x67":
            return False
        size = _element_size(file)
        return size is None or file.tell() + size < path.stat().st_size


def _element_size(file):
    """Size of an EBML element, in 1 to 8 bytes; None if unknown, as of a live one."""
    first = int.from_bytes(file.read(1))
    length = 9 - first.bit_length()
    ones = (1 << 7 * length) - 1
    size = int.from_bytes(first.to_bytes() + file.read(length - 1)) & ones
    return None if size == ones else size


class _Packets:
    """When and where the packets of one stream are."""

    def __init__(self, stream):
        self._sound, film = stream.type == "audio", stream.type == "video"
        self.continuous = self._sound or (film and not is_cover(stream))
        self.places = array.array("q")  # in the file, in bytes
        self._base = stream.time_base
        # Units of `_base`: when packets are decoded, and when they are shown from and
        # until. What is unknown is as in the packet before.
        self._times, self._from, self._until = (array.array("q") for _ in range(3))

    def add(self, packet):
        shown = packet.dts if packet.pts is None else packet.pts
        if shown is None:
            shown = self._from[-1] if self._from else 0
        time = packet.dts
        if time is None:
            time = self._times[-1] if self._times else shown
        last = self.places[-1] if self.places else 0
        self.places.append(last if packet.pos is None else packet.pos)
        self._times.append(time)
        self._from.append(shown)
        self._until.append(shown + (packet.duration or 0))

    def jumps(self, forward):
        """At which packets the times jump, and stay where they jumped to."""
        back, forward = _BACK / float(self._base), forward / float(self._base)
        found, last = [], self._times[0] if self._times else 0
        for number, time in enumerate(self._times):
            frame = self._until[number] - self._from[number]
            least = -max(back, _REORDERED * frame * (not self._sound))
            if not least <= time - last <= forward:
                after = self._times[number + 1 : number + 2] or [last]
                if not least <= after[0] - time <= forward:
                    continue  # one wrong time
                found.append(number)
            last = time
        return found

    def span(self, starts, part):
        """(start, end) of a part, in seconds on the file's clock."""
        bounds = [0, *starts, len(self._times)]
        some = slice(bounds[part], bounds[part + 1])
        return min(self._from[some]) * self._base, max(self._until[some]) * self._base

    def gap(self, number):
        """(start, end) in seconds of what a jump leaves out; turned round if back."""
        before, after = self._times[number - 1], self._times[number]
        return before * self._base + 1, after * self._base - 1

    def has_within(self, start, end):
        """Whether a packet's time is between two, in seconds."""
        times = np.frombuffer(self._times, np.int64) * float(self._base)
        return bool(np.any((start < times) & (times < end)))


def _streams(path):
    with open_media(path) as container:
        streams = {s.index: _Packets(s) for s in container.streams}
        for packet in readable(container.demux()):
            if packet.size and packet.stream.index in streams:
                streams[packet.stream.index].add(packet)
    return streams
