"""Folders of photographs and of cut-outs.

Letters: H W pixels of a frame, H' W' of a photograph, h w of a cut-out.
"""

import collections
import os
from pathlib import Path

import cv2
import numpy as np

from mtujax.common.files import FRAME_SUFFIXES
from mtujax.errors import UserError
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear
from mtujax.video.image_files import decode_noting, read_image, warn_of_damage

_ALPHA = 8 / 255  # opacity up to which a cut-out's border counts as empty


def read_cutout(path: str | os.PathLike) -> np.ndarray:
    """Reads a cut-out without its empty border: [H, W, 4] uint8, not premultiplied."""
    image = _decoded(path, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise UserError(f"{path}: not an image that can be read")
    if image.ndim != 3 or image.shape[2] != 4:
        raise UserError(f"{path}: has no alpha channel, so nothing is cut out")
    if image.dtype == np.uint16:
        image = np.rint(image / 257).astype(np.uint8)
    rows, columns = (
        np.flatnonzero((image[..., 3] > 255 * _ALPHA).any(axis=a)) for a in (1, 0)
    )
    if not len(rows):
        raise UserError(f"{path}: is transparent all over")
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def _decoded(path, flags):
    """The image as OpenCV gives it, or None."""
    try:
        image, damaged = decode_noting(Path(path).read_bytes(), flags)
    except OSError:
        return None
    if damaged:
        warn_of_damage(path)
    return image


def images_in(folder: str | os.PathLike, what: str = "photographs") -> list[Path]:
    """Lists a folder's PNG and JPEG files in order; UserError if it has none."""
    folder = Path(folder)
    if not folder.is_dir():
        reason = "is a file, give a folder" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {reason} of {what}")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in FRAME_SUFFIXES)
    if not found:
        raise UserError(f"{folder}: has no PNG or JPEG file")
    return found


def read_photos(
    folder: str | os.PathLike,
    *,
    width: int,
    height: int,
    remedy: str = "give a smaller --size",
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads the photographs of a folder that are at least as large as a frame.

    Examples:
        >>> photos, too_small = read_photos("photos", width=640, height=360)
        >>> {name: photo.shape for name, photo in photos.items()}
        {'arches': (720, 960, 3)}

    Args:
        folder: with PNG or JPEG files.
        width: W of a frame in pixels.
        height: H of a frame in pixels.
        remedy: advice that ends the error message if all are too small.

    Returns:
        The photographs, [H', W', 3] uint8 RGB, by file name without its suffix (with
        it where two differ in the suffix alone), and the names of the files that are
        too small.

    Raises:
        UserError: naming a file that cannot be read, or if all are too small.
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
            f"{folder}: no photograph is as large as {width}x{height}; {remedy}"
        )
    return photos, small


def read_cutouts(folder: str | os.PathLike | None) -> list[np.ndarray]:
    """Reads the cut-outs that objects are to look like.

    Examples:
        >>> read_cutouts(None)
        []

    Args:
        folder: with PNG files that have an alpha channel; None for no cut-outs.

    Returns:
        [h, w, 4] uint8 each, RGB and alpha, not premultiplied, without empty border.

    Raises:
        UserError: naming a file that is not a cut-out.
    """
    return list(map(read_cutout, images_in(folder, "cut-outs"))) if folder else []


def scaled_down(photo: np.ndarray, max_side: int | None) -> np.ndarray:
    """Averages a photo in linear light to at most `max_side` pixels on a side."""
    # [H', W', 3], uint8 display values or float32 light, -> [H, W, 3] alike; None keeps
    # the size. It makes photos sharp.
    factor = max_side / max(photo.shape[:2]) if max_side else 1.0
    if factor >= 1:
        return photo
    if photo.dtype == np.uint8:
        light = scaled_down(linear_from_srgb(photo), max_side)
        return np.rint(255 * srgb_from_linear(light)).astype(np.uint8)
    size = dict(fx=factor, fy=factor)
    return cv2.resize(photo, None, **size, interpolation=cv2.INTER_AREA)


def read_photo(path: str, *, max_side: int | None = None) -> np.ndarray:
    """Reads a photograph into linear light.

    Examples:
        >>> photo = read_photo("photos/arches.jpg", max_side=96)
        >>> photo.shape, photo.dtype
        ((72, 96, 3), dtype('float32'))

    Args:
        path: an image file.
        max_side: pixels of the longer side to which a larger photograph is averaged
            down, which makes it sharp; None keeps its size.

    Returns:
        [H, W, 3] float32 in [0, 1], RGB.

    Raises:
        ValueError: if the file cannot be read as an image.
    """
    image = _decoded(path, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not an image that can be read")
    photo = linear_from_srgb(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    return scaled_down(photo, max_side)
