"""The matcher against a naive loop, and the laws it must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtujax.ops.matching import (
    IMPLEMENTATIONS,
    best_displacement,
    cost_volume,
    displacement_from_class,
    match,
    unit_norm,
)


def naive_volume(query, key, radius):
    """Section 3.4 as loops over displacements and pixels, in float64."""
    query, key = (np.asarray(x, np.float64) for x in (query, key))
    query = query / np.maximum(np.linalg.norm(query, axis=-1, keepdims=True), 1e-12)
    key = key / np.maximum(np.linalg.norm(key, axis=-1, keepdims=True), 1e-12)
    batch, height, width, _ = query.shape
    planes = []
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            plane = np.zeros((batch, height + 4, width + 4))
            for y in range(height):
                for x in range(width):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        plane[:, y + 2, x + 2] = np.sum(
                            query[:, y, x] * key[:, y + dy, x + dx], axis=-1
                        )
            parts = [
                plane[:, a : a + height, b : b + width]
                for a in range(5)
                for b in range(5)
            ]
            planes.append(sum(parts) / 25)
    return np.stack(planes, axis=-1)


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (2, 7, 5, 3), (1, 6, 37, 4)])
def test_the_volume_and_the_displacement_equal_a_naive_loop(rng, shape):
    query, key = rng.normal(size=(2, *shape)).astype(np.float32)
    expected = naive_volume(query, key, radius=2)
    volume = cost_volume(query, key, radius=2)
    np.testing.assert_allclose(volume, expected, atol=1e-6)
    best = expected.argmax(-1)
    expected = np.stack([best % 5 - 2, best // 5 - 2], axis=-1)
    np.testing.assert_array_equal(best_displacement(volume, radius=2), expected)
    for implementation in (None, *IMPLEMENTATIONS):
        found = match(query, key, radius=2, implementation=implementation)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dx, dy", [(0, 0), (2, -1), (-3, 3)])
def test_a_shifted_frame_is_matched_by_exactly_that_shift(rng, dx, dy, implementation):
    previous = rng.normal(size=(1, 16, 40, 8)).astype(np.float32)
    current = np.roll(previous, (-dy, -dx), axis=(1, 2))
    found = match(current, previous, radius=3, implementation=implementation)
    found = found[:, 5:-5, 5:-5]
    np.testing.assert_array_equal(found, np.broadcast_to([dx, dy], found.shape))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_first_class_wins_a_tie(implementation):
    flat = np.ones((1, 20, 20, 2), np.float32)
    # In the middle every displacement scores the same.
    found = match(flat, flat, radius=3, implementation=implementation)[:, 8:12, 8:12]
    np.testing.assert_array_equal(found, np.full(found.shape, -3))


def test_an_implementation_that_does_not_exist_is_refused():
    flat = np.ones((1, 4, 4, 2), np.float32)
    with pytest.raises(ValueError, match="implementation='triton': must be one of"):
        match(flat, flat, implementation="triton")


def test_videos_in_a_batch_do_not_meet(rng):
    query, key = rng.normal(size=(2, 3, 9, 8, 4)).astype(np.float32)
    together = match(query, key, radius=2)
    for b in range(3):
        alone = match(query[b : b + 1], key[b : b + 1], radius=2)
        np.testing.assert_array_equal(together[b : b + 1], alone)


def test_half_precision_features_are_matched_in_float32(rng):
    query, key = rng.normal(size=(2, 1, 8, 8, 4)).astype(np.float16)
    assert cost_volume(query, key, radius=1).dtype == jnp.float32
    wide = match(query.astype(np.float32), key.astype(np.float32), radius=1)
    np.testing.assert_array_equal(match(query, key, radius=1), wide)


def test_the_volume_and_its_gradient_are_finite_at_zero_features():
    zero = jnp.zeros((1, 6, 6, 4))

    def total(query, key):
        return jnp.sum(cost_volume(query, key, radius=1) ** 2)

    value, grads = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))(zero, zero)
    assert value == 0
    assert all(bool(jnp.all(g == 0)) for g in grads)


def test_the_gradient_of_the_volume_is_its_slope(rng):
    query, key, way = rng.normal(size=(3, 1, 4, 4, 3)).astype(np.float32)

    @jax.jit
    def score(x):
        return jnp.sum(jnp.sin(3 * cost_volume(x, key, radius=1)))

    slope = jnp.sum(jax.jit(jax.grad(score))(query) * way)
    numeric = (score(query + 1e-2 * way) - score(query - 1e-2 * way)) / 2e-2
    np.testing.assert_allclose(slope, numeric, rtol=2e-2)


def test_no_gradient_passes_the_matcher(rng):
    query, key = rng.normal(size=(2, 1, 4, 4, 3)).astype(np.float32)

    def moved(x):
        return jnp.sum(match(x, key, radius=1).astype(jnp.float32))

    np.testing.assert_array_equal(jax.grad(moved)(query), 0)


def test_unit_vectors_have_length_one_whatever_their_scale():
    x = np.array([[3.0, 4.0], [3e-9, 4e-9], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(
        unit_norm(x), [[0.6, 0.8], [0.6, 0.8], [0, 0]], atol=1e-6
    )


def test_classes_follow_the_published_order():
    # Index = (dy + 10) * 21 + (dx + 10).
    np.testing.assert_array_equal(
        displacement_from_class(np.array([0, 1, 21, 220, 440])),
        [[-10, -10], [-9, -10], [-10, -9], [0, 0], [10, 10]],
    )


def test_the_matcher_never_holds_the_volume():
    shape = jax.ShapeDtypeStruct((1, 90, 160, 52), jnp.float32)
    memory = jax.jit(match).lower(shape, shape).compile().memory_analysis()
    volume = 90 * 160 * 441 * 4
    assert memory.temp_size_in_bytes < volume


@pytest.mark.parametrize("function", [match, cost_volume])
def test_a_negative_radius_is_refused(function):
    x = jnp.zeros((1, 4, 4, 2))
    with pytest.raises(ValueError, match="radius=-1"):
        function(x, x, radius=-1)


def test_rows_scored_at_once_are_those_scored_one_after_the_other(rng):
    query, key = rng.standard_normal((2, 2, 9, 38, 5)).astype(np.float32)
    weight = rng.standard_normal((2, 9, 38, 25)).astype(np.float32)

    def both(at_once):
        def total(query, key):
            volume = cost_volume(query, key, radius=2, at_once=at_once)
            return jnp.sum(volume * weight), volume

        return jax.jit(jax.grad(total, (0, 1), has_aux=True))(query, key)

    (grads, volume), (expected, one_by_one) = both(True), both(False)
    np.testing.assert_allclose(volume, one_by_one, atol=1e-6)
    for found, wanted in zip(grads, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
