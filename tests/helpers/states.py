"""Training states made of any bits, without computing anything."""

import functools

import jax
import numpy as np
from sharing import CONFIGS, MODEL

from mtujax.model.network import init_params
from mtujax.training.optimizers import init_train_state


@functools.cache
def like(scheme="release"):
    """Shapes and types of a state."""
    config = CONFIGS[scheme]
    return jax.eval_shape(
        lambda key: init_train_state(config, init_params(MODEL, key)), jax.random.key(0)
    )


def make_state(seed=0, scheme="release"):
    """A state of random bits: also NaN, infinities, -0 and denormal numbers."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        size = leaf.size * leaf.dtype.itemsize
        return np.frombuffer(rng.bytes(size), leaf.dtype).reshape(leaf.shape).copy()

    return jax.tree.map(draw, like(scheme))


def bits(tree):
    return [(x.shape, str(x.dtype), np.asarray(x).tobytes()) for x in leaves(tree)]


def leaves(tree):
    return jax.tree.leaves(tree)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    assert bits(found) == bits(expected)
