"""The losses of Eq. 1 and Eq. 2 against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from mtujax.training import losses

motion_loss = jax.jit(losses.motion_loss)
restoration_loss = jax.jit(losses.restoration_loss, static_argnames="form")


def test_the_restoration_loss_is_equation_1(rng):
    restored, sharp = rng.random((2, 2, 4, 5, 3)).astype(np.float32)
    intermediate = rng.random((2, 3, 4, 5, 3)).astype(np.float32)
    expected = np.abs(restored - sharp).mean()
    assert restoration_loss(restored, sharp) == pytest.approx(expected, rel=1e-5)
    for n in range(3):
        expected += 0.1 * np.abs(intermediate[:, n] - sharp).mean()
    found = restoration_loss(restored, sharp, intermediate)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_loss_psnr_is_minus_the_mean_psnr_of_the_frames(rng):
    sharp = rng.random((3, 24, 25, 3)).astype(np.float32)
    noise = rng.normal(size=sharp.shape) * np.reshape([0.01, 0.05, 0.2], (3, 1, 1, 1))
    restored = (sharp + noise).astype(np.float32)
    each = [
        peak_signal_noise_ratio(*x, data_range=1)
        for x in zip(sharp, restored, strict=True)
    ]
    error = 10 ** (-np.array(each) / 10) + 10**-4
    found = float(restoration_loss(restored, sharp, form="psnr"))
    assert found == pytest.approx(np.mean(10 * np.log10(error)), abs=1e-3)
    # Of equal frames it ends at 40 dB, with a finite gradient.
    grad = jax.grad(lambda x: restoration_loss(x, sharp, form="psnr"))(sharp)
    assert restoration_loss(sharp, sharp, form="psnr") == pytest.approx(-40, abs=1e-4)
    assert np.all(np.asarray(grad) == 0)
    others = np.stack([restored, sharp], axis=1)
    both = restoration_loss(restored, sharp, others, form="psnr")
    assert both == pytest.approx(found + 0.1 * (found - 40), abs=1e-3)


def test_another_form_of_the_loss_is_refused(rng):
    image = rng.random((1, 4, 4, 3)).astype(np.float32)
    with pytest.raises(ValueError, match="form 'ssim': must be paper or release or"):
        restoration_loss(image, image, form="ssim")


def test_a_network_of_one_unit_has_no_intermediate_term(rng):
    restored, sharp = rng.random((2, 1, 4, 4, 3)).astype(np.float32)
    none = np.zeros((1, 0, 4, 4, 3), np.float32)
    found = restoration_loss(restored, sharp, none)
    assert found == restoration_loss(restored, sharp)


def test_the_motion_loss_is_equation_2_over_valid_cells(rng):
    volume = rng.normal(size=(2, 2, 3, 4, 9)).astype(np.float32)
    target = rng.integers(0, 9, (2, 3, 4))
    valid = rng.random((2, 3, 4)) < 0.6
    soft = np.exp(volume) / np.exp(volume).sum(-1, keepdims=True)
    terms = [
        -np.log(soft[b, m, y, x, target[b, y, x]])
        for b, m, y, x in np.ndindex(2, 2, 3, 4)
        if valid[b, y, x]
    ]
    assert motion_loss(volume, target, valid) == pytest.approx(np.mean(terms), rel=1e-5)


def test_an_unknown_target_may_hold_any_number(rng):
    volume = rng.normal(size=(1, 1, 2, 2, 9)).astype(np.float32)
    target = np.array([[[0, 1], [2, 999]]])
    valid = target < 9
    value, grad = jax.value_and_grad(motion_loss)(jnp.asarray(volume), target, valid)
    expected = motion_loss(volume, np.where(valid, target, 5), valid)
    assert value == pytest.approx(float(expected))
    assert bool(jnp.all(jnp.isfinite(grad)))


def test_no_valid_cell_gives_no_loss_and_no_gradient(rng):
    volume = jnp.asarray(rng.normal(size=(1, 1, 2, 2, 9)), jnp.float32)
    target, valid = np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), bool)
    value, grad = jax.value_and_grad(motion_loss)(volume, target, valid)
    assert value == 0
    np.testing.assert_array_equal(grad, 0)
