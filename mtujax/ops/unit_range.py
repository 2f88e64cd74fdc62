"""Frames as people keep them (uint8, any float) and as the network reads them."""

import chex
import jax
import jax.numpy as jnp


def to_unit_range(frames: jax.Array) -> jax.Array:
    """Maps frames [..., 3], uint8 or float in [0, 1], to float32 in [0, 1].

    Args:
        frames: [..., 3] of any size.

    Returns:
        float32 of the same shape; uint8 is divided by 255.
    """
    if frames.dtype == jnp.uint8:
        return frames.astype(jnp.float32) / 255.0
    return frames.astype(jnp.float32)


def from_unit_range(frames: jax.Array, dtype) -> jax.Array:
    """Maps frames [..., 3] to `dtype`, clamped to its range of colours.

    Args:
        frames: [..., 3] float, nominally in [0, 1].
        dtype: uint8 (rounded half to even, as the release saves) or a float dtype.

    Returns:
        [..., 3] of `dtype`.
    """
    chex.assert_type(frames, float)
    frames = jnp.clip(frames, 0.0, 1.0)
    if dtype == jnp.uint8:
        return jnp.round(frames * 255.0).astype(jnp.uint8)
    return frames.astype(dtype)
