"""PSNR and SSIM against scikit-image and dm_pix, which share no code with them."""

import dm_pix
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mtujax.metrics import psnr, ssim


@pytest.fixture
def pair(rng):
    sharp = rng.random((2, 33, 40, 3)).astype(np.float32)
    sharp = (sharp + np.roll(sharp, 1, 1) + np.roll(sharp, 1, 2)) / 3
    noise = rng.normal(0, 0.05, sharp.shape).astype(np.float32)
    return np.clip(sharp + noise, 0, 1), sharp


def test_psnr_equals_scikit_image(pair):
    restored, sharp = pair
    expected = [
        peak_signal_noise_ratio(
            y.astype(np.float64), x.astype(np.float64), data_range=1
        )
        for x, y in zip(restored, sharp, strict=True)
    ]
    np.testing.assert_allclose(psnr(restored, sharp), expected, atol=1e-3)


def test_ssim_equals_scikit_image_and_dm_pix(pair):
    restored, sharp = pair
    expected = []
    for x, y in zip(restored, sharp, strict=True):
        _, full = structural_similarity(
            x.astype(np.float64),
            y.astype(np.float64),
            channel_axis=-1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            full=True,
        )
        expected.append(full[5:-5, 5:-5].mean())
    np.testing.assert_allclose(ssim(restored, sharp), expected, atol=1e-5)
    np.testing.assert_allclose(
        ssim(restored, sharp), dm_pix.ssim(restored, sharp), atol=1e-5
    )


def test_equal_images_have_infinite_psnr_and_ssim_one(pair):
    _, sharp = pair
    assert np.all(np.isinf(psnr(sharp, sharp)))
    np.testing.assert_allclose(ssim(sharp, sharp), 1.0, atol=1e-5)


def test_each_image_has_its_own_score(pair):
    restored, sharp = pair
    clip = psnr(restored[None], sharp[None])
    assert clip.shape == (1, 2)
    np.testing.assert_array_equal(clip[0], psnr(restored, sharp))


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_integers_are_refused_where_a_range_would_be_guessed(metric):
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="image of uint8: divide"):
        metric(image, image)


def test_ssim_refuses_what_its_window_does_not_fit():
    with pytest.raises(ValueError, match="10x40"):
        ssim(np.zeros((10, 40, 3)), np.zeros((10, 40, 3)))
