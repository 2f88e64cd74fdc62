"""Labels of the motion loss on the device: `data.transforms.MotionLabels` in JAX.

Letters: H W pixels, h w cells of s x s pixels, r search radius in cells.
"""

import einops
import jax
import jax.numpy as jnp
from jax import lax

from mtujax.config import MOTION_STRIDE


def motion_labels(
    flow: jax.Array,
    valid: jax.Array | None = None,
    *,
    radius: int = 10,
    label_all_cells: bool = False,
    cell: int = MOTION_STRIDE,
) -> tuple[jax.Array, jax.Array]:
    """Converts optical flow to classes and marks the cells that count.

    The flow is averaged over the valid pixels of a cell, divided by the cell's side,
    clamped to the search radius and rounded half to even; the release averages all
    pixels.

    Args:
        flow: [..., H, W, 2] backward flow (dx, dy) in pixels; H and W are multiples
            of s.
        valid: bool [..., H, W], False where the flow is meaningless; None if it is
            meaningful everywhere.
        radius: search radius r in cells.
        label_all_cells: let all pixels and every cell count, as in the release, whose
            flow network gives no mask. Without it, a cell counts if at least half of
            its pixels are valid and its displacement is within the radius and leads to
            a cell of the grid.
        cell: s, `ModelConfig.cell`.

    Returns:
        int32 [..., h, w] classes (dy + r)(2r + 1) + (dx + r), and bool [..., h, w],
        True for cells that count.
    """
    pixels = jnp.all(jnp.isfinite(flow), axis=-1)
    if valid is not None and not label_all_cells:
        pixels &= valid
    flow = jnp.where(pixels[..., None], flow, 0)
    count = _sums(pixels[..., None].astype(flow.dtype), cell)
    least = cell**2 if label_all_cells else jnp.maximum(count, 1)
    cells = jnp.round(_sums(flow, cell) / least / cell)
    near = jnp.clip(cells, -radius, radius)
    classes = (near + radius).astype(jnp.int32)
    classes = classes[..., 1] * (2 * radius + 1) + classes[..., 0]
    if label_all_cells:
        return classes, jnp.ones(classes.shape, bool)
    counts = (count[..., 0] >= cell**2 / 2) & jnp.all(near == cells, axis=-1)
    return classes, counts & inside(near)


def inside(moves: jax.Array) -> jax.Array:
    """Whether displacements lead to a place of their own grid.

    [..., h, w, 2] (dx, dy) in steps of the grid -> bool [..., h, w].
    """
    *_, height, width = shape = moves.shape[:-1]
    x = lax.broadcasted_iota(moves.dtype, shape, len(shape) - 1) + moves[..., 0]
    y = lax.broadcasted_iota(moves.dtype, shape, len(shape) - 2) + moves[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _sums(values, side):
    pattern = "... (h p) (w q) c -> ... h w c"
    return einops.reduce(values, pattern, "sum", p=side, q=side)
