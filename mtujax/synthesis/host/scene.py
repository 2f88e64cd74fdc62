"""Random scenes of flat layers at different distances: what is visible, how it moves.

Layers are ordered back to front: a distant photograph, and objects in front of it; a
nearer one hides what is behind it and moves more when the camera does. All motion is by
homographies, so the flow of each visible surface and its occlusion are known exactly.
Letters: L layers, N times, T time, H W pixels, h w pixels of a cut-out.
"""

import dataclasses
import math
from collections.abc import Sequence

import cv2
import numpy as np

from mtujax.ops.labels import destinations, within
from mtujax.synthesis.host.camera import CameraPath, ObjectPath, apply, corners
from mtujax.synthesis.host.sensor import Sensor
from mtujax.synthesis.host.textures import DENSITY, blob, cutout_texture, photo_texture
from mtujax.synthesis.settings import BlurSettings

SOLID = 0.95  # share of a pixel's light above which it shows a single surface
MIXED = 255  # label of a pixel that shows several layers


@dataclasses.dataclass(frozen=True)
class Layer:
    """A flat picture in the scene."""

    texture: np.ndarray  # [h, w, 4] float32 light, premultiplied
    # [3, 3] from the reference plane to texels, or from pixels centred on the object if
    # it has a `path`
    texels: np.ndarray
    near: float = 1.0  # 1 / distance, 1 for the background
    # Change of `near`, as a share, per focal length along x and y
    tilt: tuple[float, float] = (0.0, 0.0)
    # Of an object; None for the background, which fills the frame
    path: ObjectPath | None = None


@dataclasses.dataclass(frozen=True)
class Scene:
    """Layers in front of a camera, back to front; the first one fills the frame."""

    layers: tuple[Layer, ...]
    camera: CameraPath

    def poses(self, times: np.ndarray) -> np.ndarray:
        """Homographies from pixels to layers' texels, times [N] -> [N, L, 3, 3]."""
        times, found = np.asarray(times), []
        for layer in self.layers:
            planes = self.camera.planes(times, near=layer.near, tilt=layer.tilt)
            if layer.path:
                planes = planes @ layer.path.places(times)
            seen = layer.texels @ np.linalg.inv(planes) @ self.camera.centring
            found.append(seen)
        return np.stack(found, axis=1)

    def travel(self, times: np.ndarray) -> float:
        """Pixels that the fastest point moves over `times` [N], in straight lines."""
        poses = self.poses(times)
        width, height = self.camera.width, self.camera.height
        longest = 0.0
        for number, layer in enumerate(self.layers):
            points = apply(poses[len(times) // 2, number], corners(width, height))
            if layer.path:
                points = corners(*layer.texture.shape[1::-1])
            seen = apply(np.linalg.inv(poses[:, number]), points)
            steps = np.diff(seen.reshape(len(times), -1, 2), axis=0)
            longest = max(longest, np.linalg.norm(steps, axis=-1).sum(axis=0).max())
        return float(longest)

    def render_labelled(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Renders the frame of one time, and says which layer each pixel shows."""
        # poses [L, 3, 3] -> [H, W, 4] float32 light, and [2, H, W] uint8: the layer
        # that is most visible, and the same but `MIXED` where it is not the only one.
        labels = np.zeros((2, self.camera.height, self.camera.width), np.uint8)

        def note(number, box, alpha):
            labels[0][box][alpha >= 0.5] = number
            labels[1][box][alpha > 1 - SOLID] = MIXED
            labels[1][box][alpha >= SOLID] = number

        return self.render(poses, note), labels

    def render(self, poses: np.ndarray, note=lambda *_: None) -> np.ndarray:
        """Renders poses [L, 3, 3] -> [H, W, 4] float32 light, opaque."""
        height, width = self.camera.height, self.camera.width
        box = (slice(0, height), slice(0, width))
        frame = _sample(self.layers[0].texture, poses[0], box, cv2.BORDER_REFLECT_101)
        for number, layer in enumerate(self.layers[1:], start=1):
            box = _box(layer.texture, poses[number], height, width)
            if box is None:
                continue
            above = _sample(layer.texture, poses[number], box, cv2.BORDER_CONSTANT)
            alpha = above[..., 3]
            note(number, box, alpha)
            through = cv2.merge([1 - alpha] * 4)
            frame[box] = cv2.add(cv2.multiply(frame[box], through), above)
        return frame


def _box(texture, pose, height, width):
    """Rows and columns of the frame that a layer may touch, or None."""
    seen = apply(np.linalg.inv(pose), corners(*texture.shape[1::-1]))
    left, top = np.maximum(np.floor(seen.min(axis=0)).astype(int), 0)
    right, bottom = np.ceil(seen.max(axis=0)).astype(int) + 1
    right, bottom = min(right, width), min(bottom, height)
    if right <= left or bottom <= top:
        return None
    return slice(top, bottom), slice(left, right)


def _sample(texture, pose, box, border):
    rows, columns = box
    shift = np.eye(3)
    shift[:2, 2] = columns.start, rows.start
    return cv2.warpPerspective(
        texture,
        pose @ shift,
        (columns.stop - columns.start, rows.stop - rows.start),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )


def backward_flow(
    poses: tuple[np.ndarray, np.ndarray], labels: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Flow from a frame to the previous one, of the surface that each pixel shows."""
    # Poses [L, 3, 3] and labels [2, H, W] of the previous and this frame -> [H, W, 2]
    # float32 (dx, dy) in pixels, and bool [H, W] as in `BlurredClip.valid`.
    owner, alone = labels[1]
    before = labels[0][1]
    x, y = (np.arange(n, dtype=np.float32) for n in owner.shape[::-1])
    back = np.linalg.inv(poses[0]) @ poses[1]
    back = (back / back[:, 2:, 2:] - np.eye(3)).astype(np.float32)
    flow = displacements(back[0], x, y)
    for number in range(1, len(back)):
        rows, columns = (np.flatnonzero((owner == number).any(axis=a)) for a in (1, 0))
        if len(rows):
            box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            seen = owner[box] == number
            flow[box][seen] = displacements(back[number], x[box[1]], y[box[0]])[seen]
    if not (alone.any() or before.any()):  # the background alone: nothing is hidden
        return flow, within(*_sources(flow))
    return flow, visible(flow, alone, before)


def displacements(change: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Displacements by 1 + `change` [..., 3, 3] of x [w], y [h] -> [..., h, w, 2]."""
    xp = change.__array_namespace__()
    lead = (1,) * (change.ndim - 2)
    x, y = x.reshape(*lead, 1, -1), y.reshape(*lead, -1, 1)
    (a, b, c), (d, e, f), (g, h, _) = (
        [change[..., i, j, None, None] for j in range(3)] for i in range(3)
    )
    bend = g * x + h * y
    flow = [a * x + b * y + c - x * bend, d * x + e * y + f - y * bend]
    return xp.stack(flow, axis=-1) / (1 + bend)[..., None]


def _sources(flow):
    """Places x and y that a flow leads to."""
    # Rounded to 0.001, so that whole pixels stay whole and need no second neighbour.
    xp = flow.__array_namespace__()
    return [xp.round(place, 3) for place in destinations(flow)]


def visible(flow: np.ndarray, alone: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Whether a pixel shows one surface and its source nothing else; NumPy or JAX."""
    # flow [..., H, W, 2] (dx, dy) in pixels, and the only layer that each pixel shows
    # or `MIXED`, [..., H, W] uint8, in this frame and the one before -> bool [..., H,
    # W].
    xp = flow.__array_namespace__()
    *lead, height, width = alone.shape
    x, y = _sources(flow)
    valid = within(x, y) & (alone != MIXED)
    first = xp.arange(math.prod(lead), dtype=xp.int32).reshape(*lead, 1, 1)
    first, before = first * (height * width), before.reshape(-1)

    def around(place, last):
        ends = (xp.floor(place), xp.ceil(place))
        return [xp.clip(end, 0, last).astype(xp.int32) for end in ends]

    for row in around(y, height - 1):
        start = first + row * width
        for column in around(x, width - 1):
            valid = valid & (before[start + column] == alone)
    return valid


_CANDIDATES = 6  # crops; the one with the most texture is taken
LARGEST = 1.2  # frame pixels per cut-out pixel; above it, objects would be soft
STEP = 0.125  # frames between the times at which the camera's view is bounded


def draw_scene(
    photo: np.ndarray,
    rng: np.random.Generator,
    *,
    frames: int,
    height: int,
    width: int,
    blur: BlurSettings,
    sensor: Sensor,
    cutouts: Sequence[np.ndarray] = (),
) -> Scene:
    """Draws a random scene of `frames` frames; arguments are as in `synthesize`."""
    # ValueError if the photo is smaller than a frame, or neither uint8 nor float32.
    _check(photo, height, width)
    size = dict(frames=frames, height=height, width=width)
    shake, objects = blur.shake, blur.objects
    camera = CameraPath.draw(rng, **size, shake=shake)
    slope, angle = rng.uniform(*shake.tilt), rng.uniform(0, 2 * np.pi)
    tilt = float(slope * np.cos(angle)), float(slope * np.sin(angle))
    times = np.arange(-0.5, frames - 0.5 + STEP, STEP)
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
    """Layer of the part of the photo, of some the one with most texture, for `seen`."""
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
    """Layers from far to near, all of them visible in the middle of the clip."""
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
        longest = min(longest, LARGEST * max(picture.shape[:2]))
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
