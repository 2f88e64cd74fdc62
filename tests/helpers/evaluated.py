"""A small set and one evaluation of it, for all tests that look at either."""

import dataclasses
import functools
import shutil

import pytest
import sets
from networks import SMALLEST, lively_params

from mtujax.evaluation.api import evaluate
from mtujax.model.network import MTUNet

LENGTHS = {"GOPR1": 3, "GOPR2": 5, "GOPR3": 4, "GOPR4": 1}
FRAMES = sum(LENGTHS.values())
FORM = dataclasses.replace(sets.FORMS["gopro"], lengths={"test": LENGTHS})
SIZE = (48, 56)


# pytest sets a fixture up again in every file that takes it; these are made once.


@functools.cache
def _network():
    model = MTUNet(SMALLEST)
    return model, lively_params(model)


@functools.cache
def _gopro(mktemp):
    return sets.make(mktemp("gopro"), FORM, size=SIZE)


def _run(mktemp):
    everything = dict(motion=True, consistency=True, save_frames=True)
    return functools.partial(
        evaluate, _network(), dataset="gopro", path=_gopro(mktemp), **everything
    )


@functools.cache
def _whole(mktemp):
    out = mktemp("whole") / "out"
    return _run(mktemp)(out=out), out


@pytest.fixture(scope="module")
def network():
    return _network()


@pytest.fixture(scope="module")
def gopro(tmp_path_factory):
    return _gopro(tmp_path_factory.mktemp)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Evaluates with everything on, so that all tests share what is compiled."""
    return _run(tmp_path_factory.mktemp)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An evaluation by two devices: what was found, and its folder."""
    return _whole(tmp_path_factory.mktemp)


@pytest.fixture(scope="module")
def score(gopro):
    """Scores results; all tests share what is compiled."""
    return functools.partial(evaluate, dataset="gopro", path=gopro)


@pytest.fixture
def made(whole, tmp_path):
    """Restored frames, to be spoilt."""
    folder = tmp_path / "made"
    shutil.copytree(whole[1] / "frames", folder)
    return folder
