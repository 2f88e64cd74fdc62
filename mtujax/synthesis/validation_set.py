"""The fixed validation set: 14 clips on which the scores of bundled weights are based.

Made on demand from seven photographs that no training uses; recipe and checksums are
in the package (`assets/validation.json`). Letters: T time, H W pixels.
"""

import dataclasses
import importlib.resources
import os
from collections.abc import Iterator

import cv2
import numpy as np

from mtujax.common.dataclass_json import read_json
from mtujax.common.files import digest, file_digest
from mtujax.errors import UserError
from mtujax.synthesis.host.clip import BlurredClip, synthesize
from mtujax.synthesis.photos import images_in
from mtujax.synthesis.settings import BlurSettings, Exposure, Objects, Shake
from mtujax.video.image_files import read_image

FRAMES, HEIGHT, WIDTH = 13, 360, 640
_NOISY = dict(shot=(1e-4, 3e-4), read=(5e-4, 1e-3), compressed=1.0, crf=(23, 23))
_CLEAN = dict(shot=(0.0, 0.0), read=(0.0, 0.0), compressed=0.0)
_TOLERANCE = 0.05  # dB by which another version of OpenCV or x264 may change a score


@dataclasses.dataclass(frozen=True)
class Entry:
    """Recipe of one clip of the set."""

    name: str  # of the clip
    photo: str  # stem of the photograph's file name
    seed: int  # of all randomness
    speed: float  # pixels per frame of the camera
    duty: tuple[float, float]  # range of exposure time as a share of the frame interval
    objects: int  # number of objects in front of the photograph
    noisy: bool  # whether the blurry frames have noise and went through H.264 (crf 23)


@dataclasses.dataclass(frozen=True)
class ValidationClip:
    """A clip of the set as this machine makes it."""

    entry: Entry  # its recipe
    clip: BlurredClip  # [T, H, W, 3] blurry and sharp frames, motion and mask
    psnr: float  # dB of the blurry against the sharp frames, mean over frames
    # A sentence if its bytes differ from the recorded ones, else None
    note: str | None = None


def recipe() -> tuple[list[Entry], dict[str, dict]]:
    """Reads the set's entries, and the recorded checksums and scores by name."""
    path = importlib.resources.files("mtujax") / "assets" / "validation.json"
    content = read_json(path)
    entries = [
        Entry(**{**entry, "duty": tuple(entry["duty"])}) for entry in content["clips"]
    ]
    return entries, content["recorded"]


def make(entry: Entry, photo: np.ndarray) -> ValidationClip:
    """Makes one clip from photo [H', W', 3] uint8, without a check of its checksums."""
    count = (entry.objects, entry.objects)
    clip = synthesize(
        photo,
        np.random.default_rng(entry.seed),
        frames=FRAMES,
        height=HEIGHT,
        width=WIDTH,
        blur=BlurSettings(
            Shake(speed=(entry.speed, entry.speed), turn=False),
            Objects(count=count, speed=(2.0, 14.0)) if entry.objects else None,
            Exposure(duty=entry.duty, **(_NOISY if entry.noisy else _CLEAN)),
        ),
    )
    pairs = zip(clip.blurry, clip.sharp, strict=True)
    psnr = float(np.mean([cv2.PSNR(*pair) for pair in pairs]))
    return ValidationClip(entry, clip, psnr)


def checksums(clip: BlurredClip) -> dict[str, str]:
    """Gives hexadecimal SHA-256 digests of the arrays `blurry` and `sharp`."""
    arrays = {"blurry": clip.blurry, "sharp": clip.sharp}
    return {name: digest(value.tobytes()) for name, value in arrays.items()}


def is_validation_folder(folder: str | os.PathLike) -> bool:
    """Whether a folder holds all photographs of the set, by their names."""
    wanted = {entry.photo for entry in recipe()[0]}
    return wanted <= {path.stem for path in images_in(folder)}


def validation_clips(folder: str | os.PathLike) -> Iterator[ValidationClip]:
    """Makes the set clip by clip; UserError for a wrong photograph or score."""
    # The bytes may differ from the recorded ones where OpenCV or x264 round
    # differently; `note` says so. A clip whose score differs too is a different clip,
    # and refused.
    entries, recorded = recipe()
    paths = {path.stem: path for path in images_in(folder)}
    for entry in entries:
        if entry.photo not in paths:
            raise UserError(f"{folder}: lacks the photograph {entry.photo}")
        path, expected = paths[entry.photo], recorded[entry.photo]["sha256"]
        if (found := file_digest(path)) != expected:
            raise UserError(
                f"{path}: is not the photograph that the validation set is made of "
                f"(sha256 {found[:12]}, not {expected[:12]})"
            )
    for entry in entries:
        made = make(entry, read_image(paths[entry.photo]))
        yield dataclasses.replace(made, note=_compared(made, recorded[entry.name]))


def _compared(made, recorded):
    name, score = made.entry.name, recorded["psnr"]
    if checksums(made.clip) == {kind: recorded[kind] for kind in ("blurry", "sharp")}:
        return None
    if abs(made.psnr - score) > _TOLERANCE:
        raise UserError(
            f"clip {name}: its blurry frames have {made.psnr:.2f} dB here and "
            f"{score:.2f} dB as recorded: it is not the same clip"
        )
    return (
        f"clip {name}: not the recorded bytes, as this OpenCV or x264 rounds otherwise "
        f"({made.psnr:.3f} dB, recorded {score:.3f})"
    )
