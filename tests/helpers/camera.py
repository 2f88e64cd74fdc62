"""A camera that gives what a test puts in, for the tests of `examples/live.py`."""

import importlib
import queue
import threading

import numpy as np
import pytest
from places import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture
def source(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("live_source")


class Camera:
    """Gives the frames that a test puts in; tells when it waits for another."""

    def __init__(self, source):
        self._frames, self.asked, self.released = queue.Queue(), [], False
        self._waiting = threading.Condition()
        self.shots = source.Latest(self)

    def read(self):
        with self._waiting:
            self.asked.append(True)
            self._waiting.notify()
        frame = self._frames.get()
        return frame is not None, frame

    def release(self):
        self.released = True

    def give(self, *frames):
        """Returns when all of them are with the reader."""
        with self._waiting:
            goal = len(self.asked) + len(frames)
            for frame in frames:
                self._frames.put(frame)
            assert self._waiting.wait_for(lambda: len(self.asked) >= goal, 30)

    def end(self):
        self._frames.put(None)


def frame(value, size=(8, 6)):
    return np.full((size[1], size[0], 3), value, np.uint8)
