"""How much less wrong frames would have to be to be as steady as sharp ones.

    python -m benchmarks.weights.steadiness SET [--weights fast] [--shares 1 0.5]
        [--json FOLDER]

Restores the split `test` of a set in the layout `pairs`. Of what is wrong in each frame
a share is kept: sharp + share (restored - sharp), in 8 bits as the frames themselves,
so that the kind of the errors stays and their size falls. `mtujax.evaluate` scores
these: PSNR by `rt-paper`, and the warping error beside that of the sharp frames.
"""

import argparse
import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np

from benchmarks.helpers import record
from benchmarks.weights.bundled import Clips
from benchmarks.weights.bundled_text import PAPER, TOTAL, psnr_of, ratios
from mtujax.cli.entry import run_script
from mtujax.common.dataclass_json import plain
from mtujax.common.progress import FrameProgress
from mtujax.common.text import Column, Table, markdown
from mtujax.config import DEFAULT_WEIGHTS
from mtujax.evaluation.api import evaluate
from mtujax.ops.resampling import from_unit_range, to_unit_range
from mtujax.video.image_files import read_image
from mtujax.video.image_folder import FolderWriter, ImageKind

SHARES = 1.0, 0.5, 0.35, 0.25, 0.1


def between(sharp, restored, share):
    """A frame with a share of what is wrong in it: uint8 [H, W, 3], as both are."""
    sharp = to_unit_range(jnp.asarray(sharp))
    restored = to_unit_range(jnp.asarray(restored))
    return np.asarray(from_unit_range(sharp + share * (restored - sharp), jnp.uint8))


def write_share(clips, frames, folder, share):
    """Writes all frames of all clips with this share; gives their folder."""
    for clip, files in clips.pairs.items():
        (folder / clip).mkdir(parents=True)
        with FolderWriter(folder / clip) as writer:
            for blurry, sharp in files:
                name = f"{blurry.stem}.png"
                images = read_image(sharp), read_image(frames / clip / name)
                writer.write(between(*images, share), ImageKind(name))
    return folder


def measure(args, clips, folder):
    """(The method that restored, a row of figures for each share)."""
    out, rows = folder / "restored", []
    chosen = dict(dataset="pairs", path=args.set, protocols=(PAPER,))
    with FrameProgress("restored", stderr=True) as seen:
        found = evaluate(
            args.weights, out=out, save_frames=True, on_frames=seen, **chosen
        )
    for share in dict.fromkeys(args.shares):
        mixed = write_share(clips, out / "frames", folder / f"{share}", share)
        with FrameProgress(f"share {share}", stderr=True) as seen:
            scored = evaluate(
                results=mixed,
                out=folder / f"scores-{share}",
                consistency=True,
                on_frames=seen,
                **chosen,
            )
        steady = {clip: float(ratio) for clip, ratio in ratios(scored).items()}
        rows.append(
            {
                "share": share,
                "psnr": psnr_of(scored),
                "ratio": steady.pop(TOTAL),
                "ratio_most": max(steady.values()),
                "ratio_by_clip": steady,
            }
        )
    return found.method, rows


def table(rows):
    heads = "share of the errors", "PSNR", "warping error ratio", "most of a clip"
    cells = (
        (
            f"{row['share']:g}",
            f"{row['psnr']:.2f}",
            f"{row['ratio']:.3f}",
            f"{row['ratio_most']:.3f}",
        )
        for row in rows
    )
    return Table("steadiness", "Steadiness", tuple(map(Column, heads)), tuple(cells))


def steadiness(args):
    about = record.machine_printed()
    clips = Clips(args.set)
    with tempfile.TemporaryDirectory() as folder:
        method, rows = measure(args, clips, pathlib.Path(folder))
    print(markdown([table(rows)]))
    values = {"machine": about, "sha256": method.sha256, "shares": rows}
    record.write(
        plain(values), f"steadiness-{method.name}-{method.sha256[:8]}", args.json
    )
    return 0


def a_share(text):
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0 and at most 1")
    return share


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("set", type=pathlib.Path, help="folder in the layout `pairs`")
    add("--weights", default=DEFAULT_WEIGHTS, help="bundled name, file or training run")
    add("--shares", type=a_share, nargs="+", default=SHARES, help="of the errors")
    record.add_json(parser)
    args = parser.parse_args()
    run_script("steadiness.py", lambda: steadiness(args))


if __name__ == "__main__":
    main()
