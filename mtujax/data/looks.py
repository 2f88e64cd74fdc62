"""Clips to be looked at, from a dataset or from photographs.

Letters: N clips, T frames of each, H W pixels.
"""

import os

import numpy as np

from mtujax.data.clips import Clips, ClipSpec, open_frames
from mtujax.data.exposure import Exposure
from mtujax.data.flowsets import open_motion
from mtujax.data.motion import ComputedMotion, dis_flow
from mtujax.data.objects import Objects
from mtujax.data.photos import read_cutouts, read_photos
from mtujax.data.show import Look
from mtujax.data.synthetic import synthesize
from mtujax.errors import UsageError, UserError

_FRAMES = 5


def looks_of_set(
    name: str,
    path: str | os.PathLike,
    *,
    split: str,
    config: str | None = None,
    count: int = 8,
    seed: int = 0,
) -> tuple[list[Look], str]:
    """Clips of a dataset, drawn at random.

    Args:
        name: of the dataset.
        path: its folder, in any form that `open_frames` reads.
        split: part of it.
        config: its form; None takes the default.
        count: N, or all there are.
        seed: of the draw.

    Returns:
        The clips, and where their motion comes from: kept files, or DIS flow computed
        now.

    Raises:
        UserError: if they cannot be read, or no video has 5 frames.
        UsageError: for an unknown name or a count below 1.
    """
    _check(count)
    source = open_frames(name, path, split=split, config=config)
    try:
        motion = open_motion(name, path, source, split=split, config=config)
        origin = "kept flow"
    except UserError:
        motion, origin = ComputedMotion(source, dis_flow), "DIS flow"
    clips = Clips(source, ClipSpec(frames=_FRAMES, lookback=0, lookahead=0))
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(clips), min(count, len(clips)), replace=False)
    return [_look(clips, motion, int(index)) for index in sorted(chosen)], origin


def _look(clips, motion, index):
    video, start = clips.place(index)
    clip = clips[index]
    found = [motion.motion(video, start + t) for t in range(_FRAMES)]
    flow, valid = (np.stack(part) for part in zip(*found, strict=True))
    title = f"{clips.source.videos[video].name} {start + _FRAMES // 2}"
    return Look(title, clip["blurry"], clip["sharp"], flow, valid)


def looks_of_photos(
    folder: str | os.PathLike,
    *,
    size: tuple[int, int],
    cutouts: str | os.PathLike | None = None,
    exposure: Exposure | None = None,
    count: int = 8,
    seed: int = 0,
) -> tuple[list[Look], str]:
    """Clips made from photographs, as training makes them.

    Args:
        folder: of photographs; one that is smaller than a frame is left out.
        size: (width, height) of the frames in pixels.
        cutouts: folder of PNG files with opacity: what objects look like; None takes
            pieces of the photographs.
        exposure: ranges of exposure, noise and compression.
        count: N, each of another photograph while there are any.
        seed: of all that is random.

    Returns:
        The clips, and where their motion comes from.

    Raises:
        UserError: if there is no photograph of that size.
        UsageError: for a count below 1.
    """
    _check(count)
    width, height = size
    rng = np.random.default_rng(seed)
    photos, _ = read_photos(folder, width=width, height=height)
    titles, shapes = rng.permutation(sorted(photos)), read_cutouts(cutouts)
    looks = []
    for number in range(count):
        title = str(titles[number % len(titles)])
        clip = synthesize(
            photos[title],
            rng,
            frames=_FRAMES,
            height=height,
            width=width,
            objects=Objects(),
            exposure=exposure,
            cutouts=shapes,
        )
        frames = clip.blurry, clip.sharp, clip.flow, clip.valid
        looks.append(Look(title[:24], *frames, clip.duty))
    return looks, "exact flow"


def _check(count):
    if count < 1:
        raise UsageError(f"clips {count}: at least 1")
