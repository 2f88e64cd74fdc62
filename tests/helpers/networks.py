"""Small networks, and parameters that are as lively as trained ones."""

import functools

import jax
import numpy as np
import pytest

from mtujax.bench.timing import Network
from mtujax.config import ModelConfig
from mtujax.model.network import MTUNet, inference_params, init_params

TINY = ModelConfig(num_units=2, channels=8, num_blocks=1, search_radius=3)

# Compiles in a second: for tests of all that stands around the network.
SMALLEST = ModelConfig(num_units=1, channels=4, num_blocks=0, search_radius=1)

# Fields of a network on patches that samples along the motion, as `fast` does.
STEERED = dict(patch=2, activation="leaky", first_kernel=3, motion_samples=2)


def slow(*values):
    """A case for `make test-slow` only, of a test whose other cases are quick."""
    return pytest.param(*values, marks=pytest.mark.slow)


@functools.partial(jax.jit, static_argnames=("model", "train"))
def apply(model, params, state, window, train=False, blur=None):
    """One frame, compiled once per configuration and shape."""
    return model.apply({"params": params}, state, window, train, blur)


def timed(config, shape):
    """A network with drawn weights, as it is timed on frames of a shape."""
    model = MTUNet(config)
    return Network(
        model, inference_params(init_params(model, jax.random.key(0))), shape
    )


def lively_params(model, scale=4.0):
    """Parameters whose features differ from place to place, as trained ones do."""
    drawn = jax.device_get(init_params(model, jax.random.key(1)))
    # By NumPy, as JAX would compile a product for each shape.
    return jax.device_put(jax.tree.map(lambda x: np.float32(scale) * x, drawn))
