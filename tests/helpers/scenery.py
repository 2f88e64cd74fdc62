"""Scenes and pictures for the tests of synthetic blur, and measures of them."""

import dataclasses

import numpy as np
from scipy.ndimage import map_coordinates

from mtujax.synthesis.host.camera import CameraPath, ObjectPath, Waves
from mtujax.synthesis.host.scene import Layer, Scene
from mtujax.synthesis.host.textures import photo_texture
from mtujax.synthesis.settings import PLAIN


def exposure(**changes):
    """A camera that adds nothing of its own, but for `changes`."""
    return dataclasses.replace(PLAIN, **({"duty": (0.5, 0.5)} | changes))


def waves(height=300, width=340, period=14):
    """A band-limited photograph: interpolation hardly errs on it."""
    y, x = np.mgrid[:height, :width] * (2 * np.pi / period)
    planes = [np.sin(x) + np.sin(y), np.sin(0.7 * x + y), np.cos(x - 0.6 * y)]
    return (0.5 + 0.12 * np.stack(planes, axis=-1)).astype(np.float32)


def rest(channels=7):
    """No oscillation."""
    return Waves(*(np.zeros((channels, 1)) for _ in range(3)))


def panning(speed, *, angle=0.0, height=96, width=160, middle=0.0):
    """A camera that moves sideways at `speed` pixels per frame at time `middle`."""
    pan = speed * np.array([0, 0, np.cos(angle), np.sin(angle)])
    return CameraPath(width, height, float(width), middle, pan, rest())


def before(camera, photo, *objects, light=lambda x: x):
    """A scene: a photograph whose middle is the frame's, and objects before it."""
    same = np.array(photo.shape[1::-1])
    texture, texels = photo_texture(
        photo, np.zeros(2), same - 1, scale=1.0, light=light
    )
    shift = np.eye(3)
    shift[:2, 2] = (same - 1) / 2
    return Scene((Layer(texture, texels @ shift), *objects), camera)


def rectangle(height, width, *, centre, velocity=(0, 0), middle=0.0, near=1.0, alpha=1):
    """A grey object of H x W pixels, sharp-edged."""
    texture = np.zeros((2 * height + 8, 2 * width + 8, 4), np.float32)
    texture[4:-4, 4:-4] = [0.2, 0.3, 0.25, 1.0]
    texels = np.diag([2.0, 2.0, 1.0])
    texels[:2, 2] = (np.array(texture.shape[1::-1]) - 1) / 2
    place = np.asarray(centre, float), middle, np.asarray(velocity, float)
    return Layer(texture * alpha, texels, near=near, path=ObjectPath(*place, rest(4)))


def warped(previous, flow):
    """[H, W, 3] by splines: sampling hardly errs."""
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    places = y + flow[..., 1], x + flow[..., 0]
    planes = [map_coordinates(previous[..., c], places, order=5) for c in range(3)]
    return np.stack(planes, axis=-1)


def psnr(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-12)
