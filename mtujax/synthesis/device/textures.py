"""Textures of scenes, made on the device from resident photographs and cut-outs.

These are packed once, on the host, with maps of their texture. Light is at two texels
per frame pixel, as in `synthesis.host.textures`. One clip at a time: `vmap` over clips.
Letters: P photographs, C cut-outs, M sizes of each, H W pixels, h w texels or cells.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.errors import UserError
from mtujax.synthesis.device.camera import scaling, uniform
from mtujax.synthesis.device.film import bilinear
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear
from mtujax.synthesis.host.textures import BORDER, DENSITY, outline, softened

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
    _check("photograph", photos, 3)
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


def _check(what, images, channels):
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels:
            raise UserError(
                f"{what} {number} is {image.dtype} {list(image.shape)}; "
                f"give uint8 [height, width, {channels}]"
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
    """Copies cut-outs to the device, at the sizes at which they will be shown."""
    # uint8 [H, W, 4] each, not premultiplied, else UserError; `largest` and `smallest`
    # bound the longer side in texels.
    _check("cut-out", cutouts, 4)
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


Light = Callable[[jax.Array], jax.Array]
_MARGIN = 1.0  # texels around the visible part
_LEVELS = np.arange(256, dtype=np.uint8)
_SMALLEST = 0.5  # shortest side of a piece, as a share of its longest


class Part(NamedTuple):
    """An upright part of a photograph."""

    photo: jax.Array  # [] int32 number of the photograph
    low: jax.Array  # [2] (x, y) of its first corner in photograph pixels
    high: jax.Array  # [2] (x, y) of its last corner
    scale: jax.Array  # [] photograph pixels per frame pixel


def background_texture(
    pixels: jax.Array,
    size: jax.Array,
    part: Part,
    *,
    side: int,
    largest: float,
    light: Light,
) -> tuple[jax.Array, jax.Array]:
    """Resamples a part of a photograph to a square of `side` texels."""
    # pixels [P, H, W, 3] uint8, size [2] (width, height) of the photograph -> opaque
    # [h, w, 4], and [3, 3] from photograph pixels to texels. The part is at most `side`
    # - 12 photograph pixels long; along its longer axis there may be fewer than two
    # texels per pixel. `part.scale` is at most `largest`: above 1, pixels are averaged
    # as by a sensor's pixel. `light` makes scene light of [h, w, 3] linear light.
    density = (side - 1 - 2 * _MARGIN) / jnp.maximum(part.high - part.low, 1e-3)
    density = jnp.minimum(density, DENSITY / part.scale)
    source = [min(side, n) for n in pixels.shape[1:3]]
    limit = jnp.array(pixels.shape[2:0:-1]) - jnp.array(source[::-1])
    first = jnp.clip(jnp.floor(part.low).astype(jnp.int32) - 3, 0, limit)
    start = (part.photo, first[1], first[0], 0)
    image = jax.lax.dynamic_slice(pixels, start, (1, *source, 3))[0]
    # On a perceptual scale the kernel rings least next to bright parts.
    image = jnp.asarray(np.sqrt(linear_from_srgb(_LEVELS)))[image]
    wide = jnp.maximum(part.scale, 1.0)
    reach = int(np.ceil(2 * max(largest, 1.0)))
    for axis, xy in ((0, 1), (1, 0)):
        place = part.low[xy] + (jnp.arange(side) - _MARGIN) / density[xy]
        place = jnp.clip(place, 0, size[xy] - 1) - first[xy]
        last = jnp.minimum(size[xy] - 1 - first[xy], source[axis] - 1)
        image = _resampled(image, axis, place, last, wide, reach)
    image = light(jnp.square(jnp.clip(image, 0, 1)))
    texture = jnp.concatenate([image, jnp.ones((side, side, 1))], axis=-1)
    return texture, scaling(density[0], density[1], _MARGIN - part.low * density)


def _resampled(image, axis, place, last, wide, reach):
    """Values at `place` along an axis, by Keys' cubic kernel stretched by `wide`."""
    nearest = jnp.floor(place).astype(jnp.int32)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total, weights = 0.0, jnp.zeros_like(place)
    for step in range(1 - reach, reach + 1):
        weight = _cubic(jnp.abs(nearest + step - place) / wide)
        row = jnp.take(image, jnp.clip(nearest + step, 0, last), axis=axis, mode="clip")
        total = total + weight.reshape(shape) * row
        weights = weights + weight
    return total / weights.reshape(shape)


def _cubic(x):
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))


def cutout_texture(
    pixels: jax.Array,
    sizes: jax.Array,
    *,
    longest: jax.Array,
    mirrored: jax.Array,
    side: int,
    light: Light,
) -> tuple[jax.Array, jax.Array]:
    """Scales a cut-out so that its longer side has `longest` texels."""
    # pixels [M, H, W, 4] uint8 from `pack_cutouts`, sizes [M, 2] (width, height) ->
    # premultiplied [h, w, 4] of `side` texels, empty around it, and [2] (width, height)
    # of the part that is not empty. `mirrored` is 1 or -1; `light` makes scene light of
    # [h, w, 3] linear light.

    # The nearest size: between 0.7 and 1.4 of its pixels per texel.
    ratio = sizes.max(axis=1) / longest
    number = jnp.argmin(jnp.abs(jnp.log(ratio)))
    ratio, size = ratio[number], sizes[number]
    table = jnp.asarray(linear_from_srgb(_LEVELS))
    image = pixels[number]
    alpha = image[..., 3:] / jnp.float32(255)
    image = jnp.concatenate([table[image[..., :3]] * alpha, alpha], axis=-1)
    axis = jnp.arange(side) - (side - 1) / 2
    x = mirrored * axis * ratio + (size[0] - 1) / 2 + BORDER
    y = axis * ratio + (size[1] - 1) / 2 + BORDER
    x, y = (jnp.broadcast_to(p, (1, side, side)) for p in (x[None], y[:, None]))
    flat, first = image.reshape(-1, 4), jnp.zeros(1, jnp.int32)
    image = bilinear(flat, first, image.shape[:2], x, y)[0]
    alpha = image[..., 3:]
    colour = image[..., :3] / jnp.maximum(alpha, 1e-6)
    colour = light(jnp.clip(colour, 0, 1)) * alpha
    texture = jnp.concatenate([colour, alpha], axis=-1)
    return texture, (size + 2 * BORDER) / ratio


def piece_texture(
    pixels: jax.Array,
    size: jax.Array,
    photo: jax.Array,
    *,
    rng_key: jax.Array,
    longest: jax.Array,
    side: int,
    light: Light,
) -> tuple[jax.Array, jax.Array]:
    """Cuts a smoothly shaped piece out of a photograph, where there are no cut-outs."""
    # pixels [P, H, W, 3] uint8, size [2] (width, height) of number `photo`; the rest,
    # and the result, are as in `cutout_texture`.
    keys = jax.random.split(rng_key, 4)
    longest = jnp.minimum(longest, size.min())
    shares = jnp.stack([uniform(keys[0], (_SMALLEST, 1.0)), jnp.ones(())])
    shape = longest * jax.random.permutation(keys[1], shares)
    middle = (side - 1) / 2
    corner = jax.random.uniform(keys[2], (2,)) * (size - shape) + shape / 2 - middle
    corner = jnp.round(corner).astype(jnp.int32)
    axis = jnp.arange(side)
    column, row = (jnp.clip(corner[i] + axis, 0, size[i] - 1) for i in (0, 1))
    image = pixels[photo, row[:, None], column[None]]
    places = (axis - middle)[None] / (shape[:, None] / 2)
    alpha = _blob(keys[3], places, shape.min() / 2)
    colour = light(jnp.asarray(linear_from_srgb(_LEVELS))[image]) * alpha
    texture = jnp.concatenate([colour, alpha], axis=-1)
    # Smooth enough to be sampled at every other texel.
    return softened(texture), shape + 2


def _blob(rng_key, places, radius):
    """[h, w, 1] alpha of a wavy round shape; its edge is a texel wide."""
    x, y = places[0][None], places[1][:, None]
    depths, phases = jax.random.uniform(rng_key, (2, 4), minval=-1.0)
    alpha = outline(x, y, zip(depths, np.pi * phases, strict=True), radius)
    return jnp.where((jnp.abs(x) <= 1) & (jnp.abs(y) <= 1), alpha, 0)[..., None]
