"""Training in half precision: the gradients stay those of float32, near enough."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sharing import CONFIGS, MODEL, make_batch
from stepping import train_step

from mtujax.model.network import MTUNet, init_params, initial_state
from mtujax.training.gradients import gradients, read_batch
from mtujax.training.optimizers import (
    LossScale,
    adjusted_loss_scale,
    init_train_state,
)

CONFIG = CONFIGS["paper"]


def initial_loss_scale(factor):
    return LossScale(jnp.float32(factor), jnp.int32(0))


def in_precision(dtype):
    return MTUNet(dataclasses.replace(MODEL.config, dtype=dtype))


@pytest.fixture(scope="module")
def params():
    return init_params(MODEL, jax.random.key(0))


def taker(dtype):
    """The gradient in a precision, as a function of parameters and scale."""
    model = in_precision(dtype)

    @jax.jit
    def take(params, scale):
        frames = read_batch(model, make_batch())
        first = initial_state(model, 2, 16, 16)
        settings = {"model": model, "config": CONFIG, "scale": scale}
        return gradients(params, first, frames, **settings)[0]["total"]

    return take


def angle(a, b):
    parts = zip(*map(jax.tree.leaves, (a, b)), strict=True)
    dot = sum(float(jnp.vdot(x, y)) for x, y in parts)
    return dot / float(optax.tree.norm(a) * optax.tree.norm(b))


@pytest.mark.slow
def test_half_precision_takes_the_gradient_of_float32(params):
    full = taker("float32")(params, None)
    half = taker("float16")
    found = {
        "bfloat16": taker("bfloat16")(params, None),
        "float16": half(params, 2.0**15),
        "small": half(params, 2.0**-14),  # as of a loss of small weight
    }
    for name, least in (("bfloat16", 0.99), ("float16", 0.999)):
        assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(found[name]))
        assert angle(found[name], full) > least
        ratio = float(optax.tree.norm(found[name]) / optax.tree.norm(full))
        assert ratio == pytest.approx(1, abs=0.02)
    # What the scale is for: most of a small gradient is below the smallest number.
    assert angle(found["small"], full) < 0.99


def test_the_scale_halves_on_overflow_and_doubles_after_long_without():
    scale = initial_loss_scale(2.0**15)
    scale = adjusted_loss_scale(scale, jnp.bool_(False))
    assert (float(scale.factor), int(scale.steady)) == (2.0**14, 0)
    for _ in range(3):
        scale = adjusted_loss_scale(scale, jnp.bool_(True))
    assert (float(scale.factor), int(scale.steady)) == (2.0**14, 3)
    late = adjusted_loss_scale(
        LossScale(scale.factor, jnp.int32(1999)), jnp.bool_(True)
    )
    assert (float(late.factor), int(late.steady)) == (2.0**15, 0)
    lowest = adjusted_loss_scale(initial_loss_scale(1.0), jnp.bool_(False))
    assert float(lowest.factor) == 1.0


@pytest.mark.slow
def test_an_overflow_skips_the_update_and_the_next_one_is_made(params):
    model = in_precision("float16")
    config = dataclasses.replace(CONFIG, loss_scale=2.0**24)
    state, factors = init_train_state(config, params), []
    for _ in range(16):
        state, _ = train_step(state, make_batch(), model=model, config=config)
        factors.append(float(state.scale.factor))
    # It fell as often as updates were left out, until one was made.
    assert int(state.skipped) > 0 and int(state.step) > 0
    assert factors[-1] == 2.0 ** (24 - int(state.skipped))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))


@pytest.mark.slow
def test_float32_does_not_look_at_the_scale(params):
    ends = []
    for factor in (1.0, 2.0**15):
        state = init_train_state(CONFIG, params).replace(
            scale=initial_loss_scale(factor)
        )
        state, _ = train_step(state, make_batch(), model=MODEL, config=CONFIG)
        ends.append(state)
        assert float(state.scale.factor) == factor
    for a, b in zip(*(jax.tree.leaves(s.params) for s in ends), strict=True):
        np.testing.assert_array_equal(a, b)
