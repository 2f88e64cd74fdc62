"""PNG and JPEG files: their metadata, their damage and, through OpenCV, their pixels.

Colour profile, EXIF, XMP and resolution are carried from a frame to its restored form,
but for what is no longer so: the orientation, which has been applied, and pictures of
the picture. Letters: H W pixels, C channels.
"""

import contextlib
import dataclasses
import functools
import itertools
import os
import re
import struct
import sys
import tempfile
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from mtujax.errors import UserError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NEEDED = b"IHDR PLTE tRNS IDAT IEND".split()
_PNG_KEPT = (
    b"iCCP sRGB gAMA cHRM cICP mDCV mDCv cLLI cLLi pHYs eXIf tEXt zTXt iTXt"
).split()
_EXIF, _ICC, _JFIF = b"Exif\0\0", b"ICC_PROFILE\0", b"JFIF\0"
_JPEG_KEPT = {  # by marker, how the segments begin; not of an Adobe encoder's own form
    0xE0: (_JFIF,),
    0xE1: (_EXIF, b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/ext"),
    0xE2: (_ICC,),  # also holds places of further pictures in the file, now wrong
    0xED: (b"Photoshop 3.0\0",),
    0xFE: (b"",),
}
_JFIF_BYTES = 14  # without a thumbnail
_ORIENTATION, _EXIF_IFD, _SIDES = 0x0112, 0x8769, (0xA002, 0xA003)
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>)\s*)[2-8]")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a PNG or JPEG file holds next to its pixels."""

    png: bool = True  # whether the parts are a PNG's chunks, else a JPEG's segments
    # (name, content) of each chunk; (marker, content) of each segment
    parts: tuple[tuple[bytes | int, bytes], ...] = ()
    orientation: int = 1  # of EXIF, 1 to 8; 1 is upright

    @property
    def profile(self) -> bytes | None:
        """The kind of colours of an ICC profile, such as RGB or GRAY, or None."""
        for name, content in self.parts:
            if name == b"iCCP":
                return _profile_of_chunk(content)[16:20].strip() or b"damaged"
            if name == 0xE2:
                return content[len(_ICC) + 2 :][16:20].strip()
        return None


def read_metadata(data: bytes) -> Metadata:
    """Reads what is to be carried over from a PNG or JPEG file's bytes."""
    if data[:8] == PNG_SIGNATURE:
        parts = [
            (name, data[start + 8 : end - 4])
            for name, start, end in _chunks(data)
            if name in _PNG_KEPT
        ]
        exif = next((content for name, content in parts if name == b"eXIf"), b"")
        orientation = _orientation(exif.removeprefix(_EXIF))
        return Metadata(True, tuple(parts), orientation)
    parts = [
        (marker, content)
        for marker, content in _segments(data)
        if content.startswith(_JPEG_KEPT.get(marker, ()))
    ]
    exif = next((c for m, c in parts if m == 0xE1 and c.startswith(_EXIF)), b"")
    return Metadata(False, tuple(parts), _orientation(exif[len(_EXIF) :]))


def bare(data: bytes) -> bytes:
    """A PNG's bytes without what its pixels do not need; others as they are."""
    # Decoders have opinions on the rest, which they print.
    if data[:8] != PNG_SIGNATURE:
        return data
    view = memoryview(data)
    needed = (view[at:end] for name, at, end in _chunks(data) if name in _NEEDED)
    return b"".join([PNG_SIGNATURE, *needed])


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image [H, W] or [H, W, C] as EXIF says it is to be shown."""
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    # Where the first row and column of what is shown are, in the (transposed) image.
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(image[::rows, ::columns])


def with_metadata(data: bytes, metadata: Metadata, *, grey: bool) -> bytes:
    """Adds metadata to an encoded image of the same format, which has none."""
    # A profile of other colours than the image's, `grey` or not, is left out.
    png = data[:8] == PNG_SIGNATURE
    if not metadata.parts or png != metadata.png:
        return data
    parts = [(n, _upright_part(n, c, metadata.orientation)) for n, c in metadata.parts]
    if metadata.profile not in (b"GRAY" if grey else b"RGB", None):
        parts = [part for part in parts if part[0] not in (b"iCCP", 0xE2)]
    if png:
        start = len(PNG_SIGNATURE) + 25  # the header is the first chunk
        return data[:start] + b"".join(_chunk(*p) for p in parts) + data[start:]
    head, start = data[:2], 2
    if data[2:4] == b"\xff\xe0":  # the encoder's resolution, for want of another
        start += 2 + int.from_bytes(data[4:6], "big")
        head = data[: 2 if 0xE0 in dict(parts) else start]
    parts.sort(key=lambda part: part[0] != 0xE0)
    segments = (struct.pack(">BBH", 0xFF, m, len(c) + 2) + c for m, c in parts)
    return head + b"".join(segments) + data[start:]


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk of a PNG that is there as a whole."""
    at, name = len(PNG_SIGNATURE), b""
    while at + 12 <= len(data) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        after = at + 12 + length
        if after > len(data):
            return
        yield name, at, after
        at = after


def is_intact(data: bytes, start: int, end: int) -> bool:
    """Whether the checksum of a PNG's chunk agrees."""
    view = memoryview(data)
    return zlib.crc32(view[start + 4 : end - 4]) == int.from_bytes(view[end - 4 : end])


def _chunks(data, *, pixels=False):
    """`png_chunks` up to damage; no damaged extras."""
    for name, start, end in png_chunks(data):
        # The pixels are most of a file: they are checked only if asked for.
        if (name == b"IDAT" and not pixels) or is_intact(data, start, end):
            yield name, start, end
        elif name in _NEEDED:
            return


def _chunk(name, content):
    check = zlib.crc32(name + content)
    return struct.pack(">I4s", len(content), name) + content + struct.pack(">I", check)


def _segments(data) -> Iterator[tuple[int, bytes]]:
    """(marker, content) of each segment of a JPEG up to its pixels, or to damage."""
    at = 2 if data[:2] == b"\xff\xd8" else len(data)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            return
        after = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        yield marker, data[at + 4 : after]
        at = after


def _profile_of_chunk(content):
    """The profile in an iCCP chunk, empty if damaged."""
    _, _, rest = content.partition(b"\0")
    try:
        return zlib.decompressobj().decompress(rest[1:], 128)
    except zlib.error:
        return b""


def _upright_part(name, content, orientation):
    """A part as it is for the upright picture."""
    if name == 0xE0:
        return content[: _JFIF_BYTES - 2] + b"\0\0"
    if name == b"eXIf":
        return _upright_exif(content, orientation)
    if name == 0xE1 and content.startswith(_EXIF):
        return _EXIF + _upright_exif(content[len(_EXIF) :], orientation)
    if name in (0xE1, b"iTXt"):
        return _XMP_ORIENTATION.sub(rb"\g<1>1", content)
    return content


def _orientation(exif):
    for tag, kind, count, place in _entries(exif, _first_directory(exif)):
        if (tag, kind, count) == (_ORIENTATION, 3, 1):
            (value,) = struct.unpack_from(f"{_order(exif)}H", exif, place)
            return value if 1 <= value <= 8 else 1
    return 1


def _upright_exif(exif, orientation):
    """EXIF without thumbnail, its orientation 1 and its sides those of the picture."""
    changed, order = bytearray(exif), _order(exif)
    first, places = _first_directory(exif), {}
    for tag, kind, count, place in _entries(exif, first):
        if (tag, kind, count) == (_ORIENTATION, 3, 1):
            struct.pack_into(f"{order}H", changed, place, 1)
        if (tag, kind, count) == (_EXIF_IFD, 4, 1):
            (inner,) = struct.unpack_from(f"{order}I", exif, place)
            found = _entries(exif, inner)
            places = {t: (k, at) for t, k, n, at in found if t in _SIDES and n == 1}
    if orientation >= 5 and len(places) == 2:
        (kind, one), (other_kind, other) = places.values()
        if kind == other_kind and kind in (3, 4):
            changed[one : one + 4] = exif[other : other + 4]
            changed[other : other + 4] = exif[one : one + 4]
    if first is not None:
        (count,) = struct.unpack_from(f"{order}H", exif, first)
        after = first + 2 + 12 * count
        changed[after : after + 4] = bytes(len(exif[after : after + 4]))
    return bytes(changed)


def _order(exif):
    return "<" if exif[:2] == b"II" else ">"


def _first_directory(exif):
    """Place of the first directory of tags, or None."""
    if exif[:2] not in (b"II", b"MM") or len(exif) < 8:
        return None
    (place,) = struct.unpack_from(f"{_order(exif)}I", exif, 4)
    return place if place + 2 <= len(exif) else None


def _entries(exif, start):
    """(tag, type, count, place of its value) of a directory; none beyond the end."""
    if start is None or start + 2 > len(exif):
        return
    order = _order(exif)
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if at + 12 > len(exif):
            return
        yield (*struct.unpack_from(f"{order}HHI", exif, at), at + 8)


_OF_LIBRARY = re.compile(
    rb"^(?:Corrupt JPEG|Premature end of JPEG|Invalid SOS|Inconsistent progression"
    rb"|Warning: unknown JFIF|Unknown Adobe color|Application transferred"
    rb"|libjpeg|libpng|\[ *(?:WARN|ERROR):\S+ global (?:grfmt_|loadsave))[^\n]*\n?",
    re.M,
)


class _Stderr:
    """Standard error, caught while any thread calls work."""

    def __init__(self):
        self._turn = threading.Condition()
        self._inside = self._waiting = 0  # threads that call work, or want to alone
        self._lines = 0  # of libraries, so far
        self._file = self._kept = None  # what stands in, and the true one

    def call(self, work, *, alone):
        """The result, and whether any thread printed; `alone`, when none else does."""
        with self._turn:
            self._wait(alone)
            if not self._inside:
                self._catch()
            self._inside += 1
            before = self._lines
            if alone:
                return self._called(work, before)
        return self._called(work, before)

    def _wait(self, alone):
        if not alone:
            self._turn.wait_for(lambda: not self._waiting)
            return
        self._waiting += 1
        try:
            self._turn.wait_for(lambda: not self._inside)
        finally:
            self._waiting -= 1

    def _called(self, work, before):
        try:
            result = work()
        finally:
            with self._turn:
                self._inside -= 1
                self._pass_on()
                if not self._inside:
                    self._release()
                    self._turn.notify_all()
                printed = self._lines > before
        return result, printed

    def _catch(self):
        try:
            self._kept = os.dup(2)
        except OSError:  # it is closed
            return
        try:
            self._file, self._read = tempfile.TemporaryFile(), 0
        except OSError:  # no room: what is printed is seen
            os.close(self._kept)
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(self._file.fileno(), 2)

    def _pass_on(self):
        """Counts the libraries' lines; all others go where they belong."""
        if self._file is None:
            return
        place = self._file.fileno()
        found = os.pread(place, os.fstat(place).st_size - self._read, self._read)
        self._read += len(found)
        others, lines = _OF_LIBRARY.subn(b"", found)
        self._lines += lines
        if others:
            with contextlib.suppress(OSError):  # as where nobody reads it any more
                os.write(self._kept, others)

    def _release(self):
        if self._file is None:
            return
        os.dup2(self._kept, 2)
        self._pass_on()  # what came meanwhile
        os.close(self._kept)
        self._file.close()
        self._file = None


_STDERR = _Stderr()  # the process has only one


def decode_image(data: bytes, flags: int) -> np.ndarray | None:
    """Decodes to [H, W] or [H, W, C], as `cv2.imdecode` does; None if damaged."""
    if not data:
        return None
    if data[:8] == PNG_SIGNATURE and all(
        name != b"IEND" for name, *_ in _chunks(data, pixels=True)
    ):
        return None  # something that the pixels need is missing or damaged
    return cv2.imdecode(np.frombuffer(bare(data), np.uint8), flags)


def decode_noting(data: bytes, flags: int) -> tuple[np.ndarray | None, bool]:
    """`decode_image` without the lines it prints, and whether it has found damage."""
    # Libraries print to the process's standard error, which all threads share. So while
    # several decode, a line may be of any of them: each decodes once more, alone.
    work = functools.partial(decode_image, data, flags)
    image, printed = _STDERR.call(work, alone=False)
    return _STDERR.call(work, alone=True) if printed else (image, False)


_DAMAGED = itertools.count()  # images of datasets that were passed over in this process


def warn_of_damage(name: str | os.PathLike) -> None:
    """Warns of the first image of a dataset whose damage was passed over."""
    if next(_DAMAGED) == 0:
        warnings.warn(
            f"{name}: damaged, decoded as far as that went; further images are not "
            "named, `mtujax data check` lists those of a dataset",
            stacklevel=2,
        )


_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_TAIL = 64  # bytes that some cameras append


def damage(data: bytes) -> str | None:
    """What is wrong with an image file, found without decoding it, or None."""
    # Decoders differ in what they accept (a truncated JPEG decodes to a grey strip), so
    # none is used. A PNG has checksums; in a JPEG only a missing end is found.
    if not data:
        return "empty file"
    if data[:8] == PNG_SIGNATURE:
        for name, start, end in png_chunks(data):
            if not is_intact(data, start, end):
                return "damaged: a checksum does not fit"
            if name == b"IEND":
                return None
        return "cut short"
    if data[:2] == _JPEG:
        # Blocks that were never written to disk are zeros.
        tail = data.rstrip(b"\0")[-_JPEG_TAIL:]
        return None if _JPEG_END in tail else "cut short"
    return "neither PNG nor JPEG"


def decode(
    data: bytes,
    name: str | os.PathLike,
    *,
    deep: bool = False,
    on_damage: Callable[[str | os.PathLike], None] = warn_of_damage,
) -> np.ndarray:
    """Decodes a dataset's image to [H, W, 3] RGB uint8; a UserError if damaged."""
    # Grey is repeated, opacity dropped, and OpenCV orients a JPEG by its EXIF tag. 16
    # bits become 8; with `deep`, those of a PNG become uint16. Pixels of a JPEG may be
    # damaged and decode: `on_damage` is then called with `name`.
    if wrong := damage(data):
        raise UserError(f"{name}: {wrong}")
    flag = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH * deep
    if data[:8] == PNG_SIGNATURE:
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    image, damaged = decode_noting(data, flag)
    if image is None:
        raise UserError(f"{name}: cannot be decoded")
    if damaged:
        on_damage(name)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_image(
    path: Path, *, on_damage: Callable[[str | os.PathLike], None] = warn_of_damage
) -> np.ndarray:
    """Decodes a PNG or JPEG file to [H, W, 3] RGB uint8; a UserError if damaged."""
    return decode(path.read_bytes(), path, on_damage=on_damage)


def image_size(path: Path) -> tuple[int, int]:
    """Rows H and columns W of an image of a dataset; a PNG is not decoded."""
    with path.open("rb") as file:
        head = file.read(24)
    if head[:8] == PNG_SIGNATURE and len(head) == 24:
        columns, rows = struct.unpack_from(">II", head, 16)
        return rows, columns
    # Whatever is damaged in it is said when it is read for its pixels.
    return read_image(path, on_damage=lambda name: None).shape[:2]
