"""Deblurs a folder of frames with an exported step; needs JAX, but not mtujax.

    mtujax export mtu2 step --stablehlo           # where mtujax is installed
    pip install jax flatbuffers opencv-python     # elsewhere
    python examples/run_stablehlo.py step IN OUT

A deployment in one file, to be taken as a pattern: any frame source would do.
"""

import argparse
import json
import pathlib
import sys

import cv2
import jax
import numpy as np


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", type=pathlib.Path, help="folder of the exported step")
    parser.add_argument("input", type=pathlib.Path, help="folder of frames")
    parser.add_argument("output", type=pathlib.Path, help="folder to create")
    args = parser.parse_args()
    if not (args.step / "manifest.json").is_file():
        sys.exit(f"{args.step}: no exported step; `mtujax export --stablehlo` makes it")
    suffixes = (".png", ".jpg", ".jpeg")
    paths = sorted(p for p in args.input.glob("*") if p.suffix.lower() in suffixes)
    if not paths:
        sys.exit(f"{args.input}: has no PNG or JPEG frames")
    args.output.mkdir(parents=True, exist_ok=True)
    restored = deblur(args.step, (read(path) for path in paths))
    for path, frame in zip(paths, restored, strict=True):
        cv2.imwrite(str(args.output / f"{path.stem}.png"), frame[..., ::-1])
    print(f"{args.output}: {len(paths)} frames")


def read(path):
    """A frame [H, W, 3] uint8, RGB."""
    frame = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if frame is None:
        sys.exit(f"{path}: cannot be read as an image")
    return frame[..., ::-1]


def deblur(folder, frames):
    """Restores frames one after the other; holds no more than the window.

    Args:
        folder: of the exported step.
        frames: [H, W, 3] uint8 each, of one size.

    Yields:
        As many restored frames like them.
    """
    manifest = json.loads((folder / "manifest.json").read_text())
    step = jax.export.deserialize(bytearray((folder / "step.jax").read_bytes())).call
    step = jax.jit(step, donate_argnums=0)  # compiled once, for one size of frames
    before, after = manifest["lookback"], manifest["lookahead"]
    state, window = None, []
    for frame in with_ends(frames, before, after):
        height, width = frame.shape[:2]
        window = [*window, padded(frame, manifest["frames"]["multiple"])]
        if len(window) <= before + after:
            continue
        if state is None:
            state = first_state(manifest, *window[0].shape[:2])
        state, restored = step(state, np.stack(window)[None])
        window = window[1:]
        yield np.asarray(restored)[0, :height, :width]


def with_ends(frames, before, after):
    """Frames with the first and the last one repeated, as the window asks."""
    last = None
    for frame in frames:
        if last is None:
            yield from [frame] * before
        last = frame
        yield frame
    yield from [last] * after


def padded(frame, multiple):
    """Extends a frame below and to the right, by reflection."""
    height, width = frame.shape[:2]
    edges = (0, -height % multiple), (0, -width % multiple), (0, 0)
    return np.pad(frame, edges, mode="reflect")


def first_state(manifest, height, width):
    """What stands before the first frame of a video: arrays by name."""
    multiple = manifest["frames"]["multiple"]
    sizes = {"b": 1, "h": height // multiple, "w": width // multiple}
    sizes |= {f"{multiple}{n}": multiple * sizes[n] for n in "hw"}
    return {
        name: np.full(
            [sizes[n] if n in sizes else int(n) for n in array["shape"].split()],
            array["start"],
            array["dtype"],
        )
        for name, array in manifest["state"].items()
    }


if __name__ == "__main__":
    main()
