"""What a camera and video coding do with light, in JAX.

The formulas are those of `synthesis.host.sensor`; light is linear, 1 is where the
sensor saturates. Coding is H.264's loss without its prediction: each frame in YCbCr
4:2:0 (ITU-R BT.709, limited range), blocks of 8x8 transformed (DCT-II), divided by the
step of the quantiser and rounded with its dead zone. Real H.264 also predicts from
other frames and smooths edges of blocks; the host runs it. The mean of each block,
which its prediction keeps, is kept: light and colour stay. One clip at a time: `vmap`
over clips. Letters: T time, H W pixels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.synthesis.device.camera import uniform
from mtujax.synthesis.host.sensor import (
    BRIGHT,
    OFFSET,
    SHORTEST,
    YCBCR,
    contrasted,
    expansion,
    srgb_from_linear,
)
from mtujax.synthesis.settings import FRAMES_AVERAGED, Exposure

_BLOCK = 8
_DEAD = 1 / 3  # of a step: what is added before rounding down, as x264 does it

# x264 loses as much at a constant rate factor as this does at a parameter that is
# larger by so much: within 1.4 dB on four clips of docs/reference/validation-set.md.
_BEYOND = 5.5
_INVERSE = np.linalg.inv(YCBCR)


def quantiser_step(crf: jax.Array) -> jax.Array:
    """Step of H.264's quantiser, of 0..255, by rate factor [...]; doubles every 6."""
    return 2.0 ** ((crf + _BEYOND - 4) / 6)


def coded(frames: jax.Array, step: jax.Array) -> jax.Array:
    """Frames [T, H, W, 3] uint8 as they come out of a decoder; step []."""
    _, height, width, _ = frames.shape
    lacking = [(0, -n % (2 * _BLOCK)) for n in (height, width)]
    frames = jnp.pad(frames, ((0, 0), *lacking, (0, 0)), mode="edge")
    matrix, offset = (jnp.asarray(x, jnp.float32) for x in (YCBCR, OFFSET))
    ycbcr = _turned(frames.astype(jnp.float32), matrix) + offset.reshape(1, 1, 1, 3)
    count, rows, columns, _ = ycbcr.shape
    luma = _rounded(ycbcr[..., :1], step)
    shape = (count, rows // 2, 2, columns // 2, 2, 2)
    chroma = _rounded(ycbcr[..., 1:].reshape(shape).mean(axis=(2, 4)), step)
    chroma = jax.image.resize(chroma, (count, rows, columns, 2), "linear")
    ycbcr = jnp.concatenate([luma, chroma], axis=-1) - offset.reshape(1, 1, 1, 3)
    rgb = _turned(ycbcr, jnp.asarray(_INVERSE, jnp.float32))
    rgb = jnp.clip(jnp.round(rgb), 0, 255).astype(jnp.uint8)
    return rgb[:, :height, :width]


def _turned(colours, matrix):
    return jnp.einsum("...i,oi->...o", colours, matrix, precision="highest")


def _rounded(planes, step):
    """Planes [T, H, W, C] of whole blocks, their coefficients rounded to steps."""
    count, height, width, channels = planes.shape
    shape = (count, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, channels)
    dct = jnp.asarray(_dct(), jnp.float32)
    blocks, settings = planes.reshape(shape), dict(precision="highest")
    found = jnp.einsum("tyixjc,ui,vj->tyuxvc", blocks, dct, dct, **settings)
    level = jnp.floor(jnp.abs(found) / step + _DEAD)
    left = jnp.sign(found) * level * step
    left = left.at[:, :, 0, :, 0].set(found[:, :, 0, :, 0])
    back = jnp.einsum("tyuxvc,ui,vj->tyixjc", left, dct, dct, **settings)
    return jnp.clip(jnp.round(back), 0, 255).reshape(planes.shape)


def _dct():
    """[8, 8] orthonormal DCT-II: rows are frequencies."""
    frequency, place = np.mgrid[:_BLOCK, :_BLOCK]
    waves = np.cos(np.pi * (2 * place + 1) * frequency / (2 * _BLOCK))
    return waves * np.sqrt(np.where(frequency == 0, 1, 2) / _BLOCK)


class Sensor(NamedTuple):
    """One camera with its settings, drawn for a clip."""

    duty: jax.Array  # [T] exposure time of each frame, as a share of the frame interval
    gain: jax.Array  # [] brightness, as a factor on the photograph's light
    highlights: jax.Array  # [] factor on the light of a white pixel
    contrast: jax.Array  # [] of the response
    shot: jax.Array  # [] noise variance per unit of light
    read: jax.Array  # [] noise in the dark
    # [] step of the quantiser that codes the frames; 0 for none
    coding: jax.Array | float = 0.0
    # Bool [] whether "light" is display values, here and below
    averaged: jax.Array | bool = False


def draw_sensor(rng_key: jax.Array, frames: int, exposure: Exposure) -> Sensor:
    """Draws the settings of a clip of T `frames` from the ranges of `exposure`."""
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
    display, length = jax.random.split(jax.random.fold_in(rng_key, len(keys) + 2))
    averaged = jax.random.bernoulli(display, exposure.averaged)
    duty = jnp.where(averaged, uniform(length, exposure.averaged_duty), duty)
    frames_of = jnp.where(averaged, FRAMES_AVERAGED, 1)
    settings["shot"] /= frames_of
    settings["read"] /= jnp.sqrt(frames_of)
    return Sensor(
        averaged=averaged,
        duty=jnp.where(sharp, SHORTEST, jnp.clip(duty, SHORTEST, 1.0)),
        coding=jnp.where(pressed, step, 0.0),
        **settings,
    )


def scene_light(sensor: Sensor, image: jax.Array) -> jax.Array:
    """Light of a photograph [H, W, 3] by gain, brighter than white where white."""
    peak = jnp.maximum(image.max(axis=-1, keepdims=True), BRIGHT)
    light = image * expansion(peak, sensor.highlights)
    return sensor.gain * jnp.where(sensor.averaged, srgb_from_linear(image), light)


def noisy(sensor: Sensor, light: jax.Array, rng_key: jax.Array) -> jax.Array:
    """Adds Poisson-Gaussian noise to light [..., 3], by its normal approximation."""
    # Saturated pixels have the noise of a full well, not of the light beyond it.
    variance = sensor.shot * jnp.clip(light, 0, 1) + sensor.read**2
    return light + jnp.sqrt(variance) * jax.random.normal(rng_key, light.shape)


def develop(sensor: Sensor, light: jax.Array) -> jax.Array:
    """Light [..., 3], clipped where the sensor saturates -> a picture, uint8 alike."""
    x = jnp.clip(light, 0, 1)
    shown = jnp.where(sensor.averaged, x, srgb_from_linear(x))
    return jnp.round(contrasted(shown, sensor.contrast) * 255).astype(jnp.uint8)
