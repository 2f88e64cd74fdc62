"""Whole batches of blurry clips with exact motion, made on the device in one call.

Photographs stay in its memory; the host has nothing to do. Scenes, motion and light are
those of `synthesis.host`, but in place of H.264 `sensor.coded` codes each frame.
Letters: B clips, T time, H W pixels, S sub-frames, L layers, N times.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.errors import UsageError, UserError
from mtujax.synthesis.device.camera import (
    apply,
    frame_views,
    inverse,
    product,
    scaling,
)
from mtujax.synthesis.device.film import Shots, film
from mtujax.synthesis.device.scene import Recipe, Scene, draw_scene
from mtujax.synthesis.device.sensor import Sensor, coded, develop, draw_sensor, noisy
from mtujax.synthesis.device.textures import Cutouts, Photos, pack_cutouts, pack_photos
from mtujax.synthesis.host.camera import corners
from mtujax.synthesis.host.clip import JOINTS, UNSEEN
from mtujax.synthesis.host.textures import DENSITY
from mtujax.synthesis.settings import BlurSettings


def layer_poses(scene: Scene, times: jax.Array, recipe: Recipe) -> jax.Array:
    """Where each layer is seen at times [N]: frame pixels to texels, [N, L, 3, 3]."""

    def finished(texels, plane):
        return product(texels[None], frame_views(plane, recipe.size))

    plane = scene.camera.planes(times, tilt=scene.background.tilt)
    poses = finished(scene.background.texels, plane)[:, None]
    if scene.things is None:
        return poses
    shift = jnp.full(2, (recipe.object_side - 1) / 2)
    texels = scaling(DENSITY, DENSITY, shift)
    # A point of the empty border, from everywhere.
    nowhere = jnp.diag(jnp.array([0.0, 0.0, 1.0]))[None]

    def thing(near, path, there):
        plane = scene.camera.planes(times, near=near)
        plane = product(plane, path.places(times))
        return jnp.where(there, finished(texels, plane), nowhere)

    things = scene.things
    seen = jax.vmap(thing)(things.near, things.path, things.there)
    return jnp.concatenate([poses, jnp.swapaxes(seen, 0, 1)], axis=1)


def travel(scene: Scene, poses: jax.Array, recipe: Recipe) -> jax.Array:
    """Pixels [T] that anything in the frame moves along poses [T, N, L, 3, 3]."""
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
    """Longest path in pixels of texels [M, 2] seen through homographies [N, 3, 3]."""
    steps = jnp.diff(apply(views, points), axis=0)
    return jnp.sqrt(jnp.square(steps).sum(axis=-1)).sum(axis=0).max()


def expose(
    scene: Scene, duty: jax.Array, recipe: Recipe, subframes: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sub-frames of each frame, a pixel apart at most, odd, at most `subframes`."""
    # duty [T], cut where a frame would smear too far -> poses [T, S, L, 3, 3], weights
    # [T, S], and poses of the sharp frames [T, L, 3, 3].
    frames = jnp.arange(recipe.frames, dtype=jnp.float32)
    joints = jnp.linspace(-0.5, 0.5, JOINTS)

    def poses(times):
        found = layer_poses(scene, times.reshape(-1), recipe)
        return found.reshape(*times.shape, *found.shape[1:])

    def way(duty):
        times = frames[:, None] + duty[:, None] * joints[None]
        return travel(scene, poses(times), recipe)

    longest = recipe.blur.exposure.longest
    long = way(duty)
    duty = duty * jnp.minimum(longest / jnp.maximum(long, 1e-6), 1.0)
    long = way(duty)
    count = jnp.maximum(jnp.ceil(long), jnp.where(long > UNSEEN, 3, 1))
    count = jnp.minimum(count.astype(jnp.int32) | 1, subframes)[:, None]
    number = jnp.arange(subframes)[None]
    shares = (number + 0.5) / count - 0.5
    used = number < count
    times = frames[:, None] + jnp.where(used, duty[:, None] * shares, 0.0)
    return poses(times), used / count, poses(frames)


def most_subframes(longest: float) -> int:
    """How many sub-frames, an odd number, a blur of so many pixels needs."""
    return int(np.ceil(longest)) + 1 | 1


class Resident(NamedTuple):
    """What the clips are made of."""

    photos: Photos  # photographs
    cutouts: Cutouts | None  # cut-outs, or None


Generator = Callable[[Resident, jax.Array], dict[str, jax.Array]]


def make_generator(
    photos: Sequence[np.ndarray],
    cutouts: Sequence[np.ndarray] = (),
    *,
    batch: int,
    frames: int,
    size: int,
    blur: BlurSettings | None = None,
    subframes: int | None = None,
) -> tuple[Resident, Generator]:
    """Puts photographs into device memory and makes the function that films them.

    The function is jitted, compiles once, and may be called within another jitted or
    pmapped one; the same key gives the same bytes on the same kind of device.

        resident, generate = make_generator(photos, batch=8, frames=13, size=256)
        batch = generate(resident, jax.random.key(step))

    Examples:
        >>> photos, _ = read_photos("photos", width=32, height=32)
        >>> resident, generate = make_generator(
        ...     [*photos.values()], batch=2, frames=2, size=32
        ... )
        >>> jax.eval_shape(generate, resident, jax.random.key(0))["flow"].shape
        (2, 2, 32, 32, 2)

    Args:
        photos: [H', W', 3] uint8 each, sharp: scaled down, not up.
        cutouts: [h, w, 4] uint8 each: what objects look like; without any they are
            pieces of the photographs.
        batch: clips B.
        frames: T per clip.
        size: side of the square frames in pixels.
        blur: motion, objects and exposure; None takes the defaults of `BlurSettings`,
            without objects.
        subframes: the most per frame; None for as many as the longest blur needs. With
            fewer, longer blurs show gaps between them.

    Returns:
        The arrays in device memory, and a function of them and a `jax.random` key that
        gives `blurry`, `sharp` uint8 [B, T, H, W, 3], `flow` float32 [B, T, H, W, 2]
        and `valid` bool [B, T, H, W], as in `BlurredClip`.

    Raises:
        UserError: if there is no photograph, one is smaller than the frames, or an
            array is of the wrong kind.
        UsageError: if a number is not positive.
    """
    if batch < 1:
        raise UsageError(f"batch: {batch} is not positive")
    settings = dict(frames=frames, size=size, blur=blur, subframes=subframes)
    resident, film_clips = make_clips(photos, cutouts, **settings)

    @jax.jit
    def generate(resident, rng_key):
        numbers = jnp.arange(batch)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng_key, numbers)
        return film_clips(resident, keys)

    return resident, generate


def make_clips(
    photos: Sequence[np.ndarray],
    cutouts: Sequence[np.ndarray] = (),
    *,
    frames: int,
    size: int,
    blur: BlurSettings | None = None,
    subframes: int | None = None,
) -> tuple[Resident, Generator]:
    """As `make_generator`, for any number of clips, each with a key of its own.

    Examples:
        >>> photos, _ = read_photos("photos", width=32, height=32)
        >>> resident, clips = make_clips([*photos.values()], frames=2, size=32)
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> jax.eval_shape(clips, resident, keys)["blurry"].shape
        (3, 2, 32, 32, 3)

    Args:
        photos: [H', W', 3] uint8 each, as all the others there.
        cutouts: [h, w, 4] uint8 each.
        frames: T per clip.
        size: side of the square frames in pixels.
        blur: motion, objects and exposure.
        subframes: the most per frame.

    Returns:
        The arrays in device memory, and a pure function of them and [B] keys.

    Raises:
        UserError: as there.
        UsageError: as there.
    """
    recipe = Recipe(frames, size, blur or BlurSettings())
    _check(photos, recipe, subframes)
    most = subframes or most_subframes(recipe.blur.exposure.longest)
    most -= 1 - most % 2

    def film_clips(resident, rng_keys):
        return clips(resident, rng_keys, recipe, most)

    return Resident(pack_photos(photos), _packed(cutouts, recipe)), film_clips


def clips(
    resident: Resident, rng_keys: jax.Array, recipe: Recipe, subframes: int
) -> dict[str, jax.Array]:
    """As the function of `make_generator`, a clip for each of [B] keys by itself."""

    def draw(key):
        return draw_shots(resident, key, recipe, subframes)

    shots, sensors, noise = jax.vmap(draw)(rng_keys)
    filmed = film(shots, height=recipe.size, width=recipe.size)

    def finish(sensor: Sensor, blurry, sharp, key):
        blurry = develop(sensor, noisy(sensor, blurry, key))
        if recipe.blur.exposure.compressed:
            step = jnp.where(sensor.coding > 0, sensor.coding, 1.0)
            blurry = jnp.where(sensor.coding > 0, coded(blurry, step), blurry)
        return blurry, develop(sensor, sharp)

    blurry, sharp = jax.vmap(finish)(sensors, filmed.blurry, filmed.sharp, noise)
    return dict(blurry=blurry, sharp=sharp, flow=filmed.flow, valid=filmed.valid)


def draw_shots(
    resident: Resident, rng_key: jax.Array, recipe: Recipe, subframes: int
) -> tuple[Shots, Sensor, jax.Array]:
    """Draws what a clip shows, its sensor, and the key of its noise."""
    keys = jax.random.split(rng_key, 3)
    sensor = draw_sensor(keys[0], recipe.frames, recipe.blur.exposure)
    scene = draw_scene(keys[1], *resident, sensor, recipe)
    poses, weights, middles = expose(scene, sensor.duty, recipe, subframes)
    objects = jnp.zeros((0, 2, 2, 4))
    if scene.things is not None:
        objects = scene.things.texture
    # In half precision light has 11 bits, and half the bytes to be gathered.
    light = (scene.background.texture, objects)
    light = (x.astype(jnp.float16) for x in light)
    return Shots(*light, poses, weights, middles), sensor, keys[2]


def _check(photos, recipe, subframes):
    numbers = dict(frames=recipe.frames, size=recipe.size, subframes=subframes)
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UsageError(f"{name}: {value} is not positive")
    if recipe.size < 16:
        raise UsageError(f"size: {recipe.size} is too small; 16 is the least")
    for number, photo in enumerate(photos):
        if min(photo.shape[:2]) < recipe.size:
            raise UserError(
                f"photograph {number} of {photo.shape[1]}x{photo.shape[0]}: smaller "
                f"than the {recipe.size}x{recipe.size} frames; leave it out or choose "
                "a smaller size"
            )


def _packed(cutouts, recipe):
    if not len(cutouts) or not recipe.blur.objects:
        return None
    smallest, largest = recipe.object_sizes
    return pack_cutouts(cutouts, largest=largest, smallest=smallest)
