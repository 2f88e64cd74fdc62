"""Where one shot ends and the next begins.

Letters: H W pixels.
"""

import cv2
import numpy as np

DEFAULT_THRESHOLD = 0.4
_SIZE = (32, 18)  # (columns, rows): small enough that motion within a shot hardly shows
_BINS = 16


class CutDetector:
    """Compares each frame with the one before.

    The score in [0, 1] is the geometric mean of two differences; both must be large:
    of structure (1 - correlation of the downsampled luma, blind to brightness, so
    that a flash is no cut) and of colour (distance of the histograms, blind to motion).

    Attributes:
        score: of the last frame given.
    """

    def __init__(self, threshold: float):
        """Starts before the first frame.

        Args:
            threshold: scores above it are cuts, in [0, 1]; 0 finds none.
        """
        self.score = 0.0
        self._threshold = threshold
        self._previous = None

    def is_cut(self, frame: np.ndarray) -> bool:
        """Takes the next frame.

        Args:
            frame: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1].

        Returns:
            Whether it starts a new shot; False for the first frame of all.
        """
        if self._threshold <= 0:
            return False
        current = _signature(frame)
        if self._previous is not None:
            self.score = _difference(self._previous, current)
        self._previous = current
        return self.score > self._threshold


def _signature(frame):
    """Standardised luma, and one histogram per colour channel."""
    small = cv2.resize(frame, _SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    if frame.dtype == np.uint8:
        small /= 255.0
    luma = small @ np.array([0.299, 0.587, 0.114], np.float32)
    luma = luma - luma.mean()
    deviation = luma.std()
    # Below a level or so there is only noise, and nothing to correlate.
    luma = luma / deviation if deviation > 0.005 else np.zeros_like(luma)
    histogram = [
        np.histogram(small[..., c], bins=_BINS, range=(0, 1))[0] for c in range(3)
    ]
    return luma, np.stack(histogram) / luma.size


def _difference(previous, current):
    structure = np.clip(1 - np.mean(previous[0] * current[0]), 0, 1)
    if not previous[0].any() and not current[0].any():
        structure = 1.0  # two flat frames: only their colour tells
    colour = np.abs(previous[1] - current[1]).sum(axis=-1).mean() / 2
    return float(np.sqrt(structure * colour))
