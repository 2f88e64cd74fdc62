"""Photographs and cut-outs in device memory, with maps of their texture.

Packed once, on the host, with NumPy and OpenCV. Letters: P photographs, C cut-outs,
M sizes of each, H W pixels, h w cells.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.errors import UserError
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear
from mtujax.synthesis.host.textures import BORDER, softened

CELL = 8  # photograph pixels per cell of the map of texture


class Photos(NamedTuple):
    """Photographs in one array, each in its upper left corner."""

    pixels: jax.Array  # [P, H, W, 3] uint8 display values, zero beyond each one's size
    sizes: jax.Array  # [P, 2] int32 (width, height)
    # [P, h + 1, w + 1] float32: change from pixel to pixel, summed over all cells above
    # and to the left
    texture: jax.Array


class Cutouts(NamedTuple):
    """Cut-outs in one array, each at several sizes, in its upper left corner."""

    # [C, M, H, W, 4] uint8 display values and alpha, not premultiplied; each M is half
    # as large as the one before. All have an empty border.
    pixels: jax.Array
    sizes: jax.Array  # [C, M, 2] float32 (width, height) without the border


def pack_photos(photos: Sequence[np.ndarray]) -> Photos:
    """Copies photographs to the device; UserError unless all are uint8 [H, W, 3]."""
    if not len(photos):
        raise UserError("no photographs: give at least one")
    for number, photo in enumerate(photos):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise UserError(
                f"photograph {number} is {photo.dtype} {list(photo.shape)}; "
                "give uint8 [height, width, 3]"
            )
    sizes = np.array([p.shape[1::-1] for p in photos])
    width, height = sizes.max(axis=0)
    pixels = np.zeros((len(photos), height, width, 3), np.uint8)
    texture = np.zeros((len(photos), -(-height // CELL), -(-width // CELL)), np.float32)
    for number, photo in enumerate(photos):
        pixels[number, : photo.shape[0], : photo.shape[1]] = photo
        cells = _texture(photo)
        texture[number, : cells.shape[0], : cells.shape[1]] = cells
    total = np.pad(texture, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    return Photos(
        jnp.asarray(pixels), jnp.asarray(sizes, jnp.int32), jnp.asarray(total)
    )


def _texture(photo):
    """[h, w] mean change of display values, in [0, 1], from pixel to pixel."""
    grey = photo[..., 1].astype(np.float32) / 255
    change = np.zeros_like(grey)
    change[:, 1:] += np.abs(np.diff(grey, axis=1))
    change[1:] += np.abs(np.diff(grey, axis=0))
    lacking = ((0, -len(grey) % CELL), (0, -grey.shape[1] % CELL))
    change = np.pad(change, lacking)
    rows, columns = (n // CELL for n in change.shape)
    return change.reshape(rows, CELL, columns, CELL).mean(axis=(1, 3))


def pack_cutouts(
    cutouts: Sequence[np.ndarray], *, largest: float, smallest: float
) -> Cutouts:
    """Copies cut-outs to the device, at the sizes at which they will be shown.

    uint8 [H, W, 4] each, not premultiplied, else UserError; `largest` and `smallest`
    bound the longer side in texels.
    """
    for number, cutout in enumerate(cutouts):
        if cutout.dtype != np.uint8 or cutout.ndim != 3 or cutout.shape[2] != 4:
            raise UserError(
                f"cut-out {number} is {cutout.dtype} {list(cutout.shape)}; "
                "give uint8 [height, width, 4]"
            )
    steps = max(int(np.ceil(np.log2(largest / smallest))), 0) + 1
    sizes = np.stack([_sizes(c.shape[1::-1], largest, steps) for c in cutouts])
    width, height = sizes.max(axis=(0, 1)) + 2 * BORDER
    pixels = np.zeros((len(cutouts), steps, height, width, 4), np.uint8)
    for cutout, places, several in zip(cutouts, pixels, sizes, strict=True):
        for place, size in zip(places, several, strict=True):
            image = _shrunk(cutout, size)
            place[: image.shape[0], : image.shape[1]] = image
    return Cutouts(jnp.asarray(pixels), jnp.asarray(sizes, jnp.float32))


def _sizes(size, largest, steps):
    """[M, 2] (width, height), halved from step to step."""
    size = np.array(size) * min(1.0, largest / max(size))
    halves = size / 2 ** np.arange(steps)[:, None]
    return np.maximum(np.rint(halves), 1).astype(int)


def _shrunk(cutout, size):
    """Averages a cut-out to `size` (width, height), smooth with an empty border."""
    alpha = cutout[..., 3:].astype(np.float32) / 255
    image = np.concatenate([linear_from_srgb(cutout[..., :3]) * alpha, alpha], axis=-1)
    image = cv2.resize(image, size.tolist(), interpolation=cv2.INTER_AREA)
    image = np.pad(image, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)))
    image = softened(image)
    colour = srgb_from_linear(image[..., :3] / np.maximum(image[..., 3:], 1e-6))
    image = np.concatenate([colour, image[..., 3:]], axis=-1)
    return np.rint(255 * image).astype(np.uint8)
