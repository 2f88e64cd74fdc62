"""Crops of two consecutive frames side by side: the paper's Figs. 7 to 9.

The clips are made from one photograph, so that anyone can reproduce the figures.
Letters: T time, H W pixels.
"""

import dataclasses
import importlib.resources
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Rectangle

from mtujax.errors import UsageError, UserError
from mtujax.ops.resampling import from_unit_range
from mtujax.report.motion import (
    FrameFeatures,
    Pair,
    clip_features,
    draw_alignment,
    draw_features,
    draw_search,
)
from mtujax.report.style import COLOURS, TEXT_WIDTH, figure_files, printed, show
from mtujax.synthesis.host.clip import BlurredClip, synthesize
from mtujax.synthesis.photos import read_photo
from mtujax.synthesis.settings import PLAIN, BlurSettings, Shake
from mtujax.video.image_folder import FolderReader
from mtujax.weights.files import load

_SHARE = 4  # width and height of a frame over those of a crop
_MOST = 8  # columns that are legible side by side
_LABEL = 0.17  # inches
_USED = 0.96  # share of the width with pictures; the rest are gaps


class Box(NamedTuple):
    """A part of a frame in pixels; (x, y) is its upper left corner."""

    x: int
    y: int
    width: int
    height: int


class Strip(NamedTuple):
    """Two consecutive frames of one method, [H, W, 3] uint8 each, and their label."""

    label: str
    frames: tuple[np.ndarray, np.ndarray]


def liveliest_box(frame: np.ndarray, other: np.ndarray) -> Box:
    """Finds where images [H, W, 3] uint8 differ most: a quarter of width and height."""
    height, width = (max(1, side // _SHARE) for side in frame.shape[:2])
    change = cv2.absdiff(frame, other).astype(np.float32).mean(axis=-1)
    # Sums of all windows at once; entry (y, x) is of the window that starts there.
    total = cv2.integral(change)
    sums = total[height:, width:] - total[:-height, width:]
    sums = sums - total[height:, :-width] + total[:-height, :-width]
    y, x = np.unravel_index(np.argmax(sums), sums.shape)
    return Box(int(x), int(y), width, height)


def draw_crops(
    strips: list[Strip], path: Path, *, title: str, box: Box | None = None
) -> list[Path]:
    """Shows a part, or the liveliest, of two frames by each method; lists the files."""
    check_strips(strips, box)
    first = strips[0].frames[0]
    box = box or liveliest_box(first, strips[-1].frames[0])
    whole, part = first.shape[1] / first.shape[0], box.width / box.height
    row = _USED * TEXT_WIDTH / (2 * whole + len(strips) * part)
    names = ", ".join(strip.label for strip in strips)
    caption = (
        "Two consecutive frames (top, bottom), after Figs. 7 to 9 of the paper. Left: "
        "the first of them whole, as it went in, with the part that is shown enlarged: "
        f"{box.width}x{box.height} pixels from ({box.x}, {box.y}). From left to right: "
        f"{names}. {title}"
    )
    with printed(path, (TEXT_WIDTH, 2 * row + 0.04 + _LABEL), caption) as figure:
        grid = figure.add_gridspec(
            2, 1 + len(strips), width_ratios=[2 * whole, *[part] * len(strips)]
        )
        _show_whole(figure.add_subplot(grid[:, 0]), first, box)
        for column, strip in enumerate(strips, 1):
            for number, frame in enumerate(strip.frames):
                label = strip.label if number else ""
                axes = figure.add_subplot(grid[number, column])
                show(axes, _cut(frame, box), label)
    return figure_files(path)


def _show_whole(axes, frame, box):
    show(axes, frame, "input")
    corner, *sides = (box.x - 0.5, box.y - 0.5), box.width, box.height
    # A white border, so that the box is visible on any background.
    for width, colour in ((2.2, "white"), (1.2, COLOURS["vermilion"])):
        options = {"linewidth": width, "edgecolor": colour, "fill": False}
        axes.add_patch(Rectangle(corner, *sides, **options))


def _cut(frame, box):
    return frame[box.y : box.y + box.height, box.x : box.x + box.width]


def check_strips(strips: list[Strip], box: Box | None = None) -> None:
    """Raises UserError for strips or a box that cannot be shown side by side."""
    if not 2 <= len(strips) <= _MOST:
        raise UsageError(f"{len(strips)} to show side by side: give 2 to {_MOST}")
    height, width = strips[0].frames[0].shape[:2]
    for strip in strips:
        for frame in strip.frames:
            rows, columns = frame.shape[:2]
            if (rows, columns) != (height, width):
                raise UserError(
                    f"{strip.label}: frames of {columns}x{rows}, but "
                    f"{strips[0].label} has {width}x{height}"
                )
    if box is None:
        return
    fits = 0 <= box.x and 0 <= box.y and min(box.width, box.height) > 0
    if not (fits and box.x + box.width <= width and box.y + box.height <= height):
        text = ",".join(map(str, box))
        raise UserError(f"box {text}: does not lie in frames of {width}x{height}")


SLOW, FAST = 4.0, 28.0
"""The camera's speed in pixels per frame in the two clips of the search figure."""


_HANDS = 8.0  # pixels per frame in the clip of the other figures
_DUTY = {SLOW: 0.7, _HANDS: 0.7, FAST: 0.4}
_SEED = 3
_FRAMES, _AT = 7, 4  # frames of a clip, and the one shown, with all its look-ahead


@dataclasses.dataclass(frozen=True)
class FrameViews:
    """Content of the figures, all computed."""

    pairs: dict[float, Pair]  # by the camera's speed in pixels per frame
    radius: int  # of the network's search, in cells
    without: FrameFeatures | None  # of a network without structure injection
    strips: list[Strip]  # of the crops, the input first


def compute_views(
    weights: Sequence[str],
    say: Callable[[str], None],
    *,
    without: str | None = None,
    photo: Path | None = None,
    size: tuple[int, int] = (640, 360),
) -> FrameViews:
    """Makes clips and runs the networks; calls `say` with a line before slow steps."""
    # The first weights are also for motion, those of `without` have no structure
    # injection. The photograph to film is by default the bundled one; `size` is (W, H).
    picture = _read(photo, size)
    model, params = _network(weights[0])
    plain = without and _without_injection(without)
    others = {name: load(name) for name in weights[1:]}
    photo_name = photo.name if photo else "the bundled photograph"
    about = f"Filmed from {photo_name}, {size[0]}x{size[1]}"
    network = f"network: {_label(weights[0])}"
    pairs, clips = {}, {}
    for speed in (SLOW, _HANDS, FAST):
        say(f"filming at {speed:g} pixels per frame")
        clips[speed] = clip = _film(picture, size, speed)
        seen = clip_features(model, params, clip.blurry, _AT)
        motion = np.median(np.linalg.norm(clip.flow[_AT], axis=-1))
        title = f"{about}, moving {motion:.1f} pixels per frame; {network}."
        pairs[speed] = Pair(
            title, *seen, (clip.sharp[_AT - 1], clip.sharp[_AT]), clip.flow[_AT]
        )
    clip, pair = clips[_HANDS], pairs[_HANDS]
    other = plain and clip_features(*plain, clip.blurry, _AT)[1]
    strips = [Strip("blurry", tuple(clip.blurry[_AT - 1 : _AT + 1]))]
    strips.append(_strip(weights[0], (pair.before, pair.now)))
    for name, loaded in others.items():
        say(f"restoring with {name}")
        strips.append(_strip(name, clip_features(*loaded, clip.blurry, _AT)))
    strips.append(Strip("sharp", pair.sharp))
    check_strips(strips)
    return FrameViews(pairs, model.config.search_radius, other, strips)


def draw_pictures(seen: FrameViews, folder: Path) -> list[Path]:
    """Draws the figures of motion, features and crops into an existing folder."""
    pairs, radius, path = seen.pairs, seen.radius, folder / "features"
    files = draw_alignment(pairs[FAST], folder / "alignment", radius=radius)
    files += draw_search([pairs[SLOW], pairs[FAST]], folder / "search_radius")
    pair = pairs[_HANDS]
    files += draw_features(pair.now, path, title=pair.title, without=seen.without)
    return files + draw_crops(seen.strips, folder / "crops", title=pair.title)


def read_folders(
    folders: Sequence[tuple[str, Path]], number: int, box: Box | None = None
) -> list[Strip]:
    """Reads frames `number`, from 0, and the next of each folder, the input first."""
    strips = [Strip(label, _two_frames(path, number)) for label, path in folders]
    check_strips(strips, box)
    return strips


def draw_folders(
    strips: list[Strip], folder: Path, *, number: int, box: Box | None = None
) -> list[Path]:
    """Draws crops of frames that come from `read_folders`."""
    title = f"Frames {number} and {number + 1}, counted from 0."
    return draw_crops(strips, folder / "crops_of_folders", title=title, box=box)


def _two_frames(path, number):
    if number < 0:
        raise UsageError(f"frame {number}: counted from 0")
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    with FolderReader(path) as reader:
        frames = [frame for frame, _ in reader.frames(start=number, end=number + 2)]
    if len(frames) < 2:
        raise UserError(f"{path}: has no frames {number} and {number + 1}")
    return tuple(_as_bytes(frame) for frame in frames)


def _as_bytes(frame):
    """[H, W, 3] uint8 of frames that may be float in [0, 1]."""
    if frame.dtype == np.uint8:
        return frame
    return np.asarray(from_unit_range(jnp.asarray(frame), jnp.uint8))


def _read(path, size):
    if path is None:
        path = importlib.resources.files("mtujax") / "assets" / "arches.jpg"
    try:
        photo = read_photo(str(path))
    except ValueError as error:
        raise UserError(str(error)) from None
    width, height = size
    if photo.shape[0] < height or photo.shape[1] < width:
        raise UserError(
            f"{path}: {photo.shape[1]}x{photo.shape[0]} is smaller than the frames, "
            f"{width}x{height}"
        )
    return photo


def _film(photo, size, speed) -> BlurredClip:
    """A hand-held camera's clip without noise, so that only motion differs."""
    duty = _DUTY[speed]
    return synthesize(
        photo,
        np.random.default_rng(_SEED),
        frames=_FRAMES,
        height=size[1],
        width=size[0],
        blur=BlurSettings(
            Shake(speed=(speed, speed), scale=(1.0, 1.0), turn=False),
            exposure=dataclasses.replace(PLAIN, duty=(duty, duty)),
        ),
    )


def _network(name):
    model, params = load(name)
    if not model.config.matching_units:
        raise UserError(f"{name}: this network estimates no motion to show")
    return model, params


def _without_injection(name):
    """The network to compare features with."""
    model, params = load(name)
    if model.config.structure_injection and model.config.matching_units:
        raise UserError(
            f"{name}: is a network with structure injection; --without takes "
            "one without"
        )
    return model, params


def _strip(name, seen):
    return Strip(_label(name), tuple(_as_bytes(one.restored) for one in seen))


def _label(name):
    return Path(name).stem
