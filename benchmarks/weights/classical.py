"""Restores a set by classical methods, which a network must beat.

    python -m benchmarks.weights.classical SET OUT [--methods unsharp ...]
        [--json FOLDER]
    python eval.py --results=OUT/unsharp --dataset=pairs --path=SET

Reads the split `test` of a set in the layout `pairs`, or all of one without splits, and
writes OUT/METHOD/{VIDEO/FRAME,chosen.json}. Methods, by scikit-image:

    unsharp                 unsharp masking of frames as they are stored
    richardson_lucy         Richardson-Lucy deconvolution in linear light, where blur
                            arises; the point spread is a Gaussian
    richardson_lucy_motion  the same; the point spread is a straight line for each
                            frame: the motion between the blurry frames around it, which
                            anybody can estimate (median of OpenCV's flow), times the
                            exposure's share of the frame interval

Settings are chosen in the methods' favour: for each clip by itself those of the grid
that bring its frames closest to the sharp ones, which needs these;
one is to leave the clip as it is. What would be chosen for all clips alike is given as
well. To save time, the search sees the middle half (by each side) of --searched frames
of a clip: what is best for these may be slightly worse than nothing for all of it.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
from collections.abc import Callable

import cv2
import jax.numpy as jnp
import numpy as np
import skimage
from skimage.filters import unsharp_mask
from skimage.restoration import richardson_lucy

from benchmarks.helpers import record
from benchmarks.weights.bundled import split_of
from mtujax import psnr
from mtujax.cli.entry import run_script
from mtujax.common.files import whole_output
from mtujax.common.progress import FrameProgress
from mtujax.data.flow import dis_flow
from mtujax.errors import UserError
from mtujax.evaluation.dataset import Videos
from mtujax.metrics.image import MOST_PSNR
from mtujax.metrics.protocols import PROTOCOLS
from mtujax.ops.resampling import from_unit_range, to_unit_range
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear

AS_IT_IS = "as it is"


@dataclasses.dataclass(frozen=True)
class View:
    """A blurry frame [H, W, 3] in [0, 1], and what gives its motion (dx, dy)."""

    frame: np.ndarray
    motion: Callable


@dataclasses.dataclass(frozen=True)
class Method:
    """Restores a view by settings of a grid."""

    restore: Callable
    grid: dict[str, tuple]

    def settings(self):
        """Every one of the grid; None leaves a frame as it is."""
        values = itertools.product(*self.grid.values())
        named = (dict(zip(self.grid, chosen, strict=True)) for chosen in values)
        return [None, *named]

    def __call__(self, view, settings):
        """The restored frame, 8 bits."""
        image = self.restore(view, **settings) if settings else view.frame
        return np.asarray(from_unit_range(jnp.asarray(image), jnp.uint8))


def unsharp(view, *, radius, amount):
    # A channel axis of -1 is taken for the first one (scikit-image 0.26).
    return unsharp_mask(view.frame, radius, amount, channel_axis=2)


def deconvolved(view, *, sigma, iterations):
    reach = int(np.ceil(3 * sigma))
    taps = cv2.getGaussianKernel(2 * reach + 1, sigma, cv2.CV_32F)
    return in_linear_light(view.frame, taps @ taps.T, iterations)


def deconvolved_motion(view, *, exposure, iterations):
    return in_linear_light(view.frame, line(exposure * view.motion()), iterations)


def in_linear_light(frame, spread, iterations):
    """Richardson-Lucy; beyond its edges a frame is mirrored."""
    reach = spread.shape[0]
    room = ((reach, reach), (reach, reach), (0, 0))
    light = np.pad(linear_from_srgb(frame), room, "symmetric").astype(np.float32)
    light = richardson_lucy(light, spread[..., None], iterations)
    return srgb_from_linear(light[reach:-reach, reach:-reach])


def line(motion):
    """Point spread of a straight motion (dx, dy), centred: [side, side], sum 1."""
    reach = int(np.ceil(np.abs(motion).max() / 2)) + 1
    steps = (np.arange(8 * reach) + 0.5) / (8 * reach) - 0.5
    cells = np.arange(-reach, reach + 1)
    across, down = (
        np.maximum(1 - np.abs(cells - part * steps[:, None]), 0) for part in motion
    )
    return (down.T @ across / len(steps)).astype(np.float32)


METHODS = {
    "unsharp": Method(
        unsharp,
        {
            "radius": (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0),
            "amount": (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0),
        },
    ),
    "richardson_lucy": Method(
        deconvolved,
        {"sigma": (0.5, 0.7, 1.0, 1.4, 2.0, 2.8), "iterations": (2, 5, 10, 20)},
    ),
    "richardson_lucy_motion": Method(
        deconvolved_motion,
        {"exposure": (0.2, 0.4, 0.6, 0.8, 1.0), "iterations": (5, 10, 20, 40)},
    ),
}


class Clips:
    """The set's clips: views of blurry frames, and the sharp ones."""

    def __init__(self, path):
        """Lists them."""
        self._videos = Videos("pairs", path, split=split_of(path)[0])
        self.lengths = {v.name: v.frames for v in self._videos.source.videos}
        self._numbers = {name: number for number, name in enumerate(self.lengths)}
        self._motions = {}

    def stem(self, clip, frame):
        """What a frame is called."""
        return self._videos.frame_name(self._numbers[clip], frame)

    def sharp(self, clip, frame):
        """[H, W, 3] uint8."""
        return self._read(clip, "sharp", [frame])[0]

    def view(self, clip, frame):
        """A frame as a method sees it."""
        image = np.float32(self._read(clip, "blurry", [frame])[0]) / np.float32(255)
        return View(image, lambda: self.motion(clip, frame))

    def motion(self, clip, frame):
        """(dx, dy), pixels per frame, a mean over its neighbours; 0 if it has none."""
        if (clip, frame) not in self._motions:
            around = [n for n in (frame - 1, frame + 1) if 0 <= n < self.lengths[clip]]
            current, *others = self._read(clip, "blurry", [frame, *around])
            # Backward to the frame before, the other way from the one after.
            found = [
                (frame - n) * np.median(dis_flow(current, other), axis=(0, 1))
                for n, other in zip(around, others, strict=True)
            ]
            self._motions[clip, frame] = np.mean(found or [np.zeros(2)], axis=0)
        return self._motions[clip, frame]

    def _read(self, clip, kind, frames):
        return self._videos.source.read(self._numbers[clip], {kind: frames})[kind]


def score(restored, sharp):
    """PSNR in dB as `rt-paper` takes it: 8-bit RGB, at most 100 dB."""
    pair = (to_unit_range(jnp.asarray(image)) for image in (restored, sharp))
    return min(float(psnr(*pair)), MOST_PSNR)


def counted(frames):
    """Which frames of a clip `rt-paper` counts; all of a clip that has one."""
    return PROTOCOLS["rt-paper"].frames(frames) or range(frames)


def search(method, clips, clip, searched):
    """PSNR in dB of every setting on parts of a clip, in the grid's order."""
    frames = counted(clips.lengths[clip])
    places = np.linspace(frames[0], frames[-1], min(searched, len(frames)))
    scores = []
    for frame in places.round().astype(int):
        view, sharp = clips.view(clip, frame), clips.sharp(clip, frame)
        rows, columns = sharp.shape[0] // 4, sharp.shape[1] // 4
        middle = np.s_[rows : 3 * rows, columns : 3 * columns]
        view = dataclasses.replace(view, frame=view.frame[middle])
        made = (method(view, settings) for settings in method.settings())
        scores.append([score(image, sharp[middle]) for image in made])
    return np.mean(scores, axis=0)


def choose(method, clips, searched):
    """What is best for each clip and for all alike, with the dB of the search."""
    options = method.settings()

    def best(values):
        return {
            "settings": options[int(np.argmax(values))] or AS_IT_IS,
            "searched_psnr": float(np.max(values)),
            "searched_psnr_as_it_is": float(values[0]),
        }

    found = {clip: search(method, clips, clip, searched) for clip in clips.lengths}
    alike = best(np.mean([*found.values()], axis=0))
    return alike, {clip: best(values) for clip, values in found.items()}


def restore(method, clips, clip, settings, folder):
    """Writes a clip's frames; gives the PSNR of those that count."""
    folder.mkdir()
    scores = []
    for frame in range(clips.lengths[clip]):
        image = method(clips.view(clip, frame), settings)
        path = folder / f"{clips.stem(clip, frame)}.png"
        if not cv2.imwrite(str(path), image[..., ::-1]):
            raise UserError(f"{path}: cannot be written")
        if frame in counted(clips.lengths[clip]):
            scores.append(score(image, clips.sharp(clip, frame)))
    return scores


def run_method(name, clips, out, searched):
    """Chooses a method's settings, restores the clips; gives what was chosen."""
    method = METHODS[name]
    alike, each = choose(method, clips, searched)
    show(f"{name}, all clips alike", alike)
    with (
        whole_output(out / name, folder=True, overwrite=False) as folder,
        FrameProgress(name, stderr=True) as progress,
    ):
        done, every = 0, []
        for clip, chosen in each.items():
            settings = None if chosen["settings"] == AS_IT_IS else chosen["settings"]
            scores = restore(method, clips, clip, settings, folder / clip)
            chosen["psnr"] = float(np.mean(scores))
            every += scores
            show(f"  {clip}", chosen)
            progress(done := done + clips.lengths[clip], sum(clips.lengths.values()))
        summary = {
            "grid": method.grid,
            "searched_frames_of_a_clip": searched,
            "all_clips_alike": alike,
            "by_clip": each,
            "psnr": float(np.mean(every)),
            "scikit-image": skimage.__version__,
        }
        (folder / "chosen.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(
        f"{name}: {summary['psnr']:.3f} dB, mean of frames; in {out / name}", flush=True
    )
    return summary


def show(title, chosen):
    settings, searched = chosen["settings"], chosen["searched_psnr"]
    if settings != AS_IT_IS:
        settings = ", ".join(f"{name} {value}" for name, value in settings.items())
    gain = searched - chosen["searched_psnr_as_it_is"]
    whole = f"; whole: {chosen['psnr']:.3f} dB" if "psnr" in chosen else ""
    print(f"{title}: {settings}; searched: {searched:.3f} dB ({gain:+.3f}){whole}")


def classical(args):
    clips = Clips(args.set)
    for name in args.methods:  # before work that takes minutes
        if (args.out / name).exists():
            raise UserError(f"{args.out / name}: exists; remove it or name another")
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"{args.out}: is no folder; name another")
    args.out.mkdir(parents=True, exist_ok=True)
    results = {"machine": record.machine_printed()}
    for name in args.methods:
        results[name] = run_method(name, clips, args.out, args.searched)
    record.write(results, "classical", args.json)
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=pathlib.Path, help="folder in the layout `pairs`")
    parser.add_argument("out", type=pathlib.Path, help="folder of the restored frames")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    parser.add_argument("--searched", type=int, default=3, help="frames of a clip")
    record.add_json(parser)
    args = parser.parse_args()
    if args.searched < 1:
        parser.error(f"--searched {args.searched}: must be 1 or more")
    run_script("classical.py", lambda: classical(args))


if __name__ == "__main__":
    main()
