"""Several devices, and several processes, train as one does."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from networks import SMALLEST
from places import HELPERS
from ports import coordinator
from sharing import CONFIGS, MODEL, make_batch, tracings, trained
from stepping import train_step

from mtujax import parallel
from mtujax.errors import UsageError, UserError
from mtujax.model.network import MTUNet
from mtujax.training.step import make_step


def assert_same(found, expected, atol):
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name, model",
    [
        ("release", MTUNet(SMALLEST)),
        pytest.param("release", MODEL, marks=SLOW),
        pytest.param("paper", MODEL, marks=SLOW),
    ],
    ids=["smallest", "release", "paper"],
)
def test_two_devices_update_as_one_does(name, model, monkeypatch):
    config, batches = CONFIGS[name], [make_batch(seed=k) for k in range(3)]
    one = trained(
        lambda state, batch: train_step(state, batch, model=model, config=config),
        config,
        batches,
        model,
    )
    assert jax.local_device_count() == 2
    traced = tracings(monkeypatch.setattr)
    shared = make_step(model, config)

    def step(state, batch):
        return shared(state, None, batch)

    two = trained(step, config, batches, model, parallel.replicated)
    assert len(traced) == 1  # what comes back is not compiled for again
    assert_same(two[0].params, one[0].params, 1e-6)
    assert_same(two[0].ema, one[0].ema, 1e-6)
    assert two[1].keys() == one[1].keys()
    assert_same(two[1], one[1], 1e-5)
    # Each half alone trains otherwise, so that a missing average would show.
    halves = [_twice(batch) for batch in batches]
    half = trained(step, config, halves, model, parallel.replicated)
    moved = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()), half[0].params, one[0].params
    )
    assert max(jax.tree.leaves(moved)) > 1e-5


def _twice(batch):
    return {name: np.concatenate([x[:1], x[:1]]) for name, x in batch.items()}


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(UserError, match="batch 3: 2 devices"):
        parallel.local_batch(3)
    assert parallel.local_batch(6) == 6
    with pytest.raises(UserError, match="batch of 1 .*2 devices"):
        parallel.split(make_batch(1))


@pytest.mark.parametrize("batch, cores, count", [(8, 2, 2), (3, 2, 1), (6, 4, 3)])
def test_a_cpu_counts_as_devices_that_can_share_a_batch(
    batch, cores, count, monkeypatch
):
    assert parallel.use_cores(batch) == 2  # as the tests have said
    said = []
    monkeypatch.setattr(jax.config, "update", lambda *words: said.append(words))
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    monkeypatch.setattr(type(jax.config), "jax_num_cpu_devices", -1, raising=False)
    assert parallel.use_cores(batch) == count
    assert said == [("jax_num_cpu_devices", count)]


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(UsageError, match="^batch 0: must be 1 or more$"):
        parallel.use_cores(0)


WORKER = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
sys.path.insert(0, sys.argv[3])
from mtujax import parallel
process = int(sys.argv[1])
parallel.start(sys.argv[2], 2, process)
assert jax.device_count() == 2 and jax.local_device_count() == 1
assert parallel.local_batch(2) == 1 and parallel.is_first() == (process == 0)
import numpy as np
import sharing as t
from mtujax.training.step import make_step
config = t.CONFIGS["release"]
batches = [t.make_batch(seed=k) for k in range(3)]
own = [{n: x[process:process + 1] for n, x in b.items()} for b in batches]
traced = t.tracings()
shared = make_step(t.MODEL, config)
step = lambda state, batch: shared(state, None, batch)
state, _ = t.trained(step, config, own, place=parallel.replicated)
assert len(traced) == 1, traced
leaves = jax.tree.leaves(jax.tree.map(np.asarray, state.params))
np.savez(sys.argv[4], **{str(k): x for k, x in enumerate(leaves)})
"""


@SLOW
def test_two_processes_update_as_one_does(tmp_path):
    address = coordinator()
    tests = str(HELPERS)
    files = [tmp_path / f"{k}.npz" for k in range(2)]
    words = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen(
            [*words, str(k), address, tests, str(file)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for k, file in enumerate(files)
    ]
    said = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(said)
    config, batches = CONFIGS["release"], [make_batch(seed=k) for k in range(3)]
    one, _ = trained(
        lambda state, batch: train_step(state, batch, model=MODEL, config=config),
        config,
        batches,
    )
    for file in files:
        with np.load(file) as arrays:
            for k, leaf in enumerate(jax.tree.leaves(one.params)):
                np.testing.assert_allclose(arrays[str(k)], leaf, rtol=1e-5, atol=1e-6)
