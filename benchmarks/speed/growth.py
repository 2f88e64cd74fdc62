"""How time and memory grow with pixels, units, channels and videos; fitted, drawn.

    python -m benchmarks.speed.growth [--quick] [--json FOLDER]
    python -m benchmarks.speed.growth --table RESULTS.json
        [--page docs/lab-notes/speed.md]

The networks of a series are timed in turn, float32 on a CPU and bfloat16 elsewhere;
of the inference form, whose channels are padded, except where a series says "plain".
Two curves are fitted to each series: a power, factor * x^exponent, and a line, constant
+ slope * x. Memory is what the compiler plans for a step; nothing is run for it.
"""

import argparse
import dataclasses
import pathlib
import time

import jax
import numpy as np

from benchmarks.helpers import record
from benchmarks.helpers.runs import compare
from benchmarks.speed.speed_row import OURS, PLAIN, both_forms
from benchmarks.speed.speed_text import device, ms, versions
from mtujax import PRESETS
from mtujax.bench.timing import Network
from mtujax.common.text import Column, Table, markdown, readable
from mtujax.config import DTYPES, ModelConfig
from mtujax.deblur.restorer import available_bytes
from mtujax.errors import out_of_memory
from mtujax.model.stream import Stream
from mtujax.model.tiling import compiled_memory

MARK = "<!-- growth -->"
SMALL = {
    "sizes": ((160, 88), (240, 136), (320, 180), (480, 272), (640, 360)),
    "memory": ((320, 180), (640, 360), (1280, 720), (1920, 1080)),
    "size": (320, 180),
    "batched": (160, 88),
}
LARGE = {
    "sizes": ((640, 360), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160)),
    "memory": ((640, 360), (1280, 720), (1920, 1080), (3840, 2160)),
    "size": (1280, 720),
    "batched": (640, 360),
}
TINY = {
    "sizes": ((32, 16), (64, 32), (96, 64)),
    "memory": ((32, 16), (64, 32)),
    "size": (32, 16),
    "batched": (32, 16),
}
UNITS, CHANNELS, BATCHES = (1, 2, 4, 10), (16, 26, 32, 48, 64), (1, 2, 4, 8)
ROUNDS = {"cpu": 7, "other": 30}


@dataclasses.dataclass(frozen=True)
class Case:
    """One point of a series: what is on the x axis, and a network at a size."""

    x: float
    config: ModelConfig
    size: tuple[int, int]
    batch: int = 1
    form: str = OURS


def main():
    args = arguments()
    if args.table:
        return show_tables(args)
    results = {
        "machine": record.machine_printed(),
        "backend": jax.default_backend(),
        "dtype": args.dtype,
        "series": [],
    }
    started = time.monotonic()
    for one in planned(args):
        over = time.monotonic() - started > 60 * args.minutes
        found = {**one, "points": [], "left_out": {}} if over else measured(one, args)
        if over:
            found["why"] = f"{args.minutes:g} minutes were over"
        found.pop("cases")
        found["fits"] = fits(found["points"]) if len(found["points"]) > 1 else None
        results["series"].append(found)
        print(line(found), flush=True)
        record.keep(results, args.name, args.json)
    print("\n" + markdown([table(results)]))
    record.write(results, args.name, args.json)


def arguments(words=None):
    slow = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="tiny frames, only to see it run")
    record.add_json(parser)
    add("--dtype", choices=DTYPES, default="float32" if slow else "bfloat16")
    add("--rounds", type=int, default=ROUNDS["cpu" if slow else "other"])
    add("--minutes", type=float, default=10, help="after which no series begins")
    add("--table", type=pathlib.Path, help="file to make table and chart from")
    page = f"file with {MARK} marks, between which the table goes; a chart beside it"
    add("--page", type=pathlib.Path, help=page)
    args = parser.parse_args(words)
    args.name = "growth-quick" if args.quick else "growth"
    args.grid = TINY if args.quick else SMALL if slow else LARGE
    args.base = dataclasses.replace(PRESETS["mtu2"], dtype=args.dtype)
    if args.quick:
        tiny = dict(num_blocks=0, channels=4, search_radius=1)
        args.base, args.rounds = dataclasses.replace(args.base, **tiny), 1
    return args


def planned(args):
    """What is measured, as dicts without points yet."""
    base, grid, size = args.base, args.grid, args.grid["size"]
    at = f"{size[0]}x{size[1]}"

    def of(**changes):
        return dataclasses.replace(base, **changes)

    sizes = [Case(w * h / 1e6, base, (w, h)) for w, h in grid["sizes"]]
    units = [Case(n, of(num_units=n), size) for n in UNITS]
    widths = [Case(c, of(channels=c), size, form=PLAIN) for c in CHANNELS]
    padded = [dataclasses.replace(case, form=OURS) for case in widths]
    videos = [Case(b, base, grid["batched"], b) for b in BATCHES]
    kept = [Case(w * h / 1e6, base, (w, h)) for w, h in grid["memory"]]
    name = f"{base.num_units} units, {base.channels} channels"
    small = "{}x{}".format(*grid["batched"])
    return [
        series("time, pixels", "megapixels", "ms", sizes, name),
        series("time, units", "units", "ms", units, f"{base.channels} channels, {at}"),
        series("time, plain, channels", "channels", "ms", widths, f"2 units, {at}"),
        series("time, channels", "channels", "ms", padded, f"2 units, {at}"),
        series("time, videos", "videos in a batch", "ms", videos, f"{name}, {small}"),
        series("memory, pixels", "megapixels", "GB", kept, name),
    ]


def series(what, x, y, cases, of):
    return {"what": what, "x": x, "y": y, "of": of, "cases": cases}


def measured(one, args):
    """A series with its points, and those left out with why."""
    points, left_out, runners = [], {}, {}
    for case in one["cases"]:
        try:
            model, params = both_forms(case.config)[case.form]
            shape = (case.batch, case.size[1], case.size[0], 3)
            if one["y"] == "GB":
                lowered = Stream(model, params).lowered(shape, np.uint8)
                planned_bytes = compiled_memory(lowered.compile()).total
                points.append({"x": case.x, "y": planned_bytes / 1e9})
                continue
            runners[case.x] = runner(Network(model, params, shape), shape)
        except Exception as error:
            if not out_of_memory(error):
                raise
            left_out[case.x] = str(error).splitlines()[0]
    if runners:
        found = compare(runners, args.rounds)
        points = [
            {"x": x, "y": row["ms"], "least": row["min_ms"]} for x, row in found.items()
        ]
    return {**one, "points": points, "left_out": left_out}


def runner(network, shape):
    """A function that restores one frame and waits for it, if there is the memory."""
    needed, there = compiled_memory(network.compiled), available_bytes()
    if needed and there is not None and needed.total > there:
        raise MemoryError(f"{readable(needed.total)}, of which {readable(there)} free")
    frame = network.put(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    return lambda: network.wait(network.step(frame))


def fits(points):
    """A power and a line through points, with their largest relative residuals."""
    x, y = (np.array([point[axis] for point in points], float) for axis in "xy")
    exponent, log_factor = np.polyfit(np.log(x), np.log(y), 1)
    # Relative errors count, as on paper with two logarithmic axes.
    weights = np.stack([1 / y, x / y], axis=1)
    (constant, slope), *_ = np.linalg.lstsq(weights, np.ones_like(y), rcond=None)
    power = np.exp(log_factor) * x**exponent
    return {
        "power": {
            "factor": float(np.exp(log_factor)),
            "exponent": float(exponent),
            "residual": float(np.abs(power / y - 1).max()),
        },
        "line": {
            "constant": float(constant),
            "slope": float(slope),
            "residual": float(np.abs((constant + slope * x) / y - 1).max()),
        },
    }


def line(found):
    """One line about a series, for who watches."""
    said = ", ".join(f"{p['x']:.3g}: {ms(p['y'])}" for p in found["points"])
    return f"{found['what']} ({found['of']}): {said or found.get('why', 'nothing')}"


def table(results):
    """A row for each series: points, fits, residuals."""
    columns = [Column(n, align="l") for n in ("series", "network", "points")]
    heads = ("exponent", "residual", "line", "its residual")
    columns += [Column(head) for head in heads]
    rows = []
    for one in results["series"]:
        points = ", ".join(f"{p['x']:.3g}: {ms(p['y'])}" for p in one["points"])
        cells = ("",) * 4
        if one["fits"]:
            power, straight = one["fits"]["power"], one["fits"]["line"]
            said = f"{ms(straight['constant'])} + {ms(straight['slope'])} x"
            cells = (f"{power['exponent']:.2f}", f"{power['residual']:.0%}", said)
            cells += (f"{straight['residual']:.0%}",)
        name = f"{one['what']} ({one['y']} by {one['x']})"
        rows.append((name, one["of"], points or one.get("why", ""), *cells))
    note = (
        "A power factor * x^exponent and a line, fitted to relative errors; residuals "
        "are the largest relative ones. Times are medians in ms of a step of the whole "
        "batch, memory is in GB, as the compiler plans it."
    )
    about = f"{device(results)}; {versions(results)}, {results['dtype']}"
    caption = f"Growth: {about}"
    return Table("growth", caption, tuple(columns), tuple(rows), notes=(note,))


def show_tables(args):
    """Prints the table of a file of results, or writes it and the chart to a page."""
    results = record.load(args.table, "machine", "dtype", "series")
    text = markdown([table(results)])

    def draw(chart):
        from benchmarks.speed.speed_chart import draw_growth

        draw_growth(results, chart)

    record.show(text, args.page, MARK, draw, "growth.png")


if __name__ == "__main__":
    main()
