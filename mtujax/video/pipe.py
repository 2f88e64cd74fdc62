"""Raw video through pipes: frames as bare bytes, R, G, B of each pixel, row by row.

This is ffmpeg's `-f rawvideo -pix_fmt rgb24`. The stream does not describe itself: size
and rate must be given. Letters: H W pixels.
"""

import contextlib
import errno
import io
import itertools
import os
import select
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import numpy as np

from mtujax.common.interrupts import due
from mtujax.errors import UserError
from mtujax.video.info import TOLERANCE, VideoInfo
from mtujax.video.writer import to_uint8

_POLL = 0.1  # seconds between looks for a signal


def standard_stream(name: str) -> BinaryIO:
    """The binary file of "stdin" or "stdout"; UserError if it was closed at start."""
    if getattr(sys, f"__{name}__") is None or getattr(sys, name) is None:
        whole = {"stdin": "input", "stdout": "output"}[name]
        raise UserError(f"-: standard {whole} is closed; give a file or a folder")
    return getattr(sys, name).buffer


class RawReader(contextlib.AbstractContextManager):
    """Reads raw frames from a pipe, once; a context manager that closes nothing.

    Examples:
        >>> pipe = io.BytesIO(np.stack(camera).tobytes())  # or sys.stdin.buffer
        >>> height, width, _ = camera[0].shape
        >>> with RawReader(pipe, width, height, Fraction(24)) as reader:
        ...     len(list(reader.frames()))
        4

    Attributes:
        info: what the frames have in common.
        name: name of the file in messages.
        kind: "pipe".
        late_notes: what was noticed while reading, one sentence each.
    """

    kind = "pipe"

    def __init__(
        self,
        file: BinaryIO,
        width: int,
        height: int,
        rate: Fraction,
        *,
        name: str = "-",
    ):
        """Waits for the first frame.

        Args:
            file: an open binary file, such as `sys.stdin.buffer`; it stays open.
            width: columns W, in pixels.
            height: rows H, in pixels.
            rate: frames per second.
            name: name of the file in messages.

        Raises:
            UserError: if it is a terminal, is empty or ends within the first frame.
            OSError: if it cannot be read.
        """
        self.info = VideoInfo(width, height, None, rate, 1 / rate)
        self.late_notes: tuple[str, ...] = ()
        # Of a buffered file, select does not see what is in the buffer.
        self._file, self.name = getattr(file, "raw", file), name
        if file.isatty():
            raise UserError(
                f"{name}: is a terminal; pipe raw rgb24 frames of {width}x{height} in"
            )
        self._first = self._read()
        if self._first is None:
            raise UserError(f"{name}: {' '.join(self.late_notes) or 'is empty'}")

    def __exit__(self, *_):
        """Does nothing: the file belongs to the caller."""

    def frames(
        self, *, start: float | None = None, end: float | None = None, skip: int = 0
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Reads to the end of the pipe; what was read cannot be read again.

        Args:
            start: seconds after the first frame; earlier frames are left out, and the
                timestamps then count from the first frame yielded.
            end: seconds after the first frame; reading stops there.
            skip: how many frames to leave out at the beginning of the range.

        Yields:
            Frames [H, W, 3] uint8 RGB, and their numbers as timestamps.

        Raises:
            ValueError: if the frames were read before.
            OSError: if the file cannot be read any further.
        """
        if self._first is None:
            raise ValueError(f"{self.name}: a pipe can be read only once")
        first, self._first, origin = self._first, None, None
        for number in itertools.count():
            seconds = float(number / self.info.rate) + TOLERANCE
            if end is not None and seconds >= end:
                return
            frame = self._read() if number else first
            if frame is None:
                return
            if start is None or seconds >= start:
                origin = number if origin is None else origin
                if number - origin >= skip:
                    yield frame, number - origin

    def _read(self):
        """Reads the next frame, None at the end; a pipe gives it in pieces."""
        frame = np.empty((self.info.height, self.info.width, 3), np.uint8)
        rest = memoryview(frame).cast("B")
        while rest:
            self._wait()
            count = self._file.readinto(rest)
            if count == 0:
                break
            # None: a pipe that does not block has nothing yet.
            rest = rest[count or 0 :]
        if rest and len(rest) < frame.nbytes:
            self.late_notes = (
                f"the last {frame.nbytes - len(rest)} bytes are no whole frame of "
                f"{frame.shape[1]}x{frame.shape[0]} ({frame.nbytes} bytes): is --size "
                "right?",
            )
        return None if rest else frame

    def _wait(self):
        """Waits until there is something to read, or for an interruption."""
        if os.name == "nt" or not isinstance(self._file, io.FileIO):
            return  # nothing that select knows
        while not select.select([self._file], [], [], _POLL)[0]:
            if due():
                raise InterruptedError(errno.EINTR, "interrupted", self.name)


class RawWriter(contextlib.AbstractContextManager):
    """Writes raw frames into a pipe, each at once; a context manager.

    Examples:
        >>> pipe = io.BytesIO()  # or sys.stdout.buffer
        >>> with RawWriter(pipe) as writer:
        ...     for number, frame in enumerate(camera):
        ...         writer.write(frame, number)
        >>> pipe.getvalue() == np.stack(camera).tobytes()
        True

    Attributes:
        notes: always empty.
    """

    notes = ()

    def __init__(self, file: BinaryIO, *, name: str = "-"):
        """Takes the file and flushes what was written to it before.

        Args:
            file: an open binary file, such as `sys.stdout.buffer`; it stays open.
            name: name of the file in messages.

        Raises:
            UserError: if it is a terminal.
            OSError: if it cannot be flushed.
        """
        if file.isatty():
            raise UserError(f"{name}: is a terminal; pipe the frames into a program")
        file.flush()
        # Nothing may stay in a buffer: at the end Python would write it to a pipe that
        # may be closed by then, and complain.
        self._file = getattr(file, "raw", file)

    def __exit__(self, *_):
        """Does nothing: every frame is written, and the file belongs to the caller."""

    def write(self, frame: np.ndarray, pts: int) -> None:
        """Writes the next frame.

        Args:
            frame: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1].
            pts: its timestamp, ignored because raw video cannot hold it.

        Raises:
            OSError: for a broken pipe (BrokenPipeError) or a full disk.
        """
        rest = memoryview(to_uint8(frame)).cast("B")
        while rest:
            count = self._file.write(rest)
            if count is None:  # a pipe that does not block is full
                select.select([], [self._file], [])
            else:
                rest = rest[count:]

    def close(self) -> None:
        """Does nothing: every frame is written at once."""
