"""How things in front of the background move.

Letters: N moments. Times are in frames; matrices are 3x3 homographies of pixels.
"""

import dataclasses

import numpy as np

from mtujax.data.camera import Waves

_STEADY = 0.5  # share of an object's speed that goes straight on


@dataclasses.dataclass(frozen=True)
class Objects:
    """What stands or moves in front of the background; ranges are drawn from.

    Attributes:
        count: objects per clip, both bounds included.
        size: longer side as a share of the frame's height.
        near: 1 / distance, where the background's is 1.
        still: share of objects that stand: depth alone makes them move.
        speed: pixels per frame of the others, log-uniform.
        spin: degrees per frame, at 1 px per frame.
        growth: relative change of size per frame, at 1 px per frame.
        frequency: of what is not steady in their motion, in cycles per frame.
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
class ObjectPath:
    """How an object moves over the reference plane at its distance.

    Attributes:
        centre: (x, y) at time `middle`, but for the oscillation.
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
        """Draws a path through a point.

        Args:
            rng: source of randomness.
            centre: (x, y) of the reference plane.
            middle: when it is passed, in frames.
            objects: ranges to draw from.

        Returns:
            The path.
        """
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
        """Where the object is.

        Args:
            times: [N] moments in frames.

        Returns:
            [N, 3, 3] from pixels centred on the object to the reference plane.
        """
        x, y, angle, growth = self.waves.at(times).T
        steady = (np.asarray(times)[:, None] - self.middle) * self.velocity
        x, y = np.stack([x, y]) + (self.centre + steady).T
        c, s = np.exp(growth) * np.cos(angle), np.exp(growth) * np.sin(angle)
        zero, one = np.zeros_like(c), np.ones_like(c)
        return np.moveaxis(np.array([[c, -s, x], [s, c, y], [zero, zero, one]]), -1, 0)
