"""PSNR and SSIM of images in [0, 1], in the forms that the field reports (Sec. 4.2).

Each gives one value per image, so that totals are sums over frames. Letters: H W
pixels, C channels.

The forms of SSIM differ by up to 0.02 on one pair of images. All compare means,
variances and covariance over a window, K1 = 0.01, K2 = 0.03 (Wang et al. 2004, Eq. 13):
`ssim` has a Gaussian window, that of `ssim_volumetric` also extends over the channels
and beyond the borders, as in MATLAB, and `ssim_uniform` weights all pixels equally, as
in scikit-image.
"""

import functools

import chex
import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtujax.ops.resampling import any_byte_order

MOST_PSNR = 100.0  # dB, a frame's limit in means: that of equal frames is infinite
GAUSSIAN_SIDE, UNIFORM_SIDE = 11, 7  # windows, in pixels
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2
_LUMA = (0.299, 0.587, 0.114)


@any_byte_order
@jax.jit
def psnr(
    restored: jax.Array, sharp: jax.Array, counts: jax.Array | None = None
) -> jax.Array:
    """Peak signal-to-noise ratio, 10 log10(1 / mean squared error), with peak 1.

    Examples:
        >>> sharp = jnp.full((16, 16, 3), 0.5)
        >>> round(float(psnr(sharp + 0.1, sharp)), 3)
        20.0

    Args:
        restored: [..., H, W, C] float in [0, 1].
        sharp: [..., H, W, C] float in [0, 1].
        counts: bool [..., H, W], the pixels to compare; None compares all.

    Returns:
        [...] dB, float32; infinite for equal images, NaN where no pixel counts.

    Raises:
        ValueError: for integer images, whose range is ambiguous.
    """
    _check(restored, sharp)
    restored, sharp = restored.astype(jnp.float32), sharp.astype(jnp.float32)
    # Where products of equal numbers are compared, one of them may be left unrounded
    # (a fused multiply-add of the caller's), and their difference is not 0.
    error = jnp.where(restored == sharp, 0, restored - sharp) ** 2
    return -10.0 * jnp.log10(_mean(jnp.mean(error, axis=-1), counts))


@any_byte_order
@jax.jit
def ssim(
    restored: jax.Array, sharp: jax.Array, counts: jax.Array | None = None
) -> jax.Array:
    """Structural similarity: Gaussian window 11/1.5, per channel, then averaged.

    The window is entirely inside the image ("valid") and variances are the window's own
    (biased), as in the script of Wang et al., which reads `luma` images.

    Examples:
        >>> sharp = jax.random.uniform(jax.random.key(0), (16, 16, 3))
        >>> round(float(ssim(sharp, sharp)), 3)
        1.0

    Args:
        restored: [..., H, W, C] float in [0, 1].
        sharp: [..., H, W, C] float in [0, 1].
        counts: bool [..., H, W]; only windows all of whose pixels count are averaged.
            None averages all.

    Returns:
        [...] in [-1, 1], float32; NaN where no window counts.

    Raises:
        ValueError: for integer images, or if they are smaller than the window.
    """
    _check(restored, sharp, GAUSSIAN_SIDE)
    means = functools.partial(_windowed, taps=_gaussian())
    similar = jnp.mean(_similarity(restored, sharp, means), axis=-3)
    if counts is not None:
        counts = _windowed(counts.astype(jnp.float32), np.ones(GAUSSIAN_SIDE))
        counts = counts == GAUSSIAN_SIDE**2
    return _mean(similar, counts)


@any_byte_order
@jax.jit
def ssim_volumetric(restored: jax.Array, sharp: jax.Array) -> jax.Array:
    """Structural similarity of MATLAB's `ssim` for a colour image, taken as a volume.

    The Gaussian 11/1.5 extends over rows, columns and channels. Beyond its edges the
    volume repeats its outermost values, also beyond the first and last channel, where
    most of the window is. All positions are averaged, variances are biased.

    Examples:
        >>> sharp = jax.random.uniform(jax.random.key(0), (16, 16, 3))
        >>> round(float(ssim_volumetric(sharp, sharp)), 3)
        1.0

    Args:
        restored: [..., H, W, C] float in [0, 1].
        sharp: [..., H, W, C] float in [0, 1].

    Returns:
        [...] in [-1, 1], float32.

    Raises:
        ValueError: for integer images.
    """
    _check(restored, sharp)
    mixture = _channel_mixture(restored.shape[-1])

    def means(planes):
        reach = GAUSSIAN_SIDE // 2
        pads = [(0, 0)] * (planes.ndim - 2) + [(reach, reach)] * 2
        return _windowed(jnp.pad(_mix(planes, mixture), pads, mode="edge"), _gaussian())

    return _mean(jnp.mean(_similarity(restored, sharp, means), axis=-3))


@any_byte_order
@jax.jit
def ssim_uniform(restored: jax.Array, sharp: jax.Array) -> jax.Array:
    """Structural similarity by scikit-image's defaults.

    A 7x7 window with equal weights is entirely inside the image, variances are the
    sample's (divided by 48, not 49), channels are averaged.

    Examples:
        >>> sharp = jax.random.uniform(jax.random.key(0), (16, 16, 3))
        >>> round(float(ssim_uniform(sharp, sharp)), 3)
        1.0

    Args:
        restored: [..., H, W, C] float in [0, 1].
        sharp: [..., H, W, C] float in [0, 1].

    Returns:
        [...] in [-1, 1], float32.

    Raises:
        ValueError: for integer images, or if they are smaller than the window.
    """
    _check(restored, sharp, UNIFORM_SIDE)
    pixels = UNIFORM_SIDE**2
    means = functools.partial(_windowed, taps=np.full(UNIFORM_SIDE, 1 / UNIFORM_SIDE))
    similar = _similarity(restored, sharp, means, spread=pixels / (pixels - 1))
    return _mean(jnp.mean(similar, axis=-3))


def luma(images: jax.Array) -> jax.Array:
    """Brightness .299 R + .587 G + .114 B, [..., H, W, 3] -> [..., H, W, 1]."""
    parts = [weight * images[..., c] for c, weight in enumerate(_LUMA)]
    return sum(parts)[..., None]


def _check(restored, sharp, side=1):
    chex.assert_equal_shape([restored, sharp])
    for image in (restored, sharp):
        if not jnp.issubdtype(image.dtype, jnp.floating):
            raise ValueError(
                f"image of {image.dtype}: divide 8-bit images by 255 first"
            )
    height, width = restored.shape[-3:-1]
    if min(height, width) < side:
        raise ValueError(f"image of {height}x{width}: SSIM needs {side}x{side}")


def _similarity(restored, sharp, means, spread=1.0):
    """Map [..., C, h, w] of the SSIM; `means` averages planes over windows."""
    # Equation 13 in the difference d and sum s of the images, which shows how far it is
    # from 1: (1 - mean_d^2 / (mean_x^2 + mean_y^2 + C1)) (1 - var_d / (var_x + var_y +
    # C2)). Rounding is then relative to the error that is measured; in the usual form
    # float32 loses C2 = 0.0009 in E[x^2] - E[x]^2 where a bright image is flat.
    x, y = (
        einops.rearrange(image.astype(jnp.float32), "... h w c -> ... c h w")
        for image in (restored, sharp)
    )
    difference, total = x - y, x + y - 1  # about grey: squares stay small
    signals = jnp.stack([difference, total, difference**2, total**2])
    mean_d, mean_s, square_d, square_s = means(signals)
    var_d = spread * (square_d - mean_d**2)
    var_s = spread * (square_s - mean_s**2)
    brightness = (mean_d**2 + (mean_s + 1) ** 2) / 2
    luminance = 1 - mean_d**2 / (brightness + _C1)
    return luminance * (1 - var_d / ((var_d + var_s) / 2 + _C2))


def _windowed(planes, taps):
    """Sums, weighted by `taps`, over all windows inside planes [..., H, W]."""
    for axis in (planes.ndim - 2, planes.ndim - 1):
        size = planes.shape[axis] - len(taps) + 1
        planes = sum(
            np.float32(tap) * lax.slice_in_dim(planes, k, k + size, axis=axis)
            for k, tap in enumerate(taps)
        )
    return planes


def _gaussian():
    offsets = np.arange(GAUSSIAN_SIDE) - GAUSSIAN_SIDE // 2
    taps = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    return taps / taps.sum()


def _channel_mixture(channels):
    """Weights [C, C] by which a window that extends over the channels averages them."""
    weights, taps = np.zeros((channels, channels)), _gaussian()
    for channel in range(channels):
        for k, tap in enumerate(taps):
            source = np.clip(channel + k - GAUSSIAN_SIDE // 2, 0, channels - 1)
            weights[channel, source] += tap
    return weights


def _mix(planes, weights):
    """Weighted sums [..., C, H, W] of the channels of planes [..., C, H, W]."""
    mixed = [
        sum(np.float32(w) * planes[..., c, :, :] for c, w in enumerate(row))
        for row in weights
    ]
    return jnp.stack(mixed, axis=-3)


def _mean(values, counts=None):
    """Means [...] of [..., H, W] over all pixels, or those that count."""
    # Row by row: one long float32 sum would lose 1e-4 dB at 720p.
    if counts is None:
        return jnp.mean(jnp.mean(values, axis=-1), axis=-1)
    values = jnp.where(counts, values, 0)
    total = jnp.sum(jnp.sum(values, axis=-1), axis=-1)
    return total / jnp.sum(counts, axis=(-2, -1)).astype(jnp.float32)
