"""Files whose clock jumps, as where recordings were joined end to end.

A file is then a row of parts, each with times of its own; here each part is placed
after the one before, for all streams alike.
"""

import array
import bisect
import collections
import dataclasses
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from mtujax.video.container import is_cover, open_media, readable

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
    streams = _packets(path)
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
            starts[index] = [stream.packets_before(place) for place in places]
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

    def packets_before(self, place):
        """How many packets begin before a place in the file."""
        return sum(p < place for p in self.places)


def _packets(path):
    with open_media(path) as container:
        streams = {s.index: _Packets(s) for s in container.streams}
        for packet in readable(container.demux()):
            if packet.size and packet.stream.index in streams:
                streams[packet.stream.index].add(packet)
    return streams
