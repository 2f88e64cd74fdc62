"""Times decoder, network, encoder and all of them together; prints, never asserts.

    python -m benchmarks.pipelines.video [--quick] [--json FOLDER]

The clip is a photograph under a moving camera, in H.264. Each stage runs alone first,
then `deblur_video` runs all three; "overhead" is its time over that of the slowest
stage alone. Peak memory is that of a process of its own, over clips of growing length.
"""

import argparse
import pathlib
import statistics
import tempfile
import time
from fractions import Fraction

import cv2
import numpy as np

import mtujax
from benchmarks.helpers import record
from benchmarks.helpers.runs import peak_memory
from mtujax import deblur_video, load
from mtujax.config import DEFAULT_WEIGHTS
from mtujax.deblur.output import VideoSink
from mtujax.deblur.restorer import Restorer
from mtujax.video.codecs import choose
from mtujax.video.info import VideoInfo
from mtujax.video.reader import VideoReader
from mtujax.video.scene_cuts import Decoded
from mtujax.video.writer import VideoWriter

SIZES = {"640x360": (640, 360, 48), "1280x720": (1280, 720, 24)}
PHOTO = pathlib.Path(mtujax.__file__).parent / "assets" / "arches.jpg"
LENGTHS = (100, 1000, 3000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only 640x360, one round")
    record.add_json(parser)
    args = parser.parse_args()
    results = {"machine": record.machine_printed(), "stages": [], "memory": []}
    sizes = dict(list(SIZES.items())[:1]) if args.quick else SIZES
    for size, (width, height, count) in sizes.items():
        row = stages(width, height, count, rounds=1 if args.quick else 3)
        results["stages"].append({"size": size, "frames": count, **row})
        print(f"{size}: " + " | ".join(f"{k} {v:.2f}" for k, v in row.items()))
    for frames in LENGTHS[: 2 if args.quick else None]:
        peak = deblurred(frames)
        results["memory"].append({"frames": frames, "peak_mb": peak})
        print(
            f"peak memory, {DEFAULT_WEIGHTS}, 128x96, {frames} frames: {peak:.0f} MB",
            flush=True,
        )
    record.write(results, "video", args.json)


def write_clip(path, width, height, count):
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    photo = cv2.resize(photo, (width * 5 // 4, height * 5 // 4))
    info = VideoInfo(width, height, None, Fraction(30), Fraction(1, 30))
    with VideoWriter(path, info) as writer:
        for k in range(count):
            x = round(width / 8 * (1 + np.sin(0.2 * k)))
            y = round(height / 8 * (1 + np.cos(0.13 * k)))
            writer.write(photo[y : y + height, x : x + width], k)


def stages(width, height, count, rounds):
    """Frames per second of each stage and of the whole; medians over the rounds."""
    model, params = load(DEFAULT_WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        clip = pathlib.Path(folder) / "clip.mp4"
        write_clip(clip, width, height, count)
        frames, info = decode(clip)
        restore(model, params, frames[:3])  # compiles
        work = {
            "decode": lambda: decode(clip),
            "network": lambda: restore(model, params, frames),
            "encode": lambda: encode(folder, frames, info),
            "end to end": lambda: deblur_video(
                clip,
                pathlib.Path(folder) / "out.mp4",
                weights=(model, params),
                overwrite=True,
            ),
        }
        times = {name: [] for name in work}
        for _ in range(rounds):
            for name, run in work.items():
                started = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - started)
    slowest = [max(t[:3]) for t in zip(*times.values(), strict=True)]
    overhead = [e / s - 1 for e, s in zip(times["end to end"], slowest, strict=True)]
    rates = {name: count / statistics.median(t) for name, t in times.items()}
    return {
        **{f"{name}, frames/s": rate for name, rate in rates.items()},
        "overhead, %": 100 * statistics.median(overhead),
    }


def decode(clip):
    with VideoReader(clip) as reader:
        return [frame for frame, _ in reader.frames()], reader.info


def restore(model, params, frames):
    return list(Restorer(model, params).restore(Decoded(f, None) for f in frames))


def encode(folder, frames, info):
    sink = VideoSink(pathlib.Path(folder), "bench", info, choose(".mp4", info))
    for number, frame in enumerate(frames):
        sink.write(frame, round(number / info.rate / info.time_base))
    sink.publish(pathlib.Path(folder) / "encoded.mp4", overwrite=True)


def deblurred(frames):
    """Peak resident memory in MB of a process that deblurs `frames`."""
    code = "import sys; from mtujax import deblur_video; deblur_video(*sys.argv[1:])\n"
    with tempfile.TemporaryDirectory() as folder:
        clip = pathlib.Path(folder) / "clip.mp4"
        write_clip(clip, 128, 96, frames)
        return peak_memory(code, clip, clip.with_name("out.mp4"))


if __name__ == "__main__":
    main()
