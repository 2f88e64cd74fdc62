"""The matcher against a naive loop, and the laws it must keep."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recordings

from mtujax.config import PRESETS
from mtujax.model.clip import clip_windows, window_at
from mtujax.model.network import MTUNet, initial_state
from mtujax.ops.matching import (
    FASTEST,
    IMPLEMENTATIONS,
    best_displacement,
    cost_volume,
    displacement_from_class,
    match,
    unit_norm,
)
from mtujax.ops.matching_kernel import best_class
from mtujax.training.losses import motion_loss
from mtujax.weights.convert import to_params


@functools.partial(jax.jit, static_argnames="radius")
def interpreted(query, key, *, radius=10):
    """The kernel without a GPU."""
    index = best_class(unit_norm(query), unit_norm(key), radius, interpret=True)
    return displacement_from_class(index, radius=radius)


FINDERS = {
    name: interpreted
    if name == "pallas"
    else functools.partial(match, implementation=name)
    for name in IMPLEMENTATIONS
}
EACH = pytest.mark.parametrize("find", FINDERS.values(), ids=FINDERS)


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
    # Of vectors that are equal or orthogonal, many displacements tie, exactly.
    alike = np.eye(shape[-1])[rng.integers(0, 2, (2, *shape[:3]))]
    for features in (rng.normal(size=(2, *shape)), alike):
        query, key = features.astype(np.float32)
        expected = naive_volume(query, key, radius=2)
        volume = cost_volume(query, key, radius=2)
        np.testing.assert_allclose(volume, expected, atol=1e-6)
        best = expected.argmax(-1)
        expected = np.stack([best % 5 - 2, best // 5 - 2], axis=-1)
        np.testing.assert_array_equal(best_displacement(volume, radius=2), expected)
        for find in (match, *FINDERS.values()):
            np.testing.assert_array_equal(find(query, key, radius=2), expected)


def recorded_features(name):
    """Motion features of each frame [1, h, w, 2C] and their displacements [h, w, 2]."""
    recorded = recordings.read(name)
    model = MTUNet(PRESETS[name.lower()])
    params = to_params(recorded.tensors, model.config)
    windows, index = clip_windows(model.config, jnp.asarray(recorded.frames)[None])
    state = initial_state(model, 1, *recorded.frames.shape[1:3])
    step = jax.jit(lambda s, w: model.apply({"params": params}, s, w)[0])
    for place, displacement in zip(index[0], recorded.displacement, strict=True):
        state = step(state, window_at(windows, place[None]))
        yield state.motion[-1], displacement


def test_all_find_the_recorded_displacements():
    _find_the_recorded(find for name, find in FINDERS.items() if name != "pallas")


# The two best scores of one cell differ by 1.5e-7, which the order of the sums decides
# where XLA does not optimise: compiled as users do (EXACT in the Makefile).
@pytest.mark.slow
def test_so_does_the_fused_kernel():
    _find_the_recorded([interpreted])


def _find_the_recorded(finders):
    finders = list(finders)
    (before, _), *rest = recorded_features("MTU1")
    for features, expected in rest:
        for find in finders:
            np.testing.assert_array_equal(find(features, before)[0], expected)
        before = features


@EACH
@pytest.mark.parametrize("dx, dy", [(0, 0), (2, -1), (-3, 3)])
def test_a_shifted_frame_is_matched_by_exactly_that_shift(rng, dx, dy, find):
    previous = rng.normal(size=(1, 16, 40, 8)).astype(np.float32)
    current = np.roll(previous, (-dy, -dx), axis=(1, 2))
    found = find(current, previous, radius=3)[:, 5:-5, 5:-5]
    np.testing.assert_array_equal(found, np.broadcast_to([dx, dy], found.shape))


@EACH
def test_the_first_class_wins_a_tie(find):
    flat = np.ones((1, 20, 20, 2), np.float32)
    # In the middle every displacement scores the same.
    found = find(flat, flat, radius=3)[:, 8:12, 8:12]
    np.testing.assert_array_equal(found, np.full(found.shape, -3))


def test_an_implementation_that_does_not_exist_is_refused():
    flat = np.ones((1, 4, 4, 2), np.float32)
    with pytest.raises(ValueError, match="implementation='triton': must be one of"):
        match(flat, flat, implementation="triton")


def test_the_kernel_is_refused_where_it_cannot_run(monkeypatch):
    flat = np.ones((1, 4, 4, 2), np.float32)
    with pytest.raises(ValueError, match="'pallas': runs on a GPU, not on a cpu; name"):
        match(flat, flat, implementation="pallas")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setitem(sys.modules, "mtujax.ops.matching_kernel", None)
    with pytest.raises(ValueError, match="'pallas': this JAX has no Pallas for Triton"):
        match(flat, flat, implementation="pallas")


def test_a_device_without_a_default_takes_no_kernel_for_gpus(monkeypatch, rng):
    query, key = rng.random((2, 1, 6, 7, 3)).astype(np.float32)
    expected = match(query, key, implementation="banded")
    monkeypatch.setitem(FASTEST, "gpu", "pallas")
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    np.testing.assert_array_equal(match(query, key), expected)


def test_the_default_of_each_device_is_there():
    assert {"cpu", "gpu"} == FASTEST.keys() and {*FASTEST.values()} < {*IMPLEMENTATIONS}


def test_videos_in_a_batch_do_not_meet(rng):
    query, key = rng.normal(size=(2, 3, 9, 8, 4)).astype(np.float32)
    together = match(query, key, radius=2)
    for b in range(3):
        alone = match(query[b : b + 1], key[b : b + 1], radius=2)
        np.testing.assert_array_equal(together[b : b + 1], alone)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scores_of_half_precision_are_not_rounded(rng, dtype):
    query, key = jnp.asarray(rng.normal(size=(2, 1, 8, 8, 4)), dtype)
    wide = query.astype(jnp.float32), key.astype(jnp.float32)
    volume = cost_volume(query, key, radius=1)
    np.testing.assert_allclose(volume, cost_volume(*wide, radius=1), atol=1e-6)
    expected = naive_volume(*wide, radius=1).argmax(-1)
    found = match(query, key, radius=1)
    np.testing.assert_array_equal(found, displacement_from_class(expected, radius=1))


def loss_of_volume(volume, target):
    """Equation 2, in the precision of the volume."""
    norm = np.log(np.exp(volume).sum(-1))
    return (norm - np.take_along_axis(volume, target[..., None], -1)[..., 0]).mean()


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "dtype, error", [("float32", 1e-5), ("bfloat16", 2e-2), ("float16", 2e-2)]
)
def test_the_gradient_of_the_motion_loss_is_that_of_a_naive_loop(
    rng, dtype, error, at_once
):
    features = jnp.asarray(rng.normal(size=(2, 1, 3, 5, 3)), dtype)
    target = rng.integers(0, 9, (1, 3, 5))

    def loss(features):
        volume = cost_volume(*features, radius=1, at_once=at_once)
        return motion_loss(volume[:, None], target)

    found = jax.jit(jax.grad(loss))(features)
    assert found.dtype == features.dtype
    exact, step = np.asarray(features, np.float64), 1e-5
    expected = np.zeros(exact.shape)
    for place in np.ndindex(exact.shape):
        change = np.zeros(exact.shape)
        change[place] = step
        up, down = (
            loss_of_volume(naive_volume(*x, radius=1), target)
            for x in (exact + change, exact - change)
        )
        expected[place] = (up - down) / (2 * step)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found.astype(float), expected, atol=error * largest)


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
