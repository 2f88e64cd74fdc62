"""How frames are cut into tiles that overlap, so that nobody sees the seams.

Letters: s side of a cell in pixels (`ModelConfig.cell`), p pixels of a tile.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mtujax.config import MOTION_STRIDE, ModelConfig
from mtujax.ops.resample import padded_size
from mtujax.ops.steering import LARGEST_MOTION

LEAST_CELLS = 2  # of an overlap
_RAMP = 16  # pixels over which one tile fades into the next


def default_overlap(config: ModelConfig) -> int:
    """The overlap with which tiles cannot be told from whole frames.

    Args:
        config: of the network.

    Returns:
        Pixels: 144 for a search radius of 10 and 8 residual blocks without patches.
    """
    # Each cell of a core must see all that it may be matched with: the search radius
    # and the 2 cells of the pooling window; and what blocks look at around those, in
    # effect a quarter of a cell per convolution. Of six clips restored with the bundled
    # mtu2 at most 6 uint8 values in a million differ from whole frames, by 1; without
    # the blocks' part 7000 do, by up to 6.
    reach = config.search_radius + 2
    if config.motion_samples:
        # Samples are found within the tile; their motion is that of the whole frame.
        reach = max(reach, -(-int(LARGEST_MOTION) // config.cell))
    cells = reach + config.num_blocks // 2
    return 2 * config.cell * cells + max(_RAMP, config.cell)


def tilings(
    height: int, width: int, overlap: int, cell: int = MOTION_STRIDE
) -> Iterator[tuple[int, int]]:
    """Ever smaller tiles, each side as small as its number of tiles allows.

    Args:
        height: rows of the frame in pixels.
        width: its columns.
        overlap: pixels that neighbours share.
        cell: s.

    Yields:
        (rows, columns) of a tile; each time its longer side shrinks, until a tile would
        be more than half overlap.
    """
    least = 2 * max(overlap, LEAST_CELLS * cell)
    sides = [_sides(n, overlap, least, cell) for n in padded_size(height, width, cell)]
    while True:
        longest = max((0, 1), key=lambda axis: (len(sides[axis]) > 1, sides[axis][0]))
        if len(sides[longest]) == 1:
            return
        sides[longest].pop(0)
        yield sides[0][0], sides[1][0]


def _sides(size, overlap, least, cell):
    """What 1, 2, ... tiles along an axis must measure, each a multiple of a cell."""
    found = [size]
    for count in itertools.count(2):
        shared = size + (count - 1) * overlap
        side = -(-shared // (count * cell)) * cell
        if side < least or side > found[-1]:
            return found
        if side < found[-1]:
            found.append(side)


class Part(NamedTuple):
    """A tile's place along one axis of the frame.

    Attributes:
        origin: int32 [], its first pixel, a multiple of s.
        weights: [p] float32 in [0, 1], its share of each pixel of the restored frame.
        core: bool [p / s], which cells of the motion grid are its own.
    """

    origin: np.ndarray
    weights: np.ndarray
    core: np.ndarray


def parts(size: int, tile: int, overlap: int, cell=MOTION_STRIDE) -> list[Part]:
    """Divides one axis among tiles of equal size that overlap.

    Two cores touch in the middle of an overlap. There one tile fades into the next
    along a straight ramp; what is nearer to a tile's border is discarded.

    Args:
        size: pixels of the axis, a multiple of s.
        tile: pixels of a tile, a multiple of s; `size` if that is less.
        overlap: pixels that neighbours share at least, from 2 s to half a tile.
        cell: s.

    Returns:
        The tiles in order. Their weights sum to one at every pixel, and every cell is
        in one core.
    """
    s, tile = cell, min(tile, size)
    overlap = min(-(-overlap // s) * s, tile // (2 * s) * s)
    stride = tile - overlap
    count = 1 if tile == size else -(-(size - tile) // stride) + 1
    origins = s * np.rint(np.linspace(0, (size - tile) / s, count)).astype(int)
    seams = (origins[1:] + origins[:-1] + tile) // (2 * s) * s
    lows, highs = [-np.inf, *seams], [*seams, np.inf]
    # Seams may lie half a cell off the middle. A lone tile has none.
    ramp = max(s, min(_RAMP, overlap - s))

    def risen(pixels, seam):
        return np.clip((pixels - seam) / ramp + 0.5, 0.0, 1.0)

    found = []
    for origin, low, high in zip(origins, lows, highs, strict=True):
        pixels, cells = origin + np.arange(tile), origin + np.arange(0, tile, s)
        weights = risen(pixels + 0.5, low) - risen(pixels + 0.5, high)
        core = (low <= cells) & (cells < high)
        found.append(Part(np.int32(origin), np.float32(weights), core))
    return found
