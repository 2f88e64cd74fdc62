"""Where the motion between sharp frames comes from.

Flow (dx, dy) is backward, in pixels: what is at (x, y) in a frame was at
(x + dx, y + dy) in the one before. Letters: H W pixels of a frame, h w of a window.
"""

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

from mtujax.data.sources import FrameSource, Window

Estimator = Callable[[np.ndarray, np.ndarray], np.ndarray]


class MotionSource(Protocol):
    """Motion of a split's videos; can be pickled, safe in threads.

    Attributes:
        name: what it is, for messages.
    """

    name: str

    def motion(
        self, video: int, frame: int, window: Window | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Motion from a sharp frame back to the one before.

        Args:
            video: its position in the split.
            frame: position of the frame in the video; frame 0 has no motion.
            window: part of the frame to give; None gives all of it.

        Returns:
            Flow float32 [h, w, 2] in pixels, and bool [h, w]: False where it is unknown
            or what is seen was hidden, or outside the frame.

        Raises:
            UserError: naming what cannot be read.
        """


class ComputedMotion:
    """Motion estimated whenever it is asked for, on whole frames: slow.

    Attributes:
        name: what it is, for messages.
    """

    def __init__(self, source: FrameSource, estimate: Estimator):
        """Computes nothing yet.

        Args:
            source: of the sharp frames.
            estimate: given the current and the previous frame [H, W, 3] uint8, gives
                the backward flow [H, W, 2] in pixels: `dis_flow`, or a flow network.
        """
        self.name = f"motion of {source.name}"
        self._source, self._estimate = source, estimate

    def motion(
        self, video: int, frame: int, window: Window | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `MotionSource.motion`.

        Args:
            video: its position in the split.
            frame: position of the frame in the video.
            window: part of the frame to give; None gives all of it.

        Returns:
            Flow float32 [h, w, 2] in pixels, and bool [h, w].
        """
        if frame == 0:
            info = self._source.videos[video]
            return no_motion(info.height, info.width, window)
        pair = self._source.read(video, {"sharp": [frame, frame - 1]})["sharp"]
        return cut(*estimate_motion(*pair, self._estimate), window)


def dis_flow(current: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """Flow by OpenCV's dense inverse search (Kroeger et al. 2016), preset medium.

    Args:
        current: [H, W, 3] uint8 RGB.
        previous: the frame before, alike.

    Returns:
        [H, W, 2] float32 backward flow in pixels.
    """
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in (current, previous)]
    # One for each call, as it keeps what it works on in itself.
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return search.calc(*grey, None)


def estimate_motion(
    current: np.ndarray, previous: np.ndarray, estimate: Estimator
) -> tuple[np.ndarray, np.ndarray]:
    """Estimates both ways: where they disagree, one of the frames hides something.

    Args:
        current: [H, W, 3] uint8 RGB.
        previous: the frame before, alike.
        estimate: as for `ComputedMotion`.

    Returns:
        Flow float32 [H, W, 2] in pixels, and bool [H, W], as `consistent` gives it.
    """
    back = np.asarray(estimate(current, previous), np.float32)
    forth = np.asarray(estimate(previous, current), np.float32)
    return back, consistent(back, forth)


def consistent(back: np.ndarray, forth: np.ndarray) -> np.ndarray:
    """Where going back and forth returns: `|b + f|^2 < 0.01 (|b|^2 + |f|^2) + 0.5`.

    The flow f is read, bilinearly, where b leads. Reference: Sundaram et al. 2010.

    Args:
        back: [H, W, 2] flow b from the current frame to the previous one, in pixels.
        forth: [H, W, 2] flow f from the previous one to the current one.

    Returns:
        bool [H, W]; False too where b leads out of the frame.
    """
    height, width = back.shape[:2]
    x = np.arange(width, dtype=np.float32) + back[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + back[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    there = cv2.remap(forth, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error, length = ((v**2).sum(-1) for v in (back + there, np.dstack([back, there])))
    return inside & (error < 0.01 * length + 0.5)


def no_motion(
    height: int, width: int, window: Window | None
) -> tuple[np.ndarray, np.ndarray]:
    """What stands for a frame without one before it.

    Args:
        height: rows H of the frame.
        width: columns W.
        window: part of it; None for all.

    Returns:
        Flow [h, w, 2] float32 of zeros, and bool [h, w], False everywhere.
    """
    shape = (window.height, window.width) if window else (height, width)
    return np.zeros((*shape, 2), np.float32), np.zeros(shape, bool)


def cut(
    flow: np.ndarray, valid: np.ndarray, window: Window | None
) -> tuple[np.ndarray, np.ndarray]:
    """A part of a frame's motion.

    Args:
        flow: [H, W, 2] in pixels.
        valid: bool [H, W].
        window: the part; None for all.

    Returns:
        Flow [h, w, 2] and bool [h, w].
    """
    if window is None:
        return flow, valid
    return window.of(flow), window.of(valid[..., None])[..., 0]
