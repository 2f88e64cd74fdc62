"""Scene cuts: where one shot ends and the next starts.

Frames are compared by small signatures. What differs from its neighbours for a few
frames only, as in a flash, is distinguished from a cut by the frames that follow.
Letters: H W pixels.
"""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np

PATIENCE = 3
"""How many frames a flash may last, and the look-ahead of `shots`."""


MEMORY = PATIENCE + 1
"""Frames to read again before one, so that `shots` repeats its decision there."""


_SIZE = (32, 18)  # (columns, rows): small enough that motion within a shot hardly shows
_SAMPLES = 12  # across and down, of the pixels that make one cell
_BINS = 16

# Of the signature's luma, in [0, 1]. Tried on pans over 53 photographs: of flashes of
# nine kinds 97 % are found, of 1 to 3 frames from another photograph 5 % are taken for
# flashes.
_CLIPPED = 0.05  # nearer to black or white than this there is no structure left
_FLAT = 0.04  # standard deviation of a picture that shows nothing
_DETAIL = 0.03  # root mean square of structure that is too little to be a picture
_RELATED = 0.25  # correlation of the detail of one scene under two lights
_ONE_WAY = 0.1  # share of the change against its direction: motion, noise


class Decoded(NamedTuple):
    """A frame [H, W, 3] RGB as its reader gives it, and whether it starts a shot."""

    frame: np.ndarray
    tag: Any  # its timestamp, or the kind of its image file
    is_cut: bool = False


def shots(
    frames: Iterable[tuple[np.ndarray, Any]],
    threshold: float,
    *,
    patience: int = PATIENCE,
) -> Iterator[Decoded]:
    """Marks the frames that start a new shot; a flash starts none.

    A frame is a candidate if its score against the one before is above the threshold.
    The score in [0, 1] is the geometric mean of two differences, so both must be large:
    of structure (1 - correlation of the downsampled luma, blind to brightness) and of
    colour (distance of the histograms, blind to motion).

    A candidate is no cut if it is in a flash or is the first frame after one. A flash
    is a run of at most `patience` frames between two similar frames, each of which
    shows nothing (white, black) or the same scene in other light. A picture with
    structure of its own is no flash, however short: both its ends are cuts, and are
    found at once. A flash at the end of the video is a cut too. The look-ahead is used
    only where a frame may be in a flash.

    The decision on frame n depends only on frames n - 1 - patience to n + patience: if
    `patience + 1` earlier frames are read again (`MEMORY` by default), a second run
    that starts in the middle decides as the first did.

    Examples:
        >>> [frame.is_cut for frame in shots(zip(camera, range(4)), threshold=0.4)]
        [False, False, False, False]

    Args:
        frames: [H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1], each with a tag
            of any kind, which is returned with it.
        threshold: scores above it make candidates, in [0, 1]; 0 finds no cuts and reads
            nothing ahead.
        patience: how many frames a flash may last; at most `patience + 1` are held.

    Yields:
        Each frame, its tag and whether it starts a shot; False for the very first.

    Raises:
        ValueError: if `patience` is negative.
    """
    if patience < 0:
        raise ValueError(f"patience={patience}: must be >= 0")
    if threshold <= 0:
        yield from (Decoded(*tagged) for tagged in frames)
        return
    past, ahead = collections.deque(maxlen=patience + 1), _Ahead(frames)
    while ahead.reaches(0):
        cut = bool(past) and _difference(past[-1], ahead.signatures[0]) > threshold
        cut = cut and not _at_flash(list(past), ahead, threshold, patience)
        past.append(ahead.signatures[0])
        yield Decoded(*ahead.pop(), cut)


@dataclasses.dataclass(frozen=True)
class _Signature:
    """Luma [h, w] in [0, 1], the same standardised, and a histogram per channel."""

    luma: np.ndarray
    structure: np.ndarray
    colour: np.ndarray


class _Ahead:
    """Frames that were read and not yet yielded; the first is to be decided on."""

    def __init__(self, frames):
        self.signatures = []
        self._source, self._held = iter(frames), collections.deque()

    def reaches(self, offset):
        """Reads up to the frame at `offset`, and returns whether there is one."""
        missing = offset + 1 - len(self._held)
        for tagged in itertools.islice(self._source, max(0, missing)):
            self._held.append(tagged)
            self.signatures.append(_signature(tagged[0]))
        return offset < len(self._held)

    def pop(self):
        del self.signatures[0]
        return self._held.popleft()


def _at_flash(past, ahead, threshold, patience):
    """Whether the frame `ahead[0]` is in a flash or is the first after one."""
    # The flash has `before` of its frames in the past and `after` in what is ahead.
    for after in range(patience + 1):
        for before in range(min(len(past), patience + 1 - after)):
            shot, first = past[-1 - before], len(past) - before
            flash = past[first:] + ahead.signatures[:after]
            if not flash or not all(_is_flash(f, shot) for f in flash):
                continue
            if not ahead.reaches(after):
                return False
            if _difference(shot, ahead.signatures[after]) <= threshold:
                return True
    return False


def _signature(frame):
    # A sample of the pixels is as good as all of them, in a fraction of the time.
    height, width, _ = frame.shape
    some = min(width, _SIZE[0] * _SAMPLES), min(height, _SIZE[1] * _SAMPLES)
    small = cv2.resize(frame, some, interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(small, _SIZE, interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    if frame.dtype == np.uint8:
        small /= 255.0
    luma = small @ np.array([0.299, 0.587, 0.114], np.float32)
    structure = luma - luma.mean()
    deviation = structure.std()
    # Below a level or so there is only noise, and nothing to correlate.
    structure *= 1 / deviation if deviation > 0.005 else 0
    bins = np.clip(small * _BINS, 0, _BINS - 1).astype(int) + _BINS * np.arange(3)
    colour = np.bincount(bins.ravel(), minlength=3 * _BINS) / luma.size
    return _Signature(luma, structure, colour)


def _difference(one, other):
    """Scores two signatures in [0, 1]; symmetric."""
    structure = np.clip(1 - np.mean(one.structure * other.structure), 0, 1)
    if not one.structure.any() and not other.structure.any():
        structure = 1.0  # two flat frames: only their colours can differ
    colour = np.abs(one.colour - other.colour).sum() / 6
    return float(np.sqrt(structure * colour))


def _is_flash(frame, shot):
    """Whether a frame shows nothing, or what the shot shows in other light."""
    # Added light brightens everything, failing light darkens everything; what is not
    # clipped then has the detail of the shot, or none.
    if frame.luma.std() < _FLAT:
        return True
    kernel = np.ones((3, 3), np.uint8)  # what moves by a cell is no change of light
    brighter = np.maximum(frame.luma - cv2.dilate(shot.luma, kernel), 0).sum()
    darker = np.maximum(cv2.erode(shot.luma, kernel) - frame.luma, 0).sum()
    if min(brighter, darker) > _ONE_WAY * (brighter + darker):
        return False
    open_ = (frame.luma > _CLIPPED) & (frame.luma < 1 - _CLIPPED)
    detail = _detail(frame.luma, open_)
    if np.sqrt(np.mean(detail**2)) < _DETAIL:
        return True
    return _best_correlation(detail, shot.luma, open_) > _RELATED


def _detail(luma, mask):
    """Subtracts the local mean, both within the mask; zero outside."""

    def total(x):
        return cv2.boxFilter(x, -1, (5, 5), normalize=False, borderType=0)

    mask = mask.astype(np.float32)
    return mask * (luma - total(mask * luma) / np.maximum(total(mask), 1))


def _best_correlation(detail, luma, mask):
    """Correlates `detail` with that of `luma`, moved by at most a cell."""
    scores = []
    for move in itertools.product((-1, 0, 1), repeat=2):
        other = _detail(np.roll(luma, move, axis=(0, 1)), mask)
        norm = np.sqrt(np.sum(detail**2) * np.sum(other**2)) + 1e-9
        scores.append(np.sum(detail * other) / norm)
    return max(scores)
