"""What the report's figures of frames show: clips filmed for them, and networks' views.

The clips are made from one photograph, so that anyone can draw the figures again.
Letters: T time, H W pixels.
"""

import dataclasses
import importlib.resources
from collections.abc import Callable, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mtujax.config import DEFAULT_WEIGHTS
from mtujax.data.camera import Shake
from mtujax.data.exposure import Exposure
from mtujax.data.synthetic import BlurredClip, read_photo, synthesize
from mtujax.errors import UserError
from mtujax.feature_maps import FrameFeatures, clip_features
from mtujax.frames import FolderReader
from mtujax.ops.unit_range import from_unit_range
from mtujax.report_crops import Box, Strip, check_strips, draw_crops
from mtujax.report_motion import Pair, draw_alignment, draw_features, draw_search
from mtujax.weights import load

SLOW, FAST = 4.0, 28.0
"""Pixels per frame that the camera moves by in the two clips of the search figure."""

_HANDS = 8.0  # pixels per frame in the clip of the other figures
_DUTY = {SLOW: 0.7, _HANDS: 0.7, FAST: 0.4}
_SEED = 3
_FRAMES, _AT = 7, 4  # frames of a clip, and the one shown, with all its look-ahead


@dataclasses.dataclass(frozen=True)
class Shown:
    """What to draw.

    Attributes:
        weights: bundled names or files; the first is used for motion and features.
        without: the same of a network without structure injection, or None.
        photo: photograph to film; None takes the one that comes with the package.
        size: (W, H) of the frames in pixels.
    """

    weights: tuple[str, ...] = (DEFAULT_WEIGHTS,)
    without: str | None = None
    photo: Path | None = None
    size: tuple[int, int] = (640, 360)


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the figures show, all computed.

    Attributes:
        pairs: by the speed of the camera.
        radius: of the network's search, in cells.
        without: features of a network without structure injection, or None.
        strips: of the crops, the input first.
    """

    pairs: dict[float, Pair]
    radius: int
    without: FrameFeatures | None
    strips: list[Strip]


def look(shown: Shown, say: Callable[[str], None]) -> Seen:
    """Films the clips and lets networks see them; writes nothing.

    Args:
        shown: what to look at.
        say: called with a line before what takes long.

    Returns:
        What is to be drawn.

    Raises:
        UserError: if weights or the photograph cannot be used.
    """
    photo = _read(shown)
    model, params = _network(shown.weights[0])
    without = _without(shown)
    others = {name: load(name) for name in shown.weights[1:]}
    about = f"Filmed from {_name(shown)}, {shown.size[0]}x{shown.size[1]}"
    network = f"network: {_label(shown.weights[0])}"
    pairs, clips = {}, {}
    for speed in (SLOW, _HANDS, FAST):
        say(f"filming at {speed:g} pixels per frame")
        clips[speed] = clip = _film(photo, shown.size, speed)
        seen = clip_features(model, params, clip.blurry, _AT)
        motion = np.median(np.linalg.norm(clip.flow[_AT], axis=-1))
        title = f"{about}, moving {motion:.1f} pixels per frame; {network}."
        pairs[speed] = Pair(
            title, *seen, (clip.sharp[_AT - 1], clip.sharp[_AT]), clip.flow[_AT]
        )
    clip, pair = clips[_HANDS], pairs[_HANDS]
    other = without and clip_features(*without, clip.blurry, _AT)[1]
    strips = [Strip("blurry", tuple(clip.blurry[_AT - 1 : _AT + 1]))]
    strips.append(_strip(shown.weights[0], (pair.before, pair.now)))
    for name, loaded in others.items():
        say(f"restoring with {name}")
        strips.append(_strip(name, clip_features(*loaded, clip.blurry, _AT)))
    strips.append(Strip("sharp", pair.sharp))
    check_strips(strips)
    return Seen(pairs, model.config.search_radius, other, strips)


def draw_pictures(seen: Seen, folder: Path) -> list[Path]:
    """Draws the figures of motion, of features and of crops.

    Args:
        seen: what to draw.
        folder: where to; it exists.

    Returns:
        The files.

    Raises:
        UserError: without matplotlib, or if a file cannot be written.
    """
    pairs, radius, path = seen.pairs, seen.radius, folder / "features"
    files = draw_alignment(pairs[FAST], folder / "alignment", radius=radius)
    files += draw_search([pairs[SLOW], pairs[FAST]], folder / "search_radius")
    pair = pairs[_HANDS]
    files += draw_features(pair.now, path, title=pair.title, without=seen.without)
    return files + draw_crops(seen.strips, folder / "crops", title=pair.title)


def read_folders(
    folders: Sequence[tuple[str, Path]], number: int, box: Box | None = None
) -> list[Strip]:
    """Reads two frames of each folder, as of several methods.

    Args:
        folders: label and folder of PNG or JPEG frames of each, the input first.
        number: of the first of the two frames, counted from 0.
        box: the part that is to be shown; None for any.

    Returns:
        What `draw_folders` shows.

    Raises:
        UserError: if a folder has no such frames, or as `check_strips`.
    """
    strips = [Strip(label, _two_frames(path, number)) for label, path in folders]
    check_strips(strips, box)
    return strips


def draw_folders(
    strips: list[Strip], folder: Path, *, number: int, box: Box | None = None
) -> list[Path]:
    """Draws crops of frames that lie in folders.

    Args:
        strips: from `read_folders`.
        folder: where to draw to.
        number: of the first of the two frames shown, counted from 0.
        box: the part shown enlarged; None finds one.

    Returns:
        The files.

    Raises:
        UserError: as `draw_crops`.
    """
    title = f"Frames {number} and {number + 1}, counted from 0."
    return draw_crops(strips, folder / "crops_of_folders", title=title, box=box)


def _two_frames(path, number):
    if number < 0:
        raise UserError(f"frame {number}: counted from 0")
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    with FolderReader(path) as reader:
        frames = [frame for frame, _ in reader.frames(start=number, end=number + 2)]
    if len(frames) < 2:
        raise UserError(f"{path}: has no frames {number} and {number + 1}")
    return tuple(_as_bytes(frame) for frame in frames)


def _as_bytes(frame):
    """[H, W, 3] uint8 of what may be float in [0, 1]."""
    if frame.dtype == np.uint8:
        return frame
    return np.asarray(from_unit_range(jnp.asarray(frame), jnp.uint8))


def _read(shown):
    path = shown.photo
    if path is None:
        path = importlib.resources.files("mtujax") / "assets" / "arches.jpg"
    try:
        photo = read_photo(str(path))
    except ValueError as error:
        raise UserError(str(error)) from None
    width, height = shown.size
    if photo.shape[0] < height or photo.shape[1] < width:
        raise UserError(
            f"{path}: {photo.shape[1]}x{photo.shape[0]} is smaller than the frames, "
            f"{width}x{height}"
        )
    return photo


def _film(photo, size, speed) -> BlurredClip:
    """A hand-held camera, without noise: what differs is then the motion alone."""
    duty = _DUTY[speed]
    return synthesize(
        photo,
        np.random.default_rng(_SEED),
        frames=_FRAMES,
        height=size[1],
        width=size[0],
        shake=Shake(speed=(speed, speed), scale=(1.0, 1.0), turn=False),
        exposure=Exposure(
            duty=(duty, duty),
            wander=(0.0, 0.0),
            gain=(1.0, 1.0),
            highlights=(1.0, 1.0),
            contrast=(0.0, 0.0),
            shot=(0.0, 0.0),
            read=(0.0, 0.0),
        ),
    )


def _network(name):
    model, params = load(name)
    if not model.config.matching_units:
        raise UserError(f"{name}: this network looks for no motion that could be shown")
    return model, params


def _without(shown):
    """The network to compare features with, or None."""
    if shown.without is None:
        return None
    model, params = load(shown.without)
    if model.config.structure_injection and model.config.matching_units:
        raise UserError(
            f"{shown.without}: is a network with structure injection; --without takes "
            "one without"
        )
    return model, params


def _strip(name, seen):
    return Strip(_label(name), tuple(_as_bytes(one.restored) for one in seen))


def _label(name):
    return Path(name).stem


def _name(shown):
    return shown.photo.name if shown.photo else "the bundled photograph"
