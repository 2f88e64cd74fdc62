"""How camera and objects move, in JAX: what `synthesis.host.camera` does.

Same letters and conventions as there: the reference plane holds centred pixels, times
are in frames, matrices are 3x3 homographies, known up to a factor and multiplied in
float32, not at the reduced precision of tensor cores. One clip at a time: `vmap` over
clips. Letters: N moments, K sines, C channels, M points.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.synthesis.settings import Objects, Shake


def product(first: jax.Array, second: jax.Array) -> jax.Array:
    """Multiplies matrices: `first` is applied after `second`.

    [..., 3, 3] twice, with as many axes -> [..., 3, 3].
    """
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


def centring(width: int, height: int) -> jax.Array:
    """Gives the matrix [3, 3] from frame pixels to centred ones."""
    return scaling(1.0, 1.0, -(jnp.array([width, height]) - 1) / 2)


_SINES = 3
_REACH = 0.3  # amplitude of a pan as a share of the frame's width
_STEADY = 0.5  # share of an object's speed that is straight motion


class Waves(NamedTuple):
    """Smooth band-limited functions of time: sums of sines.

    Attributes:
        amplitude: [C, K] in the unit of each channel.
        frequency: [C, K] radians per frame.
        phase: [C, K] radians.
    """

    amplitude: jax.Array
    frequency: jax.Array
    phase: jax.Array

    def at(self, times: jax.Array) -> jax.Array:
        """Evaluates the functions: times [N] -> [C, N]."""
        angle = self.frequency[..., None] * times[None, None] + self.phase[..., None]
        return (self.amplitude[..., None] * jnp.sin(angle)).sum(axis=1)


class Camera(NamedTuple):
    """A smooth pose over time: a pan that turns round far out, plus oscillations.

    Attributes:
        focal: focal length in pixels.
        pan: [4] pixels per frame of yaw, pitch and translation x, y.
        waves: of yaw, pitch, x, y (all in pixels), roll (radians), logarithm of zoom,
            and forward motion (share of the scene's distance).
    """

    focal: jax.Array
    pan: jax.Array
    waves: Waves


class Path(NamedTuple):
    """How an object moves over the reference plane at its distance.

    Attributes:
        centre: [2] (x, y) in the middle of the clip, without the oscillation.
        velocity: [2] (x, y) pixels per frame.
        waves: of x, y (pixels), angle (radians) and logarithm of size.
    """

    centre: jax.Array
    velocity: jax.Array
    waves: Waves


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
    """Draws functions that change by about `speeds` [C] units per frame.

    `frequency` is a range in cycles per frame.
    """
    keys = jax.random.split(rng_key, 3)
    shape = (len(speeds), _SINES)
    turns = 2 * np.pi * uniform(keys[0], frequency, shape)
    amplitude = 0.7 * jax.random.normal(keys[1], shape) / (turns * np.sqrt(_SINES))
    phase = uniform(keys[2], (0, 2 * np.pi), shape)
    return Waves(speeds[:, None] * amplitude, turns, phase)


def draw_camera(rng_key: jax.Array, width: int, shake: Shake) -> Camera:
    """Draws a camera's path; `width` is that of the frames in pixels."""
    keys = jax.random.split(rng_key, 6)
    speed, steady = _speed(keys[0], shake.speed), uniform(keys[1], shake.pan)
    turned = uniform(keys[2], shake.rotation)
    shares = jnp.stack([turned, turned, 1 - turned, 1 - turned])
    others = jnp.array([np.radians(shake.roll), shake.zoom, shake.forward])
    speeds = speed * jnp.concatenate([(1 - steady) * jnp.sqrt(shares), others])
    return Camera(
        focal=width * uniform(keys[3], shake.focal),
        pan=speed * steady * shares * jnp.tile(_direction(keys[4]), 2),
        waves=draw_waves(keys[5], speeds, shake.frequency),
    )


def draw_path(rng_key: jax.Array, centre: jax.Array, objects: Objects) -> Path:
    """Draws an object's path that passes `centre` [2] (x, y) in mid-clip."""
    keys = jax.random.split(rng_key, 4)
    moves = jax.random.uniform(keys[0]) >= objects.still
    speed = moves * _speed(keys[1], objects.speed)
    others = jnp.array([1 - _STEADY] * 2 + [np.radians(objects.spin), objects.growth])
    return Path(
        centre=centre,
        velocity=_STEADY * speed * _direction(keys[2]),
        waves=draw_waves(keys[3], speed * others, objects.frequency),
    )


def planes(
    camera: Camera,
    times: jax.Array,
    *,
    width: int,
    middle: float,
    near: jax.Array | float = 1.0,
    tilt: jax.Array | None = None,
) -> jax.Array:
    """Homographies from the reference plane to the centred frame.

    times [N] in frames -> [N, 3, 3]. `width` is that of the frames in pixels, `middle`
    the time in frames at which the pan passes its middle, `near` 1 / distance of the
    plane (1 for the background), `tilt` [2] the change of `near`, as a share, per focal
    length along x and y.
    """
    reach = _REACH * width
    pan = reach * jnp.sin(camera.pan[:, None] * (times - middle)[None] / reach)
    pose = camera.waves.at(times)
    yaw, pitch, x, y = (pose[:4] + pan) / camera.focal
    roll, zoom, forward = pose[4:]
    move = jnp.stack([x, y, forward], axis=-1)
    slope = jnp.concatenate([jnp.zeros(2) if tilt is None else tilt, jnp.ones(1)])
    seen = _rotations(yaw, pitch, roll) + near * move[:, :, None] * slope[None, None]
    enlarged = camera.focal * jnp.exp(zoom)
    out = jnp.stack([enlarged, enlarged, jnp.ones_like(zoom)], axis=-1)
    scale = jnp.stack([1 / camera.focal, 1 / camera.focal, jnp.ones(())])
    return out[:, :, None] * seen * scale[None, None]


def places(path: Path, times: jax.Array, middle: float) -> jax.Array:
    """Homographies from object-centred pixels to the reference plane.

    times [N] in frames -> [N, 3, 3]; the object passes its centre at time `middle`.
    """
    x, y, angle, growth = path.waves.at(times)
    steady = path.velocity[:, None] * (times - middle)[None] + path.centre[:, None]
    c, s = jnp.exp(growth) * jnp.cos(angle), jnp.exp(growth) * jnp.sin(angle)
    zero, one = jnp.zeros_like(c), jnp.ones_like(c)
    rows = [[c, -s, x + steady[0]], [s, c, y + steady[1]], [zero, zero, one]]
    return _matrices(rows)


def _rotations(yaw, pitch, roll):
    """[N, 3, 3] that turn by yaw, then pitch, then roll; positive moves the view."""
    zero, one = jnp.zeros_like(yaw), jnp.ones_like(yaw)
    c, s = jnp.cos(yaw), jnp.sin(yaw)
    first = _matrices([[c, zero, s], [zero, one, zero], [-s, zero, c]])
    c, s = jnp.cos(pitch), jnp.sin(pitch)
    second = _matrices([[one, zero, zero], [zero, c, s], [zero, -s, c]])
    c, s = jnp.cos(roll), jnp.sin(roll)
    third = _matrices([[c, -s, zero], [s, c, zero], [zero, zero, one]])
    return product(third, product(second, first))


def _matrices(rows):
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
