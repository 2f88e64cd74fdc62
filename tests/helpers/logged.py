"""Logbooks that write into a string, by a clock that stands."""

import io

import numpy as np
import pytest
from logs import Clock, open_book


class Underway:
    """A scalar on the device that is not finished before it is told so."""

    def __init__(self, value):
        self.value, self.finished, self.fetched = value, False, False

    def is_ready(self):
        return self.finished

    def __array__(self, dtype=None, copy=None):
        self.fetched = True
        return np.asarray(self.value, dtype)


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def book(tmp_path, stream, clock):
    """Makes logbooks in one folder, without TensorBoard."""

    def make(**settings):
        given = dict(tensorboard=False, stream=stream, clock=clock)
        return open_book(tmp_path / "run", **given | settings)

    return make


def lines(stream):
    return stream.getvalue().splitlines()


def steps_of(log, clock, seconds, steps):
    for step in steps:
        clock.now += seconds
        log.update(step, {"deblur": 1.0})
