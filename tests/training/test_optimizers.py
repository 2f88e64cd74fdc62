"""Schedules, what each optimiser minimises, and settings that cannot be."""

import dataclasses
import math

import chex
import jax
import numpy as np
import optax
import pytest

from mtujax.config import ModelConfig
from mtujax.errors import UsageError, UserError
from mtujax.training.config import RELEASE, TrainConfig, check_precision
from mtujax.training.optimizers import (
    learning_rate_schedule,
    learning_rates,
    loss_weights,
    make_optimizers,
)


def change(**fields):
    return dataclasses.replace(RELEASE, learning_rate=1.0, **fields)


def test_drops_multiply_the_rate_at_published_updates():
    rate = learning_rate_schedule(RELEASE)
    for count, factor in (
        (0, 1),
        (999_999, 1),
        (1_000_001, 1 / 4),
        (1_250_001, 1 / 16),
    ):
        assert float(rate(count)) == pytest.approx(1e-4 * factor)


def test_the_cosine_falls_from_the_warm_up_to_zero():
    rate = learning_rate_schedule(change(schedule="cosine", warmup=10, steps=110))
    assert [float(rate(n)) for n in (0, 5, 10)] == pytest.approx([0, 0.5, 1])
    for n in (35, 60, 110):
        expected = 0.5 * (1 + math.cos(math.pi * (n - 10) / 100))
        assert float(rate(n)) == pytest.approx(expected, abs=1e-6)


def test_a_constant_rate_only_warms_up():
    rate = learning_rate_schedule(change(schedule="constant", warmup=4, steps=100))
    assert [float(rate(n)) for n in (0, 1, 4, 99)] == pytest.approx([0, 0.25, 1, 1])


def test_alpha_slows_the_motion_optimiser_of_the_release():
    rates = learning_rates(change(motion_weight=0.5, schedule="constant"))
    assert {name: float(rate(7)) for name, rate in rates.items()} == {
        "deblur": 1.0,
        "motion": 0.5,
    }
    paper = dataclasses.replace(RELEASE, scheme="paper")
    assert loss_weights(paper) == {"total": {"deblur": 1.0, "motion": 0.01}}


@pytest.mark.parametrize("scheme", ["paper", "release"])
def test_without_alpha_nothing_asks_for_motion(scheme):
    config = dataclasses.replace(RELEASE, scheme=scheme, motion_weight=0.0)
    [terms] = loss_weights(config).values()
    assert terms == {"deblur": 1.0}
    assert make_optimizers(config).keys() == loss_weights(config).keys()


def orthogonal(matrix, steps=5):
    """Newton-Schulz, as Jordan et al. give it for Muon."""
    x = matrix.astype(np.float64)
    if wide := x.shape[0] < x.shape[1]:
        x = x.T
    x /= np.linalg.norm(x) + 1e-8
    for _ in range(steps):
        gram = x.T @ x
        x = 3.4445 * x + x @ (-4.775 * gram + 2.0315 * gram @ gram)
    return x.T if wide else x


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
@pytest.mark.parametrize("scheme", ["paper", "release"])
def test_muon_makes_updates_of_kernels_orthogonal(scheme, backend, rng, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    config = dataclasses.replace(
        RELEASE, scheme=scheme, optimizer="muon", schedule="constant", clip_norm=1e9
    )
    layer = {
        "kernel": rng.normal(size=(3, 3, 4, 8)).astype(np.float32),
        "bias": rng.normal(size=8).astype(np.float32),
    }
    params = {"unit_0": {"deblur": layer}}
    optimizer = make_optimizers(config)["total" if scheme == "paper" else "deblur"]
    update = jax.jit(optimizer.update)
    found, _ = update(params, optimizer.init(params), params)
    found = found["unit_0"]["deblur"]
    adam = optax.nadam(1e-4)
    expected, _ = adam.update(layer["bias"], adam.init(layer["bias"]))
    np.testing.assert_allclose(found["bias"], expected, rtol=1e-5)
    matrix = layer["kernel"].reshape(36, 8)
    expected = -1e-4 * 0.4 * np.sqrt(36) * orthogonal(matrix)
    made = np.asarray(found["kernel"]).reshape(36, 8)
    np.testing.assert_allclose(made, expected, rtol=2e-3, atol=1e-8)


@pytest.mark.parametrize(
    "shapes",
    [[(3, 3, 4, 8), (1, 1, 4, 16), (8,), (3, 3, 4, 8), (4, 4, 8, 3)], [(8,)]],
    ids=["kernels", "biases"],
)
def test_muon_on_an_accelerator_is_that_of_optax(shapes, rng, monkeypatch):
    def drawn():
        draws = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
        return dict(enumerate(draws))

    config = dataclasses.replace(RELEASE, scheme="paper", optimizer="muon")
    params, optimizers = drawn(), []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda name=backend: name)
        optimizers.append(make_optimizers(config)["total"])
    states = [optimizer.init(params) for optimizer in optimizers]
    for _ in range(3):
        grads, updates = drawn(), [None, None]
        for n, optimizer in enumerate(optimizers):
            update = jax.jit(optimizer.update)
            updates[n], states[n] = update(grads, states[n], params)
        chex.assert_trees_all_close(*updates, rtol=1e-4, atol=1e-8)
        chex.assert_trees_all_equal_shapes_and_dtypes(*states)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"scheme": "papers"}, "scheme 'papers': must be paper or release"),
        ({"optimizer": "sgd"}, "optimizer 'sgd': must be adam or muon"),
        ({"schedule": "linear"}, "schedule 'linear': must be cosine or drops or"),
        ({"steps": 0}, "steps 0: must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate nan: must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate inf: must be above 0 and finite"),
        (
            {"motion_weight": math.inf},
            "motion_weight inf: must be 0 or more, and finite",
        ),
        (
            {"bptt": 4, "frames_per_update": 1},
            "bptt 4: at most the frames of an update",
        ),
        ({"loss_scale": 0.0}, "loss_scale 0.0: must be above 0"),
        ({"motion_weight": -1.0}, "motion_weight -1.0: must be 0 or more"),
        ({"bptt": 0}, "bptt 0: must be 1 or more"),
        ({"ema_decay": 1.0}, r"ema_decay 1.0: must be in \[0, 1\)"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        TrainConfig(**{"steps": 10} | fields)


def test_half_precision_of_16_bits_needs_an_accelerator():
    half = ModelConfig(dtype="float16")
    check_precision(half, "gpu")
    for dtype in ("float32", "bfloat16"):
        check_precision(ModelConfig(dtype=dtype), "cpu")
    with pytest.raises(UserError, match="float16 with loss scaling: not on a CPU"):
        check_precision(half, "cpu")
