"""Draws how camera and objects move, with JAX's generators, and handles homographies.

The paths themselves are those of `synthesis.host.camera`, with its letters and
conventions. Matrices are known up to a factor and multiplied in float32, not at the
reduced precision of tensor cores. One clip at a time: `vmap` over clips. Letters: N
times, C channels, M points.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.synthesis.host.camera import SINES, STEADY, CameraPath, ObjectPath, Waves
from mtujax.synthesis.settings import Objects, Shake


def product(first: jax.Array, second: jax.Array) -> jax.Array:
    """Multiplies matrices [..., 3, 3]: `first` is applied after `second`."""
    # A sum, not a matmul, which accelerators round to 10 bits.
    return (first[..., :, :, None] * second[..., None, :, :]).sum(axis=-2)


def inverse(matrix: jax.Array) -> jax.Array:
    """Inverts homographies [..., 3, 3] up to a factor, by the adjugate."""
    rows = matrix[..., 0, :], matrix[..., 1, :], matrix[..., 2, :]
    columns = [jnp.cross(rows[(i + 1) % 3], rows[(i + 2) % 3]) for i in range(3)]
    return jnp.stack(columns, axis=-1)


def apply(matrix: jax.Array, points: jax.Array) -> jax.Array:
    """Maps points (x, y) by homographies: [N, 3, 3], points [M, 2] -> [N, M, 2]."""
    points = jnp.concatenate([points, jnp.ones((len(points), 1))], axis=1)
    moved = (matrix[:, None] * points[None, :, None]).sum(axis=-1)
    return moved[..., :2] / moved[..., 2:]


def scaling(x: jax.Array, y: jax.Array, shift: jax.Array) -> jax.Array:
    """Scales by `x` and `y`, then adds `shift` [2] (x, y), as a matrix [3, 3]."""
    matrix = jnp.zeros((3, 3)).at[0, 0].set(x).at[1, 1].set(y)
    return matrix.at[:2, 2].set(shift).at[2, 2].set(1.0)


def frame_views(planes: jax.Array, side: int) -> jax.Array:
    """Homographies from pixels of square frames to planes that `planes` gives."""
    # [N, 3, 3] from the reference plane to centred pixels -> [N, 3, 3] back to it.
    centring = scaling(1.0, 1.0, -(jnp.array([side, side]) - 1) / 2)
    return product(inverse(planes), centring[None])


def uniform(rng_key: jax.Array, bounds: tuple, shape: tuple[int, ...] = ()):
    """Draws float32 [*shape] uniformly between two bounds."""
    return jax.random.uniform(rng_key, shape, minval=bounds[0], maxval=bounds[1])


def _speed(rng_key, bounds):
    return jnp.exp(uniform(rng_key, np.log(bounds)))


def _direction(rng_key):
    angle = uniform(rng_key, (0, 2 * np.pi))
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def draw_waves(
    rng_key: jax.Array, speeds: jax.Array, frequency: tuple[float, float]
) -> Waves:
    """Draws functions that change by about `speeds` [C] units per frame."""
    keys = jax.random.split(rng_key, 3)
    shape = (len(speeds), SINES)
    turns = 2 * np.pi * uniform(keys[0], frequency, shape)
    amplitude = 0.7 * jax.random.normal(keys[1], shape) / (turns * np.sqrt(SINES))
    phase = uniform(keys[2], (0, 2 * np.pi), shape)
    return Waves(speeds[:, None] * amplitude, turns, phase)


def draw_camera(
    rng_key: jax.Array, *, frames: int, height: int, width: int, shake: Shake
) -> CameraPath:
    """Draws the path of a clip with `frames` frames, as `CameraPath.draw` does."""
    keys = jax.random.split(rng_key, 6)
    speed, steady = _speed(keys[0], shake.speed), uniform(keys[1], shake.pan)
    turned = uniform(keys[2], shake.rotation)
    shares = jnp.stack([turned, turned, 1 - turned, 1 - turned])
    others = jnp.array([np.radians(shake.roll), shake.zoom, shake.forward])
    speeds = speed * jnp.concatenate([(1 - steady) * jnp.sqrt(shares), others])
    return CameraPath(
        width=width,
        height=height,
        focal=width * uniform(keys[3], shake.focal),
        middle=(frames - 1) / 2,
        pan=speed * steady * shares * jnp.tile(_direction(keys[4]), 2),
        waves=draw_waves(keys[5], speeds, shake.frequency),
    )


def draw_path(
    rng_key: jax.Array, *, centre: jax.Array, middle: float, objects: Objects
) -> ObjectPath:
    """Draws a path that passes `centre` [2] (x, y) at time `middle`."""
    keys = jax.random.split(rng_key, 4)
    moves = jax.random.uniform(keys[0]) >= objects.still
    speed = moves * _speed(keys[1], objects.speed)
    others = jnp.array([1 - STEADY] * 2 + [np.radians(objects.spin), objects.growth])
    return ObjectPath(
        centre=centre,
        middle=middle,
        velocity=STEADY * speed * _direction(keys[2]),
        waves=draw_waves(keys[3], speed * others, objects.frequency),
    )
