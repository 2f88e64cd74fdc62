"""Folders of photographs and of cut-outs.

Letters: H W pixels of a frame, H' W' of a photograph, h w of a cut-out.
"""

import collections
import os
from pathlib import Path

import cv2
import numpy as np

from mtujax.common.files import FRAME_SUFFIXES
from mtujax.data.images import read_image
from mtujax.errors import UserError
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear

_ALPHA = 8 / 255  # below it, a cut-out's border is thought empty


def read_cutout(path: str) -> np.ndarray:
    """Reads a picture with an alpha channel, such as a PNG of something cut out.

    Args:
        path: an image file.

    Returns:
        [H, W, 4] uint8 RGB and alpha, not premultiplied, its empty border cut off.

    Raises:
        ValueError: if the file is no image, has no alpha channel, or is empty.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{path}: not an image that can be read")
    if image.ndim != 3 or image.shape[2] != 4:
        raise ValueError(f"{path}: has no alpha channel, so nothing is cut out")
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    rows, columns = (
        np.flatnonzero((image[..., 3] > 255 * _ALPHA).any(axis=a)) for a in (1, 0)
    )
    if not len(rows):
        raise ValueError(f"{path}: is transparent all over")
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def images_in(folder: str | os.PathLike) -> list[Path]:
    """The image files of a folder, in order.

    Args:
        folder: that holds PNG or JPEG files.

    Returns:
        Their paths.

    Raises:
        UserError: if it is no folder, or has none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        reason = "is a file, give a folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {reason} of photographs")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in FRAME_SUFFIXES)
    if not found:
        raise UserError(f"{folder}: has no PNG or JPEG file")
    return found


def read_photos(
    folder: str | os.PathLike,
    *,
    width: int,
    height: int,
    way_out: str = "give a smaller --size",
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads the photographs that hold a frame.

    Args:
        folder: that holds them.
        width: W of a frame in pixels.
        height: H.
        way_out: said if all are too small.

    Returns:
        [H', W', 3] uint8 by name, without its suffix unless two differ in that alone;
        and the names of those that are too small.

    Raises:
        UserError: naming one that cannot be read, or if all are too small.
    """
    photos, small = {}, []
    paths = images_in(folder)
    stems = collections.Counter(path.stem for path in paths)
    for path in paths:
        photo = read_image(path)
        if photo.shape[0] < height or photo.shape[1] < width:
            small.append(path.name)
        else:
            photos[path.stem if stems[path.stem] == 1 else path.name] = photo
    if not photos:
        raise UserError(
            f"{folder}: no photograph is as large as {width}x{height}; {way_out}"
        )
    return photos, small


def read_cutouts(folder: str | os.PathLike | None) -> list[np.ndarray]:
    """Reads what objects are to look like.

    Args:
        folder: of PNG files with opacity; None for none.

    Returns:
        [h, w, 4] uint8 each.

    Raises:
        UserError: naming a file that is none.
    """
    try:
        return [read_cutout(str(p)) for p in images_in(folder)] if folder else []
    except ValueError as error:
        raise UserError(str(error)) from error


def scaled_down(photo: np.ndarray, max_side: int | None) -> np.ndarray:
    """Averages a photograph down in linear light, which makes it sharp.

    Args:
        photo: [H', W', 3] uint8.
        max_side: pixels of the longer side; None, or more than it has, keep the size.

    Returns:
        [H, W, 3] uint8.
    """
    factor = max_side / max(photo.shape[:2]) if max_side else 1.0
    if factor >= 1:
        return photo
    light, size = linear_from_srgb(photo), dict(fx=factor, fy=factor)
    light = cv2.resize(light, None, **size, interpolation=cv2.INTER_AREA)
    return np.rint(255 * srgb_from_linear(light)).astype(np.uint8)


def photographs(count: int) -> str:
    """Says how many there are.

    Args:
        count: of them.

    Returns:
        As "2 photographs".
    """
    return f"{count} photograph" + "s" * (count != 1)


def read_photo(path: str, *, max_side: int | None = None) -> np.ndarray:
    """Reads a photograph into linear light.

    Args:
        path: an image file.
        max_side: a larger photograph is averaged down until its longer side has this
            many pixels, which makes them sharp; None keeps its size.

    Returns:
        [H, W, 3] float32 in [0, 1], RGB.

    Raises:
        ValueError: if the file cannot be read as an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not an image that can be read")
    photo = linear_from_srgb(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    factor = max_side / max(photo.shape[:2]) if max_side else 1.0
    if factor >= 1:
        return photo
    return cv2.resize(photo, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
