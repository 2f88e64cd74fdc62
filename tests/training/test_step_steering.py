"""The form that reads samples along the motion, trained."""

import dataclasses

import jax
import numpy as np
import pytest
from networks import SMALLEST, STEERED, slow
from sharing import CONFIGS, make_batch, trained
from stepping import train_step

from mtujax import parallel
from mtujax.errors import UserError
from mtujax.model.network import MTUNet, init_params, initial_state
from mtujax.training.gradients import frame_losses, read_batch
from mtujax.training.run import first_params
from mtujax.training.step import make_step
from mtujax.weights.files import save_weights

CONFIG = dataclasses.replace(
    SMALLEST, **STEERED, blend_previous=True, neighbour_samples=1
)
MODEL = MTUNet(CONFIG)


@pytest.mark.parametrize("scheme", ["paper", slow("release")])
def test_both_schemes_lower_the_loss(scheme):
    config = dataclasses.replace(CONFIGS[scheme], learning_rate=3e-3, steps=60)
    batch = make_batch()

    def step(state, batch):
        return train_step(state, batch, model=MODEL, config=config)

    @jax.jit
    def loss(params):
        first = initial_state(MODEL, 2, 16, 16)
        settings = {"model": MODEL, "config": config}
        terms, _ = frame_losses(params, first, read_batch(MODEL, batch), **settings)
        return terms["deblur"]

    state, _ = trained(step, config, [batch] * 60, MODEL)
    start = init_params(MODEL, jax.random.key(0))
    assert loss(state.params) < 0.99 * loss(start)
    kernels = (p["unit_0"]["deblur"]["layer"]["conv"] for p in (state.params, start))
    change = [x - y for x, y in zip(*map(jax.tree.leaves, kernels), strict=True)]
    # The weights of the samples learn as well, and the shares of the frame before.
    taps, shares = CONFIG.filter_taps, CONFIG.blend_shares
    for mixed in (c[..., -taps - shares :] for c in change):
        assert np.abs(mixed[..., :taps]).max() > 0
        assert np.abs(mixed[..., taps:]).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["paper", "release"])
def test_two_devices_and_wider_channels_update_as_one_narrow_does(scheme):
    config, batches = CONFIGS[scheme], [make_batch(seed=k) for k in range(2)]
    settings = {"model": MODEL, "config": config}
    shared = make_step(MODEL, config)
    one, wide, two = (
        trained(step, config, batches, MODEL, *place)[0].params
        for step, *place in (
            (lambda state, batch: train_step(state, batch, **settings),),
            (lambda state, batch: train_step(state, batch, **settings, multiple=8),),
            (lambda state, batch: shared(state, None, batch), parallel.replicated),
        )
    )
    for other in (wide, two):
        pairs = zip(*map(jax.tree.leaves, (other, one)), strict=True)
        # Adam moves what hardly has a gradient by its rounding's sign.
        near = [np.abs(np.asarray(a) - np.asarray(b)).ravel() < 1e-5 for a, b in pairs]
        assert np.concatenate(near).mean() > 0.999


@pytest.mark.parametrize(
    "field, message",
    [
        ({"motion_samples": 3}, "of this network: motion_samples: 2 there, 3 here$"),
        ({"first_kernel": 5}, "of this network: first_kernel: 3 there, 5 here$"),
    ],
)
def test_weights_of_another_form_are_no_start(field, message, tmp_path):
    path = tmp_path / "form.safetensors"
    save_weights(path, CONFIG, init_params(MODEL, jax.random.key(0)))
    other = MTUNet(dataclasses.replace(CONFIG, **field))
    with pytest.raises(UserError, match=message):
        first_params(other, init_from=str(path))
    assert first_params(MODEL, init_from=str(path))
