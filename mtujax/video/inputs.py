"""What kind of input or output a name means: a video file, a folder, or a pipe.

This is decided here; a reader says of what `kind` it is.
"""

import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

from mtujax.common.files import FRAME_SUFFIXES, irregular
from mtujax.errors import UsageError, UserError
from mtujax.video.codecs import CONTAINERS
from mtujax.video.image_folder import FolderReader
from mtujax.video.pipe import RawReader, standard_stream
from mtujax.video.reader import VideoReader

_LONGEST = 32768  # pixels of a side: more is a typing error
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
    """Refuses an input that is no file, folder or pipe (UserError); opens nothing."""
    path = Path(input)
    if what := irregular(path):
        instead = "; save it to one, or give raw frames to -, with --size and --rate"
        raise UserError(f"{input}: is a {what}, not a file{instead * (what == 'pipe')}")
    if input_kind(input) != "pipe" and not path.exists():
        raise UserError(f"{input}: no such file or folder")


def open_reader(
    input: str | os.PathLike, size: str | None = None, rate: str | float | None = None
) -> VideoReader | FolderReader | RawReader:
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
