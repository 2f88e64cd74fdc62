"""Minutes long: the training program learns, is killed, and goes on to the same end."""

import os
import re
import signal
import subprocess
import sys
import time

import cv2
import jax
import numpy as np
import pytest
from places import ROOT
from ports import coordinator

from mtujax.training.config_dict import from_config_dict
from mtujax.training.run import open_checkpoints
from mtujax.training.run_folder import state_like

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

QUICK = [
    "train.py",
    "--config=configs/smoke.py",
    "--config.model.channels=4",
    "--config.model.num_blocks=0",
    "--config.data.crop=32",
    "--config.train.steps=40",
    "--config.validation.every=15",
    "--config.save_every=5",
    "--config.log_every=5",
]


def start(words, **options):
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def train(*words):
    status, out, err = finish(start(words))
    assert status == 0, out[-2000:] + err[-2000:]
    return out


def state_of(run, steps=40, **model):
    sys.path.insert(0, str(ROOT))
    try:
        from configs import smoke
    finally:
        sys.path.pop(0)
    settings = smoke.get_config()
    settings.model.channels, settings.model.num_blocks = 4, 0
    settings.model.update(model)
    settings.data.crop, settings.train.steps, settings.run = 32, steps, str(run)
    config = from_config_dict(settings)
    with open_checkpoints(config) as checkpoints:
        return checkpoints.restore(state_like(config))


def assert_same(one, other, atol=0.0):
    assert one.step == other.step
    for a, b in zip(*map(jax.tree.leaves, (one.state, other.state)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=0, atol=atol)


def wait_for(path, pattern, process):
    """Until a line of the log matches."""
    for _ in range(6000):
        text = path.read_text() if path.exists() else ""
        if re.search(pattern, text, re.MULTILINE):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {pattern}")


def test_the_smoke_configuration_learns_and_its_weights_deblur(tmp_path):
    run = tmp_path / "run"
    out = train("train.py", "--config=configs/smoke.py", f"--config.run={run}")
    scores = re.findall(r"(\S+) dB \(blurry (\S+) dB\)", out)
    assert scores, out
    restored, blurry = map(float, scores[-1])
    assert restored > blurry + 0.2, out
    weights, frames = tmp_path / "mine.safetensors", tmp_path / "frames"
    words = [sys.executable, "-m", "mtujax"]
    subprocess.run([*words, "export", run, weights], check=True, cwd=ROOT)
    frames.mkdir()
    photo = cv2.imread(str(ROOT / "mtujax" / "assets" / "arches.jpg"))
    cv2.imwrite(str(frames / "a.png"), photo[:96, :128])
    words += ["deblur", frames, tmp_path / "out", "--weights", weights]
    subprocess.run(list(map(str, words)), check=True, cwd=ROOT)
    assert os.listdir(tmp_path / "out") == ["a.png"]


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(*QUICK, f"--config.run={whole}")
    process = start([*QUICK, f"--config.run={run}"], start_new_session=True)
    wait_for(run / "log.csv", r"^1[05],", process)
    saved = [run / "checkpoints" / step for step in ("5", "10", "15")]
    while not any(path.exists() for path in saved):  # named so when it is whole
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    out = train(*QUICK, f"--config.run={run}")
    assert re.search(r"resuming from update (5|10|15)\b", out), out
    assert_same(state_of(run), state_of(whole))


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_saves_and_leaves_with_the_command_that_goes_on(
    tmp_path, number, status
):
    run = tmp_path / "run"
    words = [*QUICK, f"--config.run={run}", "--config.train.steps=100000"]
    process = start(words)
    wait_for(run / "log.csv", r"^10,", process)
    process.send_signal(number)
    found, _, err = finish(process)
    assert found == status
    [line] = [line for line in err.splitlines() if "interrupted" in line]
    assert "is saved; resume with: python train.py --config=configs/smoke.py" in line
    assert f"--config.run={run}" in line
    busy = start(words)
    wait_for(run / "log.csv", r"^20,", busy)
    status, _, err = finish(start(words))
    assert status == 1 and "in use by another process" in err
    busy.send_signal(number)
    finish(busy)


def test_a_state_travels_in_a_file(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    train(*QUICK, f"--config.run={first}", "--config.train.steps=20")
    state = tmp_path / "state.safetensors"
    words = [sys.executable, "-m", "mtujax", "export", first, state, "--state"]
    subprocess.run(list(map(str, words)), check=True, cwd=ROOT)
    words = [*QUICK, "--config.train.steps=40"]
    out = train(*words, f"--config.run={second}", f"--config.resume_state_from={state}")
    assert "resuming from" in out
    train(*words, f"--config.run={first}")
    assert_same(state_of(first), state_of(second))


def test_two_processes_train_as_one_does(tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    address = coordinator()
    # An update agrees to 1e-6, with matching as well: test_parallel.py. Over many of
    # them roundings grow where a ReLU decides otherwise: on one processor over 40
    # to 9e-4 in single weights, on another over 20 to 6e-4; over 10 to 6e-8.
    alike = [*QUICK, "--config.model.motion_compensation=False"]
    alike[alike.index("--config.train.steps=40")] = "--config.train.steps=10"
    words = [*alike, f"--config.run={together}", f"--coordinator={address}"]
    one_device = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    processes = [
        start([*words, "--processes=2", f"--process={k}"], env=one_device)
        for k in range(2)
    ]
    ends = [finish(process) for process in processes]
    assert [status for status, *_ in ends] == [0, 0], ends
    assert "by 2 devices" in ends[0][1] and "update" not in ends[1][1]
    train(*alike, f"--config.run={alone}")
    changes = {"steps": 10, "motion_compensation": False}
    ends = [state_of(run, **changes) for run in (together, alone)]
    assert_same(*ends, atol=1e-6)
    leaves = zip(*(jax.tree.leaves(end.state.params) for end in ends), strict=True)
    apart = np.concatenate([np.abs(np.subtract(a, b)).ravel() for a, b in leaves])
    assert apart.mean() < 1e-8  # 4e-10 there
