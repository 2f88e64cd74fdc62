"""All figures of a model card, from one command; prints Markdown.

    python -m benchmarks.weights.bundled SET [--weights fast] [--beside FRAMES]
        [--json FOLDER]
    python -m benchmarks.weights.bundled [SET] --real FOLDER [--real-beside FRAMES] ...

SET is the fixed validation set (docs/reference/validation-set.md), or any in the layout
`pairs`; its split `test` counts. Scored by `mtujax.evaluate`, with PSNR by `rt-paper`:

    restored    the blurry clips, beside the blurry frames themselves, with motion
                accuracy and warping error
    sharp       the sharp clips as input, against themselves
    at rest     the middle sharp frame of each clip, repeated
    beside      results of other methods, as `benchmarks/classical.py` writes them

--real names scenes of real blur, in the layout `pairs` as well: their split `test`, or
all where there are no splits. Every frame counts there (`kair`: such clips are short).
Without SET they alone are scored, which takes a minute in place of many.

What bundled weights must reach is `bundled_text.limits`.
"""

import argparse
import dataclasses
import pathlib
import tempfile

import jax.numpy as jnp

from benchmarks.helpers import record
from benchmarks.helpers.limits import limit_table
from benchmarks.weights.bundled_text import (
    ALL_FRAMES,
    PAPER,
    Scores,
    clip_table,
    gain_table,
    limits,
    method_table,
)
from mtujax import restore_clip
from mtujax.cli.entry import run_script
from mtujax.common.dataclass_json import plain
from mtujax.common.progress import FrameProgress
from mtujax.common.text import markdown
from mtujax.config import DEFAULT_WEIGHTS
from mtujax.data.folders import find
from mtujax.errors import UserError
from mtujax.evaluation.api import evaluate
from mtujax.evaluation.results import to_json
from mtujax.evaluation.subject import open_subject
from mtujax.ops.resampling import to_unit_range
from mtujax.video.image_files import read_image

QUICK = 2, 5  # clips, and frames of each
REST, SETTLED = 10, 4  # frames of a clip at rest; those before its changes count


def split_of(path):
    """The split of a set that is scored: `test`; all of one without splits.

    Args:
        path: folder in the layout `pairs`.

    Returns:
        Its name, and its videos.

    Raises:
        UserError: if the folder holds none.
    """
    splits = find("pairs", path, None).splits
    if "test" in splits:
        return "test", splits["test"]
    videos = splits.get("train", ())
    if not videos or (path / "train" / videos[0].name).is_dir():
        raise UserError(f"{path}: has no split test")
    return "train", videos


class Clips:
    """The clips of a set, handed on as links under any arrangement."""

    def __init__(self, path, *, quick=False):
        """Lists them; `quick` takes a few short ones."""
        _, videos = split_of(path)
        most, frames = QUICK if quick else (None, None)
        self.pairs = {}
        for video in videos[:most]:
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

    def methods(self, folder, beside=None):
        """Frames that others restored, linked as results, and the blurry ones."""
        linked = {"blurry": self.as_results(folder / "blurry", lambda clip, path: path)}
        for other in sorted(beside.iterdir()) if beside else ():
            if not other.is_dir() or other.name.startswith("."):
                continue
            if other.name in ("restored", "sharp", *linked):
                raise UserError(f"{other}: name it otherwise, there is one here too")
            linked[other.name] = self.as_results(
                folder / "beside" / other.name,
                lambda clip, path, other=other: other / clip / f"{path.stem}.png",
            )
        return linked


def measure(args, clips, folder):
    """Every evaluation by name, and the changes at rest by clip."""
    subject = open_subject(args.weights)
    whole = clips.as_set(folder / "set", clips.pairs)
    sharp = {clip: [(s, s) for _, s in files] for clip, files in clips.pairs.items()}
    sharp = clips.as_set(folder / "sharp", sharp)
    motion = subject.model.config.motion_compensation
    steady = dict(path=whole, consistency=True)
    options = {
        "restored": dict(weights=args.weights, motion=motion, **steady),
        "sharp": dict(weights=args.weights, path=sharp, protocols=(PAPER,)),
    }
    for name, results in clips.methods(folder, args.beside).items():
        options[name] = dict(results=results, **steady)
    found = evaluations(options, args.out or folder / "out")
    rest = {
        clip: at_rest(subject, read_image(files[len(files) // 2][1]))
        for clip, files in clips.pairs.items()
    }
    return found, rest


def measure_real(args, clips, folder):
    """The evaluations of real scenes by name."""
    scored = dict(
        path=clips.as_set(folder / "set", clips.pairs), protocols=(ALL_FRAMES,)
    )
    options = {"restored": dict(weights=args.weights, **scored)}
    for name, results in clips.methods(folder, args.real_beside).items():
        options[name] = dict(results=results, **scored)
    out = args.out / "real" if args.out else folder / "out"
    return evaluations(options, out, "real scenes, ")


def evaluations(options, out, title=""):
    """Evaluates everything, by name."""
    found = {}
    for name, chosen in options.items():
        with FrameProgress(title + name, stderr=True) as progress:
            found[name] = evaluate(
                dataset="pairs", out=out / name, on_frames=progress, **chosen
            )
    return found


def at_rest(subject, image):
    """Largest and mean change between restored frames of one repeated, once settled."""
    still = jnp.repeat(to_unit_range(jnp.asarray(image))[None, None], REST, axis=1)
    restored = restore_clip(subject.model, subject.params, still)[1]
    changes = jnp.abs(jnp.diff(jnp.clip(restored[0, SETTLED:], 0, 1), axis=0))
    return {"largest": float(changes.max()), "mean": float(changes.mean())}


def bundled(args):
    for beside in filter(None, (args.beside, args.real_beside)):
        if not beside.is_dir():
            raise UserError(f"{beside}: no such folder of other methods' frames")
    about = record.machine_printed()
    scores = Scores()
    given = {"set": args.set, "real": args.real}
    # Both are looked at before work that takes minutes.
    given = {n: Clips(path, quick=args.quick) for n, path in given.items() if path}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if "real" in given:
            scores.real = measure_real(args, given["real"], folder / "real")
        if "set" in given:
            scores.found, scores.rest = measure(args, given["set"], folder / "fixed")
    rows = limits(scores)
    tables = [limit_table(rows)]
    if scores.real:
        tables.insert(0, gain_table(scores))
    if scores.found:
        both = clip_table(scores.found, scores.rest), method_table(scores.found)
        tables[:0] = both
    print(markdown(tables))
    values = {
        "machine": about,
        "evaluations": {name: to_json(one) for name, one in scores.found.items()},
        "at_rest": scores.rest,
        "real": {name: to_json(one) for name, one in scores.real.items()},
        "limits": [dataclasses.asdict(row) | {"verdict": row.verdict} for row in rows],
    }
    method = (scores.found or scores.real)["restored"].method
    name = f"bundled-{method.name}-{method.sha256[:8]}"
    name += "-real" * (not scores.found) + "-quick" * args.quick
    record.write(plain(values), name, args.json)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("set", nargs="?", type=pathlib.Path, help="folder in the layout `pairs`")
    add("--real", type=pathlib.Path, help="folder of real scenes, likewise")
    add("--weights", default=DEFAULT_WEIGHTS, help="bundled name, file or training run")
    add("--beside", type=pathlib.Path, help="folder with frames of other methods")
    add("--real-beside", type=pathlib.Path, help="the same, of the real scenes")
    add("--quick", action="store_true", help="few short clips, for a trial")
    add("--out", type=pathlib.Path, help="keeps what is finished, for a later start")
    record.add_json(parser)
    args = parser.parse_args()
    if not args.set and not args.real:
        parser.error("give the folder of a set, or --real FOLDER, or both")
    if args.beside and not args.set or args.real_beside and not args.real:
        parser.error("--beside needs a set, --real-beside needs --real")
    run_script("bundled.py", lambda: bundled(args))


if __name__ == "__main__":
    main()
