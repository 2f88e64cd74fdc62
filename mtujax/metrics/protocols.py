"""How results are scored: the field's protocols, each under its name.

A protocol says which frames count, what is cropped, how results become 8-bit, which
form of SSIM is meant and how frames are averaged. Scores of two protocols cannot be
compared: they differ by up to 0.4 dB and 0.02. To add one, add an entry to `PROTOCOLS`.

Alignment, after Koehler et al., is in the form used in video deblurring: a result may
be shifted and scaled in brightness against the sharp frame and be just as sharp, so one
gain and one integer shift are removed first; no zoom, rotation or subpixel shift.
Borders are taken to wrap around, so that on smooth frames the shift found may be a
pixel short, and the gain is found before the shift: both as in the field's script, so
that scores stay comparable. Letters: B batch size, H W pixels.
"""

import dataclasses
import functools

import chex
import flax.struct
import jax
import jax.numpy as jnp

from mtujax.errors import UsageError, UserError
from mtujax.metrics import image as metrics
from mtujax.metrics.image import GAUSSIAN_SIDE, UNIFORM_SIDE
from mtujax.ops.resampling import any_byte_order, from_unit_range, to_unit_range

DEFAULT = ("rt-paper", "koehler")

# Forms of SSIM: the function, and the smallest side of an image in pixels.
_FORMS = {
    "gaussian": (metrics.ssim, GAUSSIAN_SIDE),
    "volumetric": (metrics.ssim_volumetric, 1),
    "uniform": (metrics.ssim_uniform, UNIFORM_SIDE),
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One way to score results.

    Examples:
        >>> mine = Protocol("mine", "scores of all frames in float", levels="float")
        >>> mine.colour
        'rgb'

    Attributes:
        name: of the protocol.
        origin: whose numbers it reproduces, and our choices where the source is open.
        first: frames left out at the start of each video.
        last: frames left out at its end.
        border: pixels cropped from each side.
        levels: how a float result becomes 8-bit: "rint" (half to even), "truncate", or
            "none" if it stays float; it is clamped to [0, 1] in any case.
        colour: "rgb", or "luma" where both images are reduced to brightness.
        form: of SSIM: "gaussian", "volumetric" or "uniform" (see `metrics`).
        aligned: remove a gain and a shift first (see `align`).
        average: "frames", or "videos" for the mean of the videos' means.
    """

    name: str
    origin: str
    first: int = 0
    last: int = 0
    border: int = 0
    levels: str = "rint"
    colour: str = "rgb"
    form: str = "gaussian"
    aligned: bool = False
    average: str = "frames"

    def frames(self, count: int) -> range:
        """Positions of the frames of a video that are scored.

        Args:
            count: number of its frames.

        Returns:
            Positions from 0; none for a video shorter than what is left out.
        """
        return range(self.first, max(count - self.last, self.first))

    def check_size(self, height: int, width: int) -> None:
        """Rejects frames that the protocol cannot score.

        Args:
            height: rows of a frame.
            width: columns of a frame.

        Raises:
            UserError: if SSIM's window does not fit between the borders.
        """
        least = 2 * self.border + _FORMS[self.form][1]
        if min(height, width) < least:
            raise UserError(
                f"frames of {width}x{height} are too small for protocol {self.name}, "
                f"which needs {least}x{least}"
            )

    def score(self, restored: jax.Array, sharp: jax.Array) -> dict[str, jax.Array]:
        """Scores each frame independently, so that no score depends on the batch.

        Args:
            restored: [B, H, W, 3] uint8, or float in [0, 1].
            sharp: [B, H, W, 3] uint8.

        Returns:
            float32 [B] each: "psnr" in dB, infinite for equal images; "ssim"; and if
            the protocol aligns, "gain", "shift_rows", "shift_columns" and "aligned" (0
            where a frame is black and gain 1 and shift 0 were taken). All are NaN for a
            result that holds NaN or infinity.

        Raises:
            UserError: for sizes that differ or are too small, or frames of other types.
        """
        chex.assert_rank([restored, sharp], 4)
        (height, width), (rows, columns) = restored.shape[1:3], sharp.shape[1:3]
        if (height, width) != (rows, columns):
            raise UserError(
                f"result is {width}x{height}, its sharp frame {columns}x{rows}"
            )
        chex.assert_equal_shape([restored, sharp])
        if sharp.dtype != jnp.uint8:
            raise UserError(f"sharp frames of {sharp.dtype}: scores need 8 bits")
        floats = jnp.issubdtype(restored.dtype, jnp.floating)
        if restored.dtype != jnp.uint8 and not floats:
            raise UserError(f"frames of {restored.dtype}: scores need 8 bits")
        self.check_size(*sharp.shape[1:3])
        return _score(self, restored, sharp)


@functools.partial(jax.jit, static_argnums=0)
def _score(protocol, restored, sharp):
    finite = jnp.ones(len(restored), bool)
    if restored.dtype != jnp.uint8:
        finite = jnp.all(jnp.isfinite(restored), axis=(1, 2, 3))
        restored = _quantised(restored, protocol.levels)
    x, z = to_unit_range(sharp), to_unit_range(restored)
    if b := protocol.border:
        x, z = x[:, b:-b, b:-b], z[:, b:-b, b:-b]
    equal, scores = jnp.all(x == z, axis=(1, 2, 3)), {}
    if protocol.aligned:
        aligned = align(z, x)
        x, z = aligned.sharp, aligned.restored
        scores = {
            "gain": aligned.gain,
            "shift_rows": aligned.shift[:, 0],
            "shift_columns": aligned.shift[:, 1],
            "aligned": aligned.defined,
        }
    if protocol.colour == "luma":
        x, z = metrics.luma(x), metrics.luma(z)
    form = _FORMS[protocol.form][0]
    # Not left to rounding: a gain of 1 may come out as 1 - 6e-8.
    psnr = jnp.where(equal, jnp.inf, metrics.psnr(z, x))
    scores = {"psnr": psnr, "ssim": form(z, x), **scores}
    return {
        name: jnp.where(finite, score.astype(jnp.float32), jnp.nan)
        for name, score in scores.items()
    }


def _quantised(frames, levels):
    if levels == "rint":
        return from_unit_range(frames, jnp.uint8)
    frames = jnp.clip(frames.astype(jnp.float32), 0, 1)
    if levels == "none":
        return frames
    return (frames * 255).astype(jnp.uint8)


def find_protocol(name: str) -> Protocol:
    """Finds a protocol by its name.

    Examples:
        >>> find_protocol("rt-paper").first
        1

    Args:
        name: a key of `PROTOCOLS`.

    Returns:
        The protocol.

    Raises:
        UsageError: for an unknown name; it lists the known ones.
    """
    if name not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise UsageError(f"no protocol {name!r}; there are {known}")
    return PROTOCOLS[name]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "rt-paper",
            "the authors' MATLAB script, which gives the paper's tables: from the "
            "second frame of each video, MATLAB's psnr and ssim of 8-bit RGB",
            first=1,
            form="volumetric",
        ),
        Protocol(
            "koehler",
            "the script of PVDNet and others for the DVD set, after Koehler et al. "
            "2012: from the second frame, 16 pixels cropped, aligned, luma; PSNR is "
            "over all pixels, also those that the shift left empty",
            first=1,
            border=16,
            colour="luma",
            aligned=True,
        ),
        Protocol(
            "official-python",
            "what the authors' eval.py prints: all frames, float results, SSIM as "
            "scikit-image computes it by default",
            levels="none",
            form="uniform",
        ),
        Protocol(
            "estrnn",
            "ESTRNN's test script: without the first and last two frames, which its "
            "window does not reach; results truncated to 8 bits; whole frames, where "
            "its paper averages patches; GoPro there is 960x540, which scales no frame "
            "here",
            first=2,
            last=2,
            levels="truncate",
        ),
        Protocol(
            "kair",
            "the MATLAB scores in the tables of VRT and RVRT: all frames, RGB; its "
            "Python script prints kair-python instead",
            form="volumetric",
        ),
        Protocol(
            "kair-python",
            "what KAIR's test script for VRT prints: all frames, RGB, SSIM per "
            "channel, mean of the videos' means",
            average="videos",
        ),
    )
}
"""Protocols by name.

Examples:
    >>> PROTOCOLS["koehler"].border
    16
"""


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
