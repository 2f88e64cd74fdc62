"""What only an accelerator can show: its own arithmetic against the recordings."""

import jax
import numpy as np
import pytest
import recordings

from mtujax.config import PRESETS
from mtujax.convert import to_params
from mtujax.network import MTUNet
from mtujax.ops.correlation import match
from mtujax.recurrent import restore_clip
from mtujax.stream import Stream

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def needs_an_accelerator():
    if jax.default_backend() == "cpu":
        pytest.skip("no accelerator")


def test_default_matmul_precision_does_not_flip_the_displacement(rng):
    query, key = rng.random((2, 1, 45, 80, 52)).astype(np.float32)
    found = match(query, key)
    with jax.default_device(jax.devices("cpu")[0]):
        expected = match(query, key)
    assert (np.asarray(found) == np.asarray(expected)).all(-1).mean() > 0.9999


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
