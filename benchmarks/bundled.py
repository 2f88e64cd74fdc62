"""All figures of a model card, from one command; prints Markdown.

    python benchmarks/bundled.py SET [--weights mtu2] [--beside FRAMES] [--json FOLDER]

SET is the fixed validation set (docs/validation.md), or any in the layout `pairs`; its
split `test` counts. Scored by `mtujax.evaluate`, with PSNR by `rt-paper`:

    restored    the blurry clips, beside the blurry frames themselves, with motion
                accuracy and warping error
    sharp       the sharp clips as input, against themselves
    at rest     the middle sharp frame of each clip, repeated
    beside      results of other methods, as `benchmarks/classical.py` writes them

What bundled weights must reach is `bundled_text.limits`.
"""

import argparse
import dataclasses
import pathlib
import tempfile

import jax.numpy as jnp
import record
from bundled_text import PAPER, clip_table, limit_table, limits, method_table

from mtujax import restore_clip
from mtujax.data.folders import find
from mtujax.data.images import read_image
from mtujax.errors import UserError
from mtujax.evaluation import evaluate
from mtujax.ops.unit_range import to_unit_range
from mtujax.progress import FrameProgress
from mtujax.results import plain, to_json
from mtujax.scripts import run_script
from mtujax.subjects import open_subject
from mtujax.table_text import markdown

QUICK = 2, 5  # clips, and frames of each
REST, SETTLED = 10, 4  # frames of a clip at rest; those before its changes count


class Clips:
    """The clips of a set, handed on as links under any arrangement."""

    def __init__(self, path, *, quick=False):
        """Lists them; `quick` takes a few short ones."""
        found = find("pairs", path, None)
        if "test" not in found.splits:
            raise UserError(f"{path}: has no split test")
        most, frames = QUICK if quick else (None, None)
        self.pairs = {}
        for video in found.splits["test"][:most]:
            count = len(video.pairs[:frames])
            self.pairs[video.name] = [video.paths(n) for n in range(count)]

    def as_set(self, root, pairs):
        """Links pairs of files by clip as a set; gives its folder."""
        for clip, files in pairs.items():
            for side, kind in enumerate(("blur", "sharp")):
                folder = root / "test" / clip / kind
                folder.mkdir(parents=True)
                for at, pair in enumerate(files):
                    path = pair[side].absolute()
                    (folder / f"{at:05d}{path.suffix}").symlink_to(path)
        return root

    def as_results(self, root, path_of):
        """Links a file for each frame as results; gives their folder."""
        for clip, files in self.pairs.items():
            (root / clip).mkdir(parents=True)
            for at, (blurry, _) in enumerate(files):
                path = path_of(clip, blurry).absolute()
                if not path.exists():
                    raise UserError(f"{path}: missing")
                (root / clip / f"{at:05d}{path.suffix}").symlink_to(path)
        return root


def measure(args, clips, folder):
    """Every evaluation by name, and the changes at rest by clip."""
    subject = open_subject(args.weights)
    whole = clips.as_set(folder / "set", clips.pairs)
    sharp = {clip: [(s, s) for _, s in files] for clip, files in clips.pairs.items()}
    sharp = clips.as_set(folder / "sharp", sharp)
    blurry = clips.as_results(folder / "blurry", lambda clip, path: path)
    motion = subject.model.config.motion_compensation
    options = {
        "restored": dict(weights=args.weights, path=whole, motion=motion),
        "blurry": dict(results=blurry, path=whole),
        "sharp": dict(weights=args.weights, path=sharp, protocols=(PAPER,)),
    }
    for other in sorted(args.beside.iterdir()) if args.beside else ():
        if not other.is_dir() or other.name.startswith("."):
            continue
        if other.name in options:
            raise UserError(f"{other}: name it otherwise, there is one here as well")
        linked = clips.as_results(
            folder / "beside" / other.name,
            lambda clip, path, other=other: other / clip / f"{path.stem}.png",
        )
        options[other.name] = dict(results=linked, path=whole)
    found = {}
    for name, chosen in options.items():
        with FrameProgress(name, stderr=True) as progress:
            found[name] = evaluate(
                dataset="pairs",
                out=(args.out or folder / "out") / name,
                consistency=name != "sharp",
                on_frames=progress,
                **chosen,
            )
    rest = {
        clip: at_rest(subject, read_image(files[len(files) // 2][1]))
        for clip, files in clips.pairs.items()
    }
    return found, rest


def at_rest(subject, image):
    """Largest and mean change between restored frames of one repeated, once settled."""
    still = jnp.repeat(to_unit_range(jnp.asarray(image))[None, None], REST, axis=1)
    restored = restore_clip(subject.model, subject.params, still)[1]
    changes = jnp.abs(jnp.diff(jnp.clip(restored[0, SETTLED:], 0, 1), axis=0))
    return {"largest": float(changes.max()), "mean": float(changes.mean())}


def bundled(args):
    if args.beside and not args.beside.is_dir():
        raise UserError(f"{args.beside}: no such folder of other methods' frames")
    about = record.machine_printed()
    clips = Clips(args.set, quick=args.quick)
    with tempfile.TemporaryDirectory() as folder:
        found, rest = measure(args, clips, pathlib.Path(folder))
    rows = limits(found, rest)
    tables = [clip_table(found, rest), method_table(found), limit_table(rows)]
    print(markdown(tables))
    told = {
        "machine": about,
        "evaluations": {name: to_json(one) for name, one in found.items()},
        "at_rest": rest,
        "limits": [dataclasses.asdict(row) | {"verdict": row.verdict} for row in rows],
    }
    method = found["restored"].method
    name = f"bundled-{method.name}-{method.sha256[:8]}"
    record.write(plain(told), name + "-quick" * args.quick, args.json)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("set", type=pathlib.Path, help="folder in the layout `pairs`")
    add("--weights", default="mtu2", help="bundled name, file or training run")
    add("--beside", type=pathlib.Path, help="folder with frames of other methods")
    add("--quick", action="store_true", help="few short clips, for a trial")
    add("--out", type=pathlib.Path, help="keeps what is finished, for a later start")
    record.add_json(parser)
    args = parser.parse_args()
    run_script("bundled.py", lambda: bundled(args))


if __name__ == "__main__":
    main()
