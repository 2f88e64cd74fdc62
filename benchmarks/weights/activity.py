"""Which channels of a network carry nothing, layer by layer, on real frames.

    python -m benchmarks.weights.activity FOLDER_OR_VIDEO ... [--weights fast]
        [--frames 15] [--json FOLDER]

A channel is dead if it is above zero in less than 0.1 % of the pixels of all frames
given; in a network with a slope below zero, if it has the same value everywhere.
"""

import argparse

import numpy as np

from benchmarks.helpers import record
from mtujax.cli.entry import run_script
from mtujax.common.text import Column, Table, markdown
from mtujax.config import DEFAULT_WEIGHTS, DTYPES
from mtujax.evaluation.subject import open_subject
from mtujax.training.dead_channels import dead_counts, dead_masks
from mtujax.video.inputs import open_reader


def first_frames(path, count):
    """[T, H, W, 3], the first frames of a folder or video."""
    frames = []
    with open_reader(path) as reader:
        for frame, _ in reader.frames():
            frames.append(frame)
            if len(frames) == count:
                break
    return np.stack(frames)


def table(name, layers, frames):
    """A row for each layer with dead channels, then all of them together."""
    rows = [
        (layer, f"{dead} of {channels}", f"{dead / channels:.0%}")
        for layer, (dead, channels) in layers.items()
        if dead
    ]
    dead, channels = np.sum(list(layers.values()), axis=0)
    rows.append(
        (f"all {len(layers)}", f"{dead} of {channels}", f"{dead / channels:.0%}")
    )
    heads = Column("layer", align="l"), Column("dead channels"), Column("share")
    return Table("activity", f"{name}, {frames} frames", heads, tuple(rows))


def activity(args):
    about = record.machine_printed()
    subject = open_subject(args.weights, dtype=args.dtype)
    clips = [first_frames(path, args.frames) for path in args.clips]
    layers = dead_counts(dead_masks(subject.model, subject.params, clips))
    frames = sum(map(len, clips))
    print(markdown([table(subject.method.name, layers, frames)]))
    results = {"machine": about, "sha256": subject.method.sha256, "frames": frames}
    results["layers"] = layers
    record.write(results, f"activity-{subject.method.name}", args.json)
    return 0


def frame_count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be 1 or more")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("clips", nargs="+", help="folders of blurry frames, or videos")
    add("--weights", default=DEFAULT_WEIGHTS, help="bundled name, file or training run")
    add("--frames", type=frame_count, default=15, help="of each, at most")
    add("--dtype", choices=DTYPES, help="compute precision")
    record.add_json(parser)
    args = parser.parse_args()
    run_script("activity.py", lambda: activity(args))


if __name__ == "__main__":
    main()
