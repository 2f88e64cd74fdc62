"""Interlaced frames made progressive by bwdif of libavfilter, frame for frame.

An interlaced frame weaves two fields, half a frame's time apart: every other row shows
another moment, and what moves is torn into combs.
"""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction

import av
from av.error import BlockingIOError, EOFError

# One frame per frame, at the time of its first field; progressive ones pass through;
# which field is first is told by each frame.
_BWDIF = "mode=send_frame:parity=auto:deint=interlaced"
_SMALLEST = 16  # rows or columns; with subsampled chroma, bwdif has a limit below it


def is_interlaced(frame: av.VideoFrame) -> bool:
    """Tells whether a decoded frame is flagged as two fields, and can be deinterlaced.

    Args:
        frame: as decoded.

    Returns:
        The flag; false for frames of less than 16 rows or columns.
    """
    return frame.interlaced_frame and min(frame.width, frame.height) >= _SMALLEST


def deinterlaced(
    frames: Iterator[av.VideoFrame], *, time_base: Fraction
) -> Iterator[av.VideoFrame]:
    """Makes interlaced frames progressive.

    The rows of the first field stay; those of the second are interpolated from the rows
    around them and the frames before and after. At most two frames are held.

    Args:
        frames: in the order of display, with or without timestamps. If size, pixel
            format or colour coding change, the frames on either side are independent.
        time_base: seconds per unit of the timestamps.

    Yields:
        As many frames, with the same timestamps, time bases, pixel formats and colour
        tags; progressive frames are those given.
    """
    stage, coding = None, None
    for frame in frames:
        if stage is not None and _coding(frame) != coding:
            yield from stage.push(None)
            stage = None
        if stage is None and is_interlaced(frame):
            stage, coding = _Stage(frame, time_base), _coding(frame)
        if stage is None:
            yield frame  # no graph, and no delay, for a video that does not need it
        else:
            yield from stage.push(frame)
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
    """One filter graph, for frames of one size and coding."""

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
        self._inside = deque()  # the frames pushed and not yet yielded, one or two
        self._pushed = 0

    def push(self, frame):
        """Takes a frame, or None at the end; yields those ready."""
        if frame is not None:
            self._inside.append(frame)
            # The filter changes timestamps, and wants every frame to have one.
            pts, frame.pts = frame.pts, self._pushed
            self._pushed += 1
        try:
            self._graph.vpush(frame)
        finally:
            if frame is not None:
                frame.pts = pts
        while True:
            try:
                ready = self._graph.vpull()
            except (BlockingIOError, EOFError):
                return
            original = self._inside.popleft()
            yield _like(ready, original) if is_interlaced(original) else original


def _like(frame, original):
    """Gives the frame what the filter may have changed, other than the picture."""
    for name in ("pts", "dts", "time_base", "colorspace", "color_range"):
        setattr(frame, name, getattr(original, name))
    return frame
