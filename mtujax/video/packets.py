"""What the packets of a file say without being decoded."""

import mmap
import re
import struct
from fractions import Fraction
from pathlib import Path

import av
import av.logging

from mtujax.video.container import open_media, readable

_ENCRYPTED = ("encv", "drmi")  # codec tags of common encryption and FairPlay
_SAME_RATE = Fraction(1, 2000)  # 30 and 30/1.001 are twice as far apart
_LONGEST_GROUP = 1000  # frames; without a key frame in so many, there are none
_OWN_DURATION = ("mov", "matroska", "avi", "asf", "flv")  # others' is only estimated


def is_encrypted(path: Path, index: int, tag: str) -> bool:
    """Whether a stream is encrypted, by its codec tag or its first packet."""
    if tag in _ENCRYPTED:
        return True
    first = next(_packets(path, index), None)
    return first is not None and first.has_sidedata("encryption_info")


def unknown_codec(path: Path) -> str:
    """The container's four-character name of a codec that libav lacks, or "?"."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as lines, open_media(path):
            pass
    finally:
        av.logging.set_level(before)
    found = re.search(r"Video: none \((\S+)", " ".join(line for *_, line in lines))
    return found.group(1) if found else "?"


def mean_rate(container, stream) -> Fraction:
    """Frames per second: the mean, else the nominal rate, else 30."""
    mean, nominal = stream.average_rate, stream.guessed_rate
    if container.duration is None:  # a bare stream, whose mean libav invents
        return nominal or mean or Fraction(30)
    if mean and nominal and abs(nominal / mean - 1) < _SAME_RATE:
        return nominal  # the mean is of rounded timestamps
    return mean or nominal or Fraction(30)


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
    return end if own or end - _end(path) > least else None


def _end(path):
    """Seconds at which the last packet of any stream ends."""
    timed = (p for p in _packets(path) if p.pts is not None)
    ends = (float((p.pts + (p.duration or 0)) * p.time_base) for p in timed)
    return max(ends, default=0.0)


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
