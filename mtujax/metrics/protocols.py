"""How results are scored: the field's protocols, each under its name.

A protocol says which frames count, what is cropped, how results become 8-bit, which
form of SSIM is meant and how frames are averaged. Scores of two protocols cannot be
compared: they differ by up to 0.4 dB and 0.02. To add one, add an entry to `PROTOCOLS`.
Letters: B batch size, H W pixels.
"""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp

from mtujax.errors import UsageError, UserError
from mtujax.metrics import image as metrics
from mtujax.metrics.alignment import align
from mtujax.metrics.image import GAUSSIAN_SIDE, UNIFORM_SIDE
from mtujax.ops.resampling import from_unit_range, to_unit_range

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
        aligned: remove a gain and a shift first (see `alignment`).
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
