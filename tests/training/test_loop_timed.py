"""A schedule that ends when the time is over, however many updates that allows."""

import csv
import dataclasses
import types

import cv2
import jax
import numpy as np
import optax
import pytest
from logs import Clock
from networks import SMALLEST
from sharing import CONFIGS, MODEL, make_batch, trained

from mtujax import parallel
from mtujax.errors import UsageError, UserError
from mtujax.training import loop, run as runs
from mtujax.training.config import DataConfig, RunConfig, TrainConfig, ValidationConfig
from mtujax.training.loop import Horizon, Loop
from mtujax.training.optimizers import learning_rate_schedule
from mtujax.training.step import make_step

TIMED = TrainConfig(steps=1000, schedule="timed", warmup=10, learning_rate=7e-4)


def test_its_rate_is_optaxs_cosine():
    found = jax.jit(lambda end, count: learning_rate_schedule(TIMED, end)(count))
    for end, warmup in ((160, 10), (60, 6), (7, 0)):  # a tenth of it at most warms up
        expected = optax.warmup_cosine_decay_schedule(0.0, 7e-4, warmup, end)
        for count in (0, 3, 10, 11, 40, 59, 60, 80, 159, 160, 200):
            assert found(end, count) == pytest.approx(float(expected(count)), abs=1e-10)
    assert learning_rate_schedule(TIMED)(1000) == 0 < learning_rate_schedule(TIMED)(999)


def test_the_end_is_told_by_the_pace():
    clock = Clock()
    horizon = Horizon(clock)

    def end(now, position, left):
        clock.now = now
        return horizon.end(position, left)

    # The first batch compiles, and the next ones wait for it.
    assert [end(n, 10 * k, 60) for k, n in enumerate((0, 100, 101))] == [None] * 3
    assert end(102, 30, 60) == 30 + 600
    assert end(104, 40, 50) == 40 + 334  # 20 updates in 3 seconds
    assert end(106, 50, 0) == 50


@pytest.mark.slow
def test_updates_are_those_of_a_cosine_with_that_end():
    batches = [make_batch(seed=k) for k in range(3)]
    cosine = dataclasses.replace(CONFIGS["release"], schedule="cosine", steps=9)
    timed = dataclasses.replace(cosine, schedule="timed", steps=1)

    def run(config, *end):
        step = make_step(MODEL, config)

        def update(state, batch):
            return step(state, None, batch, *end)

        return trained(update, config, batches, place=parallel.replicated)[0]

    found, expected = run(timed, np.int32(9)), run(cosine)
    pairs = zip(*map(jax.tree.leaves, (found, expected)), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_it_needs_a_time():
    with pytest.raises(UsageError, match="timed: give max_minutes"):
        RunConfig(SMALLEST, TIMED)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    config = RunConfig(SMALLEST, TIMED, max_minutes=1)
    with pytest.raises(UserError, match="timed: use cosine with several processes"):
        runs.train(config)


@pytest.fixture
def a_second_a_batch(monkeypatch):
    """Lets time pass with batches alone, however busy the machine is."""
    now, update = [0.0], Loop._update

    def timed(self, state, batch):
        now[0] += 1
        return update(self, state, batch)

    monkeypatch.setattr(Loop, "_update", timed)
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "Horizon", lambda: Horizon(clock.monotonic))


@pytest.mark.slow
@pytest.mark.usefixtures("a_second_a_batch")
def test_a_run_ends_with_its_time_and_goes_on_with_more(tmp_path, rng, capsys):
    photo = rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    config = RunConfig(
        SMALLEST,
        dataclasses.replace(TIMED, steps=4, motion_weight=0.0),
        DataConfig(path=str(tmp_path), frames=2, crop=16, made_on="host"),
        ValidationConfig(str(tmp_path), clips=1, frames=2, size=(16, 16), every=10**6),
        run=str(tmp_path / "run"),
        batch=2,
        log_every=5,
        max_minutes=0.5,
        tensorboard=False,
    )
    done = runs.train(config)
    assert done.complete and done.updates == 30 and done.psnr > 0
    with open(tmp_path / "run" / "log.csv") as file:
        rates = [float(row["learning_rate_total"]) for row in csv.DictReader(file)]
    assert max(rates) > 0.5 * 7e-4 and rates[-1] < 0.05 * 7e-4
    again = runs.train(config)
    assert again.complete and again.updates == 60
    out = capsys.readouterr().out
    assert f"resuming from update {done.updates}" in out
    assert "update" in out and "/4: deblur" not in out  # `steps` says nothing here
