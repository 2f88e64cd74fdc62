"""Video files in, through PyAV: RGB frames, their timestamps and their colours.

Letters: H W pixels of the upright frame. A timestamp (pts) counts `time_base` seconds.
"""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from mtujax.errors import UserError
from mtujax.video.info import (
    BT709,
    FULL,
    LIMITED,
    MATRICES,
    SCALING,
    SMPTE170M,
    Colour,
    VideoInfo,
)

_INDEXED = ("mov", "matroska", "avi")  # libav seeks in others only roughly

_TRANSFER_HDR = {16: "PQ", 18: "HLG"}


class VideoReader:
    """The frames of a file's main video stream; a context manager.

    Attributes:
        info: what its frames have in common.
    """

    def __init__(self, path: Path):
        """Opens the file and decodes its first frame.

        Args:
            path: an existing file.

        Raises:
            UserError: if it is no video, is not whole or has no frame.
        """
        self._path = path
        self._open()
        try:
            self._look_at_first()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "VideoReader":
        """Returns itself."""
        return self

    def __exit__(self, *_):
        """Closes the file."""
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def frames(
        self, *, start: float | None = None, end: float | None = None
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Decodes the frames in the order of their display.

        Args:
            start: seconds after the first frame; earlier frames are left out, and the
                timestamps then count from the first frame that is given.
            end: seconds after the first frame; this one and later ones are left out.

        Yields:
            Upright frames [H, W, 3] uint8 RGB, and their timestamps, ascending.

        Raises:
            UserError: where decoding fails or the size changes.
        """
        start, origin = start or 0.0, None if start else 0
        for frame, pts in self._timed(self._decode_from(start)):
            seconds = self._seconds(pts) + 1e-6  # 3 * 0.1 is not quite 0.3
            if end is not None and seconds >= end:
                return
            if seconds >= start:
                origin = pts if origin is None else origin
                yield self._upright_rgb(frame), pts - origin

    def _open(self):
        try:
            self._container = av.open(f"file:{self._path}")
        except FFmpegError as error:
            raise UserError(
                f"{self._path}: cannot be read as a video ({error.strerror}); "
                "is it complete?"
            ) from error
        self._stream = self._container.streams.best("video")
        if self._stream is not None and self._stream.codec_context is not None:
            self._stream.thread_type = "AUTO"
        # One generator to the end: it may hold more decoded frames than it has given.
        self._decoded = self._decode()

    def _look_at_first(self):
        if self._stream is None:
            raise UserError(f"{self._path}: has no video stream")
        if self._stream.codec_context is None:
            raise UserError(f"{self._path}: its video has no known codec")
        self._first = next(self._decoded, None)
        if self._first is None:
            raise UserError(f"{self._path}: has no frame that can be decoded")
        self._first_pts = self._first.pts or 0
        self._fresh = True  # nothing but the first frame has been taken yet
        self._turns = round(self._first.rotation / 90) % 4
        self.info = self._describe()

    def _decode(self):
        try:
            yield from self._container.decode(self._stream)
        except FFmpegError as error:
            raise UserError(
                f"{self._path}: decoding failed ({error.strerror})"
            ) from error

    def _decode_from(self, start):
        """All frames from `start` on, and maybe some before it; sought if it is far."""
        head, fresh, self._fresh = None, self._fresh, False
        if fresh and start < 1:
            head = self._first
        elif start >= 1 and self._container.format.name.startswith(_INDEXED):
            head = self._seek(start)
        if head is None:
            self.close()
            self._open()
            return self._decoded
        return itertools.chain([head], self._decoded)

    def _seek(self, start):
        """Goes to the key frame before `start` and returns it, None if that failed."""
        offset = self._first_pts + int(start / self.info.time_base)
        try:
            self._container.seek(offset, stream=self._stream)
        except FFmpegError:
            return None
        self._decoded = self._decode()
        head = next(self._decoded, None)
        # A damaged index may lead too far.
        if head is None or head.pts is None or self._seconds(head.pts) > start:
            return None
        return head

    def _timed(self, frames):
        """Adds ascending timestamps: where missing or broken, after the mean rate."""
        step = max(1, round(1 / (self.info.rate * self.info.time_base)))
        last = None
        for frame in frames:
            pts = self._first_pts if frame.pts is None else frame.pts
            last = pts if last is None or pts > last else last + step
            yield frame, last

    def _seconds(self, pts):
        return float((pts - self._first_pts) * self.info.time_base)

    def _upright_rgb(self, frame):
        if (frame.width, frame.height) != (self._first.width, self._first.height):
            raise UserError(
                f"{self._path}: frames change from {self._first.width}x"
                f"{self._first.height} to {frame.width}x{frame.height} in mid-stream"
            )
        rgb = frame.reformat(
            format="rgb24",
            src_colorspace=self.info.colour.matrix,
            src_color_range=FULL if _is_full_range(frame) else LIMITED,
            interpolation=SCALING,
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, self._turns))

    def _describe(self):
        stream, first = self._stream, self._first
        height, width = first.height, first.width
        aspect = stream.codec_context.sample_aspect_ratio or Fraction(1)
        if self._turns % 2:
            height, width, aspect = width, height, 1 / aspect
        rate = stream.average_rate or stream.guessed_rate or Fraction(30)
        frames = stream.frames
        if not frames and self._container.duration:
            frames = round(self._container.duration / av.time_base * rate)
        colour = _colour(stream.codec_context, first)
        return VideoInfo(
            width,
            height,
            frames or None,
            rate,
            stream.time_base,
            colour,
            aspect,
            _is_full_range(first) and not first.format.is_rgb,
            stream.frames > 0,
            tuple(self._notes(colour)),
        )

    def _notes(self, colour):
        left = [_name(s) for s in self._container.streams if s != self._stream]
        if left:
            yield f"not copied to the output: {', '.join(left)}"
        if self._turns:
            yield f"frames turned upright ({self._first.rotation} degrees of rotation)"
        bits = max(c.bits for c in self._first.format.components)
        hdr = _TRANSFER_HDR.get(colour.transfer)
        if bits > 8:
            name = f"{bits}-bit {hdr} (HDR)" if hdr else f"{bits}-bit"
            yield f"{name} input is converted to 8 bits, without tone mapping"
        if self._first.interlaced_frame:
            yield "interlaced input is taken as it is, without deinterlacing"
        if any(c.is_alpha for c in self._first.format.components):
            yield "the alpha channel is dropped"


def _colour(context, frame):
    """The input's colour coding, its matrix guessed from the size if it is not told.

    Untagged video of 720 rows or more is BT.709 and smaller video BT.601, as most
    players take it.
    """
    matrix = int(frame.colorspace)
    if frame.format.is_rgb:
        matrix = BT709
    elif matrix not in MATRICES:
        matrix = BT709 if min(frame.height, frame.width) >= 720 else SMPTE170M
    return Colour(matrix, int(context.color_primaries), int(context.color_trc))


def _is_full_range(frame):
    old = frame.format.name.startswith("yuvj")
    return old or frame.format.is_rgb or int(frame.color_range) == FULL


def _name(stream):
    context = getattr(stream, "codec_context", None)
    return f"{stream.type} ({context.name})" if context else stream.type
