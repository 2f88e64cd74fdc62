"""Trains a network on blur made from a folder of photographs, and exports its weights.

    python examples/train_from_photos.py PHOTOS mine.safetensors --steps 5000

Needs the `train` extra. Interrupt it at any time: the state is saved every few minutes
beside the output, and the same command goes on from there.
"""

import argparse
import pathlib
import sys
import time

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import PRESETS
from mtujax.data.camera import Shake
from mtujax.data.exposure import Exposure
from mtujax.data.objects import Objects
from mtujax.data.synthetic import clip_batches, read_photo, synthesize
from mtujax.metrics import psnr
from mtujax.network import MTUNet, inference_params, init_params
from mtujax.outputs import FRAME_SUFFIXES, whole_output
from mtujax.recurrent import restore_clip
from mtujax.training import TrainConfig, fit, init_train_state
from mtujax.weights import save_weights

SHAKE = Shake(speed=(1.5, 20.0))
OBJECTS = Objects()
EXPOSURE = Exposure(duty=(0.4, 1.0))
_LONGEST = 640  # side that photographs are scaled down to
_HELD_OUT = (160, 240)  # rows and columns of the validation clips


def main():
    args = _arguments()
    if args.output.suffix != ".safetensors" or not args.output.parent.is_dir():
        sys.exit(f"{args.output}: give a .safetensors file in a folder that exists")
    photos = _read(args.photos, args.size, args.size)
    held_out = _read(args.validation, *_HELD_OUT) if args.validation else []
    model = MTUNet(PRESETS[args.preset])
    config = TrainConfig(
        steps=args.steps,
        learning_rate=args.learning_rate,
        motion_weight=args.motion_weight,
    )
    params = spread(init_params(model, jax.random.key(args.seed)))
    state = init_train_state(config, params)
    saved = args.output.with_suffix(".state")
    if saved.exists():
        state = flax.serialization.from_bytes(state, saved.read_bytes())
        state = jax.tree.map(jnp.asarray, state)
        print(f"going on from update {int(state.step)}")
    batches = clip_batches(
        photos,
        np.random.default_rng([args.seed, int(state.step)]),
        batch=args.batch,
        frames=args.frames,
        size=args.size,
        shake=SHAKE,
        objects=OBJECTS,
        exposure=EXPOSURE,
    )
    report = _Report(model, config, held_out, saved, args.every)
    state = fit(model, state, batches, config, on_step=report)
    report.save(state)
    save_weights(
        args.output,
        model.config,
        inference_params(state.ema),
        description=f"trained on blur made from {len(photos)} photographs",
        updates=int(state.step),
    )


def spread(params: dict) -> dict:
    """Rescales drawn weights, so that a few thousand updates are enough to learn.

    The published 0.03, which a million updates outlive, makes features fade from layer
    to layer and leaves them to the picture's brightness, though blur is in its detail.
    Here kernels see differences only (their mean is 0), features keep their size, and
    the layers that give images or end a residual block start small.
    """

    def rescale(path, kernel):
        names = [part.key for part in path]
        if names[-1] != "kernel":
            return kernel
        if "deblur" in names:
            return 0.02 * kernel
        first = names[0] in ("structure", "temporal")
        kernel = kernel - kernel.mean((0, 1) if first else (0, 1, 2), keepdims=True)
        # Each output of a transposed convolution sums 4 of its 16 taps.
        taps = 4 if names[-2].startswith("decode") else kernel.shape[0] ** 2
        gain = np.sqrt(2.0 / (taps * kernel.shape[2])) / 0.03
        return kernel * gain * (10.0 if first else 0.3 if "conv_1" in names else 1.0)

    return jax.tree_util.tree_map_with_path(rescale, params)


class _Report:
    """Prints progress, validates and saves, every so many updates."""

    def __init__(self, model, config, held_out, saved, every):
        self.model, self.config, self.saved, self.every = model, config, saved, every
        rng = np.random.default_rng(0)
        self.clips = [
            synthesize(
                p,
                rng,
                frames=6,
                height=_HELD_OUT[0],
                width=_HELD_OUT[1],
                shake=SHAKE,
                exposure=EXPOSURE,
            )
            for p in held_out
        ]
        self.restore = jax.jit(
            lambda params, clip: restore_clip(model, params, clip)[1]
        )
        self.recent, self.since = [], time.monotonic()

    def __call__(self, step, state, terms):
        self.recent.append(terms)
        if step % 50 == 0:
            mean = {k: float(np.mean([t[k] for t in self.recent])) for k in terms}
            pace = (time.monotonic() - self.since) / len(self.recent)
            text = " ".join(f"{k} {v:.4f}" for k, v in mean.items())
            print(f"{step}/{self.config.steps} {text} {pace:.2f} s/update", flush=True)
            self.recent, self.since = [], time.monotonic()
        if step % self.every == 0:
            self.save(state)
            self.validate(state)

    def save(self, state):
        with whole_output(self.saved, folder=False) as part:
            part.write_bytes(flax.serialization.to_bytes(jax.device_get(state)))

    def validate(self, state):
        rows = []
        for clip in self.clips:
            blurry, sharp = clip.blurry / np.float32(255), clip.sharp / np.float32(255)
            restored = self.restore(inference_params(state.ema), blurry[None])[0]
            rows.append(
                [
                    float(jnp.mean(psnr(x, sharp)))
                    for x in (blurry, jnp.clip(restored, 0, 1))
                ]
            )
        if rows:
            text = ", ".join(f"{before:.2f} -> {after:.2f}" for before, after in rows)
            before, after = np.mean(rows, axis=0)
            gain = after - before
            print(
                f"PSNR {before:.2f} -> {after:.2f} dB ({gain:+.2f}): {text}", flush=True
            )


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=pathlib.Path, help="folder of photographs")
    parser.add_argument("output", type=pathlib.Path, help=".safetensors to write")
    parser.add_argument("--validation", type=pathlib.Path, help="folder of others")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="mtu2")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    # Far below the paper's 0.01: early on the motion loss would else drown the other in
    # the layers they share, and the motion layer, which has it alone, learns as fast,
    # since Adam divides by the gradient's size.
    parser.add_argument("--motion-weight", type=float, default=1e-4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--size", type=int, default=64, help="side of the crops")
    parser.add_argument("--every", type=int, default=250, help="updates between saves")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _read(folder, height, width):
    """All photographs of a folder that hold a crop of that size, scaled down."""
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in FRAME_SUFFIXES)
    try:
        photos = [read_photo(p, longest=_LONGEST) for p in paths]
    except ValueError as error:
        sys.exit(str(error))
    photos = [p for p in photos if p.shape[0] >= height and p.shape[1] >= width]
    if not photos:
        sys.exit(f"{folder}: no PNG or JPEG photograph of at least {width}x{height}")
    return photos


if __name__ == "__main__":
    main()
