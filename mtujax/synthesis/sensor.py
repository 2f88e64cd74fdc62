"""What a camera does with light, in JAX: exposure, highlights, response, noise.

The formulas are those of `data.exposure`; light is linear, 1 is where the sensor
saturates. One clip at a time: `vmap` over clips. T time, H W pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.data.exposure import Exposure
from mtujax.synthesis.coding import quantiser_step
from mtujax.synthesis.motion import uniform

_BRIGHT = 0.75  # light from which a photograph may hide a brighter highlight
_SHORTEST = 0.01  # of a frame's interval


class Sensor(NamedTuple):
    """One camera with its settings, drawn for a clip.

    Attributes:
        duty: [T] exposure time of each frame, as a share of the frame interval.
        gain: [] brightness, as a factor on the photograph's light.
        highlights: [] factor on the light of a white pixel.
        contrast: [] of the response.
        shot: [] noise variance per unit of light.
        read: [] noise in the dark.
        coding: [] step of the quantiser that codes the frames; 0 for none.
        averaged: bool [] whether "light" is display values, here and below.
    """

    duty: jax.Array
    gain: jax.Array
    highlights: jax.Array
    contrast: jax.Array
    shot: jax.Array
    read: jax.Array
    coding: jax.Array | float = 0.0
    averaged: jax.Array | bool = False


def draw_sensor(rng_key: jax.Array, frames: int, exposure: Exposure) -> Sensor:
    """Draws the settings of a clip.

    Args:
        rng_key: a `jax.random` key.
        frames: T.
        exposure: ranges to draw from.

    Returns:
        The settings, `duty` [T].
    """
    keys = jax.random.split(rng_key, 9)
    drift, turns = uniform(keys[0], exposure.wander), uniform(keys[1], (0.02, 0.12))
    angle = 2 * np.pi * (turns * jnp.arange(frames) + jax.random.uniform(keys[2]))
    duty = uniform(keys[3], exposure.duty) * jnp.exp(drift * jnp.sin(angle))
    names = ("gain", "highlights", "contrast", "shot", "read")
    drawn = zip(names, keys[4:], strict=True)
    settings = {name: uniform(key, getattr(exposure, name)) for name, key in drawn}
    # Keys of their own, which are none of those above: all else is as it was.
    share, rate = jax.random.split(jax.random.fold_in(rng_key, len(keys)))
    pressed = jax.random.bernoulli(share, exposure.compressed)
    step = quantiser_step(uniform(rate, exposure.crf))
    still = jax.random.fold_in(rng_key, len(keys) + 1)
    sharp = jax.random.bernoulli(still, exposure.sharp)
    display = jax.random.fold_in(rng_key, len(keys) + 2)
    return Sensor(
        averaged=jax.random.bernoulli(display, exposure.averaged),
        duty=jnp.where(sharp, _SHORTEST, jnp.clip(duty, _SHORTEST, 1.0)),
        coding=jnp.where(pressed, step, 0.0),
        **settings,
    )


def scene_light(sensor: Sensor, image: jax.Array) -> jax.Array:
    """The light that a photograph was made from, brighter than white where white.

    Args:
        sensor: settings.
        image: [H, W, 3] linear light in [0, 1].

    Returns:
        [H, W, 3] scaled by the gain, highlights expanded.
    """
    peak = image.max(axis=-1, keepdims=True)
    share = jnp.maximum(peak - _BRIGHT, 0) / (1 - _BRIGHT)
    light = image * (1 + (sensor.highlights - 1) * share**2)
    return sensor.gain * jnp.where(sensor.averaged, _displayed(image), light)


def noisy(sensor: Sensor, light: jax.Array, rng_key: jax.Array) -> jax.Array:
    """Adds Poisson-Gaussian noise, by its normal approximation.

    Args:
        sensor: settings.
        light: [..., 3].
        rng_key: a `jax.random` key.

    Returns:
        [..., 3].
    """
    # Saturated pixels have the noise of a full well, not of the light beyond it.
    variance = sensor.shot * jnp.clip(light, 0, 1) + sensor.read**2
    return light + jnp.sqrt(variance) * jax.random.normal(rng_key, light.shape)


def develop(sensor: Sensor, light: jax.Array) -> jax.Array:
    """The picture: light clipped where the sensor saturates, and its response.

    Args:
        sensor: settings.
        light: [..., 3].

    Returns:
        [..., 3] uint8.
    """
    x = jnp.clip(light, 0, 1)
    y = jnp.where(sensor.averaged, x, _displayed(x))
    y = y + sensor.contrast * (y * y * (3 - 2 * y) - y)
    return jnp.round(y * 255).astype(jnp.uint8)


def _displayed(light):
    """Display values of light [..., 3] in [0, 1]; IEC 61966-2-1."""
    # The power of zero is not taken.
    curve = 1.055 * jnp.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return jnp.where(light <= 0.0031308, light * 12.92, curve)
