"""Scores weights on blur synthesised from a folder of photographs; prints tables.

    python benchmarks/bundled.py PHOTOS [--weights mtu2]

The figures of docs/models.md: clips of three strengths from each photograph, and each
photograph at rest, sharp.
"""

import argparse
import pathlib

import jax.numpy as jnp
import numpy as np

import mtujax
from mtujax.data.camera import Shake
from mtujax.data.exposure import Exposure
from mtujax.data.synthetic import read_photo, srgb_from_linear, synthesize
from mtujax.outputs import FRAME_SUFFIXES

SPEEDS = {"mild": 6.0, "medium": 12.0, "strong": 24.0}  # pixels per frame
HEIGHT, WIDTH, FRAMES = 320, 480, 8
EXPOSURE = Exposure(
    duty=(0.7, 0.7),
    wander=(0.0, 0.0),
    gain=(1.0, 1.0),
    highlights=(1.0, 1.0),
    contrast=(0.0, 0.0),
    shot=(3e-5, 3e-5),
    read=(2e-4, 2e-4),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=pathlib.Path, help="folder of photographs")
    parser.add_argument("--weights", default="mtu2", help="bundled name or file")
    args = parser.parse_args()
    model, params = mtujax.load(args.weights)
    paths = sorted(args.photos.iterdir())
    paths = [p for p in paths if p.suffix.lower() in FRAME_SUFFIXES]
    photos = {path.stem: read_photo(path, longest=1000) for path in paths}

    def restore(clip):
        clip = jnp.asarray(clip[None] / np.float32(255))
        restored = mtujax.restore_clip(model, params, clip)[1][0]
        return jnp.clip(restored, 0, 1)

    for strength, speed in SPEEDS.items():
        rows = []
        for index, (name, photo) in enumerate(photos.items()):
            rows.append(blurred(restore, photo, index, speed))
            show(f"{strength} {name}", rows[-1])
        show(f"{strength}, mean", np.mean(rows, axis=0))
    for name, photo in photos.items():
        at_rest(restore, name, photo)


def blurred(restore, photo, index, speed):
    """PSNR and SSIM of the blurry and of the restored clip."""
    shake = Shake(speed=(speed, speed), pan=(0.2, 0.2), turn=False, scale=(1.0, 1.0))
    clip = synthesize(
        photo,
        np.random.default_rng([5, index]),
        frames=FRAMES,
        height=HEIGHT,
        width=WIDTH,
        shake=shake,
        exposure=EXPOSURE,
    )
    sharp = jnp.asarray(clip.sharp / np.float32(255))
    pair = jnp.asarray(clip.blurry / np.float32(255)), restore(clip.blurry)
    return [
        float(jnp.mean(m(x, sharp))) for m in (mtujax.psnr, mtujax.ssim) for x in pair
    ]


def show(title, row):
    print(
        f"{title}: PSNR {row[0]:.2f} -> {row[1]:.2f} dB ({row[1] - row[0]:+.2f}), "
        f"SSIM {row[2]:.4f} -> {row[3]:.4f}",
        flush=True,
    )


def at_rest(restore, name, photo):
    """A still, sharp clip against itself, and the change from frame to frame."""
    still = srgb_from_linear(photo[100 : 100 + HEIGHT, 100 : 100 + WIDTH])
    still = np.rint(np.repeat(still[None], 5, axis=0) * 255).astype(np.uint8)
    restored = restore(still)
    score = float(jnp.mean(mtujax.psnr(restored, jnp.asarray(still / np.float32(255)))))
    change = float(jnp.abs(jnp.diff(restored, axis=0)).max())
    print(f"at rest {name}: PSNR {score:.1f} dB, largest change {change:.4f}")


if __name__ == "__main__":
    main()
