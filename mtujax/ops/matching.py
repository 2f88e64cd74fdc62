"""Motion compensation: matching by cosine cost volume, 5x5 pooling and arg-max.

Reference: Sec. 3.4. Class (dy + r)(2r + 1) + (dx + r) is displacement (dx, dy); cells
outside the grid score 0. Scores are sums in float32 of products that are not rounded,
whatever the input: a rounded score can flip the arg-max. Letters: B batch, h w motion
grid, C channels, r search radius, D = (2r + 1)**2 displacements; of one product, R rows
of displacements, n bands of t columns, u columns of keys.
"""

import functools
from typing import Any, Literal, NamedTuple, get_args

import chex
import einops
import jax
import jax.numpy as jnp
from jax import lax

from mtujax.ops.resampling import any_byte_order

Implementation = Literal[
    "banded", "banded_3", "banded_7", "unrolled", "volume", "pallas"
]
IMPLEMENTATIONS = get_args(Implementation)
"""Implementations of `match`."""

FASTEST = {"cpu": "banded", "gpu": "banded"}
"""The default for each kind of device; others take "banded".

Measured by `benchmarks.speed.core --only matcher`, in milliseconds at 1280x720:

    cpu     2026-11-22, 2 cores      banded 408; the others not yet
    gpu     2026-11-27, NVIDIA H100  banded 1.9; the others not yet
"""


TILE = 32  # columns per band at most; 16 to 32 are best on a CPU
POOL = 5  # side of the averaging window over each displacement's plane


@any_byte_order
def cost_volume(
    query: jax.Array,
    key: jax.Array,
    *,
    radius: int = 10,
    at_once: bool | None = None,
) -> jax.Array:
    """Pooled cosine similarity for every displacement; differentiable.

    `volume[y, x, c] = mean over a 5x5 window of <q(y, x), k(y + dy, x + dx)>`, with
    unit vectors q and k, zeros outside the grid and divisor 25 everywhere: C_t of
    Sec. 3.4. For features in half precision the products of the gradient are of
    bfloat16, with sums in float32.

    Examples:
        >>> features = jax.random.normal(jax.random.key(0), (1, 8, 8, 4))
        >>> cost_volume(features, features, radius=2).shape  # 5 x 5 displacements
        (1, 8, 8, 25)

    Args:
        query: [B, h, w, C] motion features of the current frame.
        key: [B, h, w, C] motion features of the previous frame.
        radius: search radius r in grid cells.
        at_once: score all rows of displacements in parallel instead of one after the
            other; takes several times the memory. None does so except on a CPU: on a
            GPU, launching many small computations takes longer than computing them.

    Returns:
        [B, h, w, D] float32 in [-1, 1]; memory grows with D, so inference uses `match`.

    Raises:
        ValueError: if `radius` is negative.
    """
    _check(query, key, radius)
    height = query.shape[1]
    dtype = jnp.result_type(query, key)
    query, key = (unit_vectors(x.astype(dtype)) for x in (query, key))
    padded = key.map(lambda x: _pad_grid(x, radius))

    def row(dy):
        return _row_scores(query, padded.map(lambda x: _rows(x, [dy], height)), dtype)

    shifts = range(2 * radius + 1)
    if at_once is None:
        at_once = jax.default_backend() != "cpu"
    if at_once:
        keys = padded.map(lambda x: _rows(x, shifts, height))
        rows = _row_scores(query, keys, dtype)
    else:
        rows = lax.map(row, jnp.arange(len(shifts)))[:, 0]
    return einops.rearrange(rows, "dy b h w dx -> b h w (dy dx)")


def best_displacement(volume: jax.Array, *, radius: int = 10) -> jax.Array:
    """Displacement [B, h, w, 2] of the first best score in [B, h, w, D]."""
    return displacement_from_class(jnp.argmax(volume, axis=-1), radius=radius)


def displacement_from_class(index: jax.Array, *, radius: int = 10) -> jax.Array:
    """Converts classes [...] to displacements [..., 2] int32 (dx, dy) in grid cells."""
    index = index.astype(jnp.int32)
    side = 2 * radius + 1
    dx, dy = lax.rem(index, side), lax.div(index, side)
    return jnp.stack([dx - radius, dy - radius], axis=-1)


@any_byte_order
@functools.partial(jax.jit, static_argnames=("radius", "implementation"))
def match(
    query: jax.Array,
    key: jax.Array,
    *,
    radius: int = 10,
    implementation: Implementation | None = None,
) -> jax.Array:
    """Finds where each cell of `query` was in `key`: arg-max of `cost_volume` (W_t).

    Examples:
        >>> before = jax.random.normal(jax.random.key(0), (1, 12, 12, 8))
        >>> now = jnp.roll(before, 2, axis=2)  # all of it has moved right by two cells
        >>> match(now, before, radius=3)[0, 6, 6].tolist()
        [-2, 0]

    Args:
        query: [B, h, w, C] motion features of the current frame.
        key: [B, h, w, C] motion features of the previous frame.
        radius: search radius r in grid cells.
        implementation: "banded" scores one row of displacements at a time, so the
            volume is never in memory, "banded_3" and "banded_7" three and seven at a
            time; "unrolled" is "banded" without a loop; "volume" takes the arg-max of
            the whole `cost_volume`; "pallas" is a kernel for GPUs. All give the same
            result, but for near ties in "pallas", which adds up in another order. None
            takes what `FASTEST` names for the device.

    Returns:
        [B, h, w, 2] int32 (dx, dy) in grid cells, |dx|, |dy| <= radius; the first class
        wins a tie. Not differentiable: no gradient passes.

    Raises:
        ValueError: if `radius` is negative, or `implementation` is unknown or not for
            this device.
    """
    _check(query, key, radius)
    if implementation is None:
        implementation = FASTEST.get(jax.default_backend(), "banded")
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f"implementation={implementation!r}: must be one of {IMPLEMENTATIONS}"
        )
    if implementation == "pallas" and (device := jax.default_backend()) != "gpu":
        raise ValueError(
            f"implementation='pallas': runs on a GPU, not on a {device}; name another "
            f"of {IMPLEMENTATIONS}"
        )
    query, key = lax.stop_gradient((query, key))
    if implementation == "volume":
        volume = cost_volume(query, key, radius=radius)
        return best_displacement(volume, radius=radius)
    if implementation == "pallas":
        index = _kernel()(unit_norm(query), unit_norm(key), radius)
    else:
        index = _best_class(query, key, radius, **_ROWS[implementation])
    return displacement_from_class(index, radius=radius)


def _kernel():
    try:
        from mtujax.ops.matching_kernel import best_class  # slow to import
    except ImportError as error:
        raise ValueError(
            f"implementation='pallas': this JAX has no Pallas for Triton ({error}); "
            f"name another of {IMPLEMENTATIONS}"
        ) from error
    return best_class


_ROWS = {
    "banded": {},
    "banded_3": {"rows": 3},
    "banded_7": {"rows": 7},
    "unrolled": {"unroll": True},
}


def _best_class(query, key, radius, *, rows=1, unroll=False):
    """Classes [B, h, w] of features, from so many rows of displacements at once."""
    batch, height, width, _ = query.shape
    side = 2 * radius + 1
    rows = min(rows, side)
    dtype = jnp.result_type(query, key)
    query, key = (unit_vectors(x.astype(dtype)) for x in (query, key))
    padded = key.map(lambda x: _pad_grid(x, radius))
    classes = jnp.arange(rows * side, dtype=jnp.int32).reshape(rows, 1, 1, 1, side)

    def some(best, dy):
        score, index = best
        keys = padded.map(lambda x: _rows(x, [dy + k for k in range(rows)], height))
        # The barriers make XLA store a row of scores once instead of computing it
        # again for each of the 25 places that read it.
        scores = lax.optimization_barrier(_row_scores(query, keys, dtype))
        top = jnp.max(scores, axis=(0, -1), keepdims=True)
        here = jnp.where(scores == top, classes, rows * side)
        first, top = dy * side + here.min(axis=(0, -1)), top[0, ..., 0]
        better = top > score  # strict: an earlier row keeps a tie
        return (jnp.where(better, top, score), jnp.where(better, first, index)), None

    start = (
        jnp.full((batch, height, width), -jnp.inf, jnp.float32),
        jnp.zeros((batch, height, width), jnp.int32),
    )
    # The last may begin among rows that were scored before, which win no more.
    firsts = jnp.minimum(jnp.arange(0, side, rows, dtype=jnp.int32), side - rows)
    (_, index), _ = lax.scan(some, start, firsts, unroll=unroll)
    return index


def _check(query, key, radius):
    chex.assert_rank(query, 4)
    chex.assert_equal_shape([query, key])
    if radius < 0:
        raise ValueError(f"radius={radius}: must be >= 0")


def _pad_grid(key, radius):
    edge = (radius, radius)
    return jnp.pad(key, ((0, 0), edge, edge, (0, 0)))


def _rows(padded, shifts, height):
    """Keys [R, B, h, w + 2r, C], moved up by each number of rows, of padded ones."""
    moved = (lax.dynamic_slice_in_dim(padded, dy, height, axis=1) for dy in shifts)
    return jnp.stack(list(moved))


def _row_scores(query, keys, dtype):
    """Pooled [R, B, h, w, 2r + 1] of vectors [B, h, w, C] and rows of moved ones."""
    width = query.features.shape[2]
    side = keys.features.shape[3] - width + 1
    # Columns are cut into bands: one small matrix product per band scores all its dx at
    # once, and the wanted scores are on diagonals, which a reshape turns into rows.
    # A width that is known only at run time (`jax.export`) is no int.
    tile = TILE
    if isinstance(width, int):  # as even as whole vectors allow
        least = -(-width // -(-width // TILE))
        tile = min(8 * -(-least // 8), width)
    bands = -(-width // tile)
    missing = bands * tile - width
    span = tile + side - 1

    def banded_query(x):
        x = jnp.pad(x, ((0, 0), (0, 0), (0, missing), (0, 0)))
        return einops.rearrange(x, "b h (n t) c -> b h n t c", t=tile)

    def banded_keys(x):
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, missing), (0, 0)))
        x = einops.rearrange(x, "r b h u c -> r b h c u")
        return _overlapping(x, bands, tile, span)

    query, keys = query.map(banded_query), keys.map(banded_keys)
    product = products(query.features, keys.features, dtype)
    if query.scale is not None:
        product = product * (query.scale[None] * keys.scale)
    flat = einops.rearrange(product, "r b h n t u -> r b h n (t u)")
    flat = jnp.pad(flat, [(0, 0)] * 4 + [(0, tile)])
    skewed = einops.rearrange(flat, "r b h n (t u) -> r b h (n t) u", t=tile)
    scores = lax.optimization_barrier(skewed[..., :width, :side])
    pooled = lax.optimization_barrier(_box(scores, axis=2))
    return _box(pooled, axis=3) / POOL**2


def _overlapping(key, bands, tile, span):
    """Bands [..., n, C, span] of [..., C, columns], `tile` columns apart."""
    if isinstance(bands, int):
        parts = [key[..., n * tile : n * tile + span] for n in range(bands)]
        return jnp.stack(parts, axis=-3)
    column = tile * jnp.arange(bands)[:, None] + jnp.arange(span)[None]
    return jnp.moveaxis(jnp.take(key, column, axis=-1), -2, -3)


def _box(x, axis):
    """Sum of the 5 neighbours along `axis`, zeros outside."""
    # Not a running sum: its rounding would break ties that should stand.
    reach = POOL // 2
    size = x.shape[axis]
    pads = [(0, 0)] * x.ndim
    pads[axis] = (reach, reach)
    padded = jnp.pad(x, pads)
    parts = [lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(POOL)]
    return functools.reduce(jnp.add, parts)


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
    """Unit vectors, or features in half precision with the scale that makes them so."""
    # The product of two numbers of half precision is exact in float32, so that a matrix
    # unit for these scores as well as float32 does, in a fraction of its time.
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
