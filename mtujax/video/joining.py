"""Joins the encoded parts and the other streams of the source into a video file.

The parts are encoded one by one, each starting with a key frame, so that an interrupted
job can resume; joining them copies packets and encodes nothing.
"""

import collections
import dataclasses
import heapq
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from av.error import FFmpegError

from mtujax.video.codecs import Encoding
from mtujax.video.container import open_media
from mtujax.video.info import VideoInfo
from mtujax.video.side_streams import Copier, Extras, lost_tags
from mtujax.video.writer import add_video, container_options


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
            order = sorted(p.pts for p in source.demux(video=0) if p.size)
        times = _times(order, part, info)
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


def _times(order, part, info):
    """Maps timestamps of a part, which has its own time base, to the video's."""
    with open_media(part.path) as source:
        base = source.streams.video[0].time_base
    scale = base / info.time_base
    return {p: part.first + round((p - order[0]) * scale) for p in order}
