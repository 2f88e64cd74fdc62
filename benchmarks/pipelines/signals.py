"""Measures how soon each command obeys SIGTERM in its first seconds.

    python -m benchmarks.pipelines.signals --count 10

It starts each command that often, sends the
signal at a random moment, and prints how long the process took to end.
"""

import argparse
import collections
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "deblur": "mtujax deblur in {out}.mp4",
    "demo": "mtujax demo {out}",
    "synthesize": "mtujax data synthesize photos {out} --clips 500",
    "check": "mtujax data check pairs set",
    "flow": "mtujax data flow pairs set --output {out}",
    "prepare": "mtujax data prepare pairs set --raw --output {out}",
    "show": "mtujax data show pairs set {out}.png",
    "train": "train.py --config=smoke --config.run={out}",
    "eval": "eval.py --weights=fast_live --dataset=pairs --path=set --out={out}",
    "bench": "mtujax bench --weights fast_live --size 320x180",
    "export": "mtujax export fast_live {out} --stablehlo",
    "weights": "mtujax weights",
}
LIMIT = 2.0
"""Seconds in which a signal is to be obeyed."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5, help="signals to each command")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the start")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("commands", nargs="*", default=list(COMMANDS))
    args = parser.parse_args()
    rng, total = random.Random(args.seed), collections.Counter()
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        _material(place)
        for name in args.commands:
            found = [
                _once(COMMANDS[name], place, rng.uniform(0, args.seconds))
                for _ in range(args.count)
            ]
            total.update(kind for kind, _ in found)
            seconds = sorted(s for kind, s in found if kind != "over before")
            worst = f", at most {seconds[-1]:.2f} s" if seconds else ""
            counts = collections.Counter(kind for kind, _ in found)
            print(f"{name}: {dict(counts)}{worst}", flush=True)
    print(f"all: {dict(total)}")


def _material(place):
    """Frames, photographs and a set, for the commands to work on."""
    asset = ROOT / "mtujax/assets/arches.jpg"
    (place / "photos").mkdir()
    shutil.copy(asset, place / "photos/arches.jpg")
    words = "data synthesize photos set --clips 4 --frames 20 --size 640x360"
    words = [sys.executable, "-m", "mtujax", *words.split()]
    for split in ("train", "test"):
        subprocess.run([*words, "--split", split], cwd=place, check=True)
    (clip, *_) = sorted((place / "set/test").glob("*/blur"))
    shutil.copytree(clip, place / "in")


def _once(command, place, seconds):
    """(what came of the signal, seconds until the process ended)."""
    out = place / "out"
    program, *words = command.format(out=out).split()
    start = ["-m", program] if program == "mtujax" else [str(ROOT / program)]
    process = subprocess.Popen(
        [sys.executable, *start, *words],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.wait(seconds)
        process.communicate()
        return "over before", 0.0
    except subprocess.TimeoutExpired:
        pass
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    _, said = process.communicate()
    took = time.monotonic() - sent
    for left in place.glob("out*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    if process.returncode not in (143, -signal.SIGTERM):
        return f"status {process.returncode}: {said.strip()[-80:]}", took
    if took <= LIMIT:
        return "obeyed", took
    return "late", took


if __name__ == "__main__":
    main()
