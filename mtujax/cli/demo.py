"""Runs `mtujax demo`: a clip made from a photograph, deblurred and compared."""

import dataclasses
import importlib.resources
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import jax.numpy as jnp
import numpy as np

from mtujax.common.dataclass_json import write_json
from mtujax.common.files import (
    check_frames_only,
    is_leftover,
    make_folder,
    whole_output,
)
from mtujax.common.hardware import device_name, machine, use_cache
from mtujax.common.progress import FrameProgress
from mtujax.config import DEFAULT_WEIGHTS
from mtujax.deblur.api import deblur_video
from mtujax.errors import UserError
from mtujax.evaluation.subject import open_file
from mtujax.metrics.image import psnr, ssim
from mtujax.synthesis.host.clip import synthesize
from mtujax.synthesis.photos import read_photo
from mtujax.synthesis.settings import PLAIN, BlurSettings, Shake
from mtujax.video.image_folder import FolderReader, FolderWriter, ImageKind
from mtujax.video.info import VideoInfo
from mtujax.video.writer import VideoWriter

_FRAMES, _HEIGHT, _WIDTH = 24, 360, 640
_RATE = Fraction(24)
_SEED = 8

# A hand-held camera on the move: a few pixels of blur, varying from frame to frame.
_BLUR = BlurSettings(
    Shake(speed=(8.0, 8.0), pan=(0.2, 0.2), scale=(1.0, 1.0), turn=False),
    exposure=dataclasses.replace(
        PLAIN, duty=(0.7, 0.7), shot=(3e-5, 3e-5), read=(2e-4, 2e-4)
    ),
)
_DETAIL = (slice(120, 240), slice(213, 427))  # a ninth of the frame, shown enlarged
_DIVIDER = 2  # pixels
_FOLDERS = ("blurry", "sharp", "restored")
_FILES = ("side_by_side.mp4", "side_by_side.png", "scores.json")


def run(
    folder: Path, *, weights: str = DEFAULT_WEIGHTS, say: Callable[[str], None] = print
) -> float:
    """Makes and deblurs the clip, shows the gain, and returns it as mean PSNR in dB."""
    use_cache(None)
    method = open_file(weights).method  # refused before anything is written
    _make_folder(folder)
    say(f"device: {device_name()}, weights: {weights}")
    asset = importlib.resources.files("mtujax") / "assets" / "arches.jpg"
    photo = read_photo(str(asset))
    made = synthesize(
        photo,
        np.random.default_rng(_SEED),
        frames=_FRAMES,
        height=_HEIGHT,
        width=_WIDTH,
        blur=_BLUR,
    )
    _write_folder(folder / "blurry", made.blurry)
    _write_folder(folder / "sharp", made.sharp)
    with FrameProgress("deblurring") as progress:
        report = deblur_video(
            folder / "blurry",
            folder / "restored",
            weights=weights,
            overwrite=True,
            progress=progress,
        )
    with FolderReader(folder / "restored") as reader:
        restored = np.stack([frame for frame, _ in reader.frames()])
    before, after = _scores(made.blurry, made.sharp), _scores(restored, made.sharp)
    pairs = np.stack([_pair(*p) for p in zip(made.blurry, restored, strict=True)])
    _write_video(folder / "side_by_side.mp4", pairs)
    _write_picture(folder / "side_by_side.png", made.blurry, restored)
    scores = {
        "machine": machine(),
        "weights": {"name": method.name, "sha256": method.sha256},
        "blurry": dict(zip(("psnr", "ssim"), before, strict=True)),
        "restored": dict(zip(("psnr", "ssim"), after, strict=True)),
        "frames_per_s": report.fps,  # compilation included
    }
    write_json(folder / "scores.json", scores)
    gain = after[0] - before[0]
    say(f"clip: {_FRAMES} frames of {_WIDTH}x{_HEIGHT}, blurred from one photograph")
    say(f"PSNR: {before[0]:.2f} -> {after[0]:.2f} dB ({gain:+.2f} dB)")
    say(f"SSIM: {before[1]:.4f} -> {after[1]:.4f} ({after[1] - before[1]:+.4f})")
    say(f"speed: {report.fps:.2f} frames/s, compilation included")
    say(f"see {folder / 'side_by_side.mp4'} and {folder / 'side_by_side.png'}")
    return gain


def _make_folder(folder):
    """Makes the folder, or refuses one that holds anything no demo left there."""
    make_folder(folder, "give another for the demo")
    for path in sorted(folder.iterdir()):
        unfinished = is_leftover(path) or path.name in (f"{f}.part" for f in _FOLDERS)
        if path.name not in (*_FOLDERS, *_FILES) and not unfinished:
            raise UserError(f"{folder}: holds {path.name}; give the demo a new folder")
        if path.name in _FOLDERS and path.is_dir():
            check_frames_only(path)


def _write_folder(path, frames):
    with whole_output(path, folder=True) as temporary:
        with FolderWriter(temporary) as writer:
            for number, frame in enumerate(frames):
                writer.write(frame, ImageKind(f"frame_{number:04d}.png"))


def _scores(frames, sharp):
    """Mean PSNR (dB) and SSIM over the frames."""
    pairs = [
        [jnp.asarray(frame / np.float32(255)) for frame in pair]
        for pair in zip(frames, sharp, strict=True)
    ]
    scores = [(float(psnr(*pair)), float(ssim(*pair))) for pair in pairs]
    return tuple(np.mean(scores, axis=0).tolist())


def _pair(left, right):
    divider = np.full((left.shape[0], _DIVIDER, 3), 255, np.uint8)
    return np.concatenate([left, divider, right], axis=1)


def _write_video(path, frames):
    _, height, width, _ = frames.shape
    info = VideoInfo(width, height, None, _RATE, 1 / _RATE)
    with whole_output(path, folder=False) as temporary:
        with VideoWriter(temporary, info) as writer:
            for number, frame in enumerate(frames):
                writer.write(frame, number)


def _write_picture(path, blurry, restored):
    """Writes the middle frame, blurry and restored, and a part of each enlarged."""
    middle = len(blurry) // 2
    named = {"blurry": blurry, "restored": restored}
    whole = [_label(frames[middle], name) for name, frames in named.items()]
    size, cubic = (_WIDTH, _HEIGHT), cv2.INTER_CUBIC
    parts = [
        cv2.resize(frames[middle][_DETAIL], size, interpolation=cubic)
        for frames in named.values()
    ]
    divider = np.full((_DIVIDER, 2 * _WIDTH + _DIVIDER, 3), 255, np.uint8)
    picture = np.concatenate([_pair(*whole), divider, _pair(*parts)])
    with whole_output(path, folder=False) as temporary:
        if not cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise UserError(f"{path}: cannot be written")


def _label(frame, text):
    frame, font = frame.copy(), cv2.FONT_HERSHEY_SIMPLEX
    # A dark strip: OpenCV 5 makes thick letters wider, so an outline would not fit.
    frame[:40] //= 3
    return cv2.putText(
        frame, text, (12, 28), font, 0.8, (255, 255, 255), 1, cv2.LINE_AA
    )
