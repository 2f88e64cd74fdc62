"""The charts of the speed and growth benchmarks, from their results alone."""

import contextlib
import pathlib
import shutil
import tempfile

from benchmarks.speed.speed_text import device, fastest_twin
from benchmarks.speed.speed_trace import PARTS
from mtujax.common.files import whole_output
from mtujax.report.style import COLOURS, TEXT_WIDTH, printed

HEIGHT = 2.7  # inches of a row of panels
NETWORKS = {  # colour and marker: either distinguishes them
    "mtu1": ("sky", "o"),
    "mtu2": ("black", "s"),
    "mtu4": ("green", "^"),
    "mtu10": ("orange", "D"),
    "mtu10_l": ("vermilion", "v"),
}
_FILLS = {
    "convolutions": ("blue", ""),
    "matcher": ("orange", "//"),
    "warp": ("green", "xx"),
    "rest": ("purple", ".."),
    "idle": (None, ""),
}
WANTED = ("bfloat16", "float32", "float16")  # the first of them that was measured


@contextlib.contextmanager
def picture(path, size, caption):
    """A figure in the style of print that is written as one PNG."""
    path = pathlib.Path(path)
    with tempfile.TemporaryDirectory() as folder:
        inside = pathlib.Path(folder) / "figure"
        with printed(inside, size, caption) as figure:
            yield figure
        with whole_output(path, folder=False) as part:
            shutil.copyfile(inside.with_suffix(".png"), part)


def draw(files, path):
    """Draws each file's times against pixels, and where they go."""
    size = TEXT_WIDTH, HEIGHT * len(files)
    with picture(path, size, "Time of a step, and where it goes.") as figure:
        figure.get_layout_engine().set(wspace=0.05)
        panels = figure.subplots(len(files), 2, squeeze=False)
        for row, results in zip(panels, files, strict=True):
            rows = _shown(results)
            _draw_times(row[0], rows)
            row[0].set_title(f"{device(results)}: time of a step")
            _draw_parts(row[1], rows)


def _shown(results):
    """The measured rows of one precision and the smallest batch."""
    rows = [row for row in results["rows"] if row["status"] == "measured"]
    have = {row["dtype"] for row in rows}
    dtype = next((name for name in WANTED if name in have), None)
    batch = min((row["batch"] for row in rows), default=1)
    return [row for row in rows if (row["dtype"], row["batch"]) == (dtype, batch)]


def _draw_times(axes, rows):
    from matplotlib.lines import Line2D

    presets = [name for name in NETWORKS if any(r["preset"] == name for r in rows)]
    for preset in presets:
        colour, marker = COLOURS[NETWORKS[preset][0]], NETWORKS[preset][1]
        mine = [row for row in rows if row["preset"] == preset]
        mine.sort(key=lambda row: row["size"][0] * row["size"][1])
        pixels = [row["size"][0] * row["size"][1] / 1e6 for row in mine]
        ours = [row["forms"]["optimized"]["step_ms"]["p50"] for row in mine]
        axes.plot(pixels, ours, "-", color=colour, marker=marker, markersize=4)
        twins = [(x, fastest_twin(row)) for x, row in zip(pixels, mine, strict=True)]
        twins = [(x, twin["ms"]) for x, twin in twins if twin]
        hollow = dict(marker=marker, markersize=4, markerfacecolor="white")
        if twins:
            axes.plot(*zip(*twins, strict=True), "--", color=colour, **hollow)
        axes.plot(pixels, [row["floor_ms"] for row in mine], ":", color=colour)
    axes.set(xlabel="size of a frame", ylabel="ms")
    sizes = {w * h / 1e6: f"{w}x{h}" for w, h in (row["size"] for row in rows)}
    _logarithmic(axes, sizes)
    styles = {"ours": "-", "PyTorch": "--", "floor": ":"}
    handles = [Line2D([], [], color="black", linestyle=s) for s in styles.values()]
    for preset in presets:
        colour, marker = NETWORKS[preset]
        drawn = dict(color=COLOURS[colour], marker=marker, markersize=4)
        handles.append(Line2D([], [], linestyle="", **drawn))
    names = [*styles, *(preset.upper() for preset in presets)]
    axes.legend(handles, names, frameon=False, loc="upper left")


def _draw_parts(axes, rows):
    found = [(row, row["forms"]["optimized"]["parts_ms"]) for row in rows]
    found = [(row, parts) for row, parts in found if parts and "whole" in parts]
    names = [f"{r['preset'].upper()}\n{r['size'][0]}x{r['size'][1]}" for r, _ in found]
    left = [0.0] * len(found)
    for part in PARTS:
        colour, hatch = _FILLS[part]
        shares = [100 * parts[part] / parts["whole"] for _, parts in found]
        fill = dict(color=COLOURS[colour] if colour else "white", hatch=hatch)
        fill.update(edgecolor="black", linewidth=0.5, label=part)
        axes.barh(range(len(found)), shares, left=left, height=0.6, **fill)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(found)), names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="% of a step, optimized form", title=" ")
    axes.spines[["top", "right"]].set_visible(False)
    where = dict(loc="lower center", bbox_to_anchor=(0.45, 1.0))
    axes.legend(ncols=5, frameon=False, handlelength=1, columnspacing=0.8, **where)


def _logarithmic(axes, ticks):
    """Makes both scales logarithmic, with these {x: label} below."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set(xscale="log", yscale="log")
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, color="0.9", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def draw_growth(results, path):
    """Draws each series of `growth.py` with its fits."""
    series = results["series"]
    columns = 3
    lines = -(-len(series) // columns)
    size = TEXT_WIDTH, 2.2 * lines
    with picture(path, size, "How time and memory grow.") as figure:
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, one in zip(panels, series, strict=False):
            _draw_series(axes, one)
        for axes in panels[len(series) :]:
            axes.set_visible(False)


def _draw_series(axes, one):
    xs = [point["x"] for point in one["points"]]
    ys = [point["y"] for point in one["points"]]
    if one["fits"]:
        fit = one["fits"]["power"]
        curve = [fit["factor"] * x ** fit["exponent"] for x in xs]
        label = f"x$^{{{fit['exponent']:.2f}}}$"
        axes.plot(xs, curve, "--", color=COLOURS["vermilion"], label=label)
        axes.legend(frameon=False, loc="upper left")
    axes.plot(xs, ys, "o", color=COLOURS["black"], markersize=4)
    axes.set(xlabel=one["x"], ylabel=one["y"], title=one["what"])
    _logarithmic(axes, {x: f"{x:.2g}" for x in xs})
