"""What a video's frames have in common: size, rate, colour coding, orientation.

A timestamp (pts) counts `time_base` seconds. The display matrix is libav's: nine
fixed-point numbers that map the coded picture's coordinates (x, y) to the display's: x'
= a x + c y, y' = b x + d y. Letters: H W pixels of the coded frame.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How to turn a coded frame upright."""

    turns: int = 0  # quarters, counter-clockwise
    mirrored: bool = False  # whether left and right are exchanged after turning
    matrix: tuple[int, ...] | None = None  # the container's display matrix, if any

    @property
    def is_identity(self) -> bool:
        """Whether the coded frame is upright already."""
        return not (self.turns or self.mirrored)

    @property
    def swaps(self) -> bool:
        """Whether rows become columns."""
        return self.turns % 2 == 1

    @classmethod
    def of(cls, matrix: Sequence[int] | None) -> "Orientation":
        """Reads a display matrix (None: upright); only quarter turns are turned."""
        if matrix is None:
            return cls()
        matrix = tuple(int(m) for m in matrix)
        wanted = np.sign([[matrix[0], matrix[3]], [matrix[1], matrix[4]]])
        for turns in range(4):
            for mirrored in (False, True):
                if np.array_equal(_linear(turns, mirrored), wanted):
                    return cls(turns, mirrored, matrix)
        return cls(matrix=matrix)

    def upright(self, frame: np.ndarray) -> np.ndarray:
        """Turns a coded frame upright."""
        # [H, W, 3], any dtype -> [H, W, 3], or [W, H, 3] after an odd number of turns.
        turned = np.rot90(frame, self.turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)

    def turn_vectors(self, field: np.ndarray) -> np.ndarray:
        """Turns the directions of a field of vectors, and leaves each in its place."""
        # [H, W, 2] (dx, dy) in the coded frame -> [H, W, 2] as in the upright frame.
        return field @ _linear(self.turns, self.mirrored).T.astype(field.dtype)


def _linear(turns, mirrored):
    """[2, 2] matrix from coded to upright coordinates, both with y pointing down."""
    matrix = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), turns)
    return np.diag([-1, 1]) @ matrix if mirrored else matrix


# H.273 code points, which libav uses too, and the matrices that libswscale knows.
BT709, SMPTE170M, BT2020 = 1, 6, 9
MATRICES = (1, 4, 5, 6, 7, 9)
LIMITED, FULL = 1, 2

# Columns and rows of pixels that share one sample of colour.
SAMPLINGS = {
    "4:1:0": (4, 4),
    "4:1:1": (4, 1),
    "4:2:0": (2, 2),
    "4:2:2": (2, 1),
    "4:4:0": (1, 2),
    "4:4:4": (1, 1),
    "RGB": (1, 1),
}

TOLERANCE = 1e-6  # seconds; 3 * 0.1 is not quite 0.3

# libswscale: bicubic chroma, computed for every pixel, rounded to nearest. As numbers,
# because older PyAV names only the first.
SCALING = 0x4 | 0x2000 | 0x40000


@dataclasses.dataclass(frozen=True)
class Colour:
    """How RGB was coded as YUV, as H.273 code points; 2 is unspecified."""

    matrix: int = BT709  # always one that is specified
    primaries: int = BT709
    transfer: int = BT709


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a video's frames have in common.

    Examples:
        >>> with VideoReader(Path("shaky.mp4")) as reader:
        ...     info = reader.info
        >>> info.frames, float(info.rate)
        (4, 25.0)

    Attributes:
        width: columns W of the frame, in pixels.
        height: rows H of the frame, in pixels.
        frames: their number, or None if unknown.
        rate: mean frames per second.
        time_base: seconds per unit of the timestamps.
        colour: how the colours are coded.
        aspect: width / height of one pixel of the frame.
        full_range: whether the levels fill 0 to 255.
        counted: whether `frames` is the container's own count, not rate times duration.
        orientation: how to turn the frame for display.
        notes: what will not be as in the input, one sentence each.
        sampling: of colour in the file, "4:2:0" or another of `SAMPLINGS`; None if it
            has no colour, or what is lost of it need not be said.
    """

    width: int
    height: int
    frames: int | None
    rate: Fraction
    time_base: Fraction
    colour: Colour = Colour()
    aspect: Fraction = Fraction(1)
    full_range: bool = False
    counted: bool = False
    orientation: Orientation = Orientation()
    notes: tuple[str, ...] = ()
    sampling: str | None = None

    @property
    def upright(self) -> "VideoInfo":
        """The same video with its frames turned for display."""
        width, height, aspect = self.width, self.height, self.aspect
        if self.orientation.swaps:
            width, height, aspect = height, width, 1 / aspect
        return dataclasses.replace(
            self, width=width, height=height, aspect=aspect, orientation=Orientation()
        )
