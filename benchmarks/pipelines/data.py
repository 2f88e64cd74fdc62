"""Times the ways to training clips: decoded PNG, cached arrays, synthesis; prints only.

    python -m benchmarks.pipelines.data [--quick] [--json FOLDER]

Batches are 8 clips of 13 frames of 256x256. PNG and cache hold the same two videos of
1280x720 in GoPro's layout, cropped at random as in training; synthesis films a
photograph, on the host and on the device. Each way runs alternately with the others.
Resident memory is that of a process of its own that reads cached batches.
"""

import argparse
import itertools
import pathlib
import statistics
import tempfile
import time

import cv2
import jax
import numpy as np

import mtujax
from benchmarks.helpers import record
from benchmarks.helpers.runs import peak_memory
from mtujax.data.clips import ClipSpec
from mtujax.data.locate import open_frames
from mtujax.data.pipeline import BatchSpec, training_batches
from mtujax.data.prepare import prepare_dataset
from mtujax.synthesis.device.clip import make_generator
from mtujax.synthesis.host.clip import synthesize
from mtujax.synthesis.settings import BlurSettings, Objects

BATCH, FRAMES, SIZE = 8, 13, 256
BLUR = BlurSettings(objects=Objects())
PHOTO = pathlib.Path(mtujax.__file__).parent / "assets" / "arches.jpg"
LENGTHS = (10, 100, 1000)
# Batches of a round: several times as many as threads keep ready.
AHEAD = {"png": 16, "cache": 64}
READING = """
import sys
from benchmarks.pipelines.data import batches
source = batches(sys.argv[1])
for _ in range(int(sys.argv[2])): next(source)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, no memory")
    record.add_json(parser)
    args = parser.parse_args()
    results = {"machine": record.machine_printed()}
    with tempfile.TemporaryDirectory() as folder:
        frames, cache = make_set(pathlib.Path(folder))
        ways = {
            "png": lambda: batches(frames),
            "cache": lambda: batches(cache),
            "numpy synthesis": filmed,
            "device synthesis": filmed_on_device,
        }
        rounds = 1 if args.quick else 3
        results["clips_per_second"] = paces(ways, rounds)
        results["memory"] = []
        for count in () if args.quick else LENGTHS:
            peak = peak_memory(READING, cache, count)
            results["memory"].append({"batches": count, "peak_mb": peak})
            print(f"peak memory, {count} cached batches: {peak:.0f} MB", flush=True)
    record.write(results, "data", args.json)


def make_set(folder):
    """Two videos of 20 frames as PNG, and the cached form of them."""
    root = folder / "set"
    photo = cv2.resize(cv2.imread(str(PHOTO)), (1600, 1200))
    noise = np.random.default_rng(0)
    for video, kind in itertools.product(("a", "b"), ("blur", "sharp")):
        place = root / "train" / video / kind
        place.mkdir(parents=True)
        for number in range(20):
            frame = photo[4 * number :][:720, 10 * number :][:, :1280].astype(float)
            frame += noise.normal(0, 2, frame.shape)
            frame = np.clip(frame, 0, 255).astype(np.uint8)
            cv2.imwrite(str(place / f"{number:04d}.png"), frame)
    prepare_dataset("pairs", root, folder / "sets", raw=True)
    return root, folder / "sets"


def batches(path):
    """Endless training batches from a set."""
    frames = open_frames("pairs", path, split="train")
    spec = BatchSpec(batch=BATCH, crop=SIZE)
    return training_batches(frames, ClipSpec(frames=FRAMES), spec=spec)


def filmed():
    """Endless batches made by NumPy and OpenCV."""
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    settings = dict(frames=FRAMES, height=SIZE, width=SIZE, blur=BLUR)
    rng = np.random.default_rng(0)
    while True:
        clips = [synthesize(photo, rng, **settings) for _ in range(BATCH)]
        yield {"blurry": np.stack([clip.blurry for clip in clips])}


def filmed_on_device():
    """Endless batches made by JAX."""
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    resident, generate = make_generator(
        [photo], batch=BATCH, frames=FRAMES, size=SIZE, blur=BLUR
    )
    for number in itertools.count():
        yield jax.block_until_ready(generate(resident, jax.random.key(number)))


def paces(ways, rounds):
    """Clips per second of each way: medians over the rounds.

    Each round starts over, after one batch, and takes so many that those made ahead in
    threads meanwhile hardly count.
    """
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, make in ways.items():
            source, count = make(), AHEAD.get(name, 1)
            next(source)
            started = time.perf_counter()
            for _ in range(count):
                next(source)
            times[name].append((time.perf_counter() - started) / count)
            source.close()
    found = {name: BATCH / statistics.median(seen) for name, seen in times.items()}
    for name, pace in found.items():
        print(f"{name}: {pace:.2f} clips/s", flush=True)
    return found


if __name__ == "__main__":
    main()
