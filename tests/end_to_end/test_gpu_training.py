"""Training on an accelerator: its arithmetic, half precision and blur made there."""

import dataclasses

import cv2
import jax
import numpy as np
import pytest
from sharing import CONFIGS, MODEL, make_batch, trained
from stepping import train_step

from mtujax.model.network import MTUNet
from mtujax.training import run as runs
from mtujax.training.config import DataConfig, RunConfig, TrainConfig, ValidationConfig

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def needs_an_accelerator():
    if jax.default_backend() == "cpu":
        pytest.skip("no accelerator")


def after(config, dtype="float32"):
    model = MTUNet(dataclasses.replace(MODEL.config, dtype=dtype))
    batches = [make_batch(seed=k) for k in range(3)]
    return trained(
        lambda state, batch: train_step(state, batch, model=model, config=config),
        config,
        batches,
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_updates_are_those_of_a_cpu(name):
    with jax.default_matmul_precision("highest"):
        found, terms = after(CONFIGS[name])
    with jax.default_device(jax.devices("cpu")[0]):
        expected, told = after(CONFIGS[name])
    for key in told:
        assert terms[key] == pytest.approx(float(told[key]), rel=1e-3)
    pairs = zip(*map(jax.tree.leaves, (found.params, expected.params)), strict=True)
    for a, b in pairs:
        # Adam moves what hardly has a gradient by its rounding's sign.
        assert np.mean(np.abs(np.asarray(a) - np.asarray(b)) < 1e-4) > 0.99


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_trains(dtype):
    state, terms = after(CONFIGS["release"], dtype)
    # In float16 the first updates are left out until the scale of the losses fits, and
    # a gradient without end is told as such.
    told = terms if dtype == "bfloat16" else {k: terms[k] for k in ("deblur", "motion")}
    assert int(state.step) > 3 and state.step + state.skipped == 6
    assert all(np.isfinite(x) for x in told.values())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_run_films_its_photographs_on_the_device(tmp_path, rng, dtype):
    for name in "ab":
        photo = rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo)
    config = RunConfig(
        dataclasses.replace(MODEL.config, dtype=dtype),
        TrainConfig(steps=8, scheme="release", frames_per_update=1, warmup=0),
        DataConfig(path=str(tmp_path), frames=4, crop=64, made_on="device"),
        ValidationConfig(str(tmp_path), clips=1, frames=4, size=(64, 64), every=8),
        run=str(tmp_path / "run"),
        batch=2 * jax.device_count(),
        tensorboard=False,
    )
    done = runs.train(config)
    assert (done.updates + done.skipped, done.complete) == (8, True)
    assert np.isfinite(done.psnr)
