"""The matcher as one kernel for GPUs: scores, pooling and arg-max of a tile at once.

Neither the volume nor a row of it is ever in the device's memory: a program of the
kernel holds a tile of queries and tries one displacement after the other. Written in
Pallas for Triton, which needs sides that are powers of two. Letters as in `matching`.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

_TILE = 16  # side of the scores that a program has, the least of a Triton product
_REACH = 2  # of the pooling, by which fewer cells of a tile are decided
_INNER = _TILE - 2 * _REACH


def best_class(
    query: jax.Array, key: jax.Array, radius: int, *, interpret: bool = False
) -> jax.Array:
    """Classes [B, h, w] int32 of unit vectors [B, h, w, C] float32 that match best."""
    # `interpret` runs the kernel step by step by other means, on any device.
    batch, height, width, channels = query.shape
    rows, columns = -(-height // _INNER), -(-width // _INNER)
    more = max(16, 1 << (channels - 1).bit_length()) - channels

    def padded(x, edge):
        sides = (
            (edge, n * _INNER + edge - size)
            for n, size in ((rows, height), (columns, width))
        )
        return jnp.pad(x, ((0, 0), *sides, (0, more)))

    found = pl.pallas_call(
        functools.partial(_kernel, radius=radius),
        jax.ShapeDtypeStruct((batch, rows, columns, _TILE, _TILE), jnp.int32),
        grid=(batch, rows, columns),
        out_specs=pl.BlockSpec((1, 1, 1, _TILE, _TILE), lambda *at: (*at, 0, 0)),
        compiler_params=triton.CompilerParams(num_warps=8, num_stages=1),
        interpret=interpret,
        name="match",
    )(padded(query, _REACH), padded(key, _REACH + radius))
    inner = found[..., _REACH:-_REACH, _REACH:-_REACH].swapaxes(2, 3)
    index = inner.reshape(batch, rows * _INNER, columns * _INNER)
    return index[:, :height, :width]


def _kernel(query_ref, key_ref, index_ref, *, radius):
    """The classes of a tile; outside the grid the query is 0, and so are its scores."""
    b = pl.program_id(0)
    y, x = _INNER * pl.program_id(1), _INNER * pl.program_id(2)
    query = query_ref[b, pl.ds(y, _TILE), pl.ds(x, _TILE), :]
    side = 2 * radius + 1
    at, other = (lax.broadcasted_iota(jnp.int32, (_TILE, _TILE), k) for k in (0, 1))
    near = (jnp.abs(at - other) <= _REACH).astype(jnp.float32)
    dot = functools.partial(jnp.dot, precision=lax.Precision.HIGHEST)

    def better(index, best):
        score, found = best
        dy, dx = lax.div(index, side), lax.rem(index, side)
        key = key_ref[b, pl.ds(y + dy, _TILE), pl.ds(x + dx, _TILE), :]
        scores = jnp.sum(query * key, axis=-1)
        pooled = dot(dot(near, scores), near) / (2 * _REACH + 1) ** 2
        wins = pooled > score  # strict: an earlier class keeps a tie
        return jnp.where(wins, pooled, score), jnp.where(wins, index, found)

    start = jnp.full((_TILE, _TILE), -jnp.inf), jnp.zeros((_TILE, _TILE), jnp.int32)
    _, found = lax.fori_loop(0, side**2, better, start)
    index_ref[0, 0, 0] = found
