"""`data show`: a contact sheet of clips next to histograms of blur and difficulty.

A row shows blurry and sharp frames, motion, and what motion does not explain. Letters:
N clips, T time, H W pixels. Images are RGB, uint8.
"""

import dataclasses
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mtujax.common.files import FRAME_SUFFIXES, check_place, whole_output
from mtujax.data.clips import Clips, ClipSpec
from mtujax.data.flow import ComputedMotion, dis_flow, no_motion
from mtujax.data.locate import NoMotion, open_frames, open_motion
from mtujax.errors import UsageError, UserError, check_least, extra
from mtujax.video.comparison import flow_colours

COLUMNS = ("blurry", "sharp", "motion", "warped difference")
"""The columns of `contact_sheet`."""


_FORMATS = (*FRAME_SUFFIXES, ".pdf", ".svg")
_GAP = 4  # pixels
_DIFFERENCE = 4  # factor by which differences are amplified
_INVALID = (96, 0, 0)


def warped_difference(
    previous: np.ndarray, frame: np.ndarray, flow: np.ndarray, valid: np.ndarray
) -> np.ndarray:
    """Warps the previous frame along the flow and shows its difference to this one."""
    # [H, W, 3] uint8 twice, flow [H, W, 2] float32 (dx, dy) in pixels from `frame` back
    # to `previous`, bool [H, W] -> [H, W, 3] uint8: grey where they agree, differences
    # amplified fourfold, dark red where not valid.
    height, width = valid.shape
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    moved = cv2.remap(previous, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    shown = cv2.addWeighted(frame, _DIFFERENCE, moved, -_DIFFERENCE, 128)
    shown[~valid] = _INVALID
    return shown


_EVERY = 4  # pixels: blur is smooth, and every fourth suffices for its histogram
_ROWS = 12  # a sheet with more rows is not legible
_COLUMN = 480  # largest width of a shown image, in pixels
_SHEET = 11.0  # inches that the sheet is wide, or somewhat more
_LETTER = 0.65  # width of a letter by its size
_LINES = 3  # of a row's label


@dataclasses.dataclass(frozen=True)
class SheetClip:
    """A clip to look at."""

    title: str  # its label in the sheet
    blurry: np.ndarray  # [T, H, W, 3] uint8
    sharp: np.ndarray  # [T, H, W, 3] uint8
    # [T, H, W, 2] float32 (dx, dy) in pixels back to the frame before; that of the
    # first frame is ignored
    flow: np.ndarray
    valid: np.ndarray  # bool [T, H, W], where the flow is known
    # [T] exposure time as a fraction of the frame interval; None if unknown
    duty: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Statistics:
    """How blurry clips are."""

    # [M] pixels that a point moves, during the exposure where its time is known
    # (`exposed`), else from one frame to the next
    lengths: np.ndarray
    exposed: bool  # which of the two `lengths` are
    # [N * T] dB of each blurry frame against the sharp one, at most 60
    psnr: np.ndarray

    @property
    def lines(self) -> list[str]:
        """A summary in words."""
        what = "blur length" if self.exposed else "motion per frame"
        lengths = "unknown, as none is valid"
        if len(self.lengths):
            short, middle, long = np.percentile(self.lengths, (10, 50, 90))
            lengths = (
                f"median {middle:.1f} px, 10 % below {short:.1f}, "
                f"10 % above {long:.1f}, longest {self.lengths.max():.1f}"
            )
        return [
            f"{what}: {lengths}",
            f"input PSNR: mean {self.psnr.mean():.2f} dB, from {self.psnr.min():.2f} "
            f"to {self.psnr.max():.2f}",
        ]


def statistics(clips: Sequence[SheetClip]) -> Statistics:
    """Measures valid motion and PSNR of at least one clip of at least two frames."""
    exposed = all(clip.duty is not None for clip in clips)
    lengths, scores = [], []
    for clip in clips:
        for t in range(len(clip.sharp)):
            scores.append(cv2.PSNR(clip.blurry[t], clip.sharp[t]))
            if t:
                valid = clip.valid[t, ::_EVERY, ::_EVERY]
                flow = clip.flow[t, ::_EVERY, ::_EVERY][valid]
                share = clip.duty[t] if exposed else 1.0
                lengths.append(share * np.linalg.norm(flow, axis=-1))
    return Statistics(np.concatenate(lengths), exposed, np.minimum(scores, 60.0))


def contact_sheet(clips: Sequence[SheetClip]) -> np.ndarray:
    """Shows the middle of 12 clips at most, one row each -> [h, w, 3] uint8."""
    shown = clips[:_ROWS]
    middles = [max(len(clip.sharp) // 2, 1) for clip in shown]
    longest = max(
        np.percentile(np.linalg.norm(clip.flow[t], axis=-1), 99)
        for clip, t in zip(shown, middles, strict=True)
    )
    rows, edge = [], ((_GAP // 2, _GAP // 2), (_GAP // 2, _GAP // 2), (0, 0))
    for clip, t in zip(shown, middles, strict=True):
        cells = (
            clip.blurry[t],
            clip.sharp[t],
            # Flow of length `longest` has the full colour.
            flow_colours(clip.flow[t] / max(longest, 1e-3)),
            warped_difference(*clip.sharp[t - 1 : t + 1], clip.flow[t], clip.valid[t]),
        )
        framed = [np.pad(cell, edge, constant_values=255) for cell in cells]
        rows.append(np.concatenate(framed, axis=1))
    width = min(len(COLUMNS) * _COLUMN, max(row.shape[1] for row in rows))
    return np.concatenate([_as_wide(row, width) for row in rows])


def _as_wide(row, width):
    if row.shape[1] == width:
        return row
    height = max(1, round(row.shape[0] * width / row.shape[1]))
    kind = cv2.INTER_AREA if row.shape[1] > width else cv2.INTER_CUBIC
    return cv2.resize(row, (width, height), interpolation=kind)


def check_picture(path: Path) -> None:
    """Refuses the path of a picture that could not be written, before any work."""
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path}: a picture, one of {', '.join(_FORMATS)}")
    check_place(path, folder=False)
    _figure_class()


def _figure_class():
    with extra("plots"):
        from matplotlib.figure import Figure
    return Figure


def write_sheet(clips: Sequence[SheetClip], path: str | os.PathLike) -> Statistics:
    """Writes a contact sheet of clips with histograms of their blur.

    Examples:
        >>> clips, _ = clips_of_set("pairs", "set", split="test")
        >>> found = write_sheet(clips, "look.png")
        >>> bool(found.psnr.mean() > 10)
        True

    Args:
        clips: as `clips_of_set` draws them; twelve at most are shown.
        path: of the picture, with the suffix of its format: .png, .jpg, .pdf or .svg.

    Returns:
        What the histograms show, of all clips.

    Raises:
        UsageError: if the suffix is another.
        UserError: without matplotlib, or if the file cannot be written.
    """
    path = Path(path)
    check_picture(path)
    figure = _figure(sheet := contact_sheet(clips), found := statistics(clips))
    _label_rows(figure.axes[0], [clip.title for clip in clips[:_ROWS]], sheet.shape)
    try:
        with whole_output(path, folder=False) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower())
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error})") from None
    return found


def _label_rows(axes, titles, shape):
    """Writes the titles upwards, each in lines that its row has room for."""
    height, width = shape[:2]
    room = _SHEET * height / width / len(titles) * 72 / axes.xaxis.label.get_size()
    letters = max(int(room / _LETTER), 4)
    labels = [
        textwrap.fill(title, letters, max_lines=_LINES, placeholder="…")
        for title in titles
    ]
    places = (np.arange(len(labels)) + 0.5) * height / len(labels)
    axes.set_yticks(places, labels, rotation=90, va="center", ha="right")
    axes.tick_params(axis="y", pad=6)


def _figure(sheet, found):
    height, width = sheet.shape[:2]
    size = 15, 12 * height / width + 0.6
    figure = _figure_class()(figsize=size, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(4, 1))
    axes = left.subplots()
    axes.imshow(sheet, interpolation="antialiased")
    axes.set_xticks((np.arange(len(COLUMNS)) + 0.5) * width / len(COLUMNS), COLUMNS)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    lengths, scores = right.subplots(2, 1)
    lengths.hist(found.lengths, bins=40, color="0.4")
    during = "during the exposure" if found.exposed else "from frame to frame"
    lengths.set(xlabel=f"motion {during}, pixels", ylabel="places")
    scores.hist(found.psnr, bins=20, color="0.4")
    scores.set(xlabel="PSNR of the blurry frame, dB", ylabel="frames")
    for axes in (lengths, scores):
        axes.spines[["top", "right"]].set_visible(False)
    lengths.set_yticks([])
    return figure


SHOWN_FRAMES = 5


def clips_of_set(
    name: str,
    path: str | os.PathLike,
    *,
    split: str,
    config: str | None = None,
    count: int = 8,
    seed: int = 0,
) -> tuple[list[SheetClip], str]:
    """Draws clips of a dataset at random, to look at.

    Examples:
        >>> clips, origin = clips_of_set("pairs", "set", split="test", count=1)
        >>> clips[0].sharp.shape[1:]
        (48, 64, 3)

    Args:
        name: of the dataset.
        path: folder that holds it, in any form that `open_frames` reads.
        split: part of it.
        config: form of the dataset; None takes the default.
        count: number of clips; all if there are fewer.
        seed: of the draw.

    Returns:
        The clips, and where their motion is from: DIS flow where none is stored.

    Raises:
        UserError: if no video has 5 frames, or stored flow is stale or incomplete.
    """
    check_least(1, clips=count)
    source = open_frames(name, path, split=split, config=config)
    try:
        motion = open_motion(name, path, source, split=split, config=config)
        origin = "kept flow"
    except NoMotion:
        motion, origin = ComputedMotion(source, dis_flow), "DIS flow"
    clips = Clips(source, ClipSpec(frames=SHOWN_FRAMES, lookback=0, lookahead=0))
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(clips), min(count, len(clips)), replace=False)
    return [_clip_at(clips, motion, int(index)) for index in sorted(chosen)], origin


def _clip_at(clips, motion, index):
    video, start = clips.place(index)
    clip = clips[index]
    found = [no_motion(*clip["sharp"].shape[1:3], None)]
    found += [motion.motion(video, start + t) for t in range(1, SHOWN_FRAMES)]
    flow, valid = (np.stack(part) for part in zip(*found, strict=True))
    title = f"{clips.source.videos[video].name} {start + SHOWN_FRAMES // 2}"
    return SheetClip(title, clip["blurry"], clip["sharp"], flow, valid)
