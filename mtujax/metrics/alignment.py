"""Removes a shift and a gain from a result before it is scored, after Koehler et al.

A deblurred image may be shifted by whole pixels and scaled in brightness against the
sharp one and be just as sharp. This is the form used in video deblurring: one gain and
one integer shift per frame; no zoom, rotation or subpixel shift. Borders are taken to
wrap around, so that on smooth frames the shift found may be a pixel short, and the gain
is found before the shift: both as in the field's script, so that scores stay
comparable. Letters: B batch size, H W pixels.
"""

import chex
import flax.struct
import jax
import jax.numpy as jnp

from mtujax.ops.resampling import any_byte_order

# Peaks nearer than this, as a share of the images' energy, are ties: float32 transforms
# err by up to 0.7 of it. On 742 pairs of photographs, blurred and moved by fractions of
# a pixel, the two largest were never nearer than 3 times as much.
_TIE = 1e-6


@flax.struct.dataclass
class Aligned:
    """A result aligned with the sharp frame."""

    # [B, H, W, 3] float32, scaled and shifted, zero where the shift left it empty;
    # neither clamped nor rounded
    restored: jax.Array
    sharp: jax.Array  # [B, H, W, 3] float32, zero in the same places
    gain: jax.Array  # [B] factor applied to the result
    # [B, 2] int32 (rows, columns) by which it was moved, down and right
    shift: jax.Array
    # Bool [B]; False where the result or the sharp frame is black, so that no gain or
    # shift is better than another: gain 1, shift 0
    defined: jax.Array


@any_byte_order
@jax.jit
def align(restored: jax.Array, sharp: jax.Array) -> Aligned:
    """Aligns results with sharp frames.

    The gain is least squares over all pixels and channels before the shift, sum(xz) /
    sum(zz). The shift is where the circular cross-correlation of the channel means is
    largest; of equal peaks the first counts, column by column. A portrait frame is not
    turned, as the field's script does at 720p: that swaps rows and columns of the
    shift and changes no score.

    Examples:
        >>> sharp = jax.random.uniform(jax.random.key(0), (1, 48, 48, 3))
        >>> found = align(jnp.roll(sharp, 1, axis=2), sharp)
        >>> found.shift[0].tolist()  # pixels down and right
        [0, -1]

    Args:
        restored: [B, H, W, 3] float, of any unit.
        sharp: [B, H, W, 3] float of the same unit.

    Returns:
        The aligned pair, with its gain and shift.
    """
    chex.assert_rank([restored, sharp], 4)
    chex.assert_equal_shape([restored, sharp])
    restored, sharp = restored.astype(jnp.float32), sharp.astype(jnp.float32)
    product, energy = _total(sharp * restored), _total(restored**2)
    defined = product > 0
    gain = jnp.where(defined, product / jnp.where(defined, energy, 1), 1)
    shift = jnp.where(defined[:, None], best_shift(restored, sharp), 0)
    moved, covered = _move(restored, shift)
    return Aligned(
        restored=gain[:, None, None, None] * moved,
        sharp=jnp.where(covered, sharp, 0),
        gain=gain,
        shift=shift,
        defined=defined,
    )


@jax.jit
def best_shift(restored: jax.Array, sharp: jax.Array) -> jax.Array:
    """Finds the shift that takes results onto sharp frames, in whole pixels."""
    # [B, H, W, 3] float twice, of any gain -> int32 [B, 2] (rows, columns), down and
    # right, each in [n // 2 - n, n // 2) for a side of n pixels; (0, 0) where either is
    # flat.
    height, width = sharp.shape[1:3]
    x, z = _centred(sharp), _centred(restored)
    spectrum = jnp.fft.rfft2(x) * jnp.conj(jnp.fft.rfft2(z))
    match = jnp.fft.irfft2(spectrum, s=(height, width))
    energy = jnp.sqrt(_total(x[..., None] ** 2) * _total(z[..., None] ** 2))
    least = jnp.max(match, axis=(1, 2)) - _TIE * energy
    peaks = match >= least[:, None, None]
    first = jnp.argmax(jnp.swapaxes(peaks, 1, 2).reshape(len(peaks), -1), axis=1)
    shift = jnp.stack([first % height, first // height], axis=1)
    side = jnp.array([height, width])
    shift = jnp.where(shift < side[None] // 2, shift, shift - side[None])
    return shift.astype(jnp.int32)


def _centred(images):
    """Channel means [B, H, W] less their mean: same peaks, less float32 rounding."""
    grey = jnp.mean(images.astype(jnp.float32), axis=-1)
    return grey - jnp.mean(jnp.mean(grey, axis=2), axis=1)[:, None, None]


def _total(images):
    """Sums [B] of [B, H, W, C], row by row: one long sum would lose digits."""
    return jnp.sum(jnp.sum(jnp.sum(images, axis=3), axis=2), axis=1)


def _move(images, shift):
    """Images [B, H, W, C] moved down and right, and where they cover the frame."""
    covered = True
    for axis in (1, 2):
        size = images.shape[axis]
        source = jnp.arange(size)[None] - shift[:, axis - 1, None]
        inside = (source >= 0) & (source < size)
        source, inside = (jnp.expand_dims(a, (3, 3 - axis)) for a in (source, inside))
        images = jnp.take_along_axis(images, jnp.clip(source, 0, size - 1), axis=axis)
        covered = covered & inside
    return jnp.where(covered, images, 0), covered
