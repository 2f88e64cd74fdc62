"""How a video's frames are to be turned for display, as its display matrix says.

The matrix is libav's: nine numbers, in fixed point, that map the coded picture's
coordinates (x, y) to the display's: x' = a x + c y, y' = b x + d y.

Letters: H W pixels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Orientation:
    """What to do with a coded frame to see it upright.

    Attributes:
        turns: quarter turns, counter-clockwise.
        mirrored: whether left and right are exchanged after turning.
        matrix: the display matrix as the container has it, or None for none.
    """

    turns: int = 0
    mirrored: bool = False
    matrix: tuple[int, ...] | None = None

    @property
    def is_identity(self) -> bool:
        """Whether the coded frame is upright."""
        return not (self.turns or self.mirrored)

    @property
    def swaps(self) -> bool:
        """Whether rows become columns."""
        return self.turns % 2 == 1

    @classmethod
    def of(cls, matrix: Sequence[int] | None) -> "Orientation":
        """Reads a display matrix.

        Args:
            matrix: nine numbers, or None for an upright picture.

        Returns:
            The nearest of the eight ways to lay down a picture; a matrix that is none
            of them (a turn by other than quarter turns) gives no turn.
        """
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
        """Turns a coded frame for display.

        Args:
            frame: [H, W, 3], any dtype.

        Returns:
            [H, W, 3], or [W, H, 3] after an odd number of quarter turns.
        """
        turned = np.rot90(frame, self.turns)
        return np.ascontiguousarray(turned[:, ::-1] if self.mirrored else turned)

    def turn_vectors(self, field: np.ndarray) -> np.ndarray:
        """Turns the directions of a field of vectors, and leaves each at its place.

        Args:
            field: [H, W, 2] (dx, dy) in the coded frame, any dtype.

        Returns:
            [H, W, 2] (dx, dy) as seen in the upright frame.
        """
        return field @ _linear(self.turns, self.mirrored).T.astype(field.dtype)


def _linear(turns, mirrored):
    """[2, 2]: maps coded to upright coordinates, both with y pointing down."""
    matrix = np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), turns)
    return np.diag([-1, 1]) @ matrix if mirrored else matrix
