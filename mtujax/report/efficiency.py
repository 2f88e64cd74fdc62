"""PSNR against run time, as in the paper's Fig. 1: reported next to measured."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from mtujax.report.paper import HARDWARE, table_of
from mtujax.report.style import COLOURS, TEXT_WIDTH, figure_files, printed
from mtujax.report.tables import DATASETS, Measured

_HEIGHT = 2.9  # inches

# Kind of a point: its legend text, marker and colour.
_KINDS = {
    "image": ("single image, reported", "s", COLOURS["purple"]),
    "video": ("video, reported", "o", COLOURS["sky"]),
    "mtu": ("multi-task units, reported", "D", COLOURS["orange"]),
    "measured": ("measured", "*", COLOURS["black"]),
}

# Places of a label: points right and up from its marker, and its alignment.
_PLACES = (
    (5, 0, "left", "center"),
    (0, 5, "center", "bottom"),
    (0, -5, "center", "top"),
    (-5, 0, "right", "center"),
    (4, 4, "left", "bottom"),
    (-4, 4, "right", "bottom"),
    (4, -4, "left", "top"),
    (-4, -4, "right", "top"),
)


@dataclasses.dataclass(frozen=True)
class Point:
    """A method in the figure."""

    label: str
    kind: str  # "image", "video" or "mtu" if reported, else "measured"
    milliseconds: float  # per frame
    psnr: float  # dB


def efficiency_points(dataset: str, measured: Sequence[Measured]) -> list[Point]:
    """Gives the points of a dataset's figure, the reported ones first."""
    paper = table_of(dataset)
    points = [Point(r.label, r.family, r.milliseconds, r.psnr) for r in paper.rows]
    labels = {row.key: row.label for row in paper.rows}
    shown = [
        one
        for one in measured
        if (one.dataset, one.protocol) == (dataset, paper.protocol)
        and None not in (one.psnr, one.milliseconds)
    ]
    keys = [one.key for one in shown]
    for one in shown:
        alone = keys.count(one.key) == 1  # else their own labels distinguish them
        label = labels.get(one.key, one.label) if alone else one.label
        points.append(Point(label, "measured", one.milliseconds, one.psnr))
    return points


def draw_efficiency(measured: Sequence[Measured], path: Path) -> list[Path]:
    """Draws PSNR against run time, DVD and GoPro side by side; lists the files."""
    sets = {name: efficiency_points(name, measured) for name in ("dvd", "gopro")}
    with printed(path, (TEXT_WIDTH, _HEIGHT), _caption(sets)) as figure:
        panels = figure.subplots(1, 2)
        for axes, (name, points) in zip(panels, sets.items(), strict=True):
            _draw_points(axes, points)
            axes.set(title=DATASETS[name], xlabel="time per frame (ms)")
        panels[0].set_ylabel("PSNR (dB)")
        marks = {mark.get_label(): mark for a in panels for mark in a.collections}
        names, where = list(marks), "outside upper center"
        figure.legend(marks.values(), names, loc=where, ncols=4, frameon=False)
        figure.draw_without_rendering()  # the layout is known from here on
        for axes, points in zip(panels, sets.values(), strict=True):
            _place_labels(axes, points)
    return figure_files(path)


def _draw_points(axes, points):
    for kind, (name, marker, colour) in _KINDS.items():
        shown = [point for point in points if point.kind == kind]
        if not shown:
            continue
        axes.scatter(
            [point.milliseconds for point in shown],
            [point.psnr for point in shown],
            s=70 if marker == "*" else 22,
            marker=marker,
            color=colour,
            edgecolor="black",
            linewidth=0.5,
            label=name,
            zorder=3,
        )
    axes.grid(True, color="0.9", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    times = [point.milliseconds for point in points]
    scores = [point.psnr for point in points]
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 1.6, max(times) * 1.6)
    axes.set_ylim(min(scores) - 0.25, max(scores) + 0.25)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _place_labels(axes, points):
    """Puts each label where it covers least of markers and earlier labels."""
    renderer = axes.figure.canvas.get_renderer()
    marks = [axes.transData.transform((p.milliseconds, p.psnr)) for p in points]
    reach = 4 * axes.figure.dpi / 72  # a marker's half side
    boxes = [(x - reach, y - reach, x + reach, y + reach) for x, y in marks]
    inside = axes.get_window_extent(renderer).extents
    for number, point in enumerate(points):
        others = boxes[:number] + boxes[number + 1 :]
        best = None
        for dx, dy, across, up in _PLACES:
            text = axes.annotate(
                point.label,
                (point.milliseconds, point.psnr),
                (dx, dy),
                textcoords="offset points",
                ha=across,
                va=up,
                fontsize=7,
                fontweight="bold" if point.kind == "measured" else "normal",
                zorder=4,
            )
            box = text.get_window_extent(renderer).extents
            cost = sum(_shared(box, other) for other in others)
            cost += _shared(box, box) - _shared(box, inside)
            if best is None or cost < best[0]:
                if best:
                    best[1].remove()
                best = (cost, text, tuple(box))
            else:
                text.remove()
            if best[0] == 0:
                break
        boxes.append(best[2])


def _shared(one, other):
    """Area that two boxes (left, bottom, right, top) have in common."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _caption(sets):
    count = sum(
        point.kind == "measured" for points in sets.values() for point in points
    )
    shown = (
        f"Stars ({count}) were measured; the tables' notes say on what. Times of "
        "different devices cannot be compared."
        if count
        else "Nothing was measured that has both a PSNR and a time."
    )
    return (
        "PSNR against time per frame, after Fig. 1 of the paper, with the numbers "
        f"of its Tables 3 and 4 (protocol rt-paper, 1280x720, {HARDWARE}). Time is on "
        f"a logarithmic scale; up and left is better. {shown}"
    )
