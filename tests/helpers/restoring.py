"""A network, a clip and what a stream makes of it, for the tests of the restorer."""

import functools

import numpy as np
import pytest
from moving import decibels, panned
from networks import TINY, lively_params

from mtujax.model.network import MTUNet, inference_params
from mtujax.model.stream import Stream
from mtujax.video.scene_cuts import Decoded

CUT = "cut"
FRAMES = 14


def decoded(items):
    cut = False
    for item in items:
        if item is not CUT:
            yield Decoded(item, None, cut)
        cut = item is CUT


def drive(restorer, items):
    return list(restorer.restore(decoded(items)))


def streamed(network, items):
    runner, out = Stream(*network), []
    for item in items:
        out += runner.finish() if item is CUT else runner.advance(item)
    return out + runner.finish()


def steps_of(stream, frames):
    return [s for frame in frames for s in stream.advance(frame)] + stream.finish()


def restored_by(stream, frames):
    return np.stack([step.restored for step in steps_of(stream, frames)])


def assert_near(found, expected, least=45):
    """Every frame is there once, in order: each is the nearest to its own."""
    assert len(found) == len(expected)
    for k, a in enumerate(found):
        near = [decibels(a.step.restored, b.restored) for b in expected]
        assert np.argmax(near) == k and near[k] > least, (k, near)


# pytest sets a fixture up again in every file that takes it; these are made once.


@functools.cache
def _network():
    """Weights of about trained size: livelier ones make chaos of any difference."""
    model = MTUNet(TINY)
    return model, inference_params(lively_params(model, scale=2.0))


@functools.cache
def _frames():
    return panned(FRAMES, 24, 320)


@functools.cache
def _expected():
    return streamed(_network(), _frames())


@pytest.fixture(scope="module")
def network():
    return _network()


@pytest.fixture(scope="module")
def frames():
    return _frames()


@pytest.fixture(scope="module")
def expected():
    return _expected()
