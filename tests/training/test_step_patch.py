"""The patch form trained: both schemes, several devices, labels, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SMALLEST, slow
from sharing import CONFIGS, make_batch, trained
from stepping import train_step

from mtujax import parallel
from mtujax.data.pipeline import BatchSpec, MotionLabels
from mtujax.errors import UsageError, UserError
from mtujax.model.network import MTUNet, init_params, initial_state
from mtujax.training.config import DataConfig, RunConfig, TrainConfig, ValidationConfig
from mtujax.training.gradients import frame_losses, read_batch
from mtujax.training.run import first_params
from mtujax.training.step import make_step
from mtujax.weights.files import save_weights

CONFIG = dataclasses.replace(SMALLEST, patch=2, activation="leaky")
MODEL = MTUNet(CONFIG)
RUN = RunConfig(
    CONFIG,
    TrainConfig(steps=4),
    DataConfig(crop=64),
    ValidationConfig(size=(32, 48)),
)


def of(config, part, **fields):
    return dataclasses.replace(
        config, **{part: dataclasses.replace(getattr(config, part), **fields)}
    )


@pytest.mark.parametrize("scheme", ["paper", slow("release")])
def test_both_schemes_lower_the_loss(scheme):
    config = dataclasses.replace(CONFIGS[scheme], learning_rate=3e-3)
    batch = make_batch()

    def step(state, batch):
        return train_step(state, batch, model=MODEL, config=config)

    @jax.jit
    def loss(params):
        first = initial_state(MODEL, 2, 16, 16)
        settings = {"model": MODEL, "config": config}
        terms, _ = frame_losses(params, first, read_batch(MODEL, batch), **settings)
        return jnp.stack([terms["deblur"], terms["motion"]])

    state, _ = trained(step, config, [batch] * 15, MODEL)
    before = loss(init_params(MODEL, jax.random.key(0)))
    assert (loss(state.params) < np.array([0.99, 1.0]) * before).all()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["paper", "release"])
def test_two_devices_update_as_one_does(scheme):
    config, batches = CONFIGS[scheme], [make_batch(seed=k) for k in range(2)]
    one = trained(
        lambda state, batch: train_step(state, batch, model=MODEL, config=config),
        config,
        batches,
        MODEL,
    )
    shared = make_step(MODEL, config)
    two = trained(
        lambda state, batch: shared(state, None, batch),
        config,
        batches,
        MODEL,
        parallel.replicated,
    )
    for a, b in zip(*map(jax.tree.leaves, (two[0].params, one[0].params)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_batch_is_labelled_by_the_cells_of_the_network():
    frames = read_batch(MODEL, make_batch())
    assert frames.targets["motion"].shape == (2, 2, 2, 2)
    with pytest.raises(UsageError, match="crop 36: sides are multiples of 8 pixels"):
        BatchSpec(crop=36, labels=MotionLabels(cell=8))
    assert BatchSpec(crop=(40, 64), labels=MotionLabels(cell=8)).size == (40, 64)


def test_sizes_that_are_no_whole_cells_are_refused():
    message = "data.crop 36: must be a multiple of 8, 4 . model.patch"
    with pytest.raises(UsageError, match=message):
        of(RUN, "data", crop=36)
    message = r"validation.size \(32, 44\): each must be a multiple of 8"
    with pytest.raises(UsageError, match=message):
        of(RUN, "validation", size=(32, 44))
    flat = of(of(RUN, "model", patch=1), "data", crop=36)
    assert flat.data.crop == 36


@pytest.mark.parametrize(
    "field, message",
    [
        ({"patch": 1}, "weights of this network: patch: 2 there, 1 here$"),
        # Of the same shapes, so that nothing else would show it.
        ({"activation": "relu"}, 'activation: "leaky" there, "relu" here$'),
    ],
)
def test_weights_of_another_form_are_no_start(field, message, tmp_path):
    path = tmp_path / "form.safetensors"
    save_weights(path, CONFIG, init_params(MODEL, jax.random.key(0)))
    other = MTUNet(dataclasses.replace(CONFIG, **field))
    with pytest.raises(UserError, match=message):
        first_params(other, init_from=str(path))
    assert first_params(MODEL, init_from=str(path))
