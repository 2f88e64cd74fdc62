"""Pictures to judge data by: blurry, sharp, motion and what motion does not explain.

Letters: T time, H W pixels. Pictures are RGB, uint8.
"""

import cv2
import numpy as np

from mtujax.wheel import flow_colours

COLUMNS = ("blurry", "sharp", "motion", "warped difference")
"""What a row of `contact_sheet` shows."""

_GAP = 4  # pixels
_DIFFERENCE = 4  # how much stronger differences are shown
_INVALID = (96, 0, 0)


def warped_difference(
    previous: np.ndarray, frame: np.ndarray, flow: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """Moves a frame along the flow and shows how it differs from the next one.

    Args:
        previous: [H, W, 3] uint8.
        frame: [H, W, 3] uint8.
        flow: [H, W, 2] float32 (dx, dy) from `frame` back to `previous`, in pixels.
        valid: bool [H, W].

    Returns:
        [H, W, 3] uint8: grey where they agree, differences strengthened fourfold; dark
        red where not valid.
    """
    height, width = valid.shape
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    moved = cv2.remap(previous, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.addWeighted(frame, _DIFFERENCE, moved, -_DIFFERENCE, 128)
    shown[~valid] = _INVALID
    return shown


def contact_row(
    blurry: np.ndarray,
    sharp: tuple[np.ndarray, np.ndarray],
    flow: np.ndarray,
    valid: np.ndarray,
    *,
    longest: float,
) -> np.ndarray:
    """One frame as `COLUMNS` has it.

    Args:
        blurry: [H, W, 3] uint8.
        sharp: the frame before and this one, [H, W, 3] uint8 each.
        flow: [H, W, 2] float32 (dx, dy) from this one back to the one before, pixels.
        valid: bool [H, W].
        longest: length in pixels that has the full colour.

    Returns:
        [h, w, 3] uint8, four pictures side by side with white gaps.
    """
    cells = (
        blurry,
        sharp[1],
        flow_colours(flow / max(longest, 1e-3)),
        warped_difference(*sharp, flow, valid),
    )
    edge = ((_GAP // 2, _GAP // 2), (_GAP // 2, _GAP // 2), (0, 0))
    framed = [np.pad(cell, edge, constant_values=255) for cell in cells]
    return np.concatenate(framed, axis=1)
