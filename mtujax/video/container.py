"""Media files as PyAV opens them, and facts about their streams and frames."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
from av.error import FFmpegError
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


def printable(text: str) -> str:
    """Text for a message: what cannot be shown, such as bytes of no UTF-8, escaped."""
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


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
