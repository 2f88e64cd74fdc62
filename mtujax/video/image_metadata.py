"""What image files say about their picture: colour profile, EXIF, XMP, resolution.

It is carried from a frame to its restored form as it is, but for what is no longer so:
the orientation, which has been applied, and pictures of the picture.
"""

import dataclasses
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np

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


def is_whole_png(data: bytes) -> bool:
    """Whether all that the pixels of a PNG need is there and undamaged."""
    return any(name == b"IEND" for name, *_ in _chunks(data, pixels=True))


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
