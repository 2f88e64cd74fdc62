"""Crops of two consecutive frames side by side: the paper's Figs. 7 to 9.

Letters: H W pixels.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mtujax.errors import UserError
from mtujax.report_style import COLOURS, TEXT_WIDTH, figure_files, printed, show

_SHARE = 4  # a crop is this part of the frame's width and height
_MOST = 8  # columns that can be read side by side
_LABEL = 0.17  # inches
_USED = 0.96  # of the width; the rest are gaps


class Box(NamedTuple):
    """A part of a frame, in pixels.

    Attributes:
        x: its left column.
        y: its top row.
        width: columns.
        height: rows.
    """

    x: int
    y: int
    width: int
    height: int


class Strip(NamedTuple):
    """Two consecutive frames of one method.

    Attributes:
        label: what they are.
        frames: the two, [H, W, 3] uint8 each.
    """

    label: str
    frames: tuple[np.ndarray, np.ndarray]


def liveliest_box(frame: np.ndarray, other: np.ndarray) -> Box:
    """Where two forms of a frame differ most.

    Args:
        frame: [H, W, 3] uint8.
        other: [H, W, 3] uint8.

    Returns:
        A box of a quarter of the width and of the height.
    """
    height, width = (max(1, side // _SHARE) for side in frame.shape[:2])
    change = cv2.absdiff(frame, other).astype(np.float32).mean(axis=-1)
    # Sums of all windows at once; entry (y, x) is of the window that begins there.
    total = cv2.integral(change)
    sums = total[height:, width:] - total[:-height, width:]
    sums = sums - total[height:, :-width] + total[:-height, :-width]
    y, x = np.unravel_index(np.argmax(sums), sums.shape)
    return Box(int(x), int(y), width, height)


def draw_crops(
    strips: list[Strip], path: Path, *, title: str, box: Box | None = None
) -> list[Path]:
    """Shows the same part of two frames as each method has it (Figs. 7 to 9).

    Args:
        strips: the input first, which is also shown whole; at least two.
        path: folder and name, without a suffix.
        title: what the frames are, in a sentence.
        box: the part; None takes that where first and last strip differ most.

    Returns:
        The files.

    Raises:
        UserError: for fewer than two strips or more than fit, frames of different
            sizes, a box outside of them, without matplotlib, or if a file cannot be
            written.
    """
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
    from matplotlib.patches import Rectangle

    show(axes, frame, "input")
    corner, *sides = (box.x - 0.5, box.y - 0.5), box.width, box.height
    # White around the colour, so that it is seen on anything.
    for width, colour in ((2.2, "white"), (1.2, COLOURS["vermilion"])):
        options = {"linewidth": width, "edgecolor": colour, "fill": False}
        axes.add_patch(Rectangle(corner, *sides, **options))


def _cut(frame, box):
    return frame[box.y : box.y + box.height, box.x : box.x + box.width]


def check_strips(strips: list[Strip], box: Box | None = None) -> None:
    """Refuses what cannot be shown side by side.

    Args:
        strips: as `draw_crops` takes them.
        box: likewise.

    Raises:
        UserError: for fewer than two strips or more than fit, frames of different
            sizes, or a box outside of them.
    """
    if not 2 <= len(strips) <= _MOST:
        raise UserError(f"{len(strips)} to show side by side: give 2 to {_MOST}")
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
