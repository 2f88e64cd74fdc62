"""The frames of a camera or a file, each with the moment at which it came.

Part of live.py. Letters: H W pixels.
"""

import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mtujax.errors import UserError

STALLED = 10.0  # seconds without a frame after which a camera is given up
_MOST = 2**31 - 1  # OpenCV takes no larger number

clock = time.perf_counter


class Shot(NamedTuple):
    """A frame of the source."""

    frame: np.ndarray  # [H, W, 3] uint8, BGR as it comes, RGB for the network
    captured: float  # when it came, seconds of `clock`
    at: float  # its place in the video, seconds since the first frame


class InOrder:
    """The frames of a file, one after the other, none left out."""

    dropped, failure = 0, None

    def __init__(self, capture, first, rate):
        """Takes an open file, its first frame and its frames per second."""
        self._capture, self._first, self._rate = capture, first, rate

    def __iter__(self):
        """Yields each frame as soon as it is requested."""
        frame, number = self._first, 0
        while frame is not None:
            yield Shot(frame, clock(), number / float(self._rate))
            frame, number = self._capture.read()[1], number + 1

    def close(self):
        """Closes the file."""
        self._capture.release()


class Latest:
    """A camera, read in a thread that keeps only its latest frame.

    Were frames to queue up, the latency would grow for as long as the camera is
    quicker than the network. `dropped` counts those left out; `failure` says why there
    are no more.
    """

    def __init__(self, capture):
        """Takes an open camera; its frames are read once they are requested."""
        self.dropped, self.failure = 0, None
        self._capture, self._shot, self._ended = capture, None, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __iter__(self):
        """Yields the newest frame, waiting for it if there is none yet."""
        self._thread.start()
        start = None
        while shot := self._take():
            start = shot.captured if start is None else start
            yield shot._replace(at=shot.captured - start)

    def _take(self):
        with self._changed:
            if not self._changed.wait_for(lambda: self._shot or self._ended, STALLED):
                self.failure = f"the source has given no frame for {STALLED:.0f} s"
            elif not self._shot:
                self.failure = "the source has ended"
            shot, self._shot = self._shot, None
            return shot

    def _read(self):
        while not self._ended:
            frame = self._capture.read()[1]
            with self._changed:
                if frame is None:
                    self._ended = True
                else:
                    self.dropped += self._shot is not None
                    self._shot = Shot(frame, clock(), 0.0)
                self._changed.notify()

    def close(self):
        """Ends the thread, then closes the camera."""
        self._ended = True
        if self._thread.ident:
            self._thread.join(timeout=2.0)
        if not self._thread.is_alive():  # one that hangs in `read` still uses it
            self._capture.release()


def open_source(name):
    """Opens a source: its first frame, its frames per second, and all its frames."""
    camera, path = name.isdecimal(), Path(name)
    live = camera or "://" in name or " ! " in name or path.is_char_device()
    if not (live or "%" in name or path.exists()):
        raise UserError(f"{name}: no such file; or give a camera's number or a URL")
    capture = cv2.VideoCapture(min(int(name), _MOST) if camera else name)
    first = capture.read()[1] if capture.isOpened() else None
    if first is None:
        capture.release()
        what = "is it there, and free?" if live else "is it a video file?"
        raise UserError(f"{'camera ' * camera}{name}: gives no frame; {what}")
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = Fraction(rate if 1 <= rate <= 1000 else 30).limit_denominator(1001)
    return first, rate, Latest(capture) if live else InOrder(capture, first, rate)


def prepared(shots, size, *, resize):
    """The shots in RGB, all of `size` (width, height); unasked, none is resized."""
    for shot in shots:
        frame, found = shot.frame, shot.frame.shape[1::-1]
        if found != size:
            if not resize:
                old, new = ("{}x{}".format(*pair) for pair in (size, found))
                raise UserError(
                    f"a frame of {new} among those of {old}; --size {old} resizes it"
                )
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        yield shot._replace(frame=cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
