"""Figures of motion and of the network's features: the paper's Figs. 2, 5 and 6.

Reference: Son et al. 2022, Sec. 3.1. Letters: T time, H W pixels, H' W' the same
rounded up to multiples of 4p, p side of a patch, h w motion grid, C channels, r search
radius.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import MOTION_STRIDE
from mtujax.metrics.motion import alignment_accuracy
from mtujax.model.clip import clip_windows, window_at
from mtujax.model.network import MTUNet, initial_state
from mtujax.ops.labels import inside, motion_labels
from mtujax.ops.matching import displacement_from_class, match
from mtujax.ops.resampling import (
    area_downsample,
    displace,
    pad_frames,
    to_unit_range,
    upsampled_flow,
)
from mtujax.report.style import TEXT_WIDTH, figure_files, printed, show

KINDS = ("detail", "structure", "injected")
"""Kinds of features that motion can be found with."""


_KEPT = ("structure", "detail", "motion")


@dataclasses.dataclass(frozen=True)
class FrameFeatures:
    """A frame and its features in the first unit."""

    blurry: np.ndarray  # [H, W, 3] in [0, 1]
    restored: np.ndarray  # [H, W, 3] in [0, 1]
    detail: np.ndarray  # [H' / p, W' / p, C] detail features f_t^1
    structure: np.ndarray  # [H' / p, W' / p, C] structure features f_t^b
    motion: np.ndarray | None  # [h, w, 2C] of the motion layer; None without one
    patch: int = 1  # p

    def to_match(self, kind: str) -> np.ndarray:
        """Features of a kind on the motion grid, [h, w, 2C] or [h, w, C] float32."""
        # "injected" are those of the motion layer, or without one the average of detail
        # plus structure. The other two are averages over 4x4 places, as in the paper's
        # models without that layer.
        if kind == "injected" and self.motion is not None:
            return self.motion
        features = {
            "detail": self.detail,
            "structure": self.structure,
            "injected": self.detail + self.structure,
        }[kind]
        return np.asarray(area_downsample(jnp.asarray(features)[None])[0])


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The previous sharp frame, moved onto the current one."""

    aligned: np.ndarray  # [H, W, 3] in [0, 1], black where its source is outside
    error: np.ndarray  # [ph, pw] mean absolute, at 1/4 scale; NaN likewise
    psnr: float  # at 1/4 scale, dB (`alignment_accuracy`)


def clip_features(
    model: MTUNet, params: dict, clip: np.ndarray, at: int
) -> list[FrameFeatures]:
    """Features of frames `at` - 1 and `at`, at > 0, of a blurry clip [T, H, W, 3]."""
    scale = 255 if clip.dtype == np.uint8 else 1
    frames = jnp.asarray(clip, jnp.float32)[None] / scale
    state = initial_state(model, 1, *frames.shape[2:4])
    frames, index = _windows(model.config, frames)
    found = []
    for t in range(at + 1):
        state, restored, kept = _step(model, params, state, frames, index, t)
        if t >= at - 1:
            patch = model.config.patch
            found.append(_frame_features(frames[:, t], restored, kept, patch))
    return found


_windows = jax.jit(clip_windows, static_argnums=0)


@functools.partial(jax.jit, static_argnames="model")
def _step(model, params, state, frames, index, t):
    (state, outputs), kept = model.apply(
        {"params": params},
        state,
        window_at(frames, index[:, t]),
        capture_intermediates=lambda module, _: module.name in _KEPT,
        mutable=["intermediates"],
    )
    return state, outputs["restored"], kept["intermediates"]


def _frame_features(frame, restored, kept, patch):
    def first(module):
        return np.asarray(module["__call__"][0][0], np.float32)

    unit = kept["unit_0"]
    return FrameFeatures(
        blurry=np.asarray(frame[0]),
        restored=np.clip(np.asarray(restored[0]), 0, 1),
        detail=first(unit["detail"]),
        structure=first(kept["structure"]),
        motion=first(unit["motion"]) if "motion" in unit else None,
        patch=patch,
    )


def motion_between(
    before: FrameFeatures, now: FrameFeatures, kind: str, *, radius: int
) -> np.ndarray:
    """Motion [h, w, 2] int32 (dx, dy) in cells to the frame before, by `kind`."""
    query, key = (jnp.asarray(f.to_match(kind))[None] for f in (now, before))
    return np.asarray(match(query, key, radius=radius)[0])


def align(
    displacement: np.ndarray,
    previous: np.ndarray,
    current: np.ndarray,
    *,
    patch: int = 1,
) -> Alignment:
    """Moves a sharp frame [H, W, 3] uint8 by [h, w, 2] int (dx, dy) in cells."""
    moves = np.asarray(displacement, np.int32)[None]
    aligned, error, psnr = _align(moves, previous[None], current[None], patch)
    return Alignment(np.asarray(aligned[0]), np.asarray(error[0]), float(psnr[0]))


@functools.partial(jax.jit, static_argnames="patch")
def _align(displacement, previous, current, patch):
    before, now = to_unit_range(previous), to_unit_range(current)
    padded = [pad_frames(frame, patch * MOTION_STRIDE) for frame in (before, now)]
    moves = upsampled_flow(displacement, patch).astype(jnp.int32)
    moved = displace(padded[0], moves)
    error = jnp.abs(area_downsample(moved) - area_downsample(padded[1]))
    error = jnp.where(inside(moves), jnp.mean(error, axis=-1), jnp.nan)
    height, width = now.shape[1:3]
    psnr = alignment_accuracy(displacement, before, now, patch=patch)["psnr"]
    return moved[:, :height, :width], error, psnr


_ERROR_MAP = "cividis"  # looks the same to any colour vision, and in grey
_WORST = 0.2  # mean absolute difference, in [0, 1], above which errors look the same
_RESIDUAL_GAIN = 4
_LINE = 0.16  # inches of a label below a panel
_RADII = (5, 10)  # cells, as in the paper's Fig. 6
_CHANNELS = 3


class Pair(NamedTuple):
    """Two consecutive frames and their features."""

    title: str  # what they show
    before: FrameFeatures
    now: FrameFeatures
    sharp: tuple[np.ndarray, np.ndarray]  # [H, W, 3] uint8 each
    flow: np.ndarray | None = None  # [H, W, 2] exact backward (dx, dy) in pixels


def draw_alignment(pair: Pair, path: Path, *, radius: int) -> list[Path]:
    """Aligns two frames by each kind of features (Fig. 2); `radius` is in cells."""
    found = [
        _aligned(pair, motion_between(pair.before, pair.now, kind, radius=radius))
        for kind in KINDS
    ]
    residual = pair.now.restored - pair.now.blurry
    size = _size(pair.sharp[0], rows=2, columns=4)
    caption = (
        "Which features show motion, after Fig. 2 of the paper. (a) Blurry frame. "
        f"(e) What the network adds to it, {_RESIDUAL_GAIN} times as strong around "
        "grey. (b)-(d) The previous sharp frame moved onto the current one by the "
        "motion found between the two blurry frames with detail features, structure "
        "features and structure-injected features of the first unit, and (f)-(h) the "
        "mean absolute errors of that at 1/4 scale, as is their PSNR. Detail and "
        "structure features are averages over 4x4 places; injected ones come from the "
        f"motion layer, as in the network. {pair.title}"
    )
    with printed(path, size, caption) as figure:
        top, bottom = figure.subplots(2, 4)
        show(top[0], pair.now.blurry, "(a) blurry")
        shown = np.clip(0.5 + _RESIDUAL_GAIN * residual, 0, 1)
        show(bottom[0], shown, "(e) residual")
        for number, (kind, one) in enumerate(zip(KINDS, found, strict=True), 1):
            show(top[number], one.aligned, f"({'abcd'[number]}) by {kind}")
            label = f"({'efgh'[number]}) error, {one.psnr:.2f} dB"
            bar = _show_error(bottom[number], one, label)
        _colour_bar(figure, bar, [*top, *bottom])
    return figure_files(path)


def draw_search(pairs: Sequence[Pair], path: Path) -> list[Path]:
    """Aligns pairs with exact flow by two search radii (Fig. 6); lists the files."""
    size = _size(pairs[0].sharp[0], rows=2 * len(pairs), columns=4)
    cell = MOTION_STRIDE * pairs[0].now.patch
    caption = (
        "How far motion is searched for, after Fig. 6 of the paper. The previous sharp "
        "frame moved onto the current one, and the mean absolute errors of that at 1/4 "
        "scale, as is their PSNR (black, grey: the source is outside): not moved, "
        "moved as the first unit finds with a search radius of "
        f"{_RADII[0]} and of {_RADII[1]} cells of {cell} pixels, and moved by the "
        "exact motion rounded to whole cells. Other methods of the paper's figure are "
        "not shown. From the top: " + " ".join(pair.title for pair in pairs)
    )
    with printed(path, size, caption) as figure:
        panels = figure.subplots(2 * len(pairs), 4)
        for number, pair in enumerate(pairs):
            top, bottom = panels[2 * number : 2 * number + 2]
            names = ("not moved", *(f"radius {r}" for r in _RADII), "exact motion")
            for column, (name, one) in enumerate(
                zip(names, _by_radius(pair), strict=True)
            ):
                show(top[column], one.aligned, name)
                bar = _show_error(bottom[column], one, f"error, {one.psnr:.2f} dB")
        _colour_bar(figure, bar, list(panels.flat))
    return figure_files(path)


def _by_radius(pair) -> list[Alignment]:
    grid = pair.now.to_match("injected").shape[:2]
    moves = [np.zeros((*grid, 2), np.int32)]
    for radius in _RADII:
        moves.append(motion_between(pair.before, pair.now, "injected", radius=radius))
    moves.append(_exact(pair, grid))
    return [_aligned(pair, move) for move in moves]


def _aligned(pair, moves):
    return align(moves, *pair.sharp, patch=pair.now.patch)


def _exact(pair, grid):
    """The exact flow in whole cells, [h, w, 2]."""
    cell = MOTION_STRIDE * pair.now.patch
    rows, columns = (
        (0, cell * n - size) for n, size in zip(grid, pair.flow.shape[:2], strict=True)
    )
    flow = np.pad(pair.flow, (rows, columns, (0, 0)), mode="edge")
    radius = int(np.abs(flow).max() / cell) + 1
    return np.asarray(_in_cells(flow, radius, cell))


@functools.partial(jax.jit, static_argnames=("radius", "cell"))
def _in_cells(flow, radius, cell):
    classes, _ = motion_labels(flow, radius=radius, label_all_cells=True, cell=cell)
    return displacement_from_class(classes, radius=radius)


def draw_features(
    now: FrameFeatures, path: Path, *, title: str, without: FrameFeatures | None = None
) -> list[Path]:
    """Shows features of a network, and of one `without` injection (Fig. 5)."""
    shown = {
        "detail": now.detail,
        "structure": now.structure,
        "injected": now.to_match("injected"),
    }
    if without is not None:
        shown = {"detail, without injection": without.detail} | shown
    trained = (
        "The first column is of a network trained without structure injection. "
        if without is not None
        else "No network trained without structure injection was given to compare. "
    )
    caption = (
        "Features of the first unit, after Fig. 5 of the paper: detail features f_t, "
        "structure features f^b_t, and structure-injected features, which the motion "
        "layer computes from both at 1/4 scale. Of each kind the "
        f"{_CHANNELS} channels that vary most, each from its 1st percentile (dark) to "
        f"its 99th (bright). {trained}{title}"
    )
    size = _size(now.blurry, rows=_CHANNELS, columns=len(shown) + 1, labels=1)
    with printed(path, size, caption) as figure:
        panels = figure.subplots(_CHANNELS, len(shown) + 1)
        residual = np.clip(0.5 + _RESIDUAL_GAIN * (now.restored - now.blurry), 0, 1)
        pictures = {"blurry": now.blurry, "restored": now.restored}
        pictures["residual"] = residual
        for axes, (name, picture) in zip(panels[:, 0], pictures.items(), strict=True):
            show(axes, picture, name)
        for column, (name, features) in enumerate(shown.items(), 1):
            liveliest = np.argsort(-features.std(axis=(0, 1)))[:_CHANNELS]
            for row, number in enumerate(liveliest):
                channel = features[..., number]
                low, high = np.percentile(channel, (1, 99))
                label = name if row == _CHANNELS - 1 else ""
                axes = panels[row, column]
                show(axes, channel, label, cmap="gray", vmin=low, vmax=high)
    return figure_files(path)


def _show_error(axes, one, label):
    axes.set_facecolor("0.8")  # where the error is unknown
    options = {"cmap": _ERROR_MAP, "vmin": 0, "vmax": _WORST}
    return show(axes, one.error, label, **options)


def _colour_bar(figure, shown, axes):
    label = "error (range of image: 1)"
    bar = figure.colorbar(shown, ax=axes, shrink=0.9, aspect=30, pad=0.01, extend="max")
    bar.set_ticks(np.linspace(0, _WORST, 5))
    bar.set_label(label)
    bar.outline.set_linewidth(0.3)


def _size(frame, *, rows, columns, labels=None):
    """Width and height in inches of panels like a frame, a label below each."""
    height, width = frame.shape[:2]
    panel = 0.92 * TEXT_WIDTH / columns
    lines = rows if labels is None else labels + 1
    return TEXT_WIDTH, rows * (panel * height / width + 0.04) + lines * _LINE
