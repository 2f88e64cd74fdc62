"""Times many videos by one command, by a command each and on Ray; and the memory.

    python -m benchmarks.pipelines.many [--quick] [--only NAME ...] [--clips N]
        [--frames N] [--batches N ...] [--json FOLDER]

The clips are a photograph under a moving camera, in H.264, all of one size. What
`--only` names is measured, else the first three:

- `one`: one command for all of them, with the compiled programs on disk as a second
  start finds them.
- `each`: a command for each, in processes of their own.
- `memory`: the peak of one process over ever more clips of 64x48; it should not grow.
- `ray`: two workers with a core each, of a cluster on this machine (extra `ray`).
- `lost`: the same, but a worker's node is killed after the first video, and another
  takes its place.

`--batches` also times so many clips side by side on the device against one at a time,
in turn and with all compiled.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.helpers import record
from benchmarks.helpers.runs import peak_memory
from benchmarks.pipelines.video import write_clip
from mtujax.config import DEFAULT_WEIGHTS

_ROUNDS = 3
_PARTS = ["one", "each", "memory", "ray", "lost"]
_SMALL = {"width": 64, "height": 48, "frames": 8}  # clips of the memory's
_DEBLUR = """
import sys
from mtujax import deblur_videos
deblur_videos(*sys.argv[1:3], weights=sys.argv[3])
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 clips of 8 frames")
    parser.add_argument("--clips", type=int, help="in place of 40")
    parser.add_argument("--frames", type=int, help="of each, in place of 150")
    parser.add_argument("--batches", type=int, nargs="*", default=(), metavar="N")
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS[:3])
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS)
    record.add_json(parser)
    args = parser.parse_args()
    kind = (64, 48, 8) if args.quick else (320, 180, 150)
    count = args.clips or (3 if args.quick else 40)
    kind = *kind[:2], args.frames or kind[2]
    lengths = (1, 3) if args.quick else (count, 10 * count)
    results = {"machine": record.machine_printed(), "weights": args.weights}
    timed = {part: run for part, run in _TIMED.items() if part in args.only}
    # Parts that are measured apart have files of their own.
    parts = "" if args.only == _PARTS[:3] else "-".join(["", *args.only])
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        if timed or args.batches:
            clips = write_clips(place / "in", count, *kind)
            results |= {"clips": count, "frames": kind[2]}
            results["size"] = f"{kind[0]}x{kind[1]}"
        if timed:
            first = write_clips(place / "first", 1, *kind[:2], 2)
            one_command(first, place / "compiles", args.weights)
            results["seconds"] = {}
        for part, run in timed.items():
            started = time.perf_counter()
            run(clips, place / part, args.weights)
            seconds = results["seconds"][part] = time.perf_counter() - started
            check(place / part, count)
            print(f"{count} clips of {kind[2]} frames, {part}: {seconds:.1f} s")
            record.keep(results, f"many{parts}", args.json)
        if args.batches:
            results["batches"] = batches(clips, place, args.weights, args.batches)
        for clips_now in lengths if "memory" in args.only else ():
            peak = memory(place / f"memory-{clips_now}", clips_now, args.weights)
            found = {"clips": clips_now, **_SMALL, "peak_mb": peak}
            results.setdefault("memory", []).append(found)
            print(f"peak memory of {clips_now} clips of 64x48: {peak:.0f} MB")
    record.write(results, f"many{parts}", args.json)


def write_clips(folder, count, width, height, frames):
    """Clips that are all the same, under names of their own."""
    folder.mkdir(parents=True)
    first = folder / "clip0.mp4"
    write_clip(first, width, height, frames)
    for number in range(1, count):
        shutil.copy(first, folder / f"clip{number}.mp4")
    return folder


def mtujax(*words):
    command = [sys.executable, "-m", "mtujax", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def one_command(clips, out, weights):
    mtujax("deblur", clips, "--to", out, "--weights", weights)


def commands(clips, out, weights):
    out.mkdir()
    for clip in sorted(clips.iterdir()):
        mtujax("deblur", clip, out / clip.name, "--weights", weights)


def on_ray(clips, out, weights, on_video=lambda *_: None):
    """On two nodes with a core each, with the start of the cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    from mtujax import deblur_videos

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    try:
        deblur_videos(
            clips,
            out,
            weights=weights,
            ray=cluster.address,
            on_video=lambda _: on_video(cluster, nodes),
        )
    finally:
        cluster.shutdown()


def on_dying_ray(clips, out, weights):
    """The same, but a node is killed after the first video, and replaced."""

    def replace(cluster, nodes):
        if nodes:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            cluster.add_node(num_cpus=1)
            nodes.clear()

    on_ray(clips, out, weights, replace)


_TIMED = {"one": one_command, "each": commands, "ray": on_ray, "lost": on_dying_ray}


def batches(clips, place, weights, sizes):
    """Seconds of each round by clips at a time, 1 among them; all in this process."""
    from mtujax import deblur_videos, load

    network, seconds = load(weights), {size: [] for size in (1, *sizes)}
    for number in range(_ROUNDS + 1):  # the first compiles
        for size, of_size in seconds.items():
            out, started = place / f"round-{number}-{size}", time.perf_counter()
            deblur_videos(clips, out, weights=network, batch=size)
            if number:
                of_size.append(time.perf_counter() - started)
    for size in sizes:
        ratios = [b / a for a, b in zip(seconds[1], seconds[size], strict=True)]
        print(
            f"{size} at a time: {statistics.median(ratios):.2f} of the time of one at "
            f"a time ({min(ratios):.2f} to {max(ratios):.2f})",
            flush=True,
        )
    return {str(size): of_size for size, of_size in seconds.items()}


def check(out, count):
    made = len(list(out.glob("*.mp4")))
    assert made == count, f"{out.name}: {made} of {count} clips"


def memory(place, count, weights):
    """Peak resident memory in MB of a process that deblurs so many clips."""
    clips = write_clips(place / "in", count, *_SMALL.values())
    return peak_memory(_DEBLUR, clips, place / "out", weights)


if __name__ == "__main__":
    main()
