"""Labels of the motion loss: displacement classes of the cells of the motion grid.

Letters: T frames, h w cells of s x s pixels, r search radius in cells.
"""

import dataclasses

import numpy as np

from mtujax.config import MOTION_STRIDE
from mtujax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class MotionLabels:
    """How a flow becomes classes (dy + r)(2r + 1) + (dx + r).

    A flow is averaged over a cell, divided by its side and rounded half to even, as in
    the release.

    Attributes:
        radius: r of the network's search; displacements beyond it are clamped.
        every_cell: let every cell count, as in the release, whose flow network gives no
            mask: also where the motion was clamped, leaves the frame or is hidden.
            Without it, such cells are invalid, and so is a clip's first frame, which
            has none before it.
        cell: s, `ModelConfig.cell`.
    """

    radius: int = 10
    every_cell: bool = False
    cell: int = MOTION_STRIDE

    def __post_init__(self):
        """Refuses a radius that is none.

        Raises:
            UsageError: naming it.
        """
        if self.radius < 0:
            raise UsageError(f"radius {self.radius}: at least 0")

    def of(self, flow: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turns flows into classes.

        Args:
            flow: [T, sh, sw, 2] float backward flow (dx, dy) in pixels.
            valid: bool [T, sh, sw], False where it is unknown or means nothing. The
                mean of a cell is over its valid pixels (with `every_cell` over all, of
                which unknown ones count 0); the cell is valid if half of them are.

        Returns:
            int32 [T, h, w] classes, and bool [T, h, w].
        """
        # Plane by plane and in place: this is done for every record.
        pixels = np.isfinite(flow[..., 0]) & np.isfinite(flow[..., 1])
        pixels &= valid | self.every_cell
        count = _block_sums(pixels.view(np.uint8)[..., None], self.cell)
        flow = flow.copy()
        flow[~pixels] = 0
        total = _block_sums(flow, self.cell)
        least = self.cell**2 if self.every_cell else np.maximum(count, 1)
        cells = np.rint(total / least / self.cell)
        near = np.clip(cells, -self.radius, self.radius)
        classes = (near + self.radius).astype(np.int32)
        classes = classes[..., 1] * (2 * self.radius + 1) + classes[..., 0]
        if self.every_cell:
            return classes, np.ones(classes.shape, bool)
        enough = count[..., 0] >= self.cell**2 / 2
        return classes, enough & (near == cells).all(axis=-1) & _inside(near)


def _block_sums(values, side):
    """[T, sh, sw, C] to [T, h, w, C]."""
    # Of a larger cell than 4x4, a byte cannot count the pixels.
    kind = np.uint8 if side**2 < 256 else np.uint16
    values = values.astype(kind) if values.dtype == np.uint8 else values
    rows = sum(values[:, n::side] for n in range(side))
    return sum(rows[:, :, n::side] for n in range(side))


def _inside(cells):
    """Whether a displacement [T, h, w, 2] leads to a cell: the network sees no more."""
    _, height, width, _ = cells.shape
    x = np.arange(width) + cells[..., 0]
    y = np.arange(height)[:, None] + cells[..., 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)
