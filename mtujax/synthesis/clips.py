"""Whole batches of blurry clips with exact motion, made on the device in one call.

Photographs stay in its memory; the host has nothing to do.
Scenes, motion and light are those of `data.synthetic`, but in place of H.264 `coding`
compresses each frame. Letters: B clips, T time, H W pixels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.data.camera import Shake
from mtujax.data.exposure import Exposure
from mtujax.data.objects import Objects
from mtujax.errors import UsageError, UserError
from mtujax.synthesis.coding import coded
from mtujax.synthesis.exposures import expose, most_subframes
from mtujax.synthesis.film import Shots, film
from mtujax.synthesis.resident import Cutouts, Photos, pack_cutouts, pack_photos
from mtujax.synthesis.scenes import Recipe, draw_scene
from mtujax.synthesis.sensor import Sensor, develop, draw_sensor, noisy


class Resident(NamedTuple):
    """What the clips are made of.

    Attributes:
        photos: photographs.
        cutouts: cut-outs, or None.
    """

    photos: Photos
    cutouts: Cutouts | None


Generator = Callable[[Resident, jax.Array], dict[str, jax.Array]]


def make_generator(
    photos: Sequence[np.ndarray],
    cutouts: Sequence[np.ndarray] = (),
    *,
    batch: int,
    frames: int,
    size: int,
    shake: Shake | None = None,
    objects: Objects | None = None,
    exposure: Exposure | None = None,
    subframes: int | None = None,
) -> tuple[Resident, Generator]:
    """Puts photographs into device memory and makes the function that films them.

    The function is jitted, compiles once, and may be called within another jitted or
    pmapped one; the same key gives the same bytes on the same kind of device.

        resident, generate = make_generator(photos, batch=8, frames=13, size=256)
        batch = generate(resident, jax.random.key(step))

    Args:
        photos: [H', W', 3] uint8 each, sharp: scaled down, not up.
        cutouts: [h, w, 4] uint8 each: what objects look like; without any they are
            pieces of the photographs.
        batch: clips B.
        frames: T per clip.
        size: side of the square frames in pixels.
        shake: ranges of the camera's motion.
        objects: ranges of what is in front of the photographs; None for nothing.
        exposure: ranges of exposure, noise and compression.
        subframes: the most per frame; None for as many as the longest blur needs. With
            fewer, longer blurs show gaps between them.

    Returns:
        The arrays in device memory, and a function of them and a `jax.random` key that
        gives `blurry`, `sharp` uint8 [B, T, H, W, 3], `flow` float32 [B, T, H, W, 2]
        and `valid` bool [B, T, H, W], as `data.synthetic.clip_batches` does.

    Raises:
        UserError: if there is no photograph, one is smaller than the frames, or an
            array is of the wrong kind.
        UsageError: if a number is not positive.
    """
    if batch < 1:
        raise UsageError(f"batch: {batch} is not positive")
    resident, film_clips = make_clips(
        photos,
        cutouts,
        frames=frames,
        size=size,
        shake=shake,
        objects=objects,
        exposure=exposure,
        subframes=subframes,
    )

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
    shake: Shake | None = None,
    objects: Objects | None = None,
    exposure: Exposure | None = None,
    subframes: int | None = None,
) -> tuple[Resident, Generator]:
    """As `make_generator`, for any number of clips, each with a key of its own.

    Args:
        photos: [H', W', 3] uint8 each, as all the others there.
        cutouts: [h, w, 4] uint8 each.
        frames: T per clip.
        size: side of the square frames in pixels.
        shake: ranges of the camera's motion.
        objects: ranges of what is in front of the photographs.
        exposure: ranges of exposure and noise.
        subframes: the most per frame.

    Returns:
        The arrays in device memory, and a pure function of them and [B] keys.

    Raises:
        UserError: as there.
        UsageError: as there.
    """
    recipe = Recipe(frames, size, shake or Shake(), objects, exposure or Exposure())
    _check(photos, recipe, subframes)
    most = subframes or most_subframes(recipe.exposure.longest)
    most -= 1 - most % 2

    def film_clips(resident, rng_keys):
        return clips(resident, rng_keys, recipe, most)

    return Resident(pack_photos(photos), _packed(cutouts, recipe)), film_clips


def clips(
    resident: Resident, rng_keys: jax.Array, recipe: Recipe, subframes: int
) -> dict[str, jax.Array]:
    """Makes one clip of each key; what the others are does not matter to it.

    Args:
        resident: what to make them of.
        rng_keys: [B] `jax.random` keys.
        recipe: what they are like.
        subframes: the most per frame, odd.

    Returns:
        As the function of `make_generator`.
    """

    def draw(key):
        keys = jax.random.split(key, 3)
        sensor = draw_sensor(keys[0], recipe.frames, recipe.exposure)
        scene = draw_scene(keys[1], *resident, sensor, recipe)
        poses, weights, middles = expose(scene, sensor.duty, recipe, subframes)
        objects = jnp.zeros((0, 2, 2, 4))
        if scene.things is not None:
            objects = scene.things.texture
        # In half precision light has 11 bits, and half the bytes to be gathered.
        light = (scene.background.texture, objects)
        light = (x.astype(jnp.float16) for x in light)
        return Shots(*light, poses, weights, middles), sensor, keys[2]

    shots, sensors, noise = jax.vmap(draw)(rng_keys)
    taken = film(shots, height=recipe.size, width=recipe.size)

    def finish(sensor: Sensor, blurry, sharp, key):
        blurry = develop(sensor, noisy(sensor, blurry, key))
        if recipe.exposure.compressed:
            step = jnp.where(sensor.coding > 0, sensor.coding, 1.0)
            blurry = jnp.where(sensor.coding > 0, coded(blurry, step), blurry)
        return blurry, develop(sensor, sharp)

    blurry, sharp = jax.vmap(finish)(sensors, taken.blurry, taken.sharp, noise)
    return dict(blurry=blurry, sharp=sharp, flow=taken.flow, valid=taken.valid)


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
    if not len(cutouts) or not recipe.objects:
        return None
    smallest, largest = recipe.object_sizes
    return pack_cutouts(cutouts, largest=largest, smallest=smallest)
