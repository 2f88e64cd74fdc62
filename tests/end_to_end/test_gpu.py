"""What only an accelerator can show: its own arithmetic against the recordings."""

import dataclasses

import jax
import numpy as np
import pytest
import recordings

from mtujax.config import PRESETS
from mtujax.model.clip import restore_clip
from mtujax.model.network import MTUNet, inference_params
from mtujax.model.optimized_form import inference_form
from mtujax.model.stream import Stream
from mtujax.ops.matching import FASTEST, IMPLEMENTATIONS, match
from mtujax.weights.convert import to_params

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def needs_an_accelerator():
    if jax.default_backend() == "cpu":
        pytest.skip("no accelerator")


@pytest.mark.parametrize("name", [None, *IMPLEMENTATIONS])
def test_default_matmul_precision_does_not_flip_the_displacement(name, rng):
    query, key = rng.random((2, 1, 45, 80, 52)).astype(np.float32)
    found = match(query, key, implementation=name)
    with jax.default_device(jax.devices("cpu")[0]):
        expected = match(query, key, implementation="banded")
    same = (np.asarray(found) == np.asarray(expected)).all(-1).mean()
    # The kernel adds up in another order, which may decide a near tie.
    assert same > (0.999 if "pallas" in (name, FASTEST["gpu"]) else 0.9999)


@pytest.mark.parametrize("name", ["MTU1", "MTU2"])
def test_the_recordings_hold_at_highest_precision(name):
    recorded = recordings.read(name)
    model = MTUNet(PRESETS[name.lower()])
    params = to_params(recorded.tensors, model.config)
    with jax.default_matmul_precision("highest"):
        _, restored = restore_clip(model, params, recorded.frames[None])
    np.testing.assert_allclose(restored[0], recorded.restored, atol=2e-4)


def test_a_stream_runs_in_every_precision(model, params, clip):
    for dtype in ("float32", "bfloat16", "float16"):
        config = model.config.__class__(**{**vars(model.config), "dtype": dtype})
        stream = Stream(MTUNet(config), params)
        out = [r for frame in clip[0] for r in stream.push(frame)] + stream.flush()
        assert np.isfinite(out).all() and len(out) == clip.shape[1]


def test_a_stream_that_does_not_wait_gives_the_same(model, params, clip):
    waiting = Stream(model, params)
    expected = [r for frame in clip[0] for r in waiting.push(frame)] + waiting.flush()
    stream = Stream(model, params, in_flight=2)
    restored = [r for frame in clip[0] for r in stream.push(frame)] + stream.flush()
    np.testing.assert_array_equal(restored, expected)


def test_the_inference_form_is_as_near_as_the_plain_one_in_half_precision():
    recorded = recordings.read("MTU2")
    model = MTUNet(dataclasses.replace(PRESETS["mtu2"], dtype="bfloat16"))
    params = inference_params(to_params(recorded.tensors, model.config))
    plain, form = (
        np.abs(restore_clip(*network, recorded.frames[None])[1][0] - recorded.restored)
        for network in ((model, params), inference_form(model, params))
    )
    # Later frames differ where rounding has chosen another displacement.
    assert form[0].max() < 0.02
    assert form.mean() < 1.5 * plain.mean()
