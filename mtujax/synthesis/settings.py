"""Settings of synthetic blur: the camera's shake, moving objects, exposure."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Shake:
    """How a hand-held camera moves; ranges are drawn from, once per clip.

    Examples:
        >>> Shake(speed=(4, 24), roll=0.1).focal
        (0.8, 1.6)

    Attributes:
        speed: pixels per frame of the shake and pan together, log-uniform.
        pan: share of the speed that is a steady pan, the rest oscillates.
        frequency: frequency of the oscillation, in cycles per frame.
        rotation: share of the speed that is yaw and pitch; the rest is translation,
            which moves near things more than far ones.
        roll: degrees per frame, at a speed of 1 px per frame.
        zoom: relative change of the focal length per frame, at 1 px per frame.
        forward: steps towards the scene per frame, at 1 px per frame, as a share of
            its distance.
        focal: focal length in widths of the frame.
        tilt: how much nearer the scene is per focal length across the frame, as a share
            of its distance; its direction is drawn as well.
        scale: photograph pixels per frame pixel.
        turn: whether crops are mirrored and turned by quarters, as augmentation.
    """

    speed: tuple[float, float] = (0.5, 16.0)
    pan: tuple[float, float] = (0.0, 0.8)
    frequency: tuple[float, float] = (0.03, 0.25)
    rotation: tuple[float, float] = (0.2, 0.9)
    roll: float = 0.05
    zoom: float = 0.0003
    forward: float = 0.0004
    focal: tuple[float, float] = (0.8, 1.6)
    tilt: tuple[float, float] = (0.0, 0.7)
    scale: tuple[float, float] = (0.8, 1.25)
    turn: bool = True


@dataclasses.dataclass(frozen=True)
class Objects:
    """What stands or moves in front of the background; ranges are drawn from.

    Examples:
        >>> Objects(count=(1, 4)).still
        0.4

    Attributes:
        count: objects per clip, both bounds included.
        size: longer side as a share of the frame's height.
        near: 1 / distance, where the background's is 1.
        still: share of objects that stand: depth alone makes them move.
        speed: pixels per frame of the others, log-uniform.
        spin: degrees per frame, at 1 px per frame.
        growth: relative change of size per frame, at 1 px per frame.
        frequency: frequency of what is not steady in their motion, in cycles per frame.
    """

    count: tuple[int, int] = (0, 3)
    size: tuple[float, float] = (0.15, 0.7)
    near: tuple[float, float] = (1.0, 2.5)
    still: float = 0.4
    speed: tuple[float, float] = (0.5, 14.0)
    spin: float = 0.1
    growth: float = 0.001
    frequency: tuple[float, float] = (0.02, 0.15)


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How frames are exposed; ranges are drawn from, once per clip.

    Examples:
        >>> Exposure(duty=(0.5, 1.0), averaged=0.5, compressed=0.3).crf
        (18, 28)

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
        crf: constant rate factor of H.264: 18 hardly shows, 28 does.
        sharp: share of clips that are exposed for the shortest time, whatever `duty`
            says: they move and do not smear.
        averaged: share of clips made as data sets make them of high-speed video: each
            frame is an average of display values, not of light, without highlights and
            with an eighth of the noise's variance.
        averaged_duty: `duty` of these clips, whose exposures leave hardly a gap; it
            does not wander.
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
    averaged_duty: tuple[float, float] = (0.7, 1.0)


PLAIN = Exposure(
    wander=(0.0, 0.0),
    gain=(1.0, 1.0),
    highlights=(1.0, 1.0),
    contrast=(0.0, 0.0),
    shot=(0.0, 0.0),
    read=(0.0, 0.0),
)
"""A photograph as it is, without noise."""


@dataclasses.dataclass(frozen=True)
class BlurSettings:
    """How clips are blurred.

    Examples:
        >>> blur = BlurSettings(Shake(speed=(4, 8)), Objects(), Exposure(sharp=0.1))
        >>> blur.objects.count
        (0, 3)

    Attributes:
        shake: how the camera moves.
        objects: what is in front of the photograph; None for nothing.
        exposure: exposure time, noise and compression of the blurry frames.
    """

    shake: Shake = Shake()
    objects: Objects | None = None
    exposure: Exposure = Exposure()


FRAMES_AVERAGED = 8
"""Frames of high-speed video in an average, whose noise has so much less variance."""
