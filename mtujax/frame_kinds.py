"""What a frame is: its shape, its dtype, and whose array it is.

Letters: B batch, H W pixels.
"""

import collections

import jax
import jax.numpy as jnp
import numpy as np

Frame = np.ndarray | jax.Array


class Kind(collections.namedtuple("Kind", "shape dtype numpy")):
    """What all frames of a video have in common.

    Attributes:
        shape: (H, W, 3) or (B, H, W, 3).
        dtype: of the values.
        numpy: whether it is NumPy's array, which lies on the host.
    """

    @classmethod
    def of(cls, frame: Frame) -> "Kind":
        """That of a frame which `check_frame` has let pass."""
        return cls(tuple(frame.shape), frame.dtype, isinstance(frame, np.ndarray))

    @property
    def batched(self) -> tuple[int, int, int, int]:
        """(B, H, W, 3), with one video where there is no batch."""
        return self.shape if len(self.shape) == 4 else (1, *self.shape)


def check_frame(frame: Frame) -> None:
    """Refuses what is no frame.

    Args:
        frame: [H, W, 3] or [B, H, W, 3], uint8 or float.

    Raises:
        ValueError: for any other shape or dtype.
    """
    shape, dtype = np.shape(frame), getattr(frame, "dtype", None)
    floating = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    if not (floating or dtype == np.uint8):
        raise ValueError(f"frame of {dtype}: give uint8, or float in [0, 1]")
    if len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape:
        raise ValueError(f"frame of shape {shape}: give [H, W, 3] or [B, H, W, 3]")
