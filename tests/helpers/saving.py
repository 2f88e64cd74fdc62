"""Folders of checkpoints, saved once, and copies of them to damage."""

import functools
import shutil

import pytest
from states import make_state

from mtujax.training.checkpoints import Checkpoints

EXTRA = {"batches": 7, "config": {"train": {"steps": 20, "drops": [[3, 0.25]]}}}


def save_all(folder, steps, **options):
    """Saves a state drawn from each step's number."""
    with Checkpoints(str(folder), **options) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step), EXTRA | {"batches": step})
    return folder


# pytest sets fixtures up again in every file that takes them; this is made once.
@functools.cache
def _two(mktemp):
    return save_all(mktemp("two") / "checkpoints", (10, 20))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder with checkpoints 10 and 20."""
    return _two(tmp_path_factory.mktemp)


@pytest.fixture
def copy(two, tmp_path):
    """A copy of it, to damage."""
    return shutil.copytree(two, tmp_path / "checkpoints")
