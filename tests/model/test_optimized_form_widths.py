"""Channels of zeros: they change nothing, also where a network learns."""

import dataclasses

import jax
import numpy as np
import pytest
from networks import SMALLEST, TINY, slow
from sharing import CONFIGS, MODEL, make_batch, trained
from states import assert_same
from stepping import train_step

from mtujax.config import PRESETS
from mtujax.model.network import MTUNet, init_params, param_shapes
from mtujax.model.optimized_form import resized, wider
from mtujax.training.optimizers import init_train_state


def test_widths_become_multiples():
    assert wider(PRESETS["mtu2"]).channels == 32
    assert wider(PRESETS["mtu10_l"]) == PRESETS["mtu10_l"]
    assert wider(PRESETS["mtu2"], 1) == PRESETS["mtu2"]


def test_shapes_are_those_of_drawn_parameters():
    drawn = init_params(MODEL, jax.random.key(0))
    assert jax.tree.map(np.shape, drawn) == param_shapes(MODEL)


@pytest.mark.parametrize("make", [np.asarray, jax.numpy.asarray])
def test_a_state_comes_back_as_it_was(make, rng):
    old = dataclasses.replace(TINY, channels=6)
    new = wider(old, 8)
    state = init_train_state(CONFIGS["release"], init_params(MTUNet(old), rng_key(rng)))
    state = jax.tree.map(lambda x: make(np.float32(rng.random(x.shape))), state)
    wide = resized(state, old, new)
    expected = init_train_state(
        CONFIGS["release"], init_params(MTUNet(new), rng_key(rng))
    )
    assert jax.tree.map(np.shape, wide) == jax.tree.map(np.shape, expected)
    assert_same(resized(wide, new, old), state)
    # What was added is zero.
    total = [sum(np.sum(x) for x in jax.tree.leaves(tree)) for tree in (wide, state)]
    assert float(total[0]) == pytest.approx(float(total[1]), rel=1e-4)


def rng_key(rng):
    return jax.random.key(rng.integers(99))


@pytest.mark.parametrize(
    ("name", "model"),
    [("paper", MTUNet(SMALLEST)), slow("paper", MODEL), slow("release", MODEL)],
    ids=["smallest", "paper", "release"],
)
def test_training_is_the_same_in_wider_form(name, model):
    batches = [make_batch(seed=k) for k in range(3)]
    config = CONFIGS[name]

    def run(multiple):
        settings = dict(model=model, config=config, multiple=multiple)
        step = lambda s, b: train_step(s, b, **settings)  # noqa: E731
        return trained(step, config, batches, model)

    (state, terms), (wide, told) = run(1), run(8)
    assert terms.keys() == told.keys()
    for key in terms:
        assert told[key] == pytest.approx(float(terms[key]), rel=1e-5)
    # Adam moves what hardly has a gradient by its rounding's sign.
    pairs = zip(*map(jax.tree.leaves, (wide.params, state.params)), strict=True)
    near = [np.abs(np.asarray(a) - np.asarray(b)).ravel() < 1e-5 for a, b in pairs]
    assert np.concatenate(near).mean() > 0.999
    assert wide.opt_state.keys() == state.opt_state.keys()
