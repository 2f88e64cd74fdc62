"""Blur from real motion: consecutive frames of a high-frame-rate video, averaged.

The usual method of the field (Nah et al. 2017, GoPro): N frames of one shot, averaged
in linear light, with the middle one as the sharp frame. Letters: T time, H W pixels, N
sub-frames.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mtujax import video
from mtujax.config import SCENE_THRESHOLD
from mtujax.errors import UsageError, UserError, check_least
from mtujax.synthesis.host.clip import BlurredClip
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear
from mtujax.video.scene_cuts import shots

QUICK = 100
"""Frames per second below which averages of frames show steps instead of blur."""


def averaged(
    frames: Iterable[np.ndarray], average: int, every: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Averages the frames of one shot into pairs of a blurry and a sharp frame.

    Examples:
        >>> pairs = averaged(
        ...     [np.full((2, 2, 3), level, np.uint8) for level in (0, 9, 255)], 3, 3
        ... )
        >>> blurry, sharp = next(pairs)  # averaged as light, not as display values
        >>> int(blurry[0, 0, 0]), int(sharp[0, 0, 0])
        (156, 9)

    Args:
        frames: [H, W, 3] uint8 RGB, in order.
        average: N, odd: frames per exposure.
        every: frames from the start of one exposure to the start of the next, at least
            N.

    Yields:
        The mean in linear light and the middle frame, [H, W, 3] uint8 each.
    """
    total, middle = None, None
    for number, frame in enumerate(frames):
        place = number % every
        if place >= average:
            continue
        light = linear_from_srgb(frame)
        total = light if place == 0 else total + light
        if place == average // 2:
            middle = frame
        if place == average - 1:
            mean = srgb_from_linear(total / np.float32(average))
            yield np.rint(mean * 255).astype(np.uint8), middle


def clips_of_video(
    path: str | os.PathLike,
    *,
    average: int = 11,
    every: int | None = None,
    frames: int = 100,
    scene_threshold: float = SCENE_THRESHOLD,
) -> Iterator[tuple[str, BlurredClip]]:
    """Averages a video into (name, clip) pairs; no exposure spans a scene cut."""
    # `average` (odd) frames per exposure, `every` frames from one exposure to the next
    # (None: `average`, a shutter that is always open), at most `frames` per clip. The
    # motion is unknown: `flow` is zero and `valid` False.
    every = every or average
    if average < 3 or average % 2 == 0:
        raise UsageError(f"average {average}: 3 or more, and odd, to have a middle")
    if every < average:
        raise UsageError(f"every {every}: at least as many as are averaged, {average}")
    check_least(1, frames=frames)
    stem, number = Path(path).stem, 0
    with video.VideoReader(Path(path)) as reader:
        turn = reader.info.orientation.upright
        upright = ((turn(frame), pts) for frame, pts in reader.frames())
        for shot in _by_shot(shots(upright, scene_threshold)):
            pairs = []
            for pair in averaged(shot, average, every):
                pairs.append(pair)
                if len(pairs) == frames:
                    yield f"{stem}_{number:04d}", _clip(pairs, average / every)
                    pairs, number = [], number + 1
            if pairs:
                yield f"{stem}_{number:04d}", _clip(pairs, average / every)
                number += 1
    if not number:
        raise UserError(f"{path}: no shot has {average} frames to be averaged")


def video_rate(path: str | os.PathLike) -> float:
    """Gives a video file's mean frames per second."""
    with video.VideoReader(Path(path)) as reader:
        return float(reader.info.rate)


def _by_shot(marked) -> Iterator[Iterator[np.ndarray]]:
    """Yields the frames of each shot, to be used up before the next is requested."""
    marked = iter(marked)
    waiting = next(marked, None)

    def one():
        nonlocal waiting
        frame, waiting = waiting[0], next(marked, None)
        yield frame
        while waiting is not None and not waiting[2]:
            frame, waiting = waiting[0], next(marked, None)
            yield frame

    while waiting is not None:
        shot = one()
        yield shot
        for _ in shot:
            pass


def _clip(pairs, duty):
    blurry, sharp = (np.stack(part) for part in zip(*pairs, strict=True))
    count, height, width, _ = sharp.shape
    return BlurredClip(
        blurry,
        sharp,
        np.zeros((count, height, width, 2), np.float32),
        np.zeros((count, height, width), bool),
        np.full(count, duty, np.float32),
    )
