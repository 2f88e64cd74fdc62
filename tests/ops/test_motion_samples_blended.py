"""Mixing in the frame before, against loops over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtujax.ops.motion_samples import blended


def mixed(current, moved, logits, side):
    """By definition, pixel for pixel: [H, W, 3] of one video."""
    rows, columns = logits.shape[:2]
    squares = ((moved - current) ** 2).reshape(rows, side, columns, side, 3)
    unlike = np.pad(squares.mean((1, 3, 4)), 1, mode="edge")
    found = np.zeros_like(current)
    for y, x in np.ndindex(current.shape[:2]):
        i, j = y // side, x // side
        around = unlike[i : i + 3, j : j + 3].mean()
        odds = np.exp(logits[i, j, y % side * side + x % side])
        share = odds / (odds + 1 + 2 * around / 0.02**2)
        found[y, x] = (1 - share) * current[y, x] + share * moved[y, x]
    return found


@pytest.mark.parametrize("side", [1, 2])
def test_each_pixel_takes_its_share_of_the_frame_before(side):
    rng = np.random.default_rng(0)
    shape = 2, 4 * side, 6 * side, 3
    current = rng.random(shape)
    moved = current + rng.normal(0, 0.02, shape)
    logits = rng.normal(0, 2, (2, 4, 6, side**2))
    given = [jnp.asarray(x, jnp.float32) for x in (current, moved, logits)]
    found = jax.jit(blended)(*given, jnp.array([False, True]))
    wanted = mixed(current[0], moved[0], logits[0], side)
    assert np.abs(wanted - current[0]).max() > 0.005
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)
    np.testing.assert_array_equal(found[1], given[0][1])  # of a first frame, none


def test_noise_is_halved_and_what_disagrees_keeps_out():
    rng = np.random.default_rng(0)
    clean = np.full((1, 32, 32, 3), 0.5, np.float32)
    noisy = [clean + rng.normal(0, 0.005, clean.shape) for _ in range(2)]
    logits, later = jnp.zeros((1, 16, 16, 4)), jnp.array([False])
    found = blended(*map(jnp.asarray, noisy), logits, later)
    assert np.var(found) < 0.6 * np.var(noisy[0])
    found = blended(jnp.asarray(noisy[0]), jnp.asarray(noisy[1]) + 0.3, logits, later)
    assert np.abs(found - noisy[0]).max() < 0.002


def test_the_share_learns_and_the_agreement_does_not():
    current, moved = jnp.full((1, 2, 2, 3), 0.5), jnp.full((1, 2, 2, 3), 0.51)
    logits, later = jnp.zeros((1, 1, 1, 4)), jnp.array([False])

    def total(current, logits):
        return jnp.sum(blended(current, moved, logits, later))

    to_frame, to_logits = jax.grad(total, (0, 1))(current, logits)
    share = 1 / (2 + 2 * 0.01**2 / 0.02**2)
    np.testing.assert_allclose(to_frame, 1 - share, atol=1e-5)
    assert (np.asarray(to_logits) > 0).all()
