"""Videos in memory whose motion is known, and files of motion as others write them."""

import struct

import cv2
import numpy as np

from mtujax.data.folders import KINDS
from mtujax.data.frames import FrameSource, VideoInfo


class ArrayFrames(FrameSource):
    """Videos given as arrays [N, H, W, 3] uint8, the same for both kinds of frames."""

    def __init__(self, videos):
        self.name, self._arrays = "arrays", videos
        self.videos = tuple(
            VideoInfo(name, *array.shape[:3]) for name, array in videos.items()
        )

    def _load(self, video, places, window):
        array = self._arrays[self.videos[video].name]
        assert {kind for kind, _ in places} <= set(KINDS)
        return [window.of(array[frame]) for _, frame in places]


def panned(shifts, size, rng):
    """A texture moved by each of `shifts` (dx, dy), in pixels: [N, H, W, 3] uint8.

    What is at (x, y) in the first frame is at (x + dx, y + dy) in another.
    """
    height, width = size
    texture = cv2.GaussianBlur(rng.random((height + 80, width + 80, 3)), (0, 0), 2)
    texture = (texture - texture.min()) / np.ptp(texture) * 255
    frames = []
    for dx, dy in shifts:
        matrix = np.float64([[1, 0, dx - 40], [0, 1, dy - 40]])
        frame = cv2.warpAffine(texture, matrix, (width, height), flags=cv2.INTER_CUBIC)
        frames.append(np.rint(frame.clip(0, 255)).astype(np.uint8))
    return np.stack(frames)


def write_flo(path, flow, valid=True):
    """Writes flow [H, W, 2] as Middlebury's .flo; unknown where not valid [H, W]."""
    height, width = flow.shape[:2]
    flow = np.where(np.asarray(valid)[..., None], flow, 1e10).astype("<f4")
    path.write_bytes(b"PIEH" + struct.pack("<ii", width, height) + flow.tobytes())
