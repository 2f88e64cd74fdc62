"""Exact scores of the matcher, products of vectors summed in float32, with gradients.

Letters as in `matching`.
"""

import functools
from typing import Any, NamedTuple

import einops
import jax
import jax.numpy as jnp
from jax import lax

_HALF = jnp.dtype("float16"), jnp.dtype("bfloat16")


def unit_norm(features: jax.Array) -> jax.Array:
    """Scales vectors [..., C] to float32 of length 1; zeros stay, with gradient 0."""
    features = features.astype(jnp.float32)
    square = jnp.sum(features**2, axis=-1, keepdims=True)
    alive = square > 1e-24
    scale = jnp.where(alive, lax.rsqrt(jnp.where(alive, square, 1.0)), 0.0)
    return features * scale


class Vectors(NamedTuple):
    """What is multiplied: float32 vectors [B, h, w, C] that a dtype holds exactly."""

    features: jax.Array
    scale: jax.Array | None  # [B, h, w, 1] makes them unit vectors; None: they are

    def map(self, function):
        """The same after a function of arrays [B, h, w, any]."""
        return Vectors(*jax.tree.map(function, tuple(self)))


def unit_vectors(features: jax.Array) -> Vectors:
    """Unit vectors, or features in half precision with the scale that makes them so.

    The product of two numbers of half precision is exact in float32, so that a matrix
    unit for these scores as well as float32 does, in a fraction of its time.
    """
    if features.dtype not in _HALF:
        return Vectors(unit_norm(features), None)
    features = _without_radial(features.astype(jnp.float32))
    square = jnp.sum(lax.stop_gradient(features) ** 2, axis=-1, keepdims=True)
    scale = jnp.where(square > 1e-24, lax.rsqrt(jnp.maximum(square, 1e-24)), 0.0)
    return Vectors(features, scale)


@jax.custom_vjp
def _without_radial(features):
    """Vectors [..., C] themselves; their gradient less its part along each vector."""
    # A score depends on the directions alone, so that this is its whole gradient if the
    # lengths are taken for constants elsewhere.
    return features


def _less_radial(features, grad):
    square = jnp.sum(features**2, axis=-1, keepdims=True)
    along = jnp.sum(features * grad, axis=-1, keepdims=True)
    return (grad - features * along / jnp.maximum(square, 1e-24),)


_without_radial.defvjp(lambda features: (features, features), _less_radial)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def products(query: jax.Array, keys: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Scores [R, B, h, n, t, u] of float32 vectors that `dtype` holds exactly."""
    scores = _einsum("bhntc,rbhncu->bhntru", query, keys, dtype)
    return einops.rearrange(scores, "b h n t r u -> r b h n t u")


def _products_kept(query, keys, dtype):
    return products(query, keys, dtype), (query, keys)


def _products_back(dtype, kept, grad):
    query, keys = kept
    # The features get it in their own precision, but the range must be float32's.
    dtype = jnp.bfloat16 if dtype in _HALF else dtype
    # All in the order in which matrix products leave them: a GPU need not copy any.
    grad = einops.rearrange(grad, "r b h n t u -> b h n t r u")
    of_keys = _einsum("bhntru,bhntc->bhnruc", grad, query, dtype)
    return (
        _einsum("bhntru,rbhncu->bhntc", grad, keys, dtype),
        einops.rearrange(of_keys, "b h n r u c -> r b h n c u"),
    )


products.defvjp(_products_kept, _products_back)


def _einsum(form, x, y, dtype):
    """A sum of products of `dtype`, itself in float32."""
    settings: dict[str, Any] = {"precision": "highest"}
    if dtype in _HALF:
        settings = {"preferred_element_type": jnp.float32}
    return jnp.einsum(form, x.astype(dtype), y.astype(dtype), **settings)
