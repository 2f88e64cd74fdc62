"""Three updates of the release's training against its recording."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recordings

from mtujax.config import PRESETS
from mtujax.model.clip import window_at
from mtujax.model.network import MTUNet, inference_params, initial_state
from mtujax.training.config import RELEASE
from mtujax.training.gradients import gradients, read_batch
from mtujax.training.optimizers import init_train_state
from mtujax.training.step import apply_gradients
from mtujax.weights.convert import from_params, to_params

MODEL = MTUNet(PRESETS["mtu2"])

pytestmark = pytest.mark.slow  # compiles for long, and best as users do


@pytest.fixture(scope="module")
def recorded():
    return recordings.read_training()


@pytest.fixture(scope="module")
def start(recorded):
    params = to_params(recorded.tensors, MODEL.config)
    weight, bias = (
        recorded.training_tensors[f"deblur_layer.0.{kind}"]
        for kind in ("weight", "bias")
    )
    layer = {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
    unit = {**params["unit_0"], "deblur": {"layer": {"conv": layer}}}
    return jax.tree.map(jnp.asarray, {**params, "unit_0": unit})


@pytest.fixture(scope="module")
def frames(recorded):
    """The clip with its neighbours: nothing is clamped."""
    count = recorded.labels.shape[1]
    batch = {
        "blurry": jnp.asarray(recorded.frames),
        "sharp": jnp.asarray(recorded.sharp[:, 2 : 2 + count]),
        "motion": jnp.asarray(recorded.labels, jnp.int32),
        "motion_valid": jnp.ones(recorded.labels.shape, bool),
    }
    return read_batch(MODEL, batch)


def part(frames, step):
    cut = jax.tree.map(lambda x: x[step : step + 1], (frames.index, frames.targets))
    return frames.replace(index=cut[0], targets=cut[1])


@jax.jit
def update(state, recurrent, frames):
    grads, terms, recurrent = gradients(
        state.params, recurrent, frames, model=MODEL, config=RELEASE
    )
    return apply_gradients(state, grads, terms, RELEASE), recurrent, terms


@jax.jit
def forward(params, recurrent, frames):
    window = window_at(frames.blurry, frames.index[0])
    return MODEL.apply({"params": params}, recurrent, window, True)[1]


@pytest.fixture(scope="module")
def run(start, frames):
    """Terms and outputs of each step, and the state after all of them."""
    state = init_train_state(RELEASE, start)
    recurrent = initial_state(MODEL, 2, *frames.blurry.shape[2:4])
    terms, outputs = [], []
    for step in range(len(frames.index)):
        outputs.append(forward(state.params, recurrent, part(frames, step)))
        state, recurrent, found = update(state, recurrent, part(frames, step))
        terms.append(found)
    jax.clear_caches()
    return terms, outputs, state


def test_the_losses_and_gradient_norms_are_the_recorded_ones(recorded, run):
    for step, found in enumerate(run[0]):
        told = recorded.steps[step]
        assert found["deblur"] == pytest.approx(told["image"] + told["aux"], abs=5e-6)
        assert found["motion"] == pytest.approx(told["motion"], abs=5e-6)
        for name in ("deblur", "motion"):
            norm = found[f"grad_norm_{name}"]
            assert norm == pytest.approx(told[f"gnorm_{name}"], rel=5e-5)


def test_the_images_and_cost_volumes_are_the_recorded_ones(recorded, run):
    for step in range(2):
        found, told = run[1][step], recorded.outputs[step]
        for name in ("restored", "intermediate"):
            image = found[name].reshape(told[name].shape)
            np.testing.assert_allclose(image, told[name], rtol=0, atol=1e-5)
        volume = found["cost_volume"][:, 0]
        scale = np.abs(told["cost_volume"]).max()
        np.testing.assert_allclose(
            volume, told["cost_volume"], rtol=0, atol=1e-3 * scale
        )


def test_every_parameter_changes_by_as_much_as_the_recorded_one(recorded, run, start):
    state = run[2]
    assert int(state.step) == 3 and int(state.skipped) == 0
    change = jax.tree.map(lambda a, b: np.asarray(a - b), state.params, start)
    found = from_params(inference_params(change), MODEL.config)
    layer = change["unit_0"]["deblur"]["layer"]["conv"]
    found["deblur_layer.0.weight"] = layer["kernel"].transpose(3, 2, 0, 1)
    found["deblur_layer.0.bias"] = layer["bias"]
    assert found.keys() == recorded.changes.keys()
    for name, (norm, head) in recorded.changes.items():
        own = found[name]
        assert np.linalg.norm(own) == pytest.approx(norm, rel=1e-3), name
        np.testing.assert_allclose(own.ravel()[:8], head[: own.size], atol=3e-6)


def test_one_optimizer_on_the_sum_is_another_training(recorded, start, frames, run):
    """The recording tells the schemes apart, so that it is a test of the scheme."""
    config = dataclasses.replace(RELEASE, scheme="paper")
    recurrent = initial_state(MODEL, 2, *frames.blurry.shape[2:4])
    state = init_train_state(config, start)
    taken = jax.jit(gradients, static_argnames=("model", "config"))
    grads, terms, _ = taken(
        state.params, recurrent, part(frames, 0), model=MODEL, config=config
    )
    moved = apply_gradients(state, grads, terms, config).params
    first = run[2].params
    differs = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), moved, first)
    assert all(jax.tree.leaves(differs))
