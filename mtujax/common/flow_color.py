"""Optical flow as colour, on the wheel of the Middlebury flow evaluation.

NumPy only. Letters: H W pixels. Reference: Baker et al. 2011, "A Database and
Evaluation Methodology for Optical Flow".
"""

import functools

import numpy as np

# Steps of hue from red over yellow, green, cyan, blue and magenta back to red.
_STEPS = (15, 6, 4, 11, 13, 6)


def flow_colours(backward: np.ndarray) -> np.ndarray:
    """Colours backward flow [H, W, 2] (dx, dy), in [H, W, 3] uint8 RGB."""
    # Hue is the direction and saturation the length, full from 1 on. Backward flow
    # points to where things were; the colour shows where they went: red to the right,
    # yellow down, cyan to the left, violet up, white for those that stayed.
    wheel = _wheel()
    # The reference takes atan2(-v, -u) of the motion; that is the backward one.
    angle = np.arctan2(backward[..., 1], backward[..., 0]) / np.pi  # -1 and 1: right
    place = (angle + 1) % 2 / 2 * (len(wheel) - 1)
    low = np.floor(place).astype(int)
    share = (place - low)[..., None]
    hue = (1 - share) * wheel[low] + share * wheel[(low + 1) % len(wheel)]
    length = np.minimum(np.hypot(backward[..., 0], backward[..., 1]), 1)[..., None]
    return np.rint(255 * (1 - length * (1 - hue))).astype(np.uint8)


@functools.cache
def _wheel():
    """The fully saturated colours [55, 3], in [0, 1]."""
    corners = np.array(
        [(1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0)]
    )
    parts = [
        255 * one + (other - one) * (255 * np.arange(steps)[:, None] // steps)
        for steps, one, other in zip(_STEPS, corners[:-1], corners[1:], strict=True)
    ]
    return np.concatenate(parts) / 255
