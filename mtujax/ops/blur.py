"""A frame's blur: its motion and the spectrum along it, which shows the exposure.

An exposure of d frame intervals averages the frame over d times its motion, which
takes out what repeats 1, 2, ... times in that distance. Over all that moves, the power
at each frequency shows how long the exposure was, which no small part of a frame does.
Not in the paper: a further input for networks of our own
(`ModelConfig.exposure_spectrum`).
Letters: B batch, H W pixels, h w patches, K samples, F frequencies.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtujax.config import EXPOSURE_FREQUENCIES
from mtujax.ops.motion_samples import (
    LARGEST_MOTION,
    along_patches,
    frame_motion,
    frame_motions,
    grey,
    middle,
    patch_corners,
)

STEP = 8  # samples per frame's motion
REACH = 2  # frames' motion, on either side
EVERY = 2  # of the patches, across and down, is looked at
_LAGS = 24  # of the autocorrelation
_SPACING = 0.25  # of the frequencies, in cycles per frame's motion
SLOWEST = 3.0  # pixels per frame, below which a blur has no spectrum
LEAST = 1e-3  # least power, as a share of the mean
ENOUGH = 0.02  # share of the frame that moves from which on the spectrum is believed
# Of 403 synthetic frames, exposed for 0.3 to 1 of the interval.
MEAN = (1.4, 1.3, 0.7, 0.0, -0.6, -1.0, -1.4, -1.7, -2.0, -2.1, -2.3, -2.4)
DEVIATION = 0.75
FARTHEST = 2.5  # deviations


class Blur(NamedTuple):
    """What is known of a frame's blur, from the blurry frames alone."""

    # [B, h, w, 2] float32 (dx, dy) in pixels per frame, of each patch
    motion: jax.Array
    spectrum: jax.Array | None  # `blur_spectrum` [B, F] of the whole frame, or None
    # [B, h, w, 4], of `frame_motions`, or None
    to_neighbours: jax.Array | None = None


def window_blur(
    window: jax.Array,
    *,
    lookback: int,
    patch: int,
    with_spectrum: bool = False,
    with_neighbours: bool = False,
) -> Blur:
    """The blur of the current frame of a window [B, K, H, W, 3] in [0, 1]."""
    # H and W are multiples of 4p, p is the side of a `patch`; `lookback` frames come
    # before the current one.
    before, current, after = middle(window, lookback)
    to_neighbours = None
    if with_neighbours:
        motion, to_neighbours = frame_motions(before, current, after, patch=patch)
    else:
        motion = frame_motion(before, current, after, patch=patch)
    spectrum = blur_spectrum(current, motion) if with_spectrum else None
    return Blur(motion, spectrum, to_neighbours)


def blur_spectrum(frame: jax.Array, motion: jax.Array) -> jax.Array:
    """Log of the power of [B, H, W, 3] along its motion [B, h, w, 2]: [B, F]."""
    # Of order 1, at 0.25, 0.5, ... 3 cycles per frame's motion: the power of the
    # differences of neighbouring samples as a share of its mean, less what is usual; 0
    # where nothing moves. No gradient passes.
    # A fourth of the patches shows the same in less than a third of the time.
    motion = motion[:, ::EVERY, ::EVERY]
    steps = [k / STEP for k in range(-REACH * STEP, REACH * STEP + 1)]
    image = grey(frame)[..., None]
    samples = along_patches(image, motion, steps, corner_only=True)[..., 0, :]
    speed = jnp.linalg.norm(motion, axis=-1)
    moving = (speed > SLOWEST) & (speed < LARGEST_MOTION)
    # What lies beyond the frame is its edge repeated, whose spectrum is another.
    size = jnp.asarray([frame.shape[2], frame.shape[1]]).reshape(1, 1, 1, 2)
    corner = patch_corners(*motion.shape[1:3], frame.shape[1] // motion.shape[1])
    room = jnp.minimum(corner, size - 1 - corner)
    moving &= (REACH * jnp.abs(motion) <= room).all(-1)
    change = jnp.diff(samples, axis=-1) * moving[..., None]
    exactly = {"precision": lax.Precision.HIGHEST}
    products = jnp.einsum("bhwi,bhwj->bij", change, change, **exactly)
    power = jnp.einsum("bij,ijf->bf", products, power_weights(), **exactly)
    mean = jnp.trace(products, axis1=1, axis2=2)[:, None] / products.shape[-1]
    share = jnp.maximum(power / jnp.maximum(mean, 1e-12), LEAST)
    unusual = (jnp.log(share) - jnp.asarray([MEAN])) / DEVIATION
    believed = jnp.minimum(moving.mean((1, 2), dtype=jnp.float32) / ENOUGH, 1)
    spectrum = believed[:, None] * jnp.clip(unusual, -FARTHEST, FARTHEST)
    return lax.stop_gradient(spectrum)


def power_weights():
    """[K, K, F]: from products of differences to power, through the autocorrelation."""
    count = 2 * REACH * STEP
    lag = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    fading = 0.5 + 0.5 * np.cos(np.pi * np.minimum(lag / (_LAGS + 1), 1))  # von Hann
    frequencies = _SPACING * np.arange(1, EXPOSURE_FREQUENCIES + 1)
    waves = np.cos(2 * np.pi * lag[..., None] / STEP * frequencies)
    weights = np.where(lag <= _LAGS, fading / (count - lag), 0)
    return jnp.asarray(weights[..., None] * waves, jnp.float32)
