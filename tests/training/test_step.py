"""The training step: it learns, updates what it should, and stops on nonsense."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from networks import SMALLEST, TINY, apply, lively_params
from stepping import train_step

from mtujax.errors import UserError
from mtujax.model.network import MTUNet, init_params, initial_state
from mtujax.ops.labels import motion_labels
from mtujax.training.config import TrainConfig
from mtujax.training.gradients import frame_losses, gradients, read_batch
from mtujax.training.losses import motion_loss, restoration_loss
from mtujax.training.optimizers import init_train_state, make_optimizers
from mtujax.training.step import apply_gradients, clip_step

CONFIG = TrainConfig(steps=100, learning_rate=3e-3, warmup=5)


@pytest.fixture(scope="module")
def model():
    return MTUNet(dataclasses.replace(TINY, channels=6, num_blocks=0, search_radius=2))


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


@pytest.mark.slow
def test_the_loss_is_the_mean_over_frames_of_both_losses(model, params, batch):
    frames = read_batch(model, batch)
    first = initial_state(model, 1, 24, 32)
    terms, _ = frame_losses(params, first, frames, model=model, config=CONFIG)
    state, deblur, motion = initial_state(model, 1, 24, 32), [], []
    for t in range(3):
        reach = np.clip(np.arange(t - 2, t + 3), 0, 2)
        state, out = apply(model, params, state, batch["blurry"][:, reach], True)
        deblur.append(
            restoration_loss(out["restored"], batch["sharp"][:, t], out["intermediate"])
        )
        target = motion_labels(batch["flow"][:, t], batch["valid"][:, t], radius=2)
        motion.append(motion_loss(out["cost_volume"], *target))
    assert terms["deblur"] == pytest.approx(float(np.mean(deblur)), rel=1e-5)
    assert terms["motion"] == pytest.approx(float(np.mean(motion)), rel=1e-5)


def test_training_lowers_the_loss_and_moves_every_parameter(model, params, batch):
    state, losses = init_train_state(CONFIG, params), []
    for _ in range(CONFIG.steps):
        state, terms = train_step(state, batch, model=model, config=CONFIG)
        losses.append(float(terms["deblur"]))
    assert int(state.step) == CONFIG.steps
    # Displacements decide by roundings, so that starts 1e-7 apart end elsewhere.
    assert losses[-1] < 0.9 * losses[0]
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.params, params)
    assert all(jax.tree.leaves(moved)), moved
    averaged = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), state.ema, state.params)
    assert all(jax.tree.leaves(averaged))


def test_an_update_reuses_its_own_buffers_and_not_the_callers(model, params, batch):
    state = init_train_state(CONFIG, params)
    train_step(state, batch, model=model, config=CONFIG)
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))


def test_gradients_are_clipped_to_norm_one():
    params = {"a": jnp.zeros(3), "b": jnp.zeros(1)}
    optimizer = make_optimizers(CONFIG)["total"]
    big = jax.tree.map(lambda x: 100 * jnp.ones_like(x), params)
    _, state = optimizer.update(big, optimizer.init(params), params)
    first_moment = state[1][0].mu
    size = sum(float(jnp.sum(x**2)) for x in jax.tree.leaves(first_moment)) ** 0.5
    assert size == pytest.approx(0.1, rel=1e-3)  # (1 - beta_1) x norm 1


def test_an_update_that_is_not_finite_is_skipped_and_counted(model, params, batch):
    broken = batch | {"sharp": batch["sharp"] * np.nan}
    start = init_train_state(CONFIG, params)
    kept = jax.tree.map(np.array, (start.params, start.ema, start.opt_state))
    state, terms = train_step(start, broken, model=model, config=CONFIG)
    assert not np.isfinite(terms["deblur"])
    assert (int(state.step), int(state.skipped), int(state.in_row)) == (0, 1, 1)
    jax.tree.map(
        np.testing.assert_array_equal,
        (state.params, state.ema, state.opt_state),
        kept,
    )
    state, _ = train_step(state, batch, model=model, config=CONFIG)
    assert (int(state.step), int(state.skipped), int(state.in_row)) == (1, 1, 0)


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_left_out(model, params, batch):
    huge = dataclasses.replace(CONFIG, schedule="constant", warmup=0)
    object.__setattr__(huge, "learning_rate", float("inf"))
    state = init_train_state(huge, params)
    state, _ = train_step(state, batch, model=model, config=huge)
    assert (int(state.step), int(state.skipped)) == (0, 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.slow
def test_after_a_broken_frame_its_clip_goes_on(batch):
    config = dataclasses.replace(CONFIG, frames_per_update=1)
    model = MTUNet(dataclasses.replace(SMALLEST, lookback=1, lookahead=0))
    longer = {k: np.concatenate([x, x[:, :1]], axis=1) for k, x in batch.items()}
    broken = longer | {"blurry": np.array(longer["blurry"])}
    broken["blurry"][:, 0] = np.nan  # frames 0 and 1 see it
    state = init_train_state(config, init_params(model, jax.random.key(0)))
    state, _ = train_step(state, broken, model=model, config=config)
    assert (int(state.step), int(state.skipped)) == (2, 2)


@pytest.mark.slow
def test_updates_within_a_clip_are_updates_one_by_one(model, params, batch):
    """A scan over the frames equals three calls with a frame each."""
    config = dataclasses.replace(CONFIG, frames_per_update=1)
    whole, terms = train_step(
        init_train_state(config, params), batch, model=model, config=config
    )
    state, recurrent = init_train_state(config, params), initial_state(model, 1, 24, 32)
    frames, losses = read_batch(model, batch), []
    for t in range(3):
        targets = {name: x[t : t + 1] for name, x in frames.targets.items()}
        one = frames.replace(index=frames.index[t : t + 1], targets=targets)
        grads, found, recurrent = GRADIENTS(
            state.params, recurrent, one, model=model, config=config
        )
        state = apply_gradients(state, grads, found, config)
        losses.append(float(found["deblur"]))
    assert int(whole.step) == 3
    assert terms["deblur"] == pytest.approx(np.mean(losses), rel=1e-5)
    for a, b in zip(*map(jax.tree.leaves, (whole.params, state.params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


GRADIENTS = jax.jit(gradients, static_argnames=("model", "config"))


def by_finite_difference(model, params, frames, config, direction, detached):
    """The slope of the sum of the losses, with the carry held fixed where detached."""
    first, step = initial_state(model, 1, 24, 32), 1e-3

    def total(sign):
        moved = jax.tree.map(lambda p, d: p + sign * step * d, params, direction)
        value, state, fixed = 0.0, first, first
        for t in range(len(frames.index)):
            window = frames.blurry[:, frames.index[t][0]]
            state = fixed if detached else state
            state, out = apply(model, moved, state, window, True)
            fixed, _ = apply(model, params, fixed, window, True)
            value += float(
                restoration_loss(
                    out["restored"],
                    frames.targets["sharp"][t],
                    out["intermediate"],
                    form="release",
                )
            )
        return value / len(frames.index)

    return (total(1.0) - total(-1.0)) / (2 * step)


@pytest.mark.parametrize("bptt", [1, None])
@pytest.mark.slow
def test_the_gradient_goes_back_as_far_as_asked(model, batch, bptt):
    params = lively_params(model, 2.0)
    config = dataclasses.replace(CONFIG, scheme="release", bptt=bptt)
    frames = read_batch(model, batch)
    first = initial_state(model, 1, 24, 32)
    grads, _, _ = GRADIENTS(params, first, frames, model=model, config=config)
    # Along the gradient itself, where rounding matters least.
    norm = float(optax.tree.norm(grads["deblur"]))
    direction = jax.tree.map(lambda g: g / norm, grads["deblur"])
    expected = by_finite_difference(
        model, params, frames, config, direction, detached=bptt == 1
    )
    assert norm == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
def test_remat_changes_no_gradient(model, params, batch):
    frames, first = read_batch(model, batch), initial_state(model, 1, 24, 32)
    found = [
        GRADIENTS(
            params,
            first,
            frames,
            model=model,
            config=dataclasses.replace(CONFIG, bptt=None, remat=remat),
        )[0]
        for remat in (False, True)
    ]
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_frames_around_a_clip_are_seen(model, params, batch):
    """With its neighbours given, nothing is clamped; with their repeats, all is."""
    blurry = batch["blurry"]
    repeated = np.concatenate(
        [*[blurry[:, :1]] * 2, blurry, *[blurry[:, -1:]] * 2], axis=1
    )
    plain, around = (
        read_batch(model, {**batch, "blurry": b}) for b in (blurry, repeated)
    )
    for t in range(3):
        np.testing.assert_array_equal(
            plain.blurry[:, plain.index[t][0]], around.blurry[:, around.index[t][0]]
        )
    with pytest.raises(ValueError, match="4 blurry frames for 3 sharp ones"):
        read_batch(model, {**batch, "blurry": repeated[:, :4]})
    with pytest.raises(UserError, match="frames_per_update 2: clips of 3 frames"):
        clip_step(
            init_train_state(CONFIG, params),
            batch,
            model=model,
            config=dataclasses.replace(CONFIG, frames_per_update=2),
        )
