"""PSNR and SSIM against scikit-image, dm_pix, SciPy and loops, which share no code."""

import dm_pix
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from ssim import gaussian, gaussian_oracle, volumetric_oracle, wang_map

from mtujax.metrics.image import luma, psnr, ssim, ssim_uniform, ssim_volumetric

FORMS = [ssim, ssim_volumetric, ssim_uniform]


@pytest.fixture
def pair(rng):
    sharp = rng.random((2, 33, 40, 3)).astype(np.float32)
    sharp = (sharp + np.roll(sharp, 1, 1) + np.roll(sharp, 1, 2)) / 3
    noise = rng.normal(0, 0.05, sharp.shape).astype(np.float32)
    return np.clip(sharp + noise, 0, 1), sharp


def uniform_oracle(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    return structural_similarity(x, y, channel_axis=-1, data_range=1)


ORACLES = dict(
    zip(FORMS, (gaussian_oracle, volumetric_oracle, uniform_oracle), strict=True)
)


def expected(form, restored, sharp):
    return [ORACLES[form](x, y) for x, y in zip(restored, sharp, strict=True)]


def test_psnr_equals_scikit_image(pair):
    restored, sharp = pair
    each = [
        peak_signal_noise_ratio(
            y.astype(np.float64), x.astype(np.float64), data_range=1
        )
        for x, y in zip(restored, sharp, strict=True)
    ]
    np.testing.assert_allclose(psnr(restored, sharp), each, atol=1e-3)


def test_psnr_of_a_large_frame_equals_float64(rng):
    sharp = rng.integers(0, 256, (720, 1280, 3))
    restored = np.clip(sharp + rng.integers(-2, 3, sharp.shape), 0, 255)
    exact = 10 * np.log10(255**2 / np.mean((restored - sharp) ** 2))
    given = psnr(np.float32(restored / 255), np.float32(sharp / 255))
    np.testing.assert_allclose(given, exact, atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_ssim_equals_its_oracle(pair, form):
    restored, sharp = pair
    each = expected(form, restored, sharp)
    np.testing.assert_allclose(form(restored, sharp), each, atol=1e-6)


def test_ssim_equals_dm_pix(pair):
    np.testing.assert_allclose(ssim(*pair), dm_pix.ssim(*pair), atol=1e-5)


def test_the_forms_of_ssim_differ(pair):
    values = [float(form(*pair)[0]) for form in FORMS]
    assert np.ptp(values) > 0.005 and np.diff(np.sort(values)).min() > 1e-4


def test_luma_weighs_the_channels_as_television_does(pair):
    restored, sharp = pair
    weights = [0.299, 0.587, 0.114]
    np.testing.assert_allclose(luma(sharp)[..., 0], sharp @ weights, atol=1e-6)
    x, y = ((v.astype(np.float64) @ weights)[..., None] for v in pair)
    each = expected(ssim, x, y)
    np.testing.assert_allclose(ssim(luma(restored), luma(sharp)), each, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_ssim_of_flat_bright_frames_keeps_its_digits(rng, form):
    """float32 E[x^2] - E[x]^2 is off by 6e-8 here, 7e-5 of C2."""
    sharp = np.float32(rng.integers(250, 252, (2, 33, 40, 3)) / 255)
    restored = np.float32(sharp + rng.integers(-1, 2, sharp.shape) / 255)
    each = expected(form, restored, sharp)
    np.testing.assert_allclose(form(restored, sharp), each, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (11, 4)])
def test_volumetric_ssim_fits_any_size(rng, size):
    x, y = rng.random((2, 1, *size, 3)).astype(np.float32)
    each = expected(ssim_volumetric, x, y)
    np.testing.assert_allclose(ssim_volumetric(x, y), each, atol=1e-5)


def test_equal_images_have_infinite_psnr_and_ssim_one(pair):
    black = np.zeros_like(pair[1])
    for images in (pair[1], black):
        assert np.all(np.isposinf(psnr(images, images)))
        for form in FORMS:
            np.testing.assert_allclose(form(images, images), 1.0, atol=1e-6)


def test_each_image_has_its_own_score(pair):
    restored, sharp = pair
    clip = psnr(restored[None], sharp[None])
    assert clip.shape == (1, 2)
    np.testing.assert_array_equal(clip[0], psnr(restored, sharp))


def test_not_a_number_stays_in_the_score_of_its_image(pair):
    restored = pair[0].copy()
    restored[1, 2, 3, 0] = np.nan
    for metric in (psnr, *FORMS):
        assert np.isnan(metric(restored, pair[1])).tolist() == [False, True]


def test_only_pixels_that_count_are_compared(pair, rng):
    restored, sharp = pair
    counts = np.ones(sharp.shape[:3], bool)
    counts[0, 3:9, 30:], counts[1, :, :5] = False, False
    squares = ((restored.astype(np.float64) - sharp) ** 2).mean(-1)
    for b in range(2):
        value = -10 * np.log10(squares[b][counts[b]].mean())
        np.testing.assert_allclose(psnr(restored, sharp, counts)[b], value, atol=1e-4)
    similar = wang_map(restored, sharp, lambda v: _windows(v))
    whole = np.lib.stride_tricks.sliding_window_view(counts, (11, 11), (1, 2))
    whole = whole.all((-1, -2))
    each = [similar[b].mean(-1)[whole[b]].mean() for b in range(2)]
    np.testing.assert_allclose(ssim(restored, sharp, counts), each, atol=1e-6)
    spoilt = np.where(counts[..., None], restored, rng.random(restored.shape))
    spoilt = spoilt.astype(np.float32)
    np.testing.assert_array_equal(
        ssim(spoilt, sharp, counts), ssim(restored, sharp, counts)
    )


def _windows(images):
    views = np.lib.stride_tricks.sliding_window_view(images, (11, 11), (1, 2))
    weights = gaussian(np.arange(-5, 6))
    return np.einsum("bhwcij,i,j->bhwc", views, weights, weights)


def test_where_nothing_counts_there_is_no_score(pair):
    counts = np.zeros(pair[0].shape[:3], bool)
    assert np.isnan(psnr(*pair, counts)).all() and np.isnan(ssim(*pair, counts)).all()


@pytest.mark.parametrize("metric", [psnr, *FORMS])
def test_integers_are_refused_where_a_range_would_be_guessed(metric):
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="image of uint8: divide"):
        metric(image, image)


@pytest.mark.parametrize("form, side", [(ssim, 10), (ssim_uniform, 6)])
def test_ssim_refuses_what_its_window_does_not_fit(form, side):
    image = np.zeros((side, 40, 3))
    with pytest.raises(ValueError, match=f"{side}x40: SSIM needs {side + 1}x"):
        form(image, image)
