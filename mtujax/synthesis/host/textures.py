"""Textures of scenes: photographs and cut-outs, as light at two texels per pixel.

Sampled bilinearly at twice the density of the frames, a picture keeps its sharpness at
any position, at an eighth of the cost of a long kernel. Textures are [h, w, 4]
float32, premultiplied: red, green, blue times alpha, and alpha. Letters: H W pixels,
h w texels.
"""

from collections.abc import Callable, Iterable

import cv2
import numpy as np

from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear

DENSITY = 2  # texels per pixel of a frame
BORDER = 2  # empty texels around a cut-out

# Interpolates half-way between two samples: six taps, exact for parabolas.
_HALFWAY = np.array([3, -25, 150, 150, -25, 3], np.float32) / 256
_MARGIN = 4  # photograph pixels around the visible part, for the taps


Light = Callable[[np.ndarray], np.ndarray]


def photo_texture(
    photo: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    scale: float,
    light: Light,
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts out the part of a photograph that a clip sees."""
    # photo [H, W, 3] uint8 or float32 linear light, `low` and `high` (x, y) of the
    # first and last visible pixel -> opaque [h, w, 4], and [3, 3] from photograph
    # pixels to texels. `scale` is photograph pixels per frame pixel: above 1, they are
    # averaged as by a sensor's pixel. `light` makes scene light of linear light, in
    # place.
    limit = np.array(photo.shape[1::-1])
    first = np.clip(np.floor(low).astype(int) - _MARGIN, 0, limit - 1)
    last = np.clip(np.ceil(high).astype(int) + _MARGIN + 1, first + 1, limit)
    part = photo[first[1] : last[1], first[0] : last[0]]
    part = linear_from_srgb(part) if part.dtype == np.uint8 else part
    size = np.array(part.shape[1::-1])
    if scale > 1:
        small = np.maximum(np.rint(size / scale).astype(int), 1)
        part = cv2.resize(part, small.tolist(), interpolation=cv2.INTER_AREA)
    ratio = np.array(part.shape[1::-1]) / size
    matrix = np.eye(3)
    matrix[[0, 1], [0, 1]] = DENSITY * ratio
    matrix[:2, 2] = DENSITY * ((0.5 - first) * ratio - 0.5)
    colour = light(_doubled(part))
    alpha = np.ones(colour.shape[:2], np.float32)
    return cv2.merge([*cv2.split(colour), alpha]), matrix


def _doubled(image):
    """Doubles an image's size: even texels are those of `image`."""
    # On a perceptual scale the kernel rings least next to bright parts.
    image = np.sqrt(np.maximum(image, 0))
    for axis in (0, 1):
        kernels = (_HALFWAY, [1.0]) if axis else ([1.0], _HALFWAY)
        anchor = (2, 0) if axis else (0, 2)
        between = cv2.sepFilter2D(image, -1, *map(np.float32, kernels), anchor=anchor)
        image = np.stack([image, between], axis=axis + 1)
        shape = list(image.shape)
        shape[axis : axis + 2] = [2 * shape[axis]]
        image = image.reshape(shape)
    np.clip(image, 0, 1, out=image)
    return np.square(image, out=image)


def cutout_texture(cutout: np.ndarray, *, longest: float, light: Light) -> np.ndarray:
    """Scales a cut-out so that its longer side has `longest` frame pixels."""
    # [H, W, 4] uint8, not premultiplied -> [h, w, 4], with an empty border, smooth
    # enough to be sampled at every other texel. `light` is as in `photo_texture`.
    alpha = cutout[..., 3].astype(np.float32) / 255
    colour = light(linear_from_srgb(cutout[..., :3])) * alpha[..., None]
    image = np.dstack([colour, alpha])
    factor = DENSITY * longest / max(image.shape[:2])
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    size = np.maximum(np.rint(factor * np.array(image.shape[1::-1])), 1).astype(int)
    image = cv2.resize(image, size.tolist(), interpolation=kind)
    return softened(np.pad(image, ((BORDER, BORDER), (BORDER, BORDER), (0, 0))))


def softened(image: np.ndarray) -> np.ndarray:
    """Smooths [H, W, C], of NumPy or JAX, by 1-2-1 both ways; its border is empty."""
    xp = image.__array_namespace__()
    for axis in (1, 0):
        around = xp.roll(image, 1, axis) + xp.roll(image, -1, axis)
        image = 0.5 * image + 0.25 * around
    return image


def blob(photo: np.ndarray, rng: np.random.Generator, *, longest: float) -> np.ndarray:
    """Cuts a smoothly shaped piece out of a photograph, where there are no cut-outs."""
    # [H, W, 3] uint8 or float32 linear light -> [h, w, 4] uint8, not premultiplied.
    # `longest` is the longer side at which it will be shown, in frame pixels.
    side = int(min(DENSITY * longest, min(photo.shape[:2])))
    size = np.maximum((side * rng.uniform([0.5, 1.0], 1.0)).astype(int), 8)
    size = np.minimum(rng.permutation(size), photo.shape[:2])
    corner = rng.integers(0, np.array(photo.shape[:2]) - size + 1)
    rows, columns = (slice(c, c + n) for c, n in zip(corner, size, strict=True))
    part = photo[rows, columns]
    if part.dtype != np.uint8:
        part = np.rint(srgb_from_linear(part) * 255).astype(np.uint8)
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    waves = rng.uniform([-1, 0], [1, 2 * np.pi], (4, 2)).tolist()
    alpha = outline(x[None], y[:, None], waves, min(size) / 2)
    return np.dstack([part, np.rint(alpha * 255).astype(np.uint8)])


def outline(x: np.ndarray, y: np.ndarray, waves: Iterable, radius: float) -> np.ndarray:
    """Alpha [h, w] of a wavy round shape, whose edge is a pixel wide; NumPy or JAX."""
    # Columns x [1, w] and rows y [h, 1] of the unit circle, which has `radius` pixels;
    # a share of depth and a phase of each of four waves.
    xp = x.__array_namespace__()
    angle = xp.arctan2(y, x)
    edge = xp.full_like(angle, 0.75)
    for turns, (depth, phase) in zip(range(2, 6), waves, strict=True):
        edge = edge + 0.1 * depth * xp.cos(turns * angle + phase)
    return xp.clip((edge - xp.hypot(y, x)) * radius + 0.5, 0, 1)
