"""What an input or output is, by its name: a video file, a folder, or a pipe."""

import os
import sys
from fractions import Fraction
from pathlib import Path

from mtujax.errors import UsageError, UserError
from mtujax.frames import FolderReader
from mtujax.outputs import FRAME_SUFFIXES
from mtujax.video.codecs import CONTAINERS
from mtujax.video.raw import RawReader, parse_rate, parse_size
from mtujax.video.reader import VideoReader

PIPE = "-"
"""The name of standard input and output."""

FOLDER_RATE = Fraction(30)
"""Frames per second of a video made from a folder, which has no rate of its own."""


def is_pipe(name: str | os.PathLike) -> bool:
    """Tells a pipe by its name.

    Args:
        name: of an input or output.

    Returns:
        Whether it is standard input or output.
    """
    return str(name) == PIPE


def is_folder(output: str | os.PathLike) -> bool:
    """Tells whether the name of an output means a folder of frames.

    Args:
        output: any name.

    Returns:
        True for a folder, False for a video file or a pipe.

    Raises:
        UserError: if it can be neither.
    """
    path = Path(output)
    if is_pipe(output):
        return False
    if str(output).endswith(("/", os.sep)) or path.is_dir():
        return True
    if path.suffix.lower() in CONTAINERS:
        return False
    if path.suffix.lower() in FRAME_SUFFIXES:
        raise UserError(f"{output}: a single image; give the name of a folder")
    if path.suffix and not path.exists():
        raise UserError(
            f"{output}: {path.suffix} is no video this can write "
            f"({', '.join(CONTAINERS)}); for a folder of frames put a slash at the end"
        )
    return True


def open_reader(
    input: str | os.PathLike, size: str | None = None, rate: str | float | None = None
) -> VideoReader | FolderReader | RawReader:
    """Opens an input.

    Args:
        input: a video file, a folder of frames, or "-" for raw frames from a pipe.
        size: of a pipe's frames, as "640x360".
        rate: of a folder's or a pipe's frames, per second, as 30 or "30000/1001".

    Returns:
        Its reader.

    Raises:
        UsageError: if `size` or `rate` is missing or has nothing to say here.
        UserError: if there is no such input or it cannot be read.
    """
    if is_pipe(input):
        if size is None or rate is None:
            raise UsageError(
                "raw frames from a pipe: give --size 640x360 and --rate 30"
            )
        return RawReader(sys.stdin.buffer, *parse_size(size), parse_rate(str(rate)))
    path = Path(input)
    if not path.exists():
        raise UserError(f"{input}: no such file or folder")
    if size is not None:
        raise UsageError(f"--size {size}: only raw frames from a pipe need a size")
    if rate is not None and not path.is_dir():
        raise UsageError(f"--rate {rate}: a video file has a rate of its own")
    return FolderReader(path) if path.is_dir() else VideoReader(path)
