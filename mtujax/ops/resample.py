"""Changing the size of frames with the published conventions. Letters: B H W C."""

import chex
import einops
import jax
import jax.numpy as jnp

from mtujax.config import MOTION_STRIDE


def padded_size(height: int, width: int) -> tuple[int, int]:
    """The next multiples of 4 (pixels): the sizes that the network works on.

    Args:
        height: rows of a [H, W] frame.
        width: its columns.

    Returns:
        (rows, columns), each at least its argument.
    """
    s = MOTION_STRIDE
    return -(-height // s) * s, -(-width // s) * s


def pad_frames(frames: jax.Array) -> jax.Array:
    """Extends frames below and to the right, by reflection, to multiples of 4.

    Args:
        frames: [..., H, W, C] with at least one pixel.

    Returns:
        [..., H', W', C] with H', W' from `padded_size`.
    """
    height, width = frames.shape[-3:-1]
    rows, columns = padded_size(height, width)
    if (rows, columns) == (height, width):
        return frames
    pads = [(0, 0)] * frames.ndim
    pads[-3], pads[-2] = (0, rows - height), (0, columns - width)
    return jnp.pad(frames, pads, mode="reflect")


def area_downsample(x: jax.Array) -> jax.Array:
    """Averages each 4x4 block.

    Args:
        x: [B, 4h, 4w, C] float.

    Returns:
        [B, h, w, C] of the same dtype.
    """
    chex.assert_rank(x, 4)
    s = MOTION_STRIDE
    return einops.reduce(x, "b (h p) (w q) c -> b h w c", "mean", p=s, q=s)
