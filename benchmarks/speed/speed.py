"""Times the network on this device, beside PyTorch and beside what the device can do.

    python -m benchmarks.speed.speed [--quick] [--json FOLDER] [--models mtu2 ...]
    python -m benchmarks.speed.speed --add-to RESULTS.json [--minutes 8] ...
    python -m benchmarks.speed.speed --table RESULTS.json ...
        [--page docs/lab-notes/speed.md]

Every network, precision, size and batch requested gets a row: times of the
step in both forms, frames per second, memory, compilation, the floor and the share of
it that is reached, where the time goes, and the PyTorch twin in the same run. A row
that does not fit, fails, or comes too late is named with its reason. The file is
rewritten after each row. The second form adds to a file, or creates it: what is
measured there is kept. The third one makes the tables and the chart from files of
results, one of each device at most.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

# PyTorch and the next process want memory of the same GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax

from benchmarks.helpers import record
from benchmarks.speed import speed_text
from benchmarks.speed.speed_floor import floor
from mtujax import PRESETS
from mtujax.common.hardware import load_average
from mtujax.config import DTYPES
from mtujax.model.operations import achieved, needed_operations

SIZES = {
    "360p": (640, 360),
    "720p": (1280, 720),
    "1080p": (1920, 1080),
    "2160p": (3840, 2160),
}


def main():
    args = arguments()
    if args.table:
        return show_tables(args)
    results = {
        "machine": record.machine_printed(),
        "backend": jax.default_backend(),
        "settings": {"repeats": args.repeats, "seconds": args.seconds},
        "load_average": load_average(),
        "rates": {},
        "rows": [],
    }
    file = args.add_to
    if file is None and args.json is not None:
        name = "speed-quick" if args.quick else "speed"
        file = record.file_of(results, name, args.json)
    if args.add_to is not None and file.exists():
        results = earlier(file, results)
    fill(results, args, file)
    print("\n" + speed_text.all_tables([results]))
    if file is not None:
        print(f"written to {file}")
    if not any(row["status"] == "measured" for row in results["rows"]):
        raise SystemExit("speed.py: error: nothing was measured; see the rows for why")


def earlier(path, now):
    """The results in a file, to which rows of the same machine can be added."""
    found = record.load(path, "machine", "rates", "rows")
    was = found["machine"]
    for name in sorted((was | now["machine"]).keys() - {"date"}):
        if (old := was.get(name)) != (new := now["machine"].get(name)):
            raise SystemExit(
                f"speed.py: error: {path}: was measured with {name} {old}, not {new}; "
                "name another file"
            )
    return found


def fill(results, args, file):
    """Measures what is missing, and saves after each row."""
    started = time.monotonic()
    best = results["rates"]
    of_dtypes = best.get("flops_per_s", {}).keys()
    if set(args.dtypes) - of_dtypes:
        results["rates"] = best = rates(sorted({*of_dtypes, *args.dtypes}), args)
    if "flops_per_s" not in best:
        raise SystemExit(f"speed.py: error: the floor was not measured: {best['why']}")
    for case in cases(args):
        if known(case, results["rows"]):
            continue
        left = 60 * args.minutes - (time.monotonic() - started)
        row = one_row(case, args, left)
        row = case | row
        if row["status"] == "measured":
            add_floor(row, best)
        results["rows"] = [r for r in results["rows"] if not same(case, r)]
        results["rows"].append(row)
        results["limits"] = speed_text.verdicts(results)
        print(speed_text.line(row), flush=True)
        if file is not None:
            record.save(results, file)


def same(case, row):
    """Whether a row is about this; JSON has made a list of a size."""

    def plain(of):
        return {name: of[name] for name in case} | {"size": list(of["size"])}

    return plain(row) == plain(case)


def known(case, rows):
    """Whether a row needs no further try."""
    done = ("measured", "does not fit")
    return any(same(case, row) and row["status"] in done for row in rows)


def arguments(words=None):
    slow = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="mtu1, tiny frames: only to see it run")
    record.add_json(parser)
    add("--add-to", type=pathlib.Path, help="file of results to add to, or create")
    models = ["mtu1", "mtu2"] if slow else list(PRESETS)
    add("--models", nargs="+", choices=PRESETS, default=models)
    dtypes = ["float32"] if slow else ["bfloat16", "float16", "float32"]
    add("--dtypes", nargs="+", choices=DTYPES, default=dtypes)
    sizes = ["360p", "720p"] if slow else list(SIZES)
    add("--sizes", nargs="+", choices=SIZES, default=sizes)
    add("--batches", nargs="+", type=int, default=[1] if slow else [1, 8])
    add("--repeats", type=int, default=20 if slow else 200, help="timed rounds")
    seconds = 45 if slow else 20
    add("--seconds", type=float, default=seconds, help="of a row's timed rounds")
    row = 300 if slow else 600
    add("--row-seconds", type=float, default=row, help="the most that a row may take")
    minutes = 15 if slow else 150
    add("--minutes", type=float, default=minutes, help="after which no row begins")
    add("--no-twin", dest="twin", action="store_false", help="without PyTorch")
    add("--no-trace", dest="trace", action="store_false", help="without the parts")
    add("--table", nargs="+", type=pathlib.Path, help="files to make tables from")
    page = "file with <!-- speed --> marks, between which tables go; a chart beside it"
    add("--page", type=pathlib.Path, help=page)
    args = parser.parse_args(words)
    if min(args.batches) < 1:
        parser.error(f"--batches {min(args.batches)}: must be 1 or more")
    if args.quick:
        quick = dict(models=["mtu1"], dtypes=["float32"], sizes=[(64, 32)])
        vars(args).update(quick, batches=[1], repeats=3, seconds=1.0)
    else:
        args.sizes = [SIZES[name] for name in args.sizes]
    return args


def cases(args):
    """What a row is about, small ones first within a network."""
    for preset in args.models:
        for dtype in args.dtypes:
            for batch in args.batches:
                for size in args.sizes:
                    yield dict(preset=preset, dtype=dtype, size=size, batch=batch)


def rates(dtypes, args):
    """What the device can do at best, found in a process of its own."""
    words = ["--dtypes", *dtypes] + ["--quick"] * args.quick + ["--out"]
    return in_process("benchmarks.speed.speed_floor", words, args.row_seconds)


def one_row(case, args, left):
    """What `speed_row.py` finds, or what became of it."""
    if left <= 0:
        return {"status": "not in time", "why": f"{args.minutes:g} minutes were over"}
    settings = dict(case, repeats=args.repeats, seconds=args.seconds)
    settings.update(twin=args.twin, trace=args.trace)
    limit = min(left, args.row_seconds)
    return in_process("benchmarks.speed.speed_row", [json.dumps(settings)], limit)


def in_process(module, words, limit):
    """Runs a module that writes JSON to the file named last."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "found.json"
        command = [sys.executable, "-m", module, *words, str(out)]
        try:
            code, said = output_of(command, limit)
        except subprocess.TimeoutExpired:
            why = f"not done after {limit:.0f} s"
            if out.exists():  # all but what it was at
                found = json.loads(out.read_text())
                found["left_out"]["twin compiled"] = why
                return found
            return {"status": "not in time", "why": why}
        if code == 0:
            return json.loads(out.read_text())
    if code < 0:
        # What Linux does to whoever takes the last of the memory.
        return {"status": "failed", "why": f"killed by signal {-code}"}
    said = said.strip().splitlines()
    return {"status": "failed", "why": said[-1] if said else "it said nothing"}


def output_of(command, limit):
    """Exit status and error output of a process, of which nothing outlives this."""
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    # A group of its own: PyTorch's compiler starts workers, who keep the pipe open.
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        try:
            said = process.communicate(timeout=limit)[1]
            return process.returncode, said
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def add_floor(row, best):
    """Adds rates and floor: of the work that is needed, in whatever form it is done.

    The bytes are those of the form that moves less.
    """
    forms, dtype = row["forms"].values(), row["forms"]["plain"]["parameters_dtype"]
    width, height = row["size"]
    needed = needed_operations(PRESETS[row["preset"]], row["batch"], height, width)
    row["needed_multiply_adds"] = needed
    for form in forms:
        form |= achieved(needed, form["compiler_bytes"], form["step_ms"]["p50"])
    known = [f["compiler_bytes"] for f in forms if f["compiler_bytes"] is not None]
    least, bound = floor(
        2 * needed,
        min(known, default=None),
        best["flops_per_s"][dtype],
        best["bytes_per_s"],
    )
    row["floor_ms"], row["floor_by"] = least, bound
    for form in forms:
        form["of_floor"] = least / form["step_ms"]["p50"]


def show_tables(args):
    """Prints tables of files of results; with a page, also writes page and chart."""
    names = ("machine", "backend", "rates", "rows")
    files = [record.load(path, *names) for path in args.table]
    text = speed_text.all_tables(files)

    def draw(chart):
        from benchmarks.speed import speed_chart

        speed_chart.draw(files, chart)

    record.show(text, args.page, speed_text.MARK, draw)


if __name__ == "__main__":
    main()
