"""PSNR and SSIM of images in [0, 1] (Sec. 4.2).

Each is per image, so that totals are sums over frames. Letters: H W pixels, C channels.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

_SIDE, _SIGMA = 11, 1.5  # Wang et al. 2004
_K1, _K2 = 0.01, 0.03


@jax.jit
def psnr(restored: jax.Array, sharp: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio, 10 log10(1 / mean squared error), with peak 1.

    Args:
        restored: [..., H, W, C] in [0, 1].
        sharp: [..., H, W, C] in [0, 1].

    Returns:
        [...] dB, float32; infinite for equal images.

    Raises:
        ValueError: for integer images, whose range would be guessed.
    """
    _check(restored, sharp)
    error = (restored.astype(jnp.float32) - sharp.astype(jnp.float32)) ** 2
    return -10.0 * jnp.log10(jnp.mean(error, axis=(-3, -2, -1)))


@jax.jit
def ssim(restored: jax.Array, sharp: jax.Array) -> jax.Array:
    """Structural similarity: Gaussian window 11/1.5, per channel, then averaged.

    The window lies wholly inside the image ("valid"), variances are the window's own
    (biased), K1 = 0.01 and K2 = 0.03. Reference: Wang et al. 2004, Eq. 13.

    Args:
        restored: [..., H, W, C] in [0, 1].
        sharp: [..., H, W, C] in [0, 1].

    Returns:
        [...] in [-1, 1], float32.

    Raises:
        ValueError: for integer images, or if they are smaller than the window.
    """
    _check(restored, sharp)
    height, width, _ = restored.shape[-3:]
    if min(height, width) < _SIDE:
        raise ValueError(f"image of {height}x{width}: SSIM needs {_SIDE}x{_SIDE}")
    x, y = restored.astype(jnp.float32), sharp.astype(jnp.float32)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = _K1**2, _K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return jnp.mean(luminance * structure, axis=(-3, -2, -1))


def _check(restored, sharp):
    chex.assert_equal_shape([restored, sharp])
    for image in (restored, sharp):
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise ValueError(
                f"image of {image.dtype}: divide 8-bit images by 255 first"
            )


def _blur(x):
    """Gaussian-weighted means over all windows that lie inside the image."""
    taps = jnp.exp(-0.5 * ((jnp.arange(_SIDE) - _SIDE // 2) / _SIGMA) ** 2)
    taps = taps / taps.sum()
    for axis in (x.ndim - 3, x.ndim - 2):
        size = x.shape[axis] - _SIDE + 1
        parts = [
            taps[k] * lax.slice_in_dim(x, k, k + size, axis=axis) for k in range(_SIDE)
        ]
        x = sum(parts)
    return x
