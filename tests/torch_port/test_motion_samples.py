"""Samples along the motion in PyTorch, and both networks that read them."""

import dataclasses
import functools

import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from moving import panned
from networks import apply, slow

from mtujax.config import ModelConfig
from mtujax.model.network import MTUNet, initial_state
from mtujax.ops import motion_samples as steering
from mtujax.ops.blur import Blur, blur_spectrum, window_blur
from mtujax.weights.convert import to_params, torch_names

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

from twins import random_twin  # noqa: E402

from mtujax.torch_port import motion_samples as torch_steering  # noqa: E402
from mtujax.torch_port.layers import pad_frames  # noqa: E402

SMALL = ModelConfig(channels=8, num_blocks=1, search_radius=3, motion_samples=2)


def window(count, height, width):
    """A pan, and beside it the same with the first neighbour missing."""
    frames = panned(count, height, width).astype(np.float32) / 255
    other = frames.copy()
    other[count // 2 - 1] = other[count // 2]
    return np.stack([frames, other])


def channels_last(x):
    return x.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize(
    "size, patch",
    [((72, 96), 2), ((8, 8), 1), slow((24, 60), 3), slow((104, 40), 1)]
    + [slow((64, 96), 8)],
)
def test_both_find_the_same_motion_and_samples(size, patch):
    frames = window(3, *size)
    there = torch.from_numpy(frames).permute(0, 1, 4, 2, 3)
    place = {"lookback": 1, "patch": patch}
    motion = jax.jit(functools.partial(window_blur, **place))(frames).motion
    wanted = torch_steering.frame_motion(*there.unbind(1), patch=patch)
    assert np.abs(motion).max() > 0.5
    # Where little is to be followed, iterations magnify rounding.
    error = np.abs(motion - channels_last(wanted))
    assert np.median(error) < 2e-5 and error.max() < 1e-2
    blur = jax.jit(functools.partial(window_blur, **place, with_neighbours=True))
    np.testing.assert_array_equal(blur(frames).motion, motion)
    same, ways = torch_steering.frame_motions(*there.unbind(1), patch=patch)
    assert torch.equal(same, wanted)
    error = np.abs(blur(frames).to_neighbours - channels_last(ways))
    assert np.median(error) < 1e-4 and np.quantile(error, 0.99) < 1e-2
    place |= {"samples": 2, "neighbour_samples": 1}
    steered = functools.partial(steering.steered_samples, **place)
    before = np.random.default_rng(0).random((2, *size, 3), np.float32)
    found = jax.jit(steered)(frames, channels_last(wanted), before, channels_last(ways))
    flow = wanted
    restored = torch.from_numpy(before).permute(0, 3, 1, 2)
    wanted = torch_steering.steered_samples(there, flow, restored, ways, **place)
    along = einops.rearrange(
        found[0], "b h w (y x) s -> b (h y) (w x) s", y=patch, x=patch
    )
    features = jnp.concatenate(found[1], axis=-1)
    for a, b in zip((along, features, found[2]), wanted, strict=True):
        np.testing.assert_allclose(a, channels_last(b), atol=2e-4)
    config = ModelConfig(
        patch=patch, motion_samples=2, neighbour_samples=1, blend_previous=True
    )
    assert found[0].shape[-1] == config.filter_taps
    count = torch_steering.steered_channels(config)
    assert features.shape[-1] == wanted[1].shape[1] == count
    assert torch_steering.steered_channels(ModelConfig(patch=patch)) == 0


def test_both_find_the_same_spectrum():
    frames = panned(3, 96, 120).astype(np.float32) / 255
    motion = np.full((1, 48, 60, 2), (7.5, -3.25), np.float32)
    motion[:, :20, :20] = (1.0, 0.5)
    found = jax.jit(blur_spectrum)(frames[1:2], motion)
    image = torch.from_numpy(frames[1:2]).permute(0, 3, 1, 2)
    flow = torch.from_numpy(motion).permute(0, 3, 1, 2)
    wanted = torch_steering.blur_spectrum(image, flow)
    assert float(wanted.abs().max()) > 0.5
    np.testing.assert_allclose(found, wanted, atol=2e-3)


FORMS = {
    "patches of 2": {"patch": 2, "first_kernel": 3, "activation": "leaky"},
    "no patches": {"first_kernel": 3},
    "the first layer as published": {"patch": 2, "last_unit_reads_warped": True},
    "with the spectrum": {"patch": 2, "first_kernel": 3, "exposure_spectrum": True},
    "with the frame before": {"patch": 2, "first_kernel": 3, "blend_previous": True},
    "with the neighbours": {
        "patch": 2,
        "first_kernel": 3,
        "blend_previous": True,
        "neighbour_samples": 1,
    },
    "causal": {"patch": 2, "lookback": 1, "lookahead": 0, "first_kernel": 1},
    "causal, with the frame before": {
        "patch": 2,
        "lookback": 1,
        "lookahead": 0,
        "neighbour_samples": 2,
    },
    "no samples": {"patch": 2, "first_kernel": 3, "motion_samples": 0},
    "an image, not a residual": {"residual_learning": False, "num_units": 1},
}
QUICK = "with the spectrum", "no patches", "with the neighbours"


@pytest.mark.parametrize("form", [n if n in QUICK else slow(n) for n in FORMS])
def test_both_networks_restore_the_same_along_one_motion(form):
    config = dataclasses.replace(SMALL, **FORMS[form])
    twin, tensors = random_twin(config, training_layers=True)
    model, params = MTUNet(config), to_params(tensors, config)
    assert set(torch_names(config)) <= set(tensors)
    frames = window(config.window, 45, 62)
    state, there = initial_state(model, 2, 45, 62), twin.initial_state(2, 45, 62)
    for _ in range(2):
        with torch.no_grad():
            there, wanted = twin(there, torch.from_numpy(frames))
        blur = None
        if config.motion_samples:
            padded = pad_frames(torch.from_numpy(frames), config.cell)
            after = min(config.lookback + 1, config.window - 1)
            three = [
                padded[:, k] for k in (config.lookback - 1, config.lookback, after)
            ]
            flow, ways = torch_steering.frame_motions(*three, patch=config.patch)
            spectrum = torch_steering.blur_spectrum(three[1], flow).numpy()
            motions = channels_last(flow), spectrum, channels_last(ways)
            blur = Blur(*map(jnp.asarray, motions))
            if not config.neighbour_samples:
                blur = blur._replace(to_neighbours=None)
        state, found = apply(model, params, state, frames, blur=blur)
        # Weights of random size magnify what the samples differ by.
        np.testing.assert_allclose(
            found["restored"], wanted["restored"], atol=2e-4, rtol=1e-4
        )
        same = np.asarray(found["displacement"]) == wanted["displacement"].numpy()
        assert same.mean() > 0.99


def test_both_networks_restore_about_the_same_with_motion_of_their_own():
    config = dataclasses.replace(SMALL, **FORMS["patches of 2"])
    twin, tensors = random_twin(config)
    model, params = MTUNet(config), to_params(tensors, config)
    frames = window(config.window, 45, 62)
    _, wanted = twin(twin.initial_state(2, 45, 62), torch.from_numpy(frames))
    _, found = apply(model, params, initial_state(model, 2, 45, 62), frames)
    error = np.abs(found["restored"] - wanted["restored"].detach().numpy())
    assert np.median(error) < 1e-4 and error.max() < 2e-2
