"""What a camera does with light: exposure, highlights, response, noise.

Light is linear, 1 is where the sensor saturates; frames are RGB. Letters: T time,
H W pixels, S sub-frames.
"""

import dataclasses
import functools

import numpy as np

_BRIGHT = 0.75  # light from which a photograph may hide a brighter highlight
_LEVELS = 65535
_SHORTEST = 0.01  # of a frame's interval


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How frames are exposed; ranges are drawn from, once per clip.

    Attributes:
        duty: exposure time as a share of the frame interval.
        wander: how far the duty drifts within a clip, as a share of itself.
        longest: pixels; a frame that would smear further is exposed for less time.
        gain: brightness, as a factor on the photograph's light.
        highlights: how much brighter than white the light of a white pixel is.
        contrast: strength of an S-curve on top of the sRGB response, in (-1, 1).
        shot: variance of the noise per unit of light.
        read: standard deviation of the noise in the dark, in light.
        compressed: share of clips whose blurry side goes through H.264, or what is like
            it where clips are made on a device.
        crf: of H.264: 18 hardly shows, 28 does.
        sharp: share of clips that are exposed for the shortest time, whatever `duty`
            says: they move and do not smear.
        averaged: share of clips whose frames are averages of display values, as data
            sets make them of high-speed video, in place of light; without highlights.
    """

    duty: tuple[float, float] = (0.15, 1.0)
    wander: tuple[float, float] = (0.0, 0.4)
    longest: float = 48.0
    gain: tuple[float, float] = (0.8, 1.2)
    highlights: tuple[float, float] = (1.0, 4.0)
    contrast: tuple[float, float] = (-0.1, 0.3)
    shot: tuple[float, float] = (0.0, 4e-4)
    read: tuple[float, float] = (0.0, 1e-3)
    compressed: float = 0.0
    crf: tuple[int, int] = (18, 28)
    sharp: float = 0.0
    averaged: float = 0.0


@dataclasses.dataclass(frozen=True)
class Sensor:
    """One camera with its settings, drawn for a clip.

    Attributes:
        duty: [T] exposure time of each frame, as a share of the frame interval.
        gain: as in `Exposure`, here and below.
        highlights: factor on the light of a white pixel.
        contrast: of the response.
        shot: noise variance per unit of light.
        read: noise in the dark.
        crf: of H.264, or None for no compression.
        averaged: whether "light" is display values, here and below.
    """

    duty: np.ndarray
    gain: float = 1.0
    highlights: float = 1.0
    contrast: float = 0.0
    shot: float = 0.0
    read: float = 0.0
    crf: int | None = None
    averaged: bool = False

    @classmethod
    def draw(
        cls, rng: np.random.Generator, frames: int, exposure: Exposure
    ) -> "Sensor":
        """Draws the settings of a clip.

        Args:
            rng: source of randomness.
            frames: T.
            exposure: ranges to draw from.

        Returns:
            The settings.
        """
        drift = rng.uniform(*exposure.wander)
        turns, phase = 2 * np.pi * rng.uniform([0.02, 0.0], [0.12, 1.0])
        factor = np.exp(drift * np.sin(turns * np.arange(frames) + phase))
        duty = np.clip(rng.uniform(*exposure.duty) * factor, _SHORTEST, 1.0)
        crf = int(rng.uniform(exposure.crf[0], exposure.crf[1] + 1))
        names = ("gain", "highlights", "contrast", "shot", "read")
        sensor = cls(
            duty=duty,
            **{n: rng.uniform(*getattr(exposure, n)) for n in names},
            crf=crf if rng.uniform() < exposure.compressed else None,
        )
        # Drawn last and only where asked for: all else is as it was without it.
        if exposure.sharp and rng.uniform() < exposure.sharp:
            sensor = dataclasses.replace(sensor, duty=np.full(frames, _SHORTEST))
        if exposure.averaged and rng.uniform() < exposure.averaged:
            sensor = dataclasses.replace(sensor, averaged=True)
        return sensor

    def light(self, image: np.ndarray) -> np.ndarray:
        """The light that a photograph was made from, brighter than white where white.

        Args:
            image: [H, W, 3] float32 linear light in [0, 1]; changed in place.

        Returns:
            `image`, scaled by the gain, highlights expanded.
        """
        if self.averaged:
            image[:] = srgb_from_linear(image)
        elif self.highlights > 1:
            red, green, blue = image[..., 0], image[..., 1], image[..., 2]
            peak = np.maximum(np.maximum(red, green), blue)
            bright = peak > _BRIGHT
            share = (peak[bright] - _BRIGHT) / (1 - _BRIGHT)
            image[bright] *= (1 + (self.highlights - 1) * share**2)[:, None]
        if self.gain != 1:
            image *= np.float32(self.gain)
        return image

    def noisy(self, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Adds Poisson-Gaussian noise, by its normal approximation.

        Args:
            light: [..., 3] float32.
            rng: source of randomness.

        Returns:
            [..., 3] float32; `light` itself where there is no noise.
        """
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
        """The picture: light clipped where the sensor saturates, and its response.

        Args:
            light: [..., 3] float32.

        Returns:
            [..., 3] uint8.
        """
        steps = np.clip(light, 0.0, 1.0) * np.float32(_LEVELS) + np.float32(0.5)
        return _response(self.contrast, self.averaged)[steps.astype(np.uint16)]


@functools.lru_cache(maxsize=4)
def _response(contrast, averaged):
    """Display value, uint8, of each of 65536 levels of light, or of display values."""
    levels = np.arange(_LEVELS + 1) / _LEVELS
    y = levels if averaged else srgb_from_linear(levels)
    y = y + contrast * (y * y * (3 - 2 * y) - y)
    return np.rint(y * 255).astype(np.uint8)


def linear_from_srgb(image: np.ndarray) -> np.ndarray:
    """Light intensity from display values. Reference: IEC 61966-2-1.

    Args:
        image: [..., 3] uint8, or float in [0, 1].

    Returns:
        [..., 3] float32 in [0, 1].
    """
    if image.dtype == np.uint8:
        return linear_from_srgb(np.arange(256, dtype=np.float32) / 255)[image]
    x = image.astype(np.float32)
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: np.ndarray) -> np.ndarray:
    """Display values from light intensity. Reference: IEC 61966-2-1.

    Args:
        light: [..., 3] float, clipped to [0, 1].

    Returns:
        [..., 3] float32 in [0, 1].
    """
    x = np.clip(light, 0.0, 1.0).astype(np.float32)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def moments(time: float, duty: float, count: int) -> np.ndarray:
    """When the sub-frames of an exposure are taken, evenly; the middle one at `time`.

    Args:
        time: middle of the exposure in frames.
        duty: its length in frames.
        count: odd number S of sub-frames.

    Returns:
        [S] moments in frames.
    """
    return time + duty * ((np.arange(count) + 0.5) / count - 0.5)
