"""What kind of input or output a name means: a video file, a folder, or a pipe.

This is decided here; a reader says of what `kind` it is. A pipe carries raw video,
frames as bare bytes, R, G, B of each pixel, row by row: ffmpeg's `-f rawvideo -pix_fmt
rgb24`. It does not describe itself: size and rate must be given. Letters: H W pixels.
"""

import contextlib
import errno
import io
import itertools
import os
import re
import select
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from mtujax.common.files import FRAME_SUFFIXES, check_there, irregular
from mtujax.common.interrupts import due
from mtujax.errors import UsageError, UserError
from mtujax.video.codecs import CONTAINERS
from mtujax.video.image_folder import FolderReader
from mtujax.video.info import TOLERANCE, VideoInfo
from mtujax.video.reader import VideoReader
from mtujax.video.writer import to_uint8

_LONGEST = 32768  # pixels of a side: more is a typing error
_POLL = 0.1  # seconds between looks for a signal
_NTSC = (24, 30, 48, 60, 120)  # rates of which 1000/1001 is common


def parse_size(text: str) -> tuple[int, int]:
    """Reads a size of frames.

    Examples:
        >>> parse_size("1280x720")
        (1280, 720)

    Args:
        text: as "640x360".

    Returns:
        (width, height) in pixels, each from 1 to 32768.

    Raises:
        UsageError: if the text is no such size.
    """
    match = re.fullmatch(r"([0-9]{1,5})[xX×]([0-9]{1,5})", text.strip())
    size = tuple(int(side) for side in match.groups()) if match else (0, 0)
    if not all(1 <= side <= _LONGEST for side in size):
        raise UsageError(f"size {text!r}: give width x height in pixels, as 640x360")
    return size


def parse_rate(text: str) -> Fraction:
    """Reads frames per second, 1/1000 to 1000: "30", "25.5" or "30000/1001"."""
    match = re.fullmatch(r"[0-9]{1,9}(/[0-9]{1,9}|\.([0-9]{1,9}))?", text.strip())
    try:
        rate = Fraction(match[0]) if match else Fraction(0)
    except ZeroDivisionError:
        rate = Fraction(0)
    if not Fraction(1, 1000) <= rate <= 1000:
        raise UsageError(
            f"rate {text!r}: give frames per second, as 30, 23.976 or 30000/1001"
        )
    # Decimals such as "29.97", rounded to two places or more, mean 1000/1001 exactly.
    places = len(match[2] or "")
    for whole in _NTSC:
        exact = Fraction(whole * 1000, 1001)
        if places >= 2 and round(exact, places) == rate:
            return exact
    return rate


Kind = Literal["file", "folder", "pipe"]
_PIPE = "-"  # the name of standard input and output


def input_kind(name: str | os.PathLike) -> Kind:
    """Decides what an input is; what does not exist is a file."""
    if str(name) == _PIPE:
        return "pipe"
    return "folder" if Path(name).is_dir() else "file"


def output_kind(output: str | os.PathLike) -> Kind:
    """Decides what an output will be; UsageError if its name fits none of them."""
    # A UserError for a pipe, a socket or a device.
    path = Path(output)
    if str(output) == _PIPE:
        return "pipe"
    if what := irregular(path):
        raise UserError(
            f"{output}: is a {what}, and is not replaced; name another, or give - to "
            "write raw frames to standard output"
        )
    if os.path.basename(output) in ("", ".", "..") or path.is_dir():
        return "folder"
    if path.suffix.lower() in CONTAINERS:
        return "file"
    if path.suffix.lower() in FRAME_SUFFIXES:
        raise UsageError(f"{output}: a single image; give the name of a folder")
    if path.suffix and not path.exists():
        how = "put a slash at the end"
        if isinstance(output, Path):  # which drops a slash
            how = "create it, or give its name as text with a slash at the end"
        raise UsageError(
            f"{output}: {path.suffix} is not a video format that can be written "
            f"({', '.join(CONTAINERS)}); for a folder of frames {how}"
        )
    return "folder"


def check_input(input: str | os.PathLike) -> None:
    """Refuses an input that does not exist, or is a special file; opens nothing."""
    if input_kind(input) != "pipe":
        instead = "; save it to one, or give raw frames to -, with --size and --rate"
        check_there(input, of_pipe=instead)


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


Reader = VideoReader | FolderReader | RawReader


def open_reader(
    input: str | os.PathLike, size: str | None = None, rate: str | float | None = None
) -> Reader:
    """Opens an input for reading.

    Examples:
        >>> with open_reader("shaky.mp4") as reader:
        ...     reader.info.width, reader.info.height
        (64, 48)

    Args:
        input: a video file, a folder of frames, or "-" for raw frames from a pipe.
        size: of a pipe's frames, as "640x360".
        rate: frames per second of a folder or a pipe, as 30 or "30000/1001".

    Returns:
        The reader for this kind of input.

    Raises:
        UsageError: if `size` or `rate` is missing, invalid, or not used by this input.
        UserError: if there is no such input or it cannot be read.
    """
    check_input(input)
    path, kind = Path(input), input_kind(input)
    if kind == "pipe":
        if size is None or rate is None:
            raise UsageError(
                "raw frames from a pipe: give --size 640x360 and --rate 30"
            )
        file = standard_stream("stdin")
        return RawReader(file, *parse_size(size), parse_rate(str(rate)))
    if size is not None:
        raise UsageError(f"--size {size}: only raw frames from a pipe need a size")
    if kind == "folder":
        return FolderReader(path, rate=None if rate is None else parse_rate(str(rate)))
    if rate is not None:
        raise UsageError(f"--rate {rate}: a video file has a rate of its own")
    return VideoReader(path)
