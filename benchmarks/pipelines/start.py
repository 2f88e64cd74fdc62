"""Times a start of `mtujax deblur`: with nothing kept from before, and again.

    python -m benchmarks.pipelines.start [--quick] [--json FOLDER]

Each start is a process of its own. The first one finds no compiled programs on disk;
the later ones find what it left. Seconds count from the start of the
process: until the device is ready, until the first frame is restored, and until the
whole clip is written. Programs compiled and programs taken from disk are counted.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SIZES = {"360p": (640, 360), "720p": (1280, 720)}
EVENTS = {
    "/jax/compilation_cache/cache_hits": "from disk",
    "/jax/compilation_cache/compile_requests_use_cache": "asked for",
}
TIMES = "device ready, s", "first frame, s", "written, s"


def main():
    args = arguments()
    if args.child:
        return child(*args.child)
    from benchmarks.helpers import record

    results = {"machine": record.machine_printed(), "frames": args.frames, "rows": []}
    sizes = {"64x32": (64, 32)} if args.quick else SIZES
    for weights in args.weights:
        for name, size in sizes.items():
            row = {"weights": weights, "size": name} | starts(weights, size, args)
            results["rows"].append(row)
    print(table(results["rows"]))
    record.write(results, "start-quick" if args.quick else "start", args.json)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="tiny frames, only to see it run")
    add("--json", type=pathlib.Path, help="folder for the results")
    add("--weights", nargs="+", default=["fast"], help="bundled names")
    add("--frames", type=int, default=12, help="of the clip")
    add("--repeats", type=int, default=3, help="later starts, medians of which count")
    add("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.repeats = 1
    return args


def starts(weights, size, args):
    """Times of the first start, and medians of the later ones."""
    from benchmarks.pipelines.video import write_clip

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_clip(folder / "clip.mp4", *size, args.frames)
        first, *later = (once(folder, weights) for _ in range(1 + args.repeats))
        kept = list((folder / "cache").glob("*-cache"))
        megabytes = sum(file.stat().st_size for file in kept) / 1e6
    return {
        "first": first,
        "later": {k: statistics.median(run[k] for run in later) for k in first},
        "kept": {"programs": len(kept), "MB": megabytes},
    }


def once(folder, weights):
    words = [folder / "clip.mp4", folder / "out.mp4", folder / "cache", weights]
    # A time of day is what two processes have in common.
    environment = os.environ | {"MTUJAX_SPAWNED": repr(time.time())}
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"):
        environment.pop(name, None)
    command = [sys.executable, __file__, "--child", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"start.py: error: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def child(clip, out, cache, weights):
    """Restores as the command line does, and says when what had happened."""
    spawned = float(os.environ["MTUJAX_SPAWNED"])
    import jax
    from jax import monitoring

    from mtujax.common.hardware import use_cache
    from mtujax.deblur.api import deblur_video

    use_cache(cache)
    counts = dict.fromkeys(EVENTS.values(), 0)
    seconds = []

    def count(event, **_):
        if event in EVENTS:
            counts[EVENTS[event]] += 1

    monitoring.register_event_listener(count)
    jax.devices()

    def now(*_):
        seconds.append(time.time() - spawned)

    now()
    deblur_video(clip, out, weights=weights, overwrite=True, progress=now)
    now()
    found = dict(zip(TIMES, (*seconds[:2], seconds[-1]), strict=True))
    found["compiled"] = counts.pop("asked for") - counts["from disk"]
    print(json.dumps(found | counts))


def table(rows):
    """The times and counts as Markdown."""
    from mtujax.common.text import Column, Table, markdown

    names = list(rows[0]["first"])
    heads = ["weights", "size", "start", *names]
    cells = [
        (row["weights"], row["size"], start, *(f"{row[start][n]:.3g}" for n in names))
        for row in rows
        for start in ("first", "later")
    ]
    return markdown([Table("start", "Starts", [Column(h) for h in heads], cells)])


if __name__ == "__main__":
    main()
