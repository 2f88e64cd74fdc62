"""SSIM by its equations and by scikit-image, to compare with."""

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity


def wang_map(x, y, means):
    """Equation 13 as it is printed, in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = means(x), means(y)
    va, vb = means(x * x) - a * a, means(y * y) - b * b
    cov = means(x * y) - a * b
    c1, c2 = 0.01**2, 0.03**2
    return (2 * a * b + c1) * (2 * cov + c2) / ((a * a + b * b + c1) * (va + vb + c2))


def gaussian(offsets):
    weights = np.exp(-(offsets**2) / (2 * 1.5**2))
    return weights / weights.sum()


def gaussian_oracle(x, y):
    """scikit-image's map without the 5 pixels where its window leaves the image."""
    options = dict(channel_axis=-1, gaussian_weights=True, sigma=1.5, data_range=1)
    options |= dict(use_sample_covariance=False, full=True)
    x, y = x.astype(np.float64), y.astype(np.float64)
    return structural_similarity(x, y, **options)[1][5:-5, 5:-5].mean()


def volumetric_oracle(x, y):
    """A direct convolution with the whole cube."""
    i = np.arange(-5, 6)
    cube = gaussian(np.sqrt(i[:, None, None] ** 2 + i[:, None] ** 2 + i**2))
    return wang_map(
        x, y, lambda v: ndimage.correlate(v, cube, mode="nearest", output=np.float64)
    ).mean()
