"""Augmentation of whole clips, and labels of the motion loss.

A flow (dx, dy) turns with the image. Letters: T L frames, H W pixels, h w cells of s x
s pixels, r search radius in cells.
"""

import dataclasses

import numpy as np

from mtujax.config import MOTION_STRIDE
from mtujax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """One of the ways in which a square maps to itself.

    Attributes:
        turns: counterclockwise quarter turns, done first.
        vertical: then swap top and bottom.
        horizontal: then swap left and right.
    """

    turns: int = 0
    vertical: bool = False
    horizontal: bool = False

    def before(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns, in pixels, that become `height` and `width`."""
        return (width, height) if self.turns % 2 else (height, width)

    def of(self, images: np.ndarray) -> np.ndarray:
        """Turns and flips pixels.

        [..., H, W, C] of any dtype -> a view [..., H', W', C].
        """
        turned = np.rot90(images, self.turns, axes=(-3, -2))
        rows = slice(None, None, -1 if self.vertical else 1)
        columns = slice(None, None, -1 if self.horizontal else 1)
        return turned[..., rows, columns, :]

    def of_flow(self, flow: np.ndarray) -> np.ndarray:
        """Turns and flips a flow, its pixels and its vectors.

        [..., H, W, 2] (dx, dy) in pixels -> [..., H', W', 2] of the same dtype.
        """
        dx, dy = np.moveaxis(flow, -1, 0)
        for _ in range(self.turns % 4):
            dx, dy = dy, -dx
        dx = -dx if self.horizontal else dx
        dy = -dy if self.vertical else dy
        return self.of(np.stack([dx, dy], axis=-1))


@dataclasses.dataclass(frozen=True)
class Augment:
    """How often clips are turned and flipped; the defaults are the release's.

    Attributes:
        turn: probability of a turn: a quarter to the left 0.3 of it, to the right 0.3,
            half 0.4.
        flip: probability of a flip: vertical 0.3 of it, horizontal 0.3, both 0.4.
    """

    turn: float = 0.5
    flip: float = 0.5

    def __post_init__(self):
        """Raises a UsageError that names the first invalid probability."""
        _check_probabilities(turn=self.turn, flip=self.flip)

    def draw(self, rng: np.random.Generator) -> Symmetry:
        """Draws the symmetry of one clip.

        Args:
            rng: source of randomness.

        Returns:
            The `Symmetry` to apply to all frames of the clip.
        """
        turns = _choose(rng, self.turn, (0, 1, 3, 2))
        flips = ((False, False), (True, False), (False, True), (True, True))
        return Symmetry(turns, *_choose(rng, self.flip, flips))


def _choose(rng, probability, choices):
    """The first choice if nothing happens, else one of the other three."""
    if rng.random() >= probability:
        return choices[0]
    return choices[1 + int(np.searchsorted([0.3, 0.6], rng.random(), side="right"))]


@dataclasses.dataclass(frozen=True)
class Noise:
    """Gaussian noise of the blurry frames, drawn for each frame.

    The release has `Noise(1e-4, 1e-4)`, on float frames. That is 0.03 of a grey level:
    of frames in uint8, as here, it changes none.

    Attributes:
        low: smallest standard deviation, on the scale of [0, 1].
        high: largest; each frame draws one between them.
        probability: that a frame has noise.
    """

    low: float = 0.0
    high: float = 0.02
    probability: float = 0.5

    def __post_init__(self):
        """Raises a UsageError that names the invalid field."""
        _check_probabilities(probability=self.probability)
        if not 0 <= self.low <= self.high:
            raise UsageError(
                f"noise from {self.low} to {self.high}: give 0 <= low <= high"
            )

    def add(
        self, blurry: np.ndarray, positions: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Adds noise, rounded and clipped to uint8.

        Args:
            blurry: [L, H, W, 3] uint8.
            positions: [L] of the frames in their video: a frame that is repeated, as at
                the end of a video, has the same noise each time.
            rng: source of randomness.

        Returns:
            [L, H, W, 3] uint8.
        """
        noisy = blurry.copy()
        for position in np.unique(positions):
            if rng.random() >= self.probability:
                continue
            same = np.flatnonzero(positions == position)
            noise = rng.standard_normal(blurry.shape[1:], np.float32)
            noise *= np.float32(255 * rng.uniform(self.low, self.high))
            noise += blurry[same[0]]
            noisy[same] = np.rint(np.clip(noise, 0, 255, out=noise))
        return noisy


def _check_probabilities(**values):
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} {value}: a probability is in [0, 1]")


@dataclasses.dataclass(frozen=True)
class MotionLabels:
    """How a flow becomes classes (dy + r)(2r + 1) + (dx + r).

    A flow is averaged over a cell, divided by its side and rounded half to even, as in
    the release.

    Attributes:
        radius: r of the network's search; displacements beyond it are clamped.
        label_all_cells: let every cell count, as in the release, whose flow network
            gives no
            mask: also where the motion was clamped, leaves the frame or is occluded.
            Without it, such cells are invalid, and so is a clip's first frame, which
            has no frame before it.
        cell: s, `ModelConfig.cell`, in pixels.
    """

    radius: int = 10
    label_all_cells: bool = False
    cell: int = MOTION_STRIDE

    def __post_init__(self):
        """Raises a UsageError for a negative radius."""
        if self.radius < 0:
            raise UsageError(f"radius {self.radius}: at least 0")

    def of(self, flow: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turns flows into classes.

        Args:
            flow: [T, sh, sw, 2] float backward flow (dx, dy) in pixels.
            valid: bool [T, sh, sw], False where the flow is unknown or undefined. The
                mean of a cell is over its valid pixels (with `label_all_cells` over
                all, of which unknown ones count 0); the cell is valid if half of them
                are.

        Returns:
            int32 [T, h, w] classes, and bool [T, h, w], whether they count.
        """
        # Plane by plane and in place: this is done for every record.
        pixels = np.isfinite(flow[..., 0]) & np.isfinite(flow[..., 1])
        pixels &= valid | self.label_all_cells
        count = _block_sums(pixels.view(np.uint8)[..., None], self.cell)
        flow = flow.copy()
        flow[~pixels] = 0
        total = _block_sums(flow, self.cell)
        least = self.cell**2 if self.label_all_cells else np.maximum(count, 1)
        cells = np.rint(total / least / self.cell)
        near = np.clip(cells, -self.radius, self.radius)
        classes = (near + self.radius).astype(np.int32)
        classes = classes[..., 1] * (2 * self.radius + 1) + classes[..., 0]
        if self.label_all_cells:
            return classes, np.ones(classes.shape, bool)
        enough = count[..., 0] >= self.cell**2 / 2
        return classes, enough & (near == cells).all(axis=-1) & _inside(near)


def _block_sums(values, side):
    """Sums over cells: [T, sh, sw, C] to [T, h, w, C]."""
    # A byte cannot count the pixels of a cell of 16x16 or more.
    kind = np.uint8 if side**2 < 256 else np.uint16
    values = values.astype(kind) if values.dtype == np.uint8 else values
    rows = sum(values[:, n::side] for n in range(side))
    return sum(rows[:, :, n::side] for n in range(side))


def _inside(cells):
    """Whether displacements [T, h, w, 2] lead to a cell: the network sees no others."""
    _, height, width, _ = cells.shape
    x = np.arange(width) + cells[..., 0]
    y = np.arange(height)[:, None] + cells[..., 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)
