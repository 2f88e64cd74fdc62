"""Checkpoints of a process that is killed, and of several that train together."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from places import HELPERS
from ports import coordinator
from states import assert_same, like, make_state

from mtujax.training.checkpoints import Checkpoints

pytestmark = pytest.mark.slow
TESTS = str(HELPERS)

SAVES = """
import sys
sys.path.insert(0, sys.argv[1])
from states import like, make_state
from mtujax.training.checkpoints import Checkpoints
with Checkpoints(sys.argv[2]) as checkpoints:
    found = checkpoints.restore(like())
    step = 0 if found is None else found.step
    while True:
        step += 1
        checkpoints.save(step, make_state(step), {"batches": step})
        print(step, flush=True)
"""


def test_killed_at_any_moment_a_run_goes_on_from_a_whole_checkpoint(tmp_path):
    folder, last = str(tmp_path / "checkpoints"), 0
    moment = random.Random(0)
    for _ in range(8):
        worker = subprocess.Popen(
            [sys.executable, "-c", SAVES, TESTS, folder],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            text=True,
        )
        begun = [int(worker.stdout.readline()) for _ in range(3)]
        assert begun[0] == last + 1
        time.sleep(moment.random() * 0.1)
        worker.send_signal(signal.SIGKILL)
        begun += [int(line) for line in worker.communicate()[0].split()]
        with Checkpoints(folder, read_only=True) as checkpoints:
            found = checkpoints.restore(like())
        # Saving the next one began when the one before was whole.
        assert found.step >= begun[-1] - 1
        assert_same(found.state, make_state(found.step))
        assert found.extra == {"batches": found.step}
        assert all("is incomplete" in note for note in found.notes)
        last = found.step


WORKER = """
import pathlib, sys
import jax
jax.config.update("jax_num_cpu_devices", 1)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
sys.path.insert(0, sys.argv[3])
from jax.experimental import multihost_utils
from mtujax import parallel
process, folder = int(sys.argv[1]), sys.argv[4]
parallel.start(sys.argv[2], 2, process)
from states import assert_same, like, make_state
from mtujax.training.checkpoints import Checkpoints
state = jax.pmap(lambda s, x: s, in_axes=(None, 0), out_axes=None)(
    make_state(1), jax.numpy.zeros(1))
with Checkpoints(folder) as checkpoints:
    assert checkpoints.restore(like()) is None
    checkpoints.save(1, state, {"batches": 1}, psnr=30.0)
    checkpoints.save(2, make_state(2), {"batches": 2})
with Checkpoints(folder) as checkpoints:
    found = checkpoints.restore(like())
    assert (found.step, found.extra, checkpoints.best_step()) == (2, {"batches": 2}, 1)
    assert_same(found.state, make_state(2))
    assert_same(checkpoints.restore(like(), "best").state, make_state(1))
    multihost_utils.sync_global_devices("looked")
    if parallel.is_first():
        (pathlib.Path(folder) / "2" / "about" / "metadata").write_text("{")
    multihost_utils.sync_global_devices("damaged")
    found = checkpoints.restore(like())
    assert found.step == 1 and len(found.notes) == 1
    checkpoints.save(2, make_state(3), {"batches": 2})
    checkpoints.wait()
    assert_same(checkpoints.restore(like()).state, make_state(3))
"""


def test_two_processes_save_and_restore_together(tmp_path):
    address = coordinator()
    folder = str(tmp_path / "checkpoints")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(k), address, TESTS, folder],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    said = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(said)
    with Checkpoints(folder) as checkpoints:
        assert_same(checkpoints.restore(like()).state, make_state(3))
