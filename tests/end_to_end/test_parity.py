"""The network against arrays recorded from the published one, all five presets."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recordings
from networks import slow

from mtujax.config import PRESETS
from mtujax.model.clip import clip_windows, restore_clip, window_at
from mtujax.model.network import MTUNet, initial_state
from mtujax.weights.convert import checkpoint_findings, to_params

TOLERANCE = 1e-4  # 4.2e-5 is reached by a plain re-implementation


@pytest.fixture(autouse=True)
def free_compiled_code():
    yield
    jax.clear_caches()  # many presets in one process exhaust the compiler's memory


def run(model, params, frames):
    """Frame by frame: restored [T, H, W, 3] and displacement [T, h, w, 2]."""
    clip = jnp.asarray(frames)[None]
    windows, index = clip_windows(model.config, clip)

    @jax.jit
    def scan(params, state):
        def step(state, place):
            window = window_at(windows, place)
            return model.apply({"params": params}, state, window)

        return jax.lax.scan(step, state, jnp.swapaxes(index, 0, 1))[1]

    outputs = scan(params, initial_state(model, 1, *clip.shape[2:4]))
    return np.asarray(outputs["restored"][:, 0]), outputs["displacement"][:, 0]


@pytest.mark.parametrize(
    "name",
    [slow(n) if n not in ("MTU1", "MTU2") else n for n in recordings.PRESET_NAMES],
)
def test_each_preset_restores_the_recorded_frames(name):
    recorded = recordings.read(name)
    config = PRESETS[name.lower()]
    params = to_params(recorded.tensors, config)
    restored, displacement = run(MTUNet(config), params, recorded.frames)
    np.testing.assert_array_equal(displacement, recorded.displacement)
    np.testing.assert_allclose(restored, recorded.restored, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "name", [slow(n) if "10" in n else n for n in recordings.PRESET_NAMES]
)
def test_each_preset_has_the_published_tensors(name):
    recorded = recordings.read(name)
    config = PRESETS[name.lower()]
    assert checkpoint_findings(recorded.tensors, config) == []
    everything = recorded.tensors | recorded.training_tensors
    assert checkpoint_findings(everything, config) == []
    params = to_params(recorded.tensors, config)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == recorded.parameters


def test_a_whole_clip_restores_the_recorded_frames():
    recorded = recordings.read("MTU1")
    model = MTUNet(PRESETS["mtu1"])
    params = to_params(recorded.tensors, model.config)
    restore = jax.jit(functools.partial(restore_clip, model))
    _, restored = restore(params, jnp.asarray(recorded.frames)[None])
    np.testing.assert_allclose(restored[0], recorded.restored, rtol=0, atol=TOLERANCE)
