"""What a camera does with light: exposure, highlights, response, noise, H.264.

Light is linear, 1 is where the sensor saturates; frames are RGB. For H.264, colours are
turned to and from YCbCr (ITU-R BT.709, limited range) here, rounded and not truncated,
so that compression neither darkens nor tints. Letters: T time, H W pixels, S
sub-frames.
"""

import dataclasses
import functools
import platform
from fractions import Fraction

import cv2
import numpy as np

from mtujax.synthesis.settings import FRAMES_AVERAGED, Exposure

BRIGHT = 0.75  # light from which a photograph may hide a brighter highlight
_LEVELS = 65535
SHORTEST = 0.01  # of a frame's interval


@dataclasses.dataclass(frozen=True)
class Sensor:
    """One camera with its settings, drawn for a clip."""

    # [T] exposure time of each frame, as a share of the frame interval
    duty: np.ndarray
    gain: float = 1.0  # as in `Exposure`, here and below
    highlights: float = 1.0  # factor on the light of a white pixel
    contrast: float = 0.0  # of the response
    shot: float = 0.0  # noise variance per unit of light
    read: float = 0.0  # noise in the dark
    crf: int | None = None  # of H.264, or None for no compression
    averaged: bool = False  # whether "light" is display values, here and below

    @classmethod
    def draw(
        cls, rng: np.random.Generator, frames: int, exposure: Exposure
    ) -> "Sensor":
        """Draws the settings of a clip of T `frames` from the ranges of `exposure`."""
        drift = rng.uniform(*exposure.wander)
        turns, phase = 2 * np.pi * rng.uniform([0.02, 0.0], [0.12, 1.0])
        factor = np.exp(drift * np.sin(turns * np.arange(frames) + phase))
        duty = np.clip(rng.uniform(*exposure.duty) * factor, SHORTEST, 1.0)
        crf = int(rng.uniform(exposure.crf[0], exposure.crf[1] + 1))
        names = ("gain", "highlights", "contrast", "shot", "read")
        sensor = cls(
            duty=duty,
            **{n: rng.uniform(*getattr(exposure, n)) for n in names},
            crf=crf if rng.uniform() < exposure.compressed else None,
        )
        # Drawn last and only where asked for: all else is as it was without it.
        if exposure.sharp and rng.uniform() < exposure.sharp:
            sensor = dataclasses.replace(sensor, duty=np.full(frames, SHORTEST))
        if exposure.averaged and rng.uniform() < exposure.averaged:
            sensor = sensor._averaging(rng.uniform(*exposure.averaged_duty))
        return sensor

    def _averaging(self, duty):
        """The same camera as a source of averages of its frames."""
        sharp = self.duty[0] <= SHORTEST
        return dataclasses.replace(
            self,
            duty=self.duty if sharp else np.full_like(self.duty, duty),
            shot=self.shot / FRAMES_AVERAGED,
            read=self.read / FRAMES_AVERAGED**0.5,
            averaged=True,
        )

    def light(self, image: np.ndarray) -> np.ndarray:
        """Light of a photograph [H, W, 3], highlights expanded; changed in place."""
        if self.averaged:
            image[:] = srgb_from_linear(image)
        elif self.highlights > 1:
            red, green, blue = image[..., 0], image[..., 1], image[..., 2]
            peak = np.maximum(np.maximum(red, green), blue)
            bright = peak > BRIGHT  # few pixels, as a rule
            image[bright] *= expansion(peak[bright], self.highlights)[:, None]
        if self.gain != 1:
            image *= np.float32(self.gain)
        return image

    def noisy(self, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Adds Poisson-Gaussian noise to light [..., 3]; gives `light` if it is 0."""
        if not (self.shot or self.read):
            return light
        # Saturated pixels have the noise of a full well, not of the light beyond it.
        deviation = np.clip(light, 0.0, 1.0)
        deviation *= np.float32(self.shot)
        deviation += np.float32(self.read**2)
        np.sqrt(deviation, out=deviation)
        deviation *= rng.standard_normal(light.shape, np.float32)
        deviation += light
        return deviation

    def develop(self, light: np.ndarray) -> np.ndarray:
        """Light [..., 3], clipped where the sensor saturates -> a picture, uint8."""
        steps = np.clip(light, 0.0, 1.0) * np.float32(_LEVELS) + np.float32(0.5)
        return _response(self.contrast, self.averaged)[steps.astype(np.uint16)]


@functools.lru_cache(maxsize=4)
def _response(contrast, averaged):
    """Display value, uint8, of each of 65536 levels of light, or of display values."""
    levels = np.arange(_LEVELS + 1) / _LEVELS
    shown = levels if averaged else srgb_from_linear(levels)
    return np.rint(contrasted(shown, contrast) * 255).astype(np.uint8)


def expansion(peak: np.ndarray, highlights: float) -> np.ndarray:
    """Factor on light whose brightest colour is `peak`, from `BRIGHT` to 1."""
    share = (peak - BRIGHT) / (1 - BRIGHT)
    return 1 + (highlights - 1) * share**2


def contrasted(shown: np.ndarray, contrast: float) -> np.ndarray:
    """Display values in [0, 1] after an S-curve."""
    return shown + contrast * (shown * shown * (3 - 2 * shown) - shown)


def linear_from_srgb(image: np.ndarray) -> np.ndarray:
    """Light in [0, 1] of display values [..., 3], uint8 or float (IEC 61966-2-1)."""
    if image.dtype == np.uint8:
        return linear_from_srgb(np.arange(256, dtype=np.float32) / 255)[image]
    x = image.astype(np.float32)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: np.ndarray) -> np.ndarray:
    """Display values in [0, 1] of light [..., 3] by NumPy or JAX (IEC 61966-2-1)."""
    xp = light.__array_namespace__()
    x = xp.clip(light, 0.0, 1.0).astype(xp.float32)
    return xp.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def subframe_times(time: float, duty: float, count: int) -> np.ndarray:
    """Times [S] of an exposure's sub-frames in frames, the middle one at `time`."""
    return time + duty * ((np.arange(count) + 0.5) / count - 0.5)


# ITU-R BT.709: rows give Y, Cb, Cr of R, G, B in 0..255, then their offset.
_LUMA = np.array([0.2126, 0.7152, 0.0722])
YCBCR = np.array(
    [
        219 / 255 * _LUMA,
        224 / 255 * (np.array([0, 0, 1]) - _LUMA) / (2 - 2 * _LUMA[2]),
        224 / 255 * (np.array([1, 0, 0]) - _LUMA) / (2 - 2 * _LUMA[0]),
    ]
)
OFFSET = np.array([16.0, 128.0, 128.0])
# x264's macroblock tree is not deterministic by AVX-512 where a side is no multiple of
# 16. By SSE4.2 it is: what it gives is equal to AVX2's, at the same speed.
_X264 = "asm=SSE4.2" if platform.machine() in ("x86_64", "AMD64") else ""


def through_h264(frames: np.ndarray, crf: int) -> np.ndarray:
    """Encodes and decodes a clip [T, H, W, 3] uint8; `crf` 18 hardly shows, 28 does."""
    # The same on any number of cores and any x86-64, not with any x264. RuntimeError if
    # PyAV has none.
    import av  # only here, and late: a machine that trains may do without it

    if "libx264" not in av.codecs_available:
        raise RuntimeError("PyAV was built without libx264; compress no clips")
    count, height, width, _ = frames.shape
    odd = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    even = np.pad(frames, odd, mode="edge")
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = even.shape[1:3]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 30)
    encoder.options = {"crf": str(crf), "preset": "fast", "threads": "1"}
    encoder.options |= {"x264-params": _X264}
    decoder = av.CodecContext.create("h264", "r")
    packets, decoded = [], []
    for number, frame in enumerate(even):
        picture = av.VideoFrame.from_ndarray(_to_planes(frame), format="yuv420p")
        picture.pts, picture.time_base = number, encoder.time_base
        packets += encoder.encode(picture)
    for packet in [*packets, *encoder.encode(None), None]:
        decoded += decoder.decode(packet)
    decoded = np.stack([_from_planes(f.to_ndarray(format="yuv420p")) for f in decoded])
    return decoded[:count, :height, :width]


def _to_planes(frame):
    """[H * 3 / 2, W] uint8: Y, then Cb and Cr at half the size."""
    matrix = np.concatenate([YCBCR, OFFSET[:, None]], axis=1)
    ycbcr = cv2.transform(frame.astype(np.float32), matrix)
    height, width, _ = frame.shape
    half = (width // 2, height // 2)
    chroma = cv2.resize(ycbcr[..., 1:], half, interpolation=cv2.INTER_AREA)
    planes = [ycbcr[..., 0], chroma[..., 0], chroma[..., 1]]
    planes = np.concatenate([p.ravel() for p in planes]).reshape(-1, width)
    return np.rint(planes).clip(0, 255).astype(np.uint8)


def _from_planes(planes):
    """[H, W, 3] uint8."""
    width = planes.shape[1]
    height = planes.shape[0] * 2 // 3
    chroma = planes[height:].reshape(2, height // 2, width // 2).astype(np.float32)
    size = (width, height)
    chroma = [cv2.resize(c, size, interpolation=cv2.INTER_LINEAR) for c in chroma]
    ycbcr = np.dstack([planes[:height].astype(np.float32), *chroma])
    matrix = np.linalg.inv(YCBCR)
    matrix = np.concatenate([matrix, -(matrix @ OFFSET)[:, None]], axis=1)
    return np.rint(cv2.transform(ycbcr, matrix)).clip(0, 255).astype(np.uint8)
