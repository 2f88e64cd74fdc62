"""Weights that a run starts from."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from moving import panned
from networks import SMALLEST, STEERED, TINY, apply, lively_params

from mtujax import restore_clip
from mtujax.errors import UserError
from mtujax.model.network import (
    MTUNet,
    inference_params,
    init_params,
    initial_state,
)
from mtujax.ops.blur import window_blur
from mtujax.ops.motion_samples import along_motion, blended
from mtujax.training.run import first_params, rescaled_params
from mtujax.weights.files import save_weights

MODEL = MTUNet(TINY)


def flat(params):
    return {name: np.asarray(x) for name, x in flatten_dict(params, sep="/").items()}


def test_a_run_starts_from_weights_and_draws_what_they_lack(tmp_path):
    other = init_params(MODEL, jax.random.key(7))
    save_weights(tmp_path / "other.safetensors", TINY, other)
    found = flat(
        first_params(MODEL, seed=1, init_from=str(tmp_path / "other.safetensors"))
    )
    given, drawn = flat(inference_params(other)), flat(first_params(MODEL, seed=1))
    assert found.keys() == drawn.keys()
    lacking = found.keys() - given.keys()
    assert lacking == {f"unit_0/deblur/layer/conv/{n}" for n in ("kernel", "bias")}
    for name, value in found.items():
        expected = given.get(name, drawn[name])
        np.testing.assert_array_equal(value, expected, err_msg=name)


def test_weights_of_another_network_are_refused(tmp_path):
    wider = dataclasses.replace(TINY, channels=12)
    params = init_params(MTUNet(wider), jax.random.key(0))
    save_weights(tmp_path / "wider.safetensors", wider, params)
    with pytest.raises(
        UserError, match=r"wider.*not weights of this network: channels: 12 there, "
    ):
        first_params(MODEL, init_from=str(tmp_path / "wider.safetensors"))
    with pytest.raises(UserError, match="no such"):
        first_params(MODEL, init_from=str(tmp_path / "missing.safetensors"))


CAUSAL, AHEAD = (
    dataclasses.replace(TINY, lookback=back, lookahead=ahead)
    for back, ahead in ((1, 0), (2, 1))
)


def started(tmp_path, there, params, here):
    """Inference parameters that network `here` gets from those of network `there`."""
    path = tmp_path / "there.safetensors"
    save_weights(path, there, params)
    return inference_params(first_params(MTUNet(here), init_from=str(path)))


def test_a_network_starts_from_one_of_another_window_and_restores_as_it_did(tmp_path):
    causal = init_params(MTUNet(CAUSAL), jax.random.key(0))
    ahead = started(tmp_path, CAUSAL, causal, AHEAD)
    clip = np.random.default_rng(0).random((1, 3, 32, 32, 3)).astype(np.float32)
    one, other = (
        restore_clip(MTUNet(config), inference_params(params), jnp.asarray(clip))[1]
        for config, params in ((CAUSAL, causal), (AHEAD, ahead))
    )
    np.testing.assert_allclose(other, one, atol=1e-5)
    back = flat(started(tmp_path, AHEAD, ahead, CAUSAL))
    for name, value in flat(inference_params(causal)).items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_a_network_that_blends_starts_from_one_that_does_not(tmp_path):
    """And mixes in the frame before where it agrees: nothing else changes."""
    form = {**STEERED, "exposure_spectrum": True, "lookback": 1, "lookahead": 0}
    plain = dataclasses.replace(SMALLEST, **form)
    blending = dataclasses.replace(plain, blend_previous=True)
    params = lively_params(MTUNet(plain))
    wide = started(tmp_path, plain, params, blending)
    clip = panned(3, 32, 48)[None].astype(np.float32) / 255
    model, state = MTUNet(plain), initial_state(MTUNet(plain), 1, 32, 48)
    first, one = apply(model, inference_params(params), state, clip[:, :2])
    later, other = apply(MTUNet(blending), wide, state, clip[:, :2])
    np.testing.assert_allclose(other["restored"], one["restored"], atol=1e-5)
    window = clip[:, 1:]
    _, one = apply(model, inference_params(params), first, window)
    _, other = apply(MTUNet(blending), wide, later, window)
    motion = window_blur(window, lookback=1, patch=2).motion
    moved = along_motion(later.restored, motion, jnp.array([-1.0]))[0]
    logits, is_first = jnp.zeros((1, 16, 24, 4)), jnp.array([False])
    wanted = blended(one["restored"], moved, logits, is_first)
    assert np.abs(wanted - one["restored"]).max() > 1e-3
    np.testing.assert_allclose(other["restored"], wanted, atol=1e-5)


@pytest.mark.parametrize("blending", [True, False])
def test_a_network_starts_from_one_without_samples_of_neighbours(tmp_path, blending):
    """They weigh nothing at first: where the motion is the same, so are the frames."""
    form = {**STEERED, "exposure_spectrum": True, "blend_previous": blending}
    plain = dataclasses.replace(SMALLEST, **form)
    more = dataclasses.replace(plain, neighbour_samples=2, blend_previous=True)
    params = inference_params(lively_params(MTUNet(plain)))
    exposure = params["unit_0"]["deblur"]["exposure"]
    params["unit_0"]["deblur"]["exposure"] = 0.05 + exposure
    wide = started(tmp_path, plain, params, more)
    clip = panned(plain.window, 32, 48)[None].astype(np.float32) / 255
    blur = window_blur(clip, lookback=2, patch=2, with_spectrum=True)
    both = jnp.concatenate([blur.motion] * 2, axis=-1)
    state = initial_state(MTUNet(plain), 1, 32, 48)
    if blending:
        state = state.replace(is_first=jnp.array([False]))
    _, one = apply(MTUNet(plain), params, state, clip, blur=blur)
    blur = blur._replace(to_neighbours=both)
    _, other = apply(MTUNet(more), wide, state, clip, blur=blur)
    assert np.abs(one["restored"] - clip[:, 2]).max() > 1e-2
    np.testing.assert_allclose(other["restored"], one["restored"], atol=1e-5)


def test_more_samples_lie_around_and_a_network_without_look_ahead_drops_its_own(
    tmp_path,
):
    """Each sample keeps its weight; those of the next frame go, new ones weigh 0."""
    form = dict(STEERED, blend_previous=True, neighbour_samples=1)
    ahead = dataclasses.replace(SMALLEST, **form)
    causal = dataclasses.replace(ahead, lookahead=0, neighbour_samples=2)
    params = inference_params(lively_params(MTUNet(ahead)))
    found = started(tmp_path, ahead, params, causal)
    given, taken = (
        flat(tree)["steered/conv/kernel"][0, 0, :-3].reshape(4, -1, ahead.channels)
        for tree in (params, found)
    )
    np.testing.assert_array_equal(taken[:, :4], given[:, :4])
    np.testing.assert_array_equal(taken[:, 5:8], given[:, 4:7])
    assert not taken[:, [4, 8]].any()
    np.testing.assert_array_equal(taken[:, 9:], given[:, 10:])


@pytest.mark.parametrize(
    "field, said",
    [
        ({"blend_previous": False}, "blend_previous: true there, false here"),
        ({"neighbour_samples": 0}, "neighbour_samples: 2 there, 0 here"),
        ({"patch": 4}, "patch: 2 there, 4 here"),
    ],
)
def test_weights_of_a_network_that_samples_more_or_otherwise_are_refused(
    tmp_path, field, said
):
    form = dict(STEERED, blend_previous=True, neighbour_samples=2)
    there = dataclasses.replace(SMALLEST, **form)
    params = inference_params(lively_params(MTUNet(there)))
    with pytest.raises(UserError, match=said):
        started(tmp_path, there, params, dataclasses.replace(there, **field))


def test_the_frames_that_both_see_keep_their_weights_and_what_else_is_read(tmp_path):
    fields = {"patch": 2, "activation": "leaky", "motion_samples": 2}
    causal, ahead = (dataclasses.replace(form, **fields) for form in (CAUSAL, AHEAD))
    params = init_params(MTUNet(ahead), jax.random.key(1))
    name = "temporal/conv/kernel"
    wide, narrow = flat(params)[name], flat(started(tmp_path, ahead, params, causal))
    # Of each pixel of a patch the frames -2, -1, 0 and 1 in turn.
    kept = [row + k for row in range(0, 48, 12) for k in range(3, 9)]
    rest = range(48, wide.shape[2])
    np.testing.assert_array_equal(narrow[name], wide[:, :, [*kept, *rest]])


def test_spread_weights_see_differences_only_and_keep_the_size_of_features():
    drawn = init_params(MODEL, jax.random.key(0))
    spread = flat(rescaled_params(drawn))
    for name, value in spread.items():
        if name.endswith("bias"):
            assert not value.any()
        elif "deblur" in name:
            np.testing.assert_allclose(value, 0.02 * flat(drawn)[name], rtol=1e-6)
        else:
            np.testing.assert_allclose(value.sum((0, 1, 2)), 0, atol=1e-4)
    # He et al. 2015: a layer of rectified inputs keeps their size.
    kernel = spread["unit_0/detail/encode_1/conv/kernel"]
    fan = np.prod(kernel.shape[:3])
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / fan), rtol=0.1)
