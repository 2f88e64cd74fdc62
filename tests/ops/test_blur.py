"""The spectrum of a blur against exposures that are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from mtujax.ops import blur as module
from mtujax.ops.blur import window_blur

blur_spectrum = jax.jit(module.blur_spectrum)


def texture(height, width):
    """[H, W] noise whose power falls with frequency, as that of pictures does."""
    rng = np.random.default_rng(0)
    across, down = np.fft.fftfreq(width), np.fft.fftfreq(height)[:, None]
    power = np.fft.fft2(rng.normal(size=(height, width)))
    image = np.fft.ifft2(power / np.maximum(np.hypot(across, down), 0.01)).real
    return (image - image.min()) / np.ptp(image)


def exposed(duty, velocity, size=(192, 256)):
    """[1, H, W, 3]: the texture averaged over `duty` frames of (dx, dy)."""
    image = texture(*size)
    moments = duty * (np.arange(81) / 80 - 0.5)
    shifts = [(t * velocity[1], t * velocity[0]) for t in moments]
    moved = [scipy.ndimage.shift(image, s, order=1, mode="wrap") for s in shifts]
    return np.repeat(np.mean(moved, axis=0)[None, ..., None], 3, -1).astype(np.float32)


def constant(velocity, size=(96, 128)):
    return jnp.broadcast_to(jnp.asarray(velocity, jnp.float32), (1, *size, 2))


@pytest.mark.parametrize("velocity", [(16, 0), (-9, 12)])
@pytest.mark.parametrize("duty", [0.5, 0.8, 1.0])
def test_power_is_least_where_the_exposure_takes_it_out(duty, velocity):
    frame = exposed(duty, velocity)
    found = blur_spectrum(jnp.asarray(frame), constant(velocity))[0]
    frequencies = np.arange(1, 13) / 4
    inner = (frequencies > 0.5) & (frequencies <= 1.5 / duty)
    least = frequencies[inner][np.argmin(found[inner])]
    assert abs(least - 1 / duty) <= 0.125


def test_it_depends_neither_on_contrast_nor_on_direction():
    frame = exposed(0.7, (12, 6))
    found = blur_spectrum(jnp.asarray(frame), constant((12, 6)))
    fainter = blur_spectrum(jnp.asarray(0.4 + 0.3 * frame), constant((12, 6)))
    np.testing.assert_allclose(fainter, found, atol=1e-3)
    mirrored = blur_spectrum(jnp.asarray(frame[:, :, ::-1]), constant((-12, 6)))
    # Its patches have other corners.
    np.testing.assert_allclose(mirrored, found, atol=0.1)
    assert np.abs(found).max() > 0.5


def test_what_does_not_move_or_leads_out_of_the_frame_has_none():
    frame = jnp.asarray(exposed(0.7, (12, 6)))
    assert not np.asarray(blur_spectrum(frame, constant((2, 1)))).any()
    assert not np.asarray(blur_spectrum(frame, constant((40, 0)))).any()
    leading_out = blur_spectrum(frame[:, :24, :24], constant((12, 6), (12, 12)))
    assert not np.asarray(leading_out).any()
    flat = jnp.full((1, 96, 128, 3), 0.5)
    assert np.isfinite(blur_spectrum(flat, constant((12, 6), (48, 64)))).all()


def test_a_window_has_the_motion_and_spectrum_of_its_frame():
    frames = np.stack([exposed(0.7, (9, 4), (64, 96))[0]] * 3)[None]
    frames[0, 0], frames[0, 2] = (
        np.roll(frames[0, 1], (4 * k, 9 * k), (0, 1)) for k in (-1, 1)
    )
    known = functools.partial(window_blur, lookback=1, patch=2)
    blur = jax.jit(functools.partial(known, with_spectrum=True))(frames)
    middle = np.asarray(blur.motion)[0, 8:-8, 10:-10]
    assert np.abs(np.median(middle, axis=(0, 1)) - (9, 4)).max() < 0.5
    spectrum = blur_spectrum(frames[:, 1], blur.motion)
    np.testing.assert_allclose(blur.spectrum, spectrum, atol=1e-4)
    assert jax.eval_shape(known, frames).spectrum is None


def test_no_gradient_passes():
    frame = jnp.asarray(exposed(0.7, (12, 6), (48, 64)))
    motion = constant((6, 3), (24, 32))
    gradient = jax.jit(jax.grad(lambda x: blur_spectrum(x, motion).sum()))(frame)
    assert not np.asarray(gradient).any()
