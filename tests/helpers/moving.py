"""A clip with real texture and motion: a camera that pans over a photograph."""

import pathlib

import cv2
import numpy as np

import mtujax

_PHOTO = pathlib.Path(mtujax.__file__).parent / "assets" / "arches.jpg"


def panned(count, height, width, *, step=(9, 4), place=(60, 40)):
    """[T, H, W, 3] uint8; `step` in pixels per frame, exposed over half of it."""
    photo = cv2.imread(str(_PHOTO))[..., ::-1].astype(np.float32)
    frames = []
    for t in range(count):
        moments = t + np.arange(5) / 10
        corners = [np.rint(place + m * np.array(step)).astype(int) for m in moments]
        parts = [photo[y : y + height, x : x + width] for x, y in corners]
        frames.append(np.mean(parts, axis=0))
    return np.rint(frames).astype(np.uint8)


def decibels(found, expected):
    """PSNR of uint8 images [..., H, W, 3]; equal ones have 99."""
    error = np.mean((np.float64(found) - expected) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-5))


def worst_block(found, expected):
    """PSNR of the worst 16x16 block of frames [T, H, W, 3]."""
    error = (np.float64(found) - expected) ** 2
    height, width = (n // 16 * 16 for n in error.shape[1:3])
    error = error[:, :height, :width].reshape(-1, height // 16, 16, width // 16, 48)
    return 10 * np.log10(255**2 / max(error.mean(axis=(2, 4)).max(), 1e-5))
