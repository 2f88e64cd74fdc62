"""How a hand-held camera and objects in front of it move: smooth random paths.

The reference plane holds pixels of a camera at rest, centred: (0, 0) is the middle of
the frame. Matrices are 3x3 homographies of pixels (x, y, 1). Letters: N moments, K
sines, C channels, M points. Times are in frames.
"""

import dataclasses
import functools

import numpy as np

from mtujax.synthesis.settings import Objects, Shake

_SINES = 3
_REACH = 0.3  # amplitude of a pan as a share of the frame's width


@dataclasses.dataclass(frozen=True)
class Waves:
    """Smooth band-limited functions of time: sums of sines.

    Attributes:
        amplitude: [C, K] in the unit of each channel.
        frequency: [C, K] radians per frame.
        phase: [C, K] radians.
    """

    amplitude: np.ndarray
    frequency: np.ndarray
    phase: np.ndarray

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        speeds: np.ndarray,
        frequency: tuple[float, float],
    ) -> "Waves":
        """Draws functions that change by about `speeds` [C] units per frame.

        `frequency` is a range in cycles per frame.
        """
        shape = (len(speeds), _SINES)
        turns = 2 * np.pi * rng.uniform(*frequency, shape)
        # A sine of amplitude a and angular frequency w moves by about a w a frame.
        amplitude = rng.normal(0, 0.7, shape) / (turns * np.sqrt(_SINES))
        phase = rng.uniform(0, 2 * np.pi, shape)
        return cls(np.asarray(speeds)[:, None] * amplitude, turns, phase)

    def at(self, times: np.ndarray) -> np.ndarray:
        """Evaluates the functions: times [N] -> [N, C] float64."""
        times = np.asarray(times)[:, None, None]
        waves = self.amplitude * np.sin(self.frequency * times + self.phase)
        return waves.sum(axis=-1)


@dataclasses.dataclass(frozen=True)
class CameraPath:
    """A smooth pose over time: a pan that turns round far out, plus oscillations.

    Attributes:
        width: of the frame in pixels.
        height: of the frame in pixels.
        focal: focal length in pixels.
        middle: time in frames at which the pan passes its middle.
        pan: [4] pixels per frame of yaw, pitch and translation x, y.
        waves: of yaw, pitch, x, y (all in pixels), roll (radians), logarithm of zoom,
            and forward motion (share of the scene's distance).
    """

    width: int
    height: int
    focal: float
    middle: float
    pan: np.ndarray
    waves: Waves

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        frames: int,
        height: int,
        width: int,
        shake: Shake,
    ) -> "CameraPath":
        """Draws the path of a clip with `frames` frames."""
        speed = np.exp(rng.uniform(*np.log(shake.speed)))
        angle, steady = rng.uniform(0, 2 * np.pi), rng.uniform(*shake.pan)
        turned = rng.uniform(*shake.rotation)
        focal = width * rng.uniform(*shake.focal)
        shares = np.array([turned, turned, 1 - turned, 1 - turned])
        others = np.array([np.radians(shake.roll), shake.zoom, shake.forward])
        # Rotation and translation are independent: their squares add up.
        speeds = speed * np.concatenate([(1 - steady) * np.sqrt(shares), others])
        direction = np.array([np.cos(angle), np.sin(angle)])
        return cls(
            width=width,
            height=height,
            focal=focal,
            middle=(frames - 1) / 2,
            pan=speed * steady * shares * np.tile(direction, 2),
            waves=Waves.draw(rng, speeds, shake.frequency),
        )

    def planes(
        self,
        times: np.ndarray,
        *,
        near: float = 1.0,
        tilt: tuple[float, float] = (0.0, 0.0),
    ) -> np.ndarray:
        """Homographies from the reference plane to the centred frame.

        times [N] -> [N, 3, 3]. `near` is 1 / distance of the plane, 1 for the
        background; `tilt` is the change of `near`, as a share, per focal length along
        x and y.
        """
        yaw, pitch, x, y, roll, zoom, forward = self._pose(np.asarray(times)).T
        turn = _rotations(yaw / self.focal, pitch / self.focal, roll)
        move = np.stack([x / self.focal, y / self.focal, forward], axis=-1)
        # A point p of the plane is at 1 / (near * (1 + tilt . p)) times p.
        seen = turn + near * move[:, :, None] * np.array([*tilt, 1.0])
        focal = np.array([1 / self.focal, 1 / self.focal, 1.0])
        out = (
            np.exp(zoom)[:, None, None] * np.array([self.focal, self.focal, 0])[:, None]
        )
        out[:, 2] = 1.0
        return out * seen * focal

    def _pose(self, times):
        """[N, 7] of yaw, pitch, x, y, roll, log zoom and forward motion."""
        pose = self.waves.at(times)
        reach = _REACH * self.width
        pose[:, :4] += reach * np.sin(self.pan * (times[:, None] - self.middle) / reach)
        return pose

    @functools.cached_property
    def centring(self) -> np.ndarray:
        """[3, 3] from frame pixels to centred ones."""
        matrix = np.eye(3)
        matrix[:2, 2] = -(self.width - 1) / 2, -(self.height - 1) / 2
        return matrix

    def reach(
        self,
        times: np.ndarray,
        *,
        near: float = 1.0,
        tilt: tuple[float, float] = (0, 0),
    ) -> np.ndarray:
        """Points (x, y) of a plane that the frame's corners see, times [N] -> [4 N, 2].

        `near` and `tilt` are as in `planes`.
        """
        views = np.linalg.inv(self.planes(times, near=near, tilt=tilt))
        return apply(views @ self.centring, corners(self.width, self.height))


def corners(width: int, height: int) -> np.ndarray:
    """Gives the four corners (x, y) of an image, [4, 2]."""
    x, y = width - 1.0, height - 1.0
    return np.array([[0, 0], [x, 0], [0, y], [x, y]])


def apply(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps points (x, y) by homographies.

    [N, 3, 3] or [3, 3], points [M, 2] -> [N * M, 2], matrix by matrix.
    """
    points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    moved = (points @ np.swapaxes(matrices, -1, -2)).reshape(-1, 3)
    return moved[:, :2] / moved[:, 2:]


def _rotations(yaw, pitch, roll):
    """[N, 3, 3] that turn by yaw, then pitch, then roll; positive moves the view."""
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    c, s = np.cos(yaw), np.sin(yaw)
    first = np.array([[c, zero, s], [zero, one, zero], [-s, zero, c]])
    c, s = np.cos(pitch), np.sin(pitch)
    second = np.array([[one, zero, zero], [zero, c, s], [zero, -s, c]])
    c, s = np.cos(roll), np.sin(roll)
    third = np.array([[c, -s, zero], [s, c, zero], [zero, zero, one]])
    first, second, third = (np.moveaxis(m, -1, 0) for m in (first, second, third))
    return third @ second @ first


_STEADY = 0.5  # share of an object's speed that is straight motion


@dataclasses.dataclass(frozen=True)
class ObjectPath:
    """How an object moves over the reference plane at its distance.

    Attributes:
        centre: (x, y) at time `middle`, without the oscillation.
        middle: time in frames.
        velocity: (x, y) pixels per frame.
        waves: of x, y (pixels), angle (radians) and logarithm of size.
    """

    centre: np.ndarray
    middle: float
    velocity: np.ndarray
    waves: Waves

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        centre: np.ndarray,
        middle: float,
        objects: Objects,
    ) -> "ObjectPath":
        """Draws a path that passes `centre` (x, y) at time `middle`."""
        speed = np.exp(rng.uniform(*np.log(objects.speed)))
        speed *= rng.uniform() >= objects.still
        angle = rng.uniform(0, 2 * np.pi)
        others = np.array([np.radians(objects.spin), objects.growth])
        speeds = speed * np.concatenate([np.full(2, 1 - _STEADY), others])
        return cls(
            centre=np.asarray(centre),
            middle=middle,
            velocity=_STEADY * speed * np.array([np.cos(angle), np.sin(angle)]),
            waves=Waves.draw(rng, speeds, objects.frequency),
        )

    def places(self, times: np.ndarray) -> np.ndarray:
        """Homographies from object-centred pixels to the reference plane.

        times [N] -> [N, 3, 3].
        """
        x, y, angle, growth = self.waves.at(times).T
        steady = (np.asarray(times)[:, None] - self.middle) * self.velocity
        x, y = np.stack([x, y]) + (self.centre + steady).T
        c, s = np.exp(growth) * np.cos(angle), np.exp(growth) * np.sin(angle)
        zero, one = np.zeros_like(c), np.ones_like(c)
        return np.moveaxis(np.array([[c, -s, x], [s, c, y], [zero, zero, one]]), -1, 0)
