"""Pictures to look at: blurry and restored, what was changed, and how things move.

NumPy and OpenCV only. Letters: H W pixels, h w motion grid. Pictures are RGB.
"""

import functools
import math

import cv2
import numpy as np

from mtujax.config import MOTION_STRIDE

VIEWS = ("side", "wipe", "diff")
"""Kinds of `compare`.

"side": blurry, a thin grey divider and restored, side by side. "wipe": one picture,
blurry to the left of the divider and restored to its right; the divider starts in the
middle and sweeps over nine tenths of the width, there and back in 4 s. "diff": mid grey
+ `DIFF_GAIN` * (restored - blurry), clipped: mid grey means no change.
"""


DIFF_GAIN = 8
"""How much "diff" amplifies: a change by 5 % of the range shows as one by 40 %."""


_GREY = 200  # of the divider: visible on black and on white
_PERIOD = 4.0  # seconds that a wipe takes there and back
_REACH = 0.45  # how far it goes from the middle, as a share of the width

# Steps of hue from red over yellow, green, cyan, blue and magenta back to red.
_STEPS = (15, 6, 4, 11, 13, 6)


def compare(
    blurry: np.ndarray,
    restored: np.ndarray,
    kind: str,
    *,
    number: int = 0,
    rate: float = 30.0,
) -> np.ndarray:
    """One of `VIEWS`, of `view_size`, of [H, W, 3] before and after, uint8 or float."""
    if kind == "diff":
        return _difference(blurry, restored)
    height, width, _ = blurry.shape
    divider = np.full((height, _thickness(height), 3), _GREY, np.uint8)
    if blurry.dtype != np.uint8:
        divider = (divider / 255).astype(blurry.dtype)
    if kind == "side":
        return np.concatenate([blurry, divider, restored], axis=1)
    room = max(0, width - divider.shape[1])
    swing = _REACH * width * math.sin(2 * math.pi * number / float(rate) / _PERIOD)
    # Even columns, as a codec stores the colours of two columns together.
    left = min(max(0, 2 * round((room / 2 + swing) / 2)), room)
    right = left + divider.shape[1]
    picture = np.concatenate([blurry[:, :left], divider, restored[:, right:]], axis=1)
    return np.ascontiguousarray(picture[:, :width])


def view_size(kind: str, width: int, height: int) -> tuple[int, int]:
    """Width and height in pixels of the picture from `compare`."""
    return (2 * width + _thickness(height) if kind == "side" else width), height


def motion_picture(
    displacement: np.ndarray,
    size: tuple[int, int],
    *,
    radius: float,
    cell: int = MOTION_STRIDE,
) -> np.ndarray:
    """Colours displacements [h, w, 2] int, in cells, in [H, W, 3] uint8."""
    # Saturation grows with speed up to `radius` cells, which is one value per video, as
    # a varying one would make it flicker.
    width, height = size
    # Few displacements are possible: the colour of each is found once.
    reach = int(np.abs(displacement).max())
    every = np.arange(-reach, reach + 1, dtype=np.float32) / np.float32(radius)
    colours = flow_colours(np.stack(np.meshgrid(every, every), axis=-1))
    cells = colours[displacement[..., 1] + reach, displacement[..., 0] + reach]
    scale = {"fx": cell, "fy": cell}
    pixels = cv2.resize(cells, None, **scale, interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(pixels[:height, :width])


def flow_colours(backward: np.ndarray) -> np.ndarray:
    """Colours backward flow [H, W, 2] (dx, dy), in [H, W, 3] uint8 RGB."""
    # Reference: Baker et al. 2011, "A Database and Evaluation Methodology for Optical
    # Flow". Hue is the direction and saturation the length, full from 1 on. The flow
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


def _thickness(height):
    """Columns of the divider: 2 up to 720 rows, 4 at 1080, 8 at 2160."""
    return 2 * max(1, round(height / 540))


def _difference(blurry, restored):
    if blurry.dtype == np.uint8:
        return cv2.addWeighted(restored, DIFF_GAIN, blurry, -DIFF_GAIN, 128)
    return np.clip(0.5 + DIFF_GAIN * (restored - blurry), 0, 1).astype(blurry.dtype)
