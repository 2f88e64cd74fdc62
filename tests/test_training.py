"""The training step: it learns, updates what it should, and stops on nonsense."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TINY, apply

from mtujax.losses import displacement_class, motion_loss, restoration_loss
from mtujax.network import MTUNet, init_params, initial_state
from mtujax.training import (
    TrainConfig,
    clip_loss,
    fit,
    init_train_state,
    make_optimizer,
    train_step,
)

CONFIG = TrainConfig(steps=60, learning_rate=3e-3, warmup=5)


@pytest.fixture(scope="module")
def model():
    return MTUNet(dataclasses.replace(TINY, num_blocks=0, search_radius=2))


@pytest.fixture(scope="module")
def params(model):
    return init_params(model, jax.random.key(0))


@pytest.fixture(scope="module")
def batch(clip):
    sharp = clip[:, :3]
    return {
        "blurry": 0.5 * (sharp + np.roll(sharp, 1, axis=3)),
        "sharp": sharp,
        "flow": np.broadcast_to([2.0, 1.0], (1, 3, 24, 32, 2)).astype(np.float32),
        "valid": np.arange(3)[None, :, None, None] * np.ones((1, 3, 24, 32)) > 0,
    }


def test_the_loss_is_the_mean_over_frames_of_both_losses(model, params, batch):
    loss, terms = clip_loss(params, batch, model=model, motion_weight=0.01)
    state, deblur, motion = initial_state(model, 1, 24, 32), [], []
    for t in range(3):
        reach = np.clip(np.arange(t - 2, t + 3), 0, 2)
        state, out = apply(model, params, state, batch["blurry"][:, reach], True)
        deblur.append(
            restoration_loss(out["restored"], batch["sharp"][:, t], out["intermediate"])
        )
        target = displacement_class(batch["flow"][:, t], radius=2)
        valid = batch["valid"][:, t, ::4, ::4]
        motion.append(motion_loss(out["cost_volume"], target, valid))
    assert terms["deblur"] == pytest.approx(float(np.mean(deblur)), rel=1e-5)
    assert terms["motion"] == pytest.approx(float(np.mean(motion)), rel=1e-5)
    expected = np.mean(deblur) + 0.01 * np.mean(motion)
    assert loss == pytest.approx(float(expected), rel=1e-5)


def test_training_lowers_the_loss_and_moves_every_parameter(model, params, batch):
    losses = []
    state = fit(
        model,
        init_train_state(CONFIG, params),
        iter([batch] * 99),
        CONFIG,
        on_step=lambda step, state, terms: losses.append(float(terms["deblur"])),
    )
    assert len(losses) == int(state.step) == CONFIG.steps
    assert losses[-1] < 0.93 * losses[0]
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.params, params)
    assert all(jax.tree.leaves(moved)), moved
    averaged = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.ema, state.params)
    assert all(jax.tree.leaves(averaged))


def test_an_update_reuses_its_own_buffers_and_not_the_callers(model, params, batch):
    state = init_train_state(CONFIG, params)
    train_step(state, batch, model=model, config=CONFIG)
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))


def test_gradients_are_clipped_to_norm_one():
    params, optimizer = {"a": jnp.zeros(3), "b": jnp.zeros(1)}, make_optimizer(CONFIG)
    big = jax.tree.map(lambda x: 100 * jnp.ones_like(x), params)
    _, state = optimizer.update(big, optimizer.init(params), params)
    first_moment = state[1][0].mu
    size = sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(first_moment)) ** 0.5
    assert size == pytest.approx(0.1, rel=1e-3)  # (1 - beta_1) x norm 1


def test_a_finished_state_is_returned_untouched(model, params):
    state = init_train_state(CONFIG, params).replace(step=jnp.asarray(60))
    assert fit(model, state, iter([None]), CONFIG) is state


def test_a_loss_that_is_not_finite_stops_the_run(model, params, batch):
    broken = batch | {"sharp": batch["sharp"] * np.nan}
    with pytest.raises(FloatingPointError, match="after 50 updates"):
        fit(model, init_train_state(CONFIG, params), iter([broken] * 60), CONFIG)
