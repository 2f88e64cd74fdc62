"""Random scenes on the device: a distant photograph, and objects in front of it.

What `synthesis.host.scene` does. One clip at a time: `vmap` over clips. Letters: T
time, S sub-frames, L layers, N objects, h w texels.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.synthesis.device.camera import (
    apply,
    draw_camera,
    draw_path,
    frame_views,
    product,
    uniform,
)
from mtujax.synthesis.device.sensor import Sensor, scene_light
from mtujax.synthesis.device.textures import (
    CELL,
    Cutouts,
    Part,
    Photos,
    background_texture,
    cutout_texture,
    piece_texture,
)
from mtujax.synthesis.host.camera import CameraPath, ObjectPath, corners
from mtujax.synthesis.host.scene import LARGEST, STEP
from mtujax.synthesis.host.textures import DENSITY
from mtujax.synthesis.settings import BlurSettings, Objects

_CANDIDATES = 8  # places; one with much texture is likely to be taken
_COVERAGE = 4  # texels per frame pixel, as the path sees more than one frame
_TAPS = 12  # photograph pixels that the kernel of resampling may need around a part
_EDGE = 12  # texels around an object


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of clips that are compiled in."""

    frames: int  # T per clip
    size: int  # side of the square frames in pixels
    blur: BlurSettings  # motion, objects and exposure

    @property
    def background_side(self) -> int:
        """Side of the background's texture in texels."""
        return _COVERAGE * self.size

    @property
    def object_sizes(self) -> tuple[float, float]:
        """Smallest and largest longer side of an object in texels."""
        low, high = (self.blur.objects or Objects()).size
        return low * self.size * DENSITY, high * self.size * DENSITY

    @property
    def object_side(self) -> int:
        """Side of the objects' textures in texels."""
        return int(np.ceil(self.object_sizes[1])) + _EDGE


class Background(NamedTuple):
    """The distant photograph."""

    texture: jax.Array  # [h, w, 4] light
    texels: jax.Array  # [3, 3] from the reference plane to texels
    # [2] change of 1 / distance, as a share, per focal length along x and y
    tilt: jax.Array


class Things(NamedTuple):
    """Objects from far to near, all of them visible in the middle of the clip."""

    texture: jax.Array  # [N, h, w, 4] light, premultiplied
    extent: jax.Array  # [N, 2] (width, height) of the part that is not empty, in texels
    near: jax.Array  # [N] 1 / distance
    path: ObjectPath  # motion of each
    there: jax.Array  # bool [N]; False for objects that are not shown


class Scene(NamedTuple):
    """Layers in front of a camera; `things` is None if there are no objects."""

    camera: CameraPath
    background: Background
    things: Things | None


def draw_scene(
    rng_key: jax.Array,
    photos: Photos,
    cutouts: Cutouts | None,
    sensor: Sensor,
    recipe: Recipe,
) -> Scene:
    """Draws a scene; without `cutouts`, objects are pieces of the photographs."""
    keys = jax.random.split(rng_key, 5)
    shake, objects = recipe.blur.shake, recipe.blur.objects
    size = dict(height=recipe.size, width=recipe.size)
    camera = draw_camera(keys[0], frames=recipe.frames, **size, shake=shake)
    slope, angle = uniform(keys[1], shake.tilt), uniform(keys[2], (0, 2 * np.pi))
    tilt = slope * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    low, high = _reach(camera, tilt, recipe)
    part, on_photo = draw_part(keys[3], photos, low, high, recipe)
    texture, texels = background_texture(
        photos.pixels,
        photos.sizes[part.photo],
        part,
        side=recipe.background_side,
        largest=shake.scale[1],
        light=lambda image: scene_light(sensor, image),
    )
    texels = product(texels, on_photo)
    things = None
    if objects and objects.count[1]:
        things = _things(keys[4], photos, cutouts, part.photo, sensor, camera, recipe)
    return Scene(camera, Background(texture, texels, tilt), things)


def _reach(camera, tilt, recipe):
    """Corners [2] of the part of the reference plane that the camera sees."""
    times = jnp.arange(-0.5, recipe.frames - 0.5 + STEP, STEP)
    back = frame_views(camera.planes(times, tilt=tilt), recipe.size)
    corner = jnp.asarray(corners(recipe.size, recipe.size), jnp.float32)
    points = apply(back, corner)
    return points.min(axis=(0, 1)), points.max(axis=(0, 1))


def draw_part(
    rng_key: jax.Array, photos: Photos, low: jax.Array, high: jax.Array, recipe: Recipe
) -> tuple[Part, jax.Array]:
    """Draws a photograph and a place in it, likely one with texture to learn from."""
    # `low` and `high` [2] (x, y) bound the visible part of the reference plane. Gives
    # the part, and [3, 3] from the reference plane to photograph pixels. One of a few
    # random places is taken with a probability proportional to the squared mean change
    # from pixel to pixel. A photograph too small for the path is magnified.
    keys = jax.random.split(rng_key, _CANDIDATES + 1)

    def candidate(key):
        keys = jax.random.split(key, 4)
        photo = jax.random.randint(keys[0], (), 0, len(photos.sizes))
        turn = _turn(keys[1]) if recipe.blur.shake.turn else jnp.eye(2)
        span = (turn[None] * jnp.stack([low, high])[:, None]).sum(axis=-1)
        first, last = span.min(axis=0), span.max(axis=0)
        limit = jnp.minimum(photos.sizes[photo] - 1, recipe.background_side - _TAPS)
        scale = uniform(keys[2], recipe.blur.shake.scale)
        scale = jnp.minimum(scale, (limit / (last - first)).min())
        room = jnp.maximum(photos.sizes[photo] - 1 - scale * (last - first), 0)
        shift = room * jax.random.uniform(keys[3], (2,)) - scale * first
        part = Part(photo, scale * first + shift, scale * last + shift, scale)
        on_photo = jnp.eye(3).at[:2, :2].set(scale * turn).at[:2, 2].set(shift)
        return part, on_photo, _changes(photos, part)

    part, on_photo, changes = jax.vmap(candidate)(keys[1:])
    index = jax.random.categorical(keys[0], 2 * jnp.log(changes + 1e-6))
    return jax.tree.map(lambda x: x[index], (part, on_photo))


def _turn(rng_key):
    """[2, 2], one of the four quarter turns, mirrored or not."""
    a, b, swap = jax.random.bernoulli(rng_key, shape=(3,)).astype(jnp.float32)
    plain = jnp.diag(1 - 2 * jnp.stack([a, b]))
    return jnp.where(swap > 0, plain[::-1], plain)


def _changes(photos, part):
    """Mean change from pixel to pixel in a part of a photograph."""
    total = photos.texture[part.photo]
    low, high = part.low / CELL, jnp.maximum(part.high / CELL, part.low / CELL + 0.1)
    corner = [
        _interpolated(total, x[0], y[1]) for y in (low, high) for x in (low, high)
    ]
    return (corner[3] - corner[2] - corner[1] + corner[0]) / (high - low).prod()


def _interpolated(total, x, y):
    left, top = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    near = jax.lax.dynamic_slice(total, (top, left), (2, 2))
    across = near[:, 0] + (x - left) * (near[:, 1] - near[:, 0])
    return across[0] + (y - top) * (across[1] - across[0])


def _things(rng_key, photos, cutouts, photo, sensor, camera, recipe):
    objects = recipe.blur.objects
    most = objects.count[1]
    keys = jax.random.split(rng_key, 3)
    count = jax.random.randint(keys[0], (), objects.count[0], most + 1)
    there = jnp.arange(most) < count
    near = uniform(keys[1], objects.near, (most,))
    near = jnp.sort(jnp.where(there, near, jnp.inf))

    def one(key, near):
        keys = jax.random.split(key, 4)
        longest = uniform(keys[0], recipe.object_sizes)
        texture, extent = _thing(
            keys[1], photos, cutouts, photo, longest, sensor, recipe.object_side
        )
        point = recipe.size * uniform(keys[2], (0.05, 0.95), (1, 2))
        plane = camera.planes(jnp.array([camera.middle]), near=near)
        centre = apply(frame_views(plane, recipe.size), point)[0, 0]
        place = dict(centre=centre, middle=camera.middle)
        return texture, extent, draw_path(keys[3], **place, objects=objects)

    near = jnp.where(there, near, 1.0)
    texture, extent, path = jax.vmap(one)(jax.random.split(keys[2], most), near)
    return Things(texture, extent, near, path, there)


def _thing(rng_key, photos, cutouts, photo, longest, sensor, side):
    settings = dict(side=side, light=lambda image: scene_light(sensor, image))
    if cutouts is None:
        size = photos.sizes[photo]
        rest = dict(rng_key=rng_key, longest=longest, **settings)
        return piece_texture(photos.pixels, size, photo, **rest)
    keys = jax.random.split(rng_key)
    number = jax.random.randint(keys[0], (), 0, len(cutouts.sizes))
    sizes = cutouts.sizes[number]
    return cutout_texture(
        cutouts.pixels[number],
        sizes,
        longest=jnp.minimum(longest, DENSITY * LARGEST * sizes[0].max()),
        mirrored=2.0 * jax.random.bernoulli(keys[1]) - 1,
        **settings,
    )
