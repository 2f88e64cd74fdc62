"""How a hand-held camera moves: smooth random paths of the frame over a photograph.

`poses` are 3x3 matrices that take frame pixels (x, y, 1) to photograph pixels.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shake:
    """How a hand-held camera moves and exposes; ranges are drawn from, once per clip.

    Attributes:
        speed: pixels per frame of the shake and pan together, log-uniform.
        pan: share of the speed that is a steady pan, the rest oscillates.
        frequency: of the oscillation, in cycles per frame.
        roll: degrees per frame at the given speed of 1 px per frame.
        zoom: relative change of scale per frame, at 1 px per frame.
        duty: exposure time as a share of the frame interval.
        scale: photograph pixels per frame pixel.
        turn: whether crops are mirrored and turned by quarters, as augmentation.
        noise: standard deviation on the blurry side, in [0, 1] after the camera's
            response.
    """

    speed: tuple[float, float] = (0.5, 16.0)
    pan: tuple[float, float] = (0.0, 0.8)
    frequency: tuple[float, float] = (0.03, 0.25)
    roll: float = 0.05
    zoom: float = 0.0005
    duty: tuple[float, float] = (0.2, 1.0)
    scale: tuple[float, float] = (0.8, 1.25)
    turn: bool = True
    noise: tuple[float, float] = (0.0, 0.01)


@dataclasses.dataclass(frozen=True)
class CameraPath:
    """A smooth pose over time: a pan, plus sines of translation, roll and zoom.

    Attributes:
        size: width and height of the frame in pixels.
        velocity: of the pan, (x, y) in pixels per frame.
        amplitude: [4, K] of x, y (pixels), roll (radians) and log zoom.
        frequency: [4, K] radians per frame.
        phase: [4, K] radians.
        base: 3x3, from centred frame pixels to photograph pixels.
    """

    size: np.ndarray
    velocity: np.ndarray
    amplitude: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray
    base: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(3))

    @classmethod
    def draw(
        cls, rng: np.random.Generator, height: int, width: int, shake: Shake
    ) -> "CameraPath":
        """Draws a path for frames of H x W pixels, not yet placed on a photograph."""
        speed = np.exp(rng.uniform(*np.log(shake.speed)))
        angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(*shake.pan)
        frequency = 2 * np.pi * rng.uniform(*shake.frequency, (4, 3))
        # A sine of amplitude a and angular frequency w moves by about a w a frame.
        size = np.array([1, 1, np.radians(shake.roll), shake.zoom])[:, None] * speed
        amplitude = size * rng.normal(0, 0.7, (4, 3)) / (frequency * np.sqrt(3))
        amplitude[:2] *= 1 - share
        return cls(
            size=np.array([width, height]),
            velocity=speed * share * np.array([np.cos(angle), np.sin(angle)]),
            amplitude=amplitude,
            frequency=frequency,
            phase=rng.uniform(0, 2 * np.pi, (4, 3)),
        )

    def pose(self, time: float) -> np.ndarray:
        """The 3x3 matrix from frame pixels (x, y, 1) to photograph pixels."""
        waves = np.sin(self.frequency * time + self.phase) - np.sin(self.phase)
        x, y, roll, zoom = (self.amplitude * waves).sum(axis=1)
        x, y = np.array([x, y]) + self.velocity * time
        c, s = np.exp(zoom) * np.cos(roll), np.exp(zoom) * np.sin(roll)
        move = np.array([[c, -s, x], [s, c, y], [0, 0, 1]])
        centred = np.eye(3)
        centred[:2, 2] = -(self.size - 1) / 2
        return self.base @ move @ centred

    def placed(self, base: np.ndarray) -> "CameraPath":
        """The same motion seen through `base`, from centred frame to photograph."""
        return dataclasses.replace(self, base=base)

    def corners(self, frames: int, duty: float) -> np.ndarray:
        """Where the frame's corners go, exposures included [N, 2] (x, y)."""
        x, y = self.size - 1
        frame = np.array([[0, 0, 1], [x, 0, 1], [0, y, 1], [x, y, 1]]).T
        moments = np.arange(-duty / 2, frames - 1 + duty / 2 + 0.125, 0.125)
        return np.concatenate([(self.pose(t) @ frame)[:2].T for t in moments])
