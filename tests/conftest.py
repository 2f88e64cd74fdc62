import functools

import jax
import numpy as np
import pytest

from mtujax.config import ModelConfig
from mtujax.network import MTUNet, inference_params, init_params

# Two devices, so that a test can tell a replicated computation from a single one.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")

TINY = ModelConfig(num_units=2, channels=8, num_blocks=1, search_radius=3)


@pytest.fixture(scope="session")
def model():
    return MTUNet(TINY)


@pytest.fixture(scope="session")
def params(model):
    return inference_params(lively_params(model))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@functools.partial(jax.jit, static_argnames=("model", "train"))
def apply(model, params, state, window, train=False):
    """One frame, compiled once per configuration and shape."""
    return model.apply({"params": params}, state, window, train)


def lively_params(model, scale=4.0):
    """Parameters whose features differ from place to place, as trained ones do."""
    drawn = init_params(model, jax.random.key(1))
    return jax.tree.map(lambda x: scale * x, drawn)


@pytest.fixture(scope="session")
def clip():
    """[1, 7, 24, 32, 3]: a texture that pans by whole pixels, softly blurred."""
    rng = np.random.default_rng(5)
    texture = rng.random((40, 64, 3))
    for axis in (0, 1):
        texture = (texture + np.roll(texture, 1, axis)) / 2
    frames = [texture[t : t + 24, 2 * t : 2 * t + 32] for t in range(7)]
    return np.stack(frames)[None].astype(np.float32)


@pytest.fixture(scope="module")
def one_torch_thread():
    """On busy cores torch's threads wait for each other longer than they work."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
