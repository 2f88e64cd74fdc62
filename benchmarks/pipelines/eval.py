"""Times the metrics of a frame, and an evaluation beside its stages alone.

    python -m benchmarks.pipelines.eval [--quick] [--json FOLDER]

Prints tables, never asserts. The evaluation's frames are drawn and lie on disk as PNG
in the layout of GoPro; weights are drawn: neither changes the work done.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import cv2
import jax
import numpy as np

from benchmarks.helpers import record
from mtujax import PRESETS, MTUNet, inference_params, init_params
from mtujax.data.locate import open_frames
from mtujax.evaluation.api import evaluate
from mtujax.metrics.protocols import DEFAULT, PROTOCOLS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small frames, 2 rounds")
    record.add_json(parser)
    args = parser.parse_args()
    about = record.machine_printed()
    height, width = (96, 128) if args.quick else (720, 1280)
    metrics = metric_times(height, width, rounds=2 if args.quick else 7)
    print(f"metrics of a {width}x{height} frame, ms: first call, median of later ones")
    for name, (first, later) in metrics.items():
        print(f"  {name:16}{first:10.0f}{later:10.1f}")
    whole = {"metrics_ms": metrics, "evaluation": None}
    size = (64, 96) if args.quick else (360, 640)
    whole["evaluation"] = found = evaluation_times(
        *size, frames=6 if args.quick else 24
    )
    print(f"evaluation of {found['frames']} frames {size[1]}x{size[0]}, s:")
    for name, seconds in found["seconds"].items():
        print(f"  {name:24}{seconds:8.2f}")
    print(f"  all beside its slowest stage: {found['ratio']:.2f}")
    record.write({"machine": about, **whole}, "eval", args.json)


def metric_times(height, width, *, rounds):
    """(first call, median of later ones) in ms, by protocol and for the default."""
    rng = np.random.default_rng(0)
    sharp = cv2.GaussianBlur(rng.random((height, width, 3), np.float32), (0, 0), 3)
    sharp = (255 * (sharp - sharp.min()) / np.ptp(sharp)).astype(np.uint8)
    restored = np.roll(sharp, 1, axis=1)
    pair = [jax.device_put(image[None]) for image in (restored, sharp)]
    times = {}
    for names in (DEFAULT, *((name,) for name in PROTOCOLS)):
        milliseconds = []
        for _ in range(rounds + 1):
            started = time.perf_counter()
            jax.block_until_ready([PROTOCOLS[name].score(*pair) for name in names])
            milliseconds.append(1e3 * (time.perf_counter() - started))
        times[" + ".join(names)] = milliseconds[0], statistics.median(milliseconds[1:])
    return times


def evaluation_times(height, width, frames):
    """Seconds of an evaluation, and of decoding and of the device alone."""
    model = MTUNet(PRESETS["mtu1"])
    params = inference_params(init_params(model, jax.random.key(0)))
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        write_set(root / "set", height, width, frames)
        found = evaluate(
            (model, params),
            dataset="gopro",
            path=root / "set",
            out=root / "out",
            name="drawn",
            batch=1,
        )
        seconds = dict(found.seconds)
        started = time.perf_counter()
        source = open_frames("gopro", root / "set", split="test")
        for video in range(len(source.videos)):
            for number in range(frames):
                source.read(video, {"blurry": [number], "sharp": [number]})
        seconds["decoding alone"] = time.perf_counter() - started
    after_compiling = seconds["all"] - seconds["compile"]
    slowest = max(seconds["device"], seconds["decoding alone"])
    seconds["all but compiling"] = after_compiling
    return {
        "frames": 2 * frames,
        "size": [width, height],
        "seconds": seconds,
        "ratio": after_compiling / slowest,
    }


def write_set(root, height, width, frames):
    rng = np.random.default_rng(1)
    for video in ("one", "two"):
        for kind in ("blur_gamma", "sharp"):
            folder = root / "GOPRO_Large" / "test" / video / kind
            folder.mkdir(parents=True)
            for number in range(frames):
                image = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
                image = cv2.resize(image, (width, height))
                cv2.imwrite(str(folder / f"{number:06d}.png"), image)


if __name__ == "__main__":
    main()
