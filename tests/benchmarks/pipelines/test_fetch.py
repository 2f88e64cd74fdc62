"""The benchmark of reading checkpoints and of downloads, run small."""

import numpy as np
import pytest
from measured import quick_run

from benchmarks.pipelines.fetch import write_checkpoint
from mtujax.weights.torch_reader import read_checkpoint


def test_its_checkpoint_is_one(tmp_path):
    torch = pytest.importorskip("torch")
    path = write_checkpoint(tmp_path / "x", "mtu1")
    theirs = torch.load(path, weights_only=True)
    ours, _ = read_checkpoint(path)
    assert [name.removeprefix("module.Network.") for name in theirs] == list(ours)
    for mine, other in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_array_equal(mine, other.numpy())


@pytest.mark.slow
def test_reading_and_fetching_are_measured(tmp_path):
    found, _ = quick_run("pipelines.fetch", tmp_path)
    for row in (*found["reading"].values(), found["fetching"]["download"]):
        assert row["s"] > 0 and row["CPU s"] >= 0
    assert found["reading"]["mtujax"]["peak MB"] > 20
