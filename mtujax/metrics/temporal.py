"""Temporal consistency of restored video: differences between motion-aligned frames.

After Lai et al. 2018 (learning blind video temporal consistency). A blurry or frozen
video is consistent as well, so an error means something only next to that of the sharp
clip. `data.flow.estimate_motion` gives the flow of sharp frames and the pixels that
count. Letters: B batch size, H W pixels.
"""

import jax
import jax.numpy as jnp

from mtujax.ops.labels import inside
from mtujax.ops.resampling import any_byte_order, to_unit_range
from mtujax.ops.warping import backward_warp


@any_byte_order
@jax.jit
def warping_error(
    previous: jax.Array,
    current: jax.Array,
    flow: jax.Array,
    counts: jax.Array | None = None,
) -> jax.Array:
    """Mean squared difference between a frame and the one before it, warped onto it.

    Args:
        previous: [B, H, W, 3] uint8, or float in [0, 1].
        current: [B, H, W, 3] likewise, the frames after them.
        flow: [B, H, W, 2] backward (dx, dy) in pixels, from `current` to `previous`.
        counts: bool [B, H, W], False where a pixel was occluded; None if none was.

    Returns:
        [B] float32, in squared units of [0, 1], over pixels that count and whose source
        is in the frame; NaN where there is none.
    """
    known = jnp.all(jnp.isfinite(flow), axis=-1)
    flow = jnp.where(known[..., None], flow, 0)
    seen = known & inside(flow.astype(jnp.float32))
    if counts is not None:
        seen &= counts
    moved = backward_warp(to_unit_range(previous), flow)
    error = jnp.mean((moved - to_unit_range(current)) ** 2, axis=-1)
    total = jnp.sum(jnp.sum(jnp.where(seen, error, 0), axis=2), axis=1)
    return total / jnp.sum(seen, axis=(1, 2)).astype(jnp.float32)


@any_byte_order
@jax.jit
def temporal_consistency(
    restored: tuple[jax.Array, jax.Array],
    sharp: tuple[jax.Array, jax.Array],
    flow: jax.Array,
    counts: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """Warping errors of restored and of sharp frames along the same flow.

    Args:
        restored: previous and current, [B, H, W, 3] uint8 or float in [0, 1] each.
        sharp: previous and current, likewise.
        flow: [B, H, W, 2] backward (dx, dy) in pixels between the sharp frames.
        counts: bool [B, H, W], False where a pixel was occluded; None if none was.

    Returns:
        [B] float32 each: "restored" and "sharp", see `warping_error`.
    """
    pairs = {"restored": restored, "sharp": sharp}
    return {n: warping_error(*pair, flow, counts) for n, pair in pairs.items()}
