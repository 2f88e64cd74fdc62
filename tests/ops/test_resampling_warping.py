"""Warping against a naive loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtujax.ops import resampling
from mtujax.ops.resampling import (
    area_downsample,
    pad_frames,
    padded_size,
    upsampled_flow,
)

backward_warp, displace = map(jax.jit, (resampling.backward_warp, resampling.displace))


def naive_warp(source, flow):
    """Bilinear sampling, each corner outside counting zero, pixel by pixel."""
    batch, height, width, _ = source.shape
    out = np.zeros(source.shape)
    for b, y, x in np.ndindex(batch, height, width):
        sx, sy = x + flow[b, y, x, 0], y + flow[b, y, x, 1]
        left, top = int(np.floor(sx)), int(np.floor(sy))
        for row in (top, top + 1):
            for column in (left, left + 1):
                if 0 <= row < height and 0 <= column < width:
                    weight = (1 - abs(sy - row)) * (1 - abs(sx - column))
                    out[b, y, x] += weight * source[b, row, column]
    return out


def test_the_warp_equals_a_naive_loop_also_where_it_leaves_the_frame(rng):
    source = rng.normal(size=(2, 6, 9, 3)).astype(np.float32)
    flow = rng.uniform(-5, 5, size=(2, 6, 9, 2)).astype(np.float32)
    np.testing.assert_allclose(
        backward_warp(source, flow), naive_warp(source, flow), atol=1e-5
    )


def test_a_warp_by_zero_is_the_identity(rng):
    source = rng.normal(size=(1, 5, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(
        backward_warp(source, np.zeros((1, 5, 4, 2), np.float32)), source
    )


def test_the_warp_is_differentiable_in_source_and_flow(rng):
    source = rng.normal(size=(1, 6, 6, 2)).astype(np.float32)
    flow = rng.uniform(0.2, 0.8, size=(1, 6, 6, 2)).astype(np.float32)

    @jax.jit
    def total(source, flow):
        return jnp.sum(backward_warp(source, flow) ** 2)

    for k, value in enumerate((source, flow)):
        way = rng.normal(size=value.shape).astype(np.float32)
        grad = jax.jit(jax.grad(total, argnums=k))(source, flow)
        ends = [
            total(
                *[
                    v + s * 1e-2 * way if i == k else v
                    for i, v in enumerate((source, flow))
                ]
            )
            for s in (1, -1)
        ]
        np.testing.assert_allclose(
            np.sum(grad * way), (ends[0] - ends[1]) / 2e-2, rtol=3e-2
        )


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_moving_blocks_equals_warping_by_the_upsampled_flow(rng, dtype):
    source = jnp.asarray(rng.normal(size=(2, 16, 24, 3)), dtype)
    displacement = rng.integers(-6, 7, size=(2, 4, 6, 2)).astype(np.int32)
    flow = upsampled_flow(displacement)
    np.testing.assert_array_equal(
        displace(source, displacement), backward_warp(source, flow)
    )


def test_the_flow_is_four_times_the_displacement():
    displacement = np.array([[[[1, -2], [0, 3]]]], np.int32)
    flow = np.asarray(upsampled_flow(displacement))
    assert flow.shape == (1, 4, 8, 2)
    np.testing.assert_array_equal(flow[0, 3, 3], [4, -8])
    np.testing.assert_array_equal(flow[0, 0, 4], [0, 12])


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5), (4, 8), (2, 1)])
def test_padding_reflects_to_multiples_of_four(rng, height, width):
    frame = rng.random((1, height, width, 3)).astype(np.float32)
    padded = pad_frames(frame)
    rows, columns = padded_size(height, width)
    assert padded.shape == (1, rows, columns, 3)
    assert rows % 4 == columns % 4 == 0 and rows - height < 4 and columns - width < 4
    pads = ((0, 0), (0, rows - height), (0, columns - width), (0, 0))
    np.testing.assert_array_equal(padded, np.pad(frame, pads, mode="reflect"))


def test_downsampling_averages_blocks():
    x = np.arange(32, dtype=np.float32).reshape(1, 4, 8, 1)
    np.testing.assert_allclose(
        area_downsample(x)[0, 0, :, 0], [x[0, :, :4].mean(), x[0, :, 4:].mean()]
    )
