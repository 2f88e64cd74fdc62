"""Deblurs a folder of frames with an exported step; needs JAX, but not mtujax.

    mtujax export fast step --stablehlo           # where mtujax is installed
    pip install jax flatbuffers opencv-python     # elsewhere
    python examples/run_stablehlo.py step IN OUT  # folders, all three

`step` is the folder that the export made, not the file `step.jax` in it. This is a
deployment in one file, to be taken as a pattern: any frame source would do.
"""

import argparse
import itertools
import json
import pathlib
import shutil
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
    manifest, step = load(args.step)
    paths = frames_in(args.input)
    if args.output.exists():
        sys.exit(f"{args.output}: exists already; name another folder")
    part = args.output.with_name(f"{args.output.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        restored = deblur(manifest, step, read_all(paths))
        for path, frame in zip(paths, restored, strict=True):
            if not cv2.imwrite(str(part / f"{path.stem}.png"), frame[..., ::-1]):
                sys.exit(f"{part}: cannot be written")
        part.rename(args.output)
    except OSError as error:
        sys.exit(f"{args.output}: cannot be written ({error.strerror})")
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{args.output}: {len(paths)} frames")


def load(folder):
    """The manifest and the step, which is compiled once, for one size of frames."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        program = (folder / "step.jax").read_bytes()
        exported = jax.export.deserialize(bytearray(program))
    except OSError:
        sys.exit(
            f"{folder}: not the folder of an exported step, which `mtujax export "
            "--stablehlo` makes"
        )
    except Exception as error:  # of any kind: what is read may be garbage
        sys.exit(f"{folder}: damaged, or too old for this JAX ({error})")
    return manifest, jax.jit(exported.call, donate_argnums=0)


def frames_in(folder):
    """Paths of the frames, each of which will become NAME.png."""
    suffixes = (".png", ".jpg", ".jpeg")
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in suffixes)
    if not paths:
        sys.exit(f"{folder}: has no PNG or JPEG frames")
    for one, other in itertools.pairwise(paths):
        if one.stem == other.stem:
            sys.exit(f"{one}: {other.name} has the same name; rename one of them")
    return paths


def read_all(paths):
    """The frames [H, W, 3] uint8, RGB, all of one size."""
    size = None
    for path in paths:
        frame = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if frame is None:
            sys.exit(f"{path}: cannot be read as an image")
        size = size or frame.shape
        if frame.shape != size:
            sys.exit(
                f"{path}: is {frame.shape[1]}x{frame.shape[0]}, but the first frame is "
                f"{size[1]}x{size[0]}; give frames of one size"
            )
        yield frame[..., ::-1]


def deblur(manifest, step, frames):
    """Restores frames one after the other; holds no more than the window.

    Args:
        manifest: of the exported step.
        step: it.
        frames: [H, W, 3] uint8 each, of one size.

    Yields:
        As many restored frames like them.
    """
    before, after = manifest["lookback"], manifest["lookahead"]
    state, window = None, []
    for frame in with_ends(frames, before, after):
        height, width = frame.shape[:2]
        window = [*window, padded(frame, **sides(manifest))]
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


def sides(manifest):
    """What the sides of a frame must be a multiple of, and no less than."""
    return {name: manifest["frames"][name] for name in ("multiple", "least")}


def padded(frame, multiple, least):
    """Extends a frame below and to the right, by reflection."""
    wanted = [max(-(-n // multiple) * multiple, least) for n in frame.shape[:2]]
    edges = [(0, n - old) for n, old in zip(wanted, frame.shape[:2], strict=True)]
    return np.pad(frame, [*edges, (0, 0)], mode="reflect")


def first_state(manifest, height, width):
    """What stands before the first frame of a video: arrays by name."""
    multiple = manifest["frames"]["multiple"]
    sizes = {"b": 1, "h": height // multiple, "w": width // multiple}

    def length(text):  # "32", "b", "w", or "8h": eight times h
        if text[-1] not in sizes:
            return int(text)
        return int(text[:-1] or 1) * sizes[text[-1]]

    return {
        name: np.full(
            [*map(length, array["shape"].split())], array["start"], array["dtype"]
        )
        for name, array in manifest["state"].items()
    }


if __name__ == "__main__":
    main()
