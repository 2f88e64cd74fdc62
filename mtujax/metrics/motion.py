"""How well motion aligns frames and matches a known flow (Sec. 4.2), and consistency.

The network's motion is measured at 1/4 scale whatever its grid, so that networks are
comparable: a cell of p x p squares moves them alike. Temporal consistency of restored
video is the difference between frames aligned along the flow of the sharp ones, after
Lai et al. 2018 (learning blind video temporal consistency). A blurry or frozen video is
consistent as well, so an error means something only next to that of the sharp clip.
Letters: B batch size, H W pixels, h w the motion grid, p `ModelConfig.patch`.
"""

import functools

import einops
import jax
import jax.numpy as jnp

from mtujax.config import MOTION_STRIDE
from mtujax.metrics.image import GAUSSIAN_SIDE, psnr, ssim
from mtujax.ops.labels import inside
from mtujax.ops.resampling import (
    any_byte_order,
    area_downsample,
    backward_warp,
    to_unit_range,
    upsampled_flow,
)


@any_byte_order
@functools.partial(jax.jit, static_argnames="patch")
def alignment_accuracy(
    displacement: jax.Array,
    previous: jax.Array,
    current: jax.Array,
    *,
    patch: int = 1,
) -> dict[str, jax.Array]:
    """Compares the previous sharp frame, moved by the network's motion, to the current.

    Both frames are averaged over squares of 4x4 pixels, the published motion grid; rows
    and columns left over at the end do not count. The previous one is moved by whole
    cells. PSNR is over the squares whose source is in the frame, SSIM (Gaussian, per
    channel) over the windows that hold such squares only. The paper says only that it
    measures both at 1/4 scale; which squares count is our choice.

    Examples:
        >>> frame = jax.random.uniform(jax.random.key(0), (1, 64, 64, 3))
        >>> still = jnp.zeros((1, 16, 16, 2), jnp.int32)
        >>> found = alignment_accuracy(still, frame, frame + 0.1)
        >>> round(float(found["psnr"][0]), 2), float(found["share"][0])
        (20.0, 1.0)

    Args:
        displacement: [B, h, w, 2] integer (dx, dy) in cells, of the last motion
            compensation; may cover the padded frame.
        previous: [B, H, W, 3] sharp, uint8 or float in [0, 1].
        current: [B, H, W, 3] sharp, the frame after it.
        patch: p, `ModelConfig.patch`.

    Returns:
        float32 [B] each: "psnr" in dB and "ssim", both NaN where nothing counts, and
        "share", the fraction of squares that count.

    Raises:
        ValueError: if the grid is smaller than SSIM's window.
    """
    before, now = _cells(previous), _cells(current)
    height, width = now.shape[1:3]
    if min(height, width) < GAUSSIAN_SIDE:
        rows, columns = current.shape[1:3]
        least = GAUSSIAN_SIDE * MOTION_STRIDE
        raise ValueError(
            f"frames of {columns}x{rows}: motion accuracy needs {least}x{least}"
        )
    moves = upsampled_flow(displacement, patch)[:, :height, :width]
    counts = inside(moves)
    warped = backward_warp(before, moves)
    return {
        "psnr": psnr(warped, now, counts),
        "ssim": ssim(warped, now, counts),
        "share": jnp.mean(counts.astype(jnp.float32), axis=(1, 2)),
    }


@any_byte_order
@functools.partial(jax.jit, static_argnames="patch")
def end_point_error(
    displacement: jax.Array,
    flow: jax.Array,
    valid: jax.Array | None = None,
    *,
    patch: int = 1,
) -> jax.Array:
    """Mean distance between the network's motion and a ground-truth flow.

    The flow is averaged over the valid ones of 4x4 pixels, which count if half of them
    are valid and the flow leads into the frame. Displacements are whole cells, so that
    even the best one is off by about 1.5 p pixels.

    Examples:
        >>> still = jnp.zeros((1, 4, 4, 2), jnp.int32)
        >>> flow = jnp.full((1, 16, 16, 2), jnp.array([0.3, 0.4]))
        >>> round(float(end_point_error(still, flow)[0]), 3)
        0.5

    Args:
        displacement: [B, h, w, 2] integer (dx, dy) in cells.
        flow: [B, H, W, 2] ground-truth backward flow (dx, dy) in pixels.
        valid: bool [B, H, W], False where the flow is undefined; None if it is defined
            everywhere. Non-finite flow never counts.
        patch: p, `ModelConfig.patch`.

    Returns:
        [B] pixels, float32; NaN where nothing counts.
    """
    pixels = jnp.all(jnp.isfinite(flow), axis=-1)
    if valid is not None:
        pixels &= valid
    share = _cells(pixels[..., None].astype(jnp.float32))
    exact = _cells(jnp.where(pixels[..., None], flow, 0.0).astype(jnp.float32))
    exact = exact / jnp.maximum(share, 1 / MOTION_STRIDE**2)
    counts = (share[..., 0] >= 0.5) & inside(exact / MOTION_STRIDE)
    height, width = counts.shape[1:]
    found = MOTION_STRIDE * upsampled_flow(displacement, patch)[:, :height, :width]
    distance = jnp.where(counts, jnp.linalg.norm(found - exact, axis=-1), 0)
    total = einops.reduce(distance, "b h w -> b", "sum")
    return total / jnp.sum(counts, axis=(1, 2)).astype(jnp.float32)


def _cells(frames):
    """Means [B, h, w, C] of the squares of 4x4 pixels that fit into the frame."""
    height, width = (n - n % MOTION_STRIDE for n in frames.shape[1:3])
    return area_downsample(to_unit_range(frames[:, :height, :width]))


@any_byte_order
@jax.jit
def warping_error(
    previous: jax.Array,
    current: jax.Array,
    flow: jax.Array,
    counts: jax.Array | None = None,
) -> jax.Array:
    """Mean squared difference between a frame and the one before it, warped onto it.

    Examples:
        >>> previous, current = jnp.full((1, 8, 8, 3), 0.5), jnp.full((1, 8, 8, 3), 0.6)
        >>> error = warping_error(previous, current, jnp.zeros((1, 8, 8, 2)))
        >>> round(float(error[0]), 3)
        0.01

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

    Examples:
        >>> frames = jnp.full((1, 8, 8, 3), 0.5), jnp.full((1, 8, 8, 3), 0.6)
        >>> still = jnp.zeros((1, 8, 8, 2))
        >>> found = temporal_consistency(frames, (frames[0], frames[0]), still)
        >>> round(float(found["restored"][0]), 3), float(found["sharp"][0])
        (0.01, 0.0)

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
