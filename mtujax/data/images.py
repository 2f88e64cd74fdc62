"""Image files of datasets: damage, size, pixels.

Letters: H W pixels. Every frame is [H, W, 3] RGB uint8: grey is repeated, opacity
dropped, 16 bits become 8, and a JPEG is oriented by its EXIF tag (OpenCV does so).
"""

import os
import struct
from pathlib import Path

import cv2
import numpy as np

from mtujax.errors import UserError
from mtujax.video.image_metadata import PNG_SIGNATURE, bare, is_intact, png_chunks

_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_TAIL = 64  # bytes that some cameras append


def damage(data: bytes) -> str | None:
    """What is wrong with an image file, found without decoding it, or None."""
    # Decoders differ in what they accept (a truncated JPEG decodes to a grey strip), so
    # none is used. A PNG has checksums; in a JPEG only a missing end is found.
    if not data:
        return "empty file"
    if data[:8] == PNG_SIGNATURE:
        return _png_damage(data)
    if data[:2] == _JPEG:
        # Blocks that were never written to disk are zeros.
        tail = data.rstrip(b"\0")[-_JPEG_TAIL:]
        return None if _JPEG_END in tail else "cut short"
    return "neither PNG nor JPEG"


def _png_damage(data):
    for name, start, end in png_chunks(data):
        if not is_intact(data, start, end):
            return "damaged: a checksum does not fit"
        if name == b"IEND":
            return None
    return "cut short"


def decode(data: bytes, name: str | os.PathLike, *, deep: bool = False) -> np.ndarray:
    """Decodes a PNG or JPEG to [H, W, 3] RGB uint8; a UserError if it is damaged."""
    # With `deep`, a PNG of 16 bits becomes uint16.
    if wrong := damage(data):
        raise UserError(f"{name}: {wrong}")
    flag = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH * deep
    if data[:8] == PNG_SIGNATURE:
        flag |= cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(bare(data), np.uint8), flag)
    if image is None:
        raise UserError(f"{name}: cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def read_image(path: Path) -> np.ndarray:
    """Decodes a PNG or JPEG file to [H, W, 3] RGB uint8; a UserError if damaged."""
    return decode(path.read_bytes(), path)


def image_size(path: Path) -> tuple[int, int]:
    """Rows H and columns W of an image file; a PNG is not decoded."""
    with path.open("rb") as file:
        head = file.read(24)
    if head[:8] == PNG_SIGNATURE and len(head) == 24:
        columns, rows = struct.unpack_from(">II", head, 16)
        return rows, columns
    return read_image(path).shape[:2]
