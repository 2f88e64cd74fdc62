"""Augmentation of whole clips, and labels of the motion loss.

A flow (dx, dy) turns with the image. Letters: T L frames, H W pixels, h w cells of s x
s pixels, r search radius in cells.
"""

import dataclasses

import numpy as np

from mtujax.config import MOTION_STRIDE
from mtujax.errors import UsageError, check_least
from mtujax.ops.labels import motion_labels


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """One of the ways in which a square maps to itself."""

    turns: int = 0  # counterclockwise quarter turns, done first
    vertical: bool = False  # then swap top and bottom
    horizontal: bool = False  # then swap left and right

    def before(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns, in pixels, that become `height` and `width`."""
        return (width, height) if self.turns % 2 else (height, width)

    def of(self, images: np.ndarray) -> np.ndarray:
        """Turns and flips pixels [..., H, W, C] -> a view [..., H', W', C]."""
        turned = np.rot90(images, self.turns, axes=(-3, -2))
        rows = slice(None, None, -1 if self.vertical else 1)
        columns = slice(None, None, -1 if self.horizontal else 1)
        return turned[..., rows, columns, :]

    def of_flow(self, flow: np.ndarray) -> np.ndarray:
        """Turns and flips a flow [..., H, W, 2] (dx, dy), pixels and vectors."""
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
            gives no mask: also where the motion was clamped, leaves the frame or is
            occluded. Without it, such cells are invalid, and so is a clip's first
            frame, which has no frame before it.
        cell: s, `ModelConfig.cell`, in pixels.
    """

    radius: int = 10
    label_all_cells: bool = False
    cell: int = MOTION_STRIDE

    def __post_init__(self):
        """Raises a UsageError for a negative radius."""
        check_least(0, radius=self.radius)

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
        return motion_labels(flow, valid, **dataclasses.asdict(self))
