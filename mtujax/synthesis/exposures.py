"""When and where the sub-frames of each frame are taken, and how far they smear.

One clip at a time: `vmap` over clips. Letters: T time, S sub-frames, L layers,
N moments.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.data.camera import corners
from mtujax.data.textures import DENSITY
from mtujax.synthesis.homographies import apply, centring, inverse, product, scaling
from mtujax.synthesis.motion import places, planes
from mtujax.synthesis.scenes import Recipe, Scene

_UNSEEN = 0.1  # pixels of smear
_JOINTS = 9  # points of the path that measure how far an exposure smears


def layer_poses(scene: Scene, times: jax.Array, recipe: Recipe) -> jax.Array:
    """Where each layer is seen.

    Args:
        scene: layers before a camera.
        times: [N] moments in frames.
        recipe: the frames' size.

    Returns:
        [N, L, 3, 3] from frame pixels to texels.
    """
    centred = centring(recipe.size, recipe.size)[None]
    place = dict(width=recipe.size, middle=recipe.middle)

    def finished(texels, plane):
        view = product(inverse(plane), centred)
        return product(texels[None], view)

    plane = planes(scene.camera, times, **place, tilt=scene.background.tilt)
    poses = finished(scene.background.texels, plane)[:, None]
    if scene.things is None:
        return poses
    shift = jnp.full(2, (recipe.object_side - 1) / 2)
    texels = scaling(DENSITY, DENSITY, shift)
    # A point of the empty border, from everywhere.
    nowhere = jnp.diag(jnp.array([0.0, 0.0, 1.0]))[None]

    def thing(near, path, there):
        plane = planes(scene.camera, times, **place, near=near)
        plane = product(plane, places(path, times, recipe.middle))
        return jnp.where(there, finished(texels, plane), nowhere)

    things = scene.things
    seen = jax.vmap(thing)(things.near, things.path, things.there)
    return jnp.concatenate([poses, jnp.swapaxes(seen, 0, 1)], axis=1)


def travel(scene: Scene, poses: jax.Array, recipe: Recipe) -> jax.Array:
    """How far anything in the frame moves.

    Args:
        scene: layers before a camera.
        poses: [T, N, L, 3, 3], N of each frame, joined by straight lines.
        recipe: the frames' size.

    Returns:
        [T] pixels.
    """
    corner = jnp.asarray(corners(recipe.size, recipe.size), jnp.float32)
    views = inverse(poses[:, :, 0])
    middle = poses[:, poses.shape[1] // 2, 0]
    longest = jax.vmap(_way)(views, apply(middle, corner))
    if scene.things is None:
        return longest
    middle = (recipe.object_side - 1) / 2
    sides = jnp.asarray(corners(2, 2) * 2 - 1, jnp.float32)
    views = inverse(poses[:, :, 1:])
    for number, there in enumerate(scene.things.there):
        points = middle + sides * (scene.things.extent[number][None] - 1) / 2
        way = jax.vmap(_way, (0, None))(views[:, :, number], points)
        longest = jnp.maximum(longest, jnp.where(there, way, 0.0))
    return longest


def _way(views, points):
    """Pixels of the longest of the ways [N, 3, 3] that texels [M, 2] are seen to go."""
    steps = jnp.diff(apply(views, points), axis=0)
    return jnp.sqrt(jnp.square(steps).sum(axis=-1)).sum(axis=0).max()


def expose(
    scene: Scene, duty: jax.Array, recipe: Recipe, subframes: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Chooses the sub-frames of each frame: at most a pixel apart, evenly, odd.

    Args:
        scene: layers before a camera.
        duty: [T] exposure times, as shares of the frame interval; less where the frame
            would smear further than is allowed.
        recipe: of the clip.
        subframes: S, the most there may be, odd.

    Returns:
        Poses [T, S, L, 3, 3], weights [T, S] and poses of the sharp frames
        [T, L, 3, 3].
    """
    frames = jnp.arange(recipe.frames, dtype=jnp.float32)
    joints = jnp.linspace(-0.5, 0.5, _JOINTS)

    def poses(times):
        found = layer_poses(scene, times.reshape(-1), recipe)
        return found.reshape(*times.shape, *found.shape[1:])

    def way(duty):
        times = frames[:, None] + duty[:, None] * joints[None]
        return travel(scene, poses(times), recipe)

    longest = recipe.exposure.longest
    long = way(duty)
    duty = duty * jnp.minimum(longest / jnp.maximum(long, 1e-6), 1.0)
    long = way(duty)
    count = jnp.maximum(jnp.ceil(long), jnp.where(long > _UNSEEN, 3, 1))
    count = jnp.minimum(count.astype(jnp.int32) | 1, subframes)[:, None]
    number = jnp.arange(subframes)[None]
    shares = (number + 0.5) / count - 0.5
    used = number < count
    times = frames[:, None] + jnp.where(used, duty[:, None] * shares, 0.0)
    return poses(times), used / count, poses(frames)


def most_subframes(longest: float) -> int:
    """How many sub-frames the longest blur needs.

    Args:
        longest: pixels.

    Returns:
        An odd number.
    """
    return int(np.ceil(longest)) + 1 | 1
