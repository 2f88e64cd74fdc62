"""How a hand-held camera and objects in front of it move: smooth random paths.

The reference plane holds pixels of a camera at rest, centred: (0, 0) is the middle of
the frame. Matrices are 3x3 homographies of pixels (x, y, 1). Where a path is at given
times is written once, for NumPy and for JAX arrays; it is drawn here with NumPy's
generators, in `device.camera` with JAX's. Letters: N times, K sines, C channels, M
points. Times are in frames.
"""

from typing import NamedTuple

import numpy as np

from mtujax.synthesis.settings import Objects, Shake

SINES = 3
_REACH = 0.3  # amplitude of a pan as a share of the frame's width


class Waves(NamedTuple):
    """Smooth band-limited functions of time: sums of sines."""

    amplitude: np.ndarray  # [C, K] in the unit of each channel
    frequency: np.ndarray  # [C, K] radians per frame
    phase: np.ndarray  # [C, K] radians

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        speeds: np.ndarray,
        frequency: tuple[float, float],
    ) -> "Waves":
        """Draws functions that change by about `speeds` [C] units per frame."""
        shape = (len(speeds), SINES)
        turns = 2 * np.pi * rng.uniform(*frequency, shape)
        # A sine of amplitude a and angular frequency w moves by about a w a frame.
        amplitude = rng.normal(0, 0.7, shape) / (turns * np.sqrt(SINES))
        phase = rng.uniform(0, 2 * np.pi, shape)
        return cls(np.asarray(speeds)[:, None] * amplitude, turns, phase)

    def at(self, times: np.ndarray) -> np.ndarray:
        """Evaluates the functions: times [N] -> [C, N]."""
        xp = times.__array_namespace__()
        amplitude, frequency, phase = (x[:, None] for x in self)
        angle = frequency * times[None, :, None] + phase
        return (amplitude * xp.sin(angle)).sum(axis=-1)


class CameraPath(NamedTuple):
    """A smooth pose over time: a pan that turns round far out, plus oscillations."""

    width: int  # of the frame in pixels
    height: int  # of the frame in pixels
    focal: float  # focal length in pixels
    middle: float  # time in frames at which the pan passes its middle
    pan: np.ndarray  # [4] pixels per frame of yaw, pitch and translation x, y
    # Of yaw, pitch, x, y (all in pixels), roll (radians), logarithm of zoom, and
    # forward motion (share of the scene's distance)
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
        """Homographies from the reference plane to the centred frame."""
        # times [N] -> [N, 3, 3]. `near` is 1 / distance of the plane, 1 for the
        # background; `tilt` is the change of `near`, as a share, per focal length along
        # x and y.
        xp = times.__array_namespace__()
        reach = _REACH * self.width
        angle = self.pan[:, None] * (times - self.middle)[None] / reach
        pose = self.waves.at(times)
        yaw, pitch, x, y = (pose[:4] + reach * xp.sin(angle)) / self.focal
        roll, zoom, forward = pose[4:]
        move = xp.stack([x, y, forward], axis=-1)
        # A point p of the plane is at 1 / (near * (1 + tilt . p)) times p.
        slope = xp.asarray([*tilt, 1.0])[None, None]
        seen = _rotations(yaw, pitch, roll) + near * move[:, :, None] * slope
        enlarged = self.focal * xp.exp(zoom)
        out = xp.stack([enlarged, enlarged, xp.ones_like(zoom)], axis=-1)
        scale = xp.asarray([1 / self.focal, 1 / self.focal, 1.0])[None, None]
        return out[:, :, None] * seen * scale

    @property
    def centring(self) -> np.ndarray:
        """[3, 3] from frame pixels to centred ones."""
        x, y = -(self.width - 1) / 2, -(self.height - 1) / 2
        return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])

    def reach(
        self,
        times: np.ndarray,
        *,
        near: float = 1.0,
        tilt: tuple[float, float] = (0, 0),
    ) -> np.ndarray:
        """Points of a plane that the frame's corners see, times [N] -> [4 N, 2]."""
        views = np.linalg.inv(self.planes(times, near=near, tilt=tilt))
        return apply(views @ self.centring, corners(self.width, self.height))


def corners(width: int, height: int) -> np.ndarray:
    """Gives the four corners (x, y) of an image, [4, 2]."""
    x, y = width - 1.0, height - 1.0
    return np.array([[0, 0], [x, 0], [0, y], [x, y]])


def apply(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps points [M, 2] by [N, 3, 3] or [3, 3] -> [N * M, 2], matrix by matrix."""
    points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    moved = (points @ np.swapaxes(matrices, -1, -2)).reshape(-1, 3)
    return moved[:, :2] / moved[:, 2:]


def _rotations(yaw, pitch, roll):
    """[N, 3, 3] that turn by yaw, then pitch, then roll; positive moves the view."""
    xp = yaw.__array_namespace__()
    a, b, c = map(xp.cos, (yaw, pitch, roll))
    d, e, f = map(xp.sin, (yaw, pitch, roll))
    # The product of the three, written out: accelerators round what matmul multiplies.
    first = c * a + f * e * d, -f * b, c * d - f * e * a
    second = f * a - c * e * d, c * b, f * d + c * e * a
    return _matrices(*first, *second, -b * d, -e, b * a)


def _matrices(*entries):
    """[N, 3, 3] of nine [N], row by row."""
    xp = entries[0].__array_namespace__()
    return xp.stack(entries, axis=-1).reshape(-1, 3, 3)


STEADY = 0.5  # share of an object's speed that is straight motion


class ObjectPath(NamedTuple):
    """How an object moves over the reference plane at its distance."""

    centre: np.ndarray  # (x, y) at time `middle`, without the oscillation
    middle: float  # time in frames
    velocity: np.ndarray  # (x, y) pixels per frame
    waves: Waves  # of x, y (pixels), angle (radians) and logarithm of size

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
        speeds = speed * np.concatenate([np.full(2, 1 - STEADY), others])
        return cls(
            centre=np.asarray(centre),
            middle=middle,
            velocity=STEADY * speed * np.array([np.cos(angle), np.sin(angle)]),
            waves=Waves.draw(rng, speeds, objects.frequency),
        )

    def places(self, times: np.ndarray) -> np.ndarray:
        """Homographies from centred pixels to the plane, times [N] -> [N, 3, 3]."""
        xp = times.__array_namespace__()
        x, y, angle, growth = self.waves.at(times)
        steady = self.velocity[:, None] * (times - self.middle)[None]
        steady = self.centre[:, None] + steady
        c, s = xp.exp(growth) * xp.cos(angle), xp.exp(growth) * xp.sin(angle)
        zero, one = xp.zeros_like(c), xp.ones_like(c)
        first, second = (c, -s, x + steady[0]), (s, c, y + steady[1])
        return _matrices(*first, *second, zero, zero, one)
