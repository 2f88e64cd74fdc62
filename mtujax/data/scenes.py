"""Scenes drawn at random: a photograph far away, and things in front of it.

Letters: T time, H W pixels, h w pixels of a cut-out.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from mtujax.data.camera import CameraPath, Shake, apply
from mtujax.data.exposure import Sensor
from mtujax.data.layers import Layer, Scene
from mtujax.data.objects import ObjectPath, Objects
from mtujax.data.textures import DENSITY, blob, cutout_texture, photo_texture

_CANDIDATES = 6  # crops, of which the one with the most texture is taken
_LARGEST = 1.2  # frame pixels per pixel of a cut-out, or it would be soft
_STEP = 0.125  # frames between the moments that bound where the camera looks


def draw_scene(
    photo: np.ndarray,
    rng: np.random.Generator,
    *,
    frames: int,
    height: int,
    width: int,
    shake: Shake,
    objects: Objects | None,
    sensor: Sensor,
    cutouts: Sequence[np.ndarray] = (),
) -> Scene:
    """Draws what is to be filmed.

    Args:
        photo: as in `synthesize`, here and below.
        rng: source of randomness.
        frames: T.
        height: of the frames in pixels.
        width: of the frames in pixels.
        shake: ranges of the camera's motion.
        objects: ranges of what is in front, or None.
        sensor: makes scene light of the photographs' light.
        cutouts: [h, w, 4] uint8.

    Returns:
        A `Scene`.

    Raises:
        ValueError: if the photograph is smaller than a frame, or neither kind of array.
    """
    _check(photo, height, width)
    size = dict(frames=frames, height=height, width=width)
    camera = CameraPath.draw(rng, **size, shake=shake)
    slope, angle = rng.uniform(*shake.tilt), rng.uniform(0, 2 * np.pi)
    tilt = float(slope * np.cos(angle)), float(slope * np.sin(angle))
    times = np.arange(-0.5, frames - 0.5 + _STEP, _STEP)
    seen = camera.reach(times, tilt=tilt)
    background = _background(photo, rng, seen, shake, sensor)
    layers = [dataclasses.replace(background, tilt=tilt)]
    if objects:
        layers += _objects(photo, rng, camera, objects, sensor, cutouts)
    return Scene(tuple(layers), camera)


def _check(photo, height, width):
    if photo.dtype not in (np.uint8, np.float32) or photo.ndim != 3:
        raise ValueError("photo: give linear light, float32 [H, W, 3], or uint8")
    if photo.shape[0] < height or photo.shape[1] < width:
        raise ValueError(
            f"photo of {photo.shape[1]}x{photo.shape[0]}: smaller than the "
            f"{width}x{height} frames; choose a smaller size"
        )


def _background(photo, rng, seen, shake, sensor):
    """A scaled, maybe turned and mirrored part of the photo that covers `seen`.

    Of a few, one with texture to learn from. A photograph too small for the path is
    magnified.
    """
    best, energy = None, -1.0
    low, high = seen.min(axis=0), seen.max(axis=0)
    for _ in range(_CANDIDATES):
        view = photo
        if shake.turn:
            view = np.rot90(view, rng.integers(4))[:, :: rng.choice([-1, 1])]
        limit = np.array(view.shape[1::-1]) - 1.0
        scale = min(rng.uniform(*shake.scale), *(limit / (high - low)))
        room = np.maximum(limit - scale * (high - low), 0)
        place = room * rng.uniform(size=2) - scale * low
        first = (scale * low + place).astype(int)
        last = np.ceil(scale * high + place).astype(int)
        part = view[first[1] : last[1] : 2, first[0] : last[0] : 2, 1]
        part = part / np.float32(255) if part.dtype == np.uint8 else np.sqrt(part)
        texture = np.abs(np.diff(part, axis=1)).mean()
        if texture > energy:
            best, energy = (view, scale, place), texture
    view, scale, place = best
    on_photo = np.diag([scale, scale, 1.0])
    on_photo[:2, 2] = place
    span = (scale * corner + place for corner in (low, high))
    texture, texels = photo_texture(view, *span, scale=scale, light=sensor.light)
    return Layer(texture, texels @ on_photo)


def _objects(photo, rng, camera, objects, sensor, cutouts):
    """Layers from far to near, all of them in view in the middle of the clip."""
    count = rng.integers(objects.count[0], objects.count[1] + 1)
    frame = np.array([camera.width, camera.height])
    layers = []
    for near in np.sort(rng.uniform(*objects.near, count)):
        longest = camera.height * rng.uniform(*objects.size)
        if len(cutouts):
            picture = cutouts[rng.integers(len(cutouts))]
            picture = picture[:, :: rng.choice([-1, 1])]
        else:
            picture = blob(photo, rng, longest=longest)
        longest = min(longest, _LARGEST * max(picture.shape[:2]))
        texture = cutout_texture(picture, longest=longest, light=sensor.light)
        texels = np.diag([DENSITY, DENSITY, 1.0])
        texels[:2, 2] = (np.array(texture.shape[1::-1]) - 1) / 2
        point = rng.uniform(0.05, 0.95, 2) * frame
        view = camera.planes(np.array([camera.middle]), near=near)[0]
        view = np.linalg.inv(view) @ camera.centring
        path = ObjectPath.draw(
            rng,
            centre=apply(view, point[None])[0],
            middle=camera.middle,
            objects=objects,
        )
        layers.append(Layer(texture, texels, near=float(near), path=path))
    return layers
