"""What video coding leaves of frames, in JAX: the transform, coarsely rounded.

H.264's loss without its prediction: each frame in YCbCr 4:2:0 (ITU-R BT.709, limited
range), blocks of 8x8 transformed (DCT-II), divided by the step of the quantiser and
rounded with its dead zone. Real H.264 also predicts from other frames and smooths
edges of blocks; `data.h264` runs it, on the host. The mean of each block, which its
prediction keeps, is kept: light and colour stay. Letters: T time, H W pixels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.data.h264 import OFFSET, YCBCR

_BLOCK = 8
_DEAD = 1 / 3  # of a step: what is added before rounding down, as x264 does it
# x264 loses as much at a constant rate factor as this does at a parameter that is
# larger by so much: within 1.4 dB on four of the clips of docs/validation.md.
_BEYOND = 5.5
_INVERSE = np.linalg.inv(YCBCR)


def quantiser_step(crf: jax.Array) -> jax.Array:
    """The step of H.264's quantiser: it doubles every 6.

    Args:
        crf: [...] constant rate factor, 0 to 51: 18 hardly shows, 28 does.

    Returns:
        [...] on the scale of 0..255; 1 at a quantisation parameter of 4.
    """
    return 2.0 ** ((crf + _BEYOND - 4) / 6)


def coded(frames: jax.Array, step: jax.Array) -> jax.Array:
    """Frames as they come out of a decoder.

    Args:
        frames: [T, H, W, 3] uint8, RGB.
        step: [] from `quantiser_step`.

    Returns:
        [T, H, W, 3] uint8.
    """
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
