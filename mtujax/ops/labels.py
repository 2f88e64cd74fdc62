"""Displacements on a grid: where they lead, and their classes for the motion loss.

Written once for NumPy and JAX arrays, without an import of JAX, as the input pipeline
uses it too. Letters: H W pixels, h w cells of s x s pixels, r search radius in cells.
"""

from typing import TypeVar

from mtujax.config import MOTION_STRIDE

Array = TypeVar("Array")  # of NumPy or of JAX


def motion_labels(
    flow: Array,
    valid: Array | None = None,
    *,
    radius: int = 10,
    label_all_cells: bool = False,
    cell: int = MOTION_STRIDE,
) -> tuple[Array, Array]:
    """Converts optical flow to classes and marks the cells that count.

    The flow is averaged over the valid pixels of a cell, divided by the cell's side,
    clamped to the search radius and rounded half to even; the release averages all
    pixels.

    Examples:
        >>> flow = jnp.zeros((8, 8, 2)).at[..., 0].set(4.0)  # four pixels to the right
        >>> classes, counts = motion_labels(flow, radius=1)
        >>> int(classes[0, 0]), bool(counts[0, 0])  # one cell: (0 + 1) * 3 + (1 + 1)
        (5, True)

    Args:
        flow: [..., H, W, 2] backward flow (dx, dy) in pixels, of NumPy or JAX; H and W
            are multiples of s.
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
    xp = flow.__array_namespace__()
    # Plane by plane, which is fast in NumPy too: it does this for every record.
    planes = flow[..., 0], flow[..., 1]
    pixels = xp.isfinite(planes[0]) & xp.isfinite(planes[1])
    if valid is not None and not label_all_cells:
        pixels = pixels & valid
    # A byte cannot count the pixels of a cell of 16x16 or more.
    count = _sums(pixels.astype(xp.uint8 if cell**2 < 256 else xp.uint16), cell)
    least = cell**2 if label_all_cells else xp.maximum(count, 1).astype(flow.dtype)
    means = [_sums(xp.where(pixels, x, 0), cell) / least for x in planes]
    cells = xp.round(xp.stack(means, axis=-1) / cell)
    near = xp.clip(cells, -radius, radius)
    classes = (near + radius).astype(xp.int32)
    classes = classes[..., 1] * (2 * radius + 1) + classes[..., 0]
    if label_all_cells:
        return classes, xp.ones(classes.shape, bool)
    enough = count >= cell**2 / 2
    return classes, enough & (near == cells).all(axis=-1) & inside(near)


def _sums(values, side):
    """Sums over cells: [..., sh, sw] to [..., h, w]."""
    rows = sum(values[..., n::side, :] for n in range(side))
    return sum(rows[..., n::side] for n in range(side))


def destinations(moves: Array) -> tuple[Array, Array]:
    """Places that displacements lead to: [..., h, w, 2] -> x and y [..., h, w]."""
    xp = moves.__array_namespace__()
    *lead, height, width = (1,) * (moves.ndim - 3) + moves.shape[-3:-1]
    x = xp.arange(width, dtype=moves.dtype).reshape(*lead, 1, width)
    y = xp.arange(height, dtype=moves.dtype).reshape(*lead, height, 1)
    return x + moves[..., 0], y + moves[..., 1]


def within(x: Array, y: Array) -> Array:
    """Whether places x and y [..., h, w] are on that grid of h by w: bool."""
    height, width = x.shape[-2:]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def inside(moves: Array) -> Array:
    """Whether moves [..., h, w, 2] (dx, dy) lead to a place of their grid: bool."""
    return within(*destinations(moves))


def returns(back: Array, forth: Array) -> Array:
    """Whether back and forth return: `|b + f|^2 < 0.01 (|b|^2 + |f|^2) + 0.5`."""
    # Flow b [..., h, w, 2] to the previous frame in pixels, and flow f from it, read
    # where b leads -> bool [..., h, w]; False too where b leads out of the frame.
    # Reference: Sundaram et al. 2010.
    xp = back.__array_namespace__()
    error = ((back + forth) ** 2).sum(axis=-1)
    length = (xp.concatenate([back, forth], axis=-1) ** 2).sum(axis=-1)
    return inside(back) & (error < 0.01 * length + 0.5)
