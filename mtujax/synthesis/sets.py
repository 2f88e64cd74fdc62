"""Sets of blurry and sharp frames, made from photographs or high-frame-rate video.

All have the layout `pairs`: OUT/SPLIT/CLIP/{blur,sharp}/0001.png, with exact motion in
`flow` if requested, and in each split a `synthesis.json` that says how it was made.
Letters: T time, H W pixels, N sub-frames.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from mtujax import video
from mtujax.common.files import check_free, check_only, check_place, whole_output
from mtujax.config import SCENE_THRESHOLD
from mtujax.data.contact_sheet import SHOWN_FRAMES, SheetClip
from mtujax.data.flow import write_npz
from mtujax.errors import UsageError, UserError, check_least
from mtujax.synthesis.host.clip import BlurredClip, synthesize
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear
from mtujax.synthesis.photos import read_cutouts, read_photos
from mtujax.synthesis.settings import BlurSettings, Exposure, Objects, Shake
from mtujax.synthesis.validation_set import FRAMES, recipe, validation_clips
from mtujax.video.scene_cuts import shots

MANIFEST = "synthesis.json"
"""File that describes a split; only a folder that holds it is ever overwritten."""

_FASTEST = 200  # pixels per frame; above it, consecutive frames share nothing


PLAINLY_BLURRY = BlurSettings(
    Shake(speed=(8.0, 32.0)), Objects(), Exposure(duty=(0.5, 1.0), compressed=0.3)
)
"""Blur that is seen at 640x360: of 6 pixels in the middle, and 29 dB or so."""


@dataclasses.dataclass(frozen=True)
class Filming:
    """Settings of clips that are made from photographs.

    Examples:
        >>> Filming(clips=4, frames=5, blur=BlurSettings(Shake(speed=(4, 8)))).width
        640

    Attributes:
        clips: number of clips.
        frames: T of each clip.
        width: W of the frames in pixels.
        height: H of the frames in pixels.
        seed: of all randomness; clip number k does not depend on how many follow.
        blur: how they are blurred.
    """

    clips: int = 20
    frames: int = 13
    width: int = 640
    height: int = 360
    seed: int = 0
    blur: BlurSettings = PLAINLY_BLURRY

    def __post_init__(self):
        """Raises UsageError naming a field that is out of range."""
        check_least(1, clips=self.clips, frames=self.frames)
        check_least(16, width=self.width, height=self.height)
        check_least(0, seed=self.seed)
        speed, exposure = self.blur.shake.speed, self.blur.exposure
        if not 0 < speed[0] <= speed[1] <= _FASTEST:
            raise UsageError(
                f"speed {speed[0]:g}:{speed[1]:g}: must be above 0, at most {_FASTEST}"
            )
        duty, compressed = exposure.duty, exposure.compressed
        if not 0 < duty[0] <= duty[1] <= 1:
            raise UsageError(f"duty {duty[0]:g}:{duty[1]:g}: must be in (0, 1]")
        if not 0 <= compressed <= 1:
            raise UsageError(f"compressed {compressed:g}: must be in [0, 1]")


def filmed(
    photos: dict[str, np.ndarray], filming: Filming, cutouts: Sequence[np.ndarray] = ()
) -> Iterator[tuple[str, BlurredClip]]:
    """Makes clips from photographs, which take turns in the order of their names.

    Examples:
        >>> photos, _ = read_photos("photos", width=64, height=48)
        >>> filming = Filming(clips=2, frames=2, width=64, height=48)
        >>> [(name, clip.blurry.shape) for name, clip in filmed(photos, filming)]
        [('0000_arches', (2, 48, 64, 3)), ('0001_arches', (2, 48, 64, 3))]

    Args:
        photos: [H', W', 3] uint8 RGB by name.
        filming: settings of the clips.
        cutouts: [h, w, 4] uint8 RGBA that objects look like; if empty, objects are
            pieces of the photographs.

    Yields:
        The name of a clip, and the clip.
    """
    names = sorted(photos)
    for number in range(filming.clips):
        name = names[number % len(names)]
        clip = synthesize(
            photos[name],
            np.random.default_rng([filming.seed, number]),
            frames=filming.frames,
            height=filming.height,
            width=filming.width,
            blur=filming.blur,
            cutouts=cutouts,
        )
        yield f"{number:04d}_{name}", clip


def write_set(
    clips: Iterable[tuple[str, BlurredClip]],
    output: str | os.PathLike,
    *,
    about: dict,
    split: str = "train",
    flow: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] | None = None,
    total: int | None = None,
) -> int:
    """Writes the clips of a split, all or nothing; other splits stay as they are.

    Examples:
        >>> photos, _ = read_photos("photos", width=64, height=48)
        >>> clips = filmed(photos, Filming(clips=2, frames=2, width=64, height=48))
        >>> write_set(clips, "filmed", about={"photos": [*photos]}, flow=True)
        2

    Args:
        clips: (name, clip) pairs; clips may differ in length.
        output: folder of the set.
        about: content of `synthesis.json`, as JSON values.
        split: name of the split, such as "train".
        flow: also write each frame's exact motion, `flow/0001.npz`.
        overwrite: replace an existing split that was made by this function.
        progress: called with the number of frames written and the expected total.
        total: expected number of frames; None if unknown.

    Returns:
        Number of clips.

    Raises:
        UsageError: for a split that is not a plain name.
        UserError: if the split exists, the folder holds something else, or there are
            no clips.
        OSError: if the set cannot be written.
    """
    if not split.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"split {split!r}: use letters, digits, - and _")
    output = Path(output)
    check_place(output, folder=True)
    check_only(output, lambda inside: (inside / MANIFEST).is_file(), "synthesized sets")
    check_free(
        output / split,
        folder=True,
        overwrite=overwrite,
        instead="another --split is written next to it",
    )
    done = count = 0
    with (
        _new_folder(output),
        whole_output(output / split, folder=True, overwrite=overwrite) as temporary,
    ):
        for name, clip in clips:
            for number in range(len(clip.sharp)):
                _write_frame(temporary / name, clip, number, flow)
                done += 1
                if progress:
                    progress(done, total)
            count += 1
        if not count:
            raise UserError(f"{output}: nothing to write, no clip was made")
        about = {**about, "mtujax": version("mtujax"), "clips": count, "frames": done}
        (temporary / MANIFEST).write_text(json.dumps(about, indent=1) + "\n")
    return count


@contextlib.contextmanager
def _new_folder(folder):
    """Makes a folder, and removes it again if it is still empty at the end."""
    folder.mkdir(exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _write_frame(folder, clip, number, flow):
    for kind, frames in (("blur", clip.blurry), ("sharp", clip.sharp)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        path = folder / kind / f"{number + 1:04d}.png"
        _, data = cv2.imencode(".png", frames[number][..., ::-1])
        path.write_bytes(data.tobytes())
    if flow:
        (folder / "flow").mkdir(exist_ok=True)
        path = folder / "flow" / f"{number + 1:04d}.npz"
        write_npz(path, clip.flow[number], clip.valid[number])


def write_photos(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    filming: Filming,
    *,
    cutouts: str | os.PathLike | None = None,
    **options,
) -> tuple[int, list[str]]:
    """Writes a set made from a folder's photographs; options are `write_set`'s."""
    # Photographs smaller than a frame are left out. Gives the number of clips, and
    # notes for the user.
    size = dict(width=filming.width, height=filming.height)
    photos, small = read_photos(folder, **size)
    settings = dataclasses.asdict(filming)
    blur = settings.pop("blur")
    about = {"from": sorted(photos), **settings, **blur}
    clips = filmed(photos, filming, read_cutouts(cutouts))
    total = filming.clips * filming.frames
    count = write_set(clips, output, about=about, total=total, **options)
    if not small:
        return count, []
    named = f"{', '.join(small[:5])}{' ...' if len(small) > 5 else ''}"
    return count, [
        f"{len(small)} photographs are smaller than {filming.width}x{filming.height} "
        f"and left out: {named}"
    ]


def write_video(
    path: str | os.PathLike,
    output: str | os.PathLike,
    *,
    average: int = 11,
    every: int | None = None,
    frames: int = 100,
    flow: bool = False,
    **options,
) -> tuple[int, list[str]]:
    """Writes a set averaged from high-frame-rate video, as `write_photos` does."""
    # `average`, `every` and `frames` are those of `clips_of_video`; `flow` is refused,
    # as the motion is unknown.
    path, rate = Path(path), video_rate(path)
    if flow:
        raise UsageError(
            f"--flow: the motion in a video is not known; `mtujax data flow pairs "
            f"{output}` estimates it"
        )
    settings = dict(average=average, every=every, frames=frames)
    about = {"from": [path.name], **settings}
    count = write_set(clips_of_video(path, **settings), output, about=about, **options)
    if rate >= QUICK:
        return count, []
    return count, [
        f"{path}: has {rate:g} frames per second, where 240 are usual: what moves "
        "quickly will show steps instead of blur"
    ]


def write_validation(
    folder: str | os.PathLike, output: str | os.PathLike, **options
) -> tuple[int, list[str]]:
    """Writes the fixed validation set, from a folder with its seven photographs."""
    notes = []

    def clips():
        for made in validation_clips(folder):
            if made.note:
                notes.append(made.note)
            yield made.entry.name, made.clip

    total, about = FRAMES * len(recipe()[0]), {"from": "the validation set"}
    return write_set(clips(), output, about=about, total=total, **options), notes


def clips_of_photos(
    folder: str | os.PathLike,
    *,
    size: tuple[int, int],
    blur: BlurSettings = PLAINLY_BLURRY,
    cutouts: str | os.PathLike | None = None,
    count: int = 8,
    seed: int = 0,
) -> tuple[list[SheetClip], str]:
    """Makes `count` clips as sets are made, from different photographs if possible."""
    # `size` is (width, height) of the frames in pixels; smaller photographs are left
    # out. Gives the clips and the source of their motion.
    check_least(1, clips=count)
    width, height = size
    rng = np.random.default_rng(seed)
    photos, _ = read_photos(folder, width=width, height=height)
    titles, shapes = rng.permutation(sorted(photos)), read_cutouts(cutouts)
    shown = []
    for number in range(count):
        title = str(titles[number % len(titles)])
        clip = synthesize(
            photos[title],
            rng,
            frames=SHOWN_FRAMES,
            height=height,
            width=width,
            blur=blur,
            cutouts=shapes,
        )
        frames = clip.blurry, clip.sharp, clip.flow, clip.valid
        shown.append(SheetClip(title, *frames, clip.duty))
    return shown, "exact flow"


QUICK = 100
"""Frames per second below which averages of frames show steps instead of blur."""


def averaged(
    frames: Iterable[np.ndarray], average: int, every: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Averages the frames of one shot into pairs of a blurry and a sharp frame.

    Examples:
        >>> pairs = averaged(
        ...     [np.full((2, 2, 3), level, np.uint8) for level in (0, 9, 255)], 3, 3
        ... )
        >>> blurry, sharp = next(pairs)  # averaged as light, not as display values
        >>> int(blurry[0, 0, 0]), int(sharp[0, 0, 0])
        (156, 9)

    Args:
        frames: [H, W, 3] uint8 RGB, in order.
        average: N, odd: frames per exposure.
        every: frames from the start of one exposure to the start of the next, at least
            N.

    Yields:
        The mean in linear light and the middle frame, [H, W, 3] uint8 each.
    """
    total, middle = None, None
    for number, frame in enumerate(frames):
        place = number % every
        if place >= average:
            continue
        light = linear_from_srgb(frame)
        total = light if place == 0 else total + light
        if place == average // 2:
            middle = frame
        if place == average - 1:
            mean = srgb_from_linear(total / np.float32(average))
            yield np.rint(mean * 255).astype(np.uint8), middle


def clips_of_video(
    path: str | os.PathLike,
    *,
    average: int = 11,
    every: int | None = None,
    frames: int = 100,
    scene_threshold: float = SCENE_THRESHOLD,
) -> Iterator[tuple[str, BlurredClip]]:
    """Averages a video into (name, clip) pairs; no exposure spans a scene cut."""
    # `average` (odd) frames per exposure, `every` frames from one exposure to the next
    # (None: `average`, a shutter that is always open), at most `frames` per clip. The
    # motion is unknown: `flow` is zero and `valid` False.
    every = every or average
    if average < 3 or average % 2 == 0:
        raise UsageError(f"average {average}: 3 or more, and odd, to have a middle")
    if every < average:
        raise UsageError(f"every {every}: at least as many as are averaged, {average}")
    check_least(1, frames=frames)
    stem, number = Path(path).stem, 0
    with video.VideoReader(Path(path)) as reader:
        turn = reader.info.orientation.upright
        upright = ((turn(frame), pts) for frame, pts in reader.frames())
        for shot in _by_shot(shots(upright, scene_threshold)):
            pairs = []
            for pair in averaged(shot, average, every):
                pairs.append(pair)
                if len(pairs) == frames:
                    yield f"{stem}_{number:04d}", _clip(pairs, average / every)
                    pairs, number = [], number + 1
            if pairs:
                yield f"{stem}_{number:04d}", _clip(pairs, average / every)
                number += 1
    if not number:
        raise UserError(f"{path}: no shot has {average} frames to be averaged")


def video_rate(path: str | os.PathLike) -> float:
    """Gives a video file's mean frames per second."""
    with video.VideoReader(Path(path)) as reader:
        return float(reader.info.rate)


def _by_shot(marked) -> Iterator[Iterator[np.ndarray]]:
    """Yields the frames of each shot, to be used up before the next is requested."""
    marked = iter(marked)
    waiting = next(marked, None)

    def one():
        nonlocal waiting
        frame, waiting = waiting[0], next(marked, None)
        yield frame
        while waiting is not None and not waiting[2]:
            frame, waiting = waiting[0], next(marked, None)
            yield frame

    while waiting is not None:
        shot = one()
        yield shot
        for _ in shot:
            pass


def _clip(pairs, duty):
    blurry, sharp = (np.stack(part) for part in zip(*pairs, strict=True))
    count, height, width, _ = sharp.shape
    return BlurredClip(
        blurry,
        sharp,
        np.zeros((count, height, width, 2), np.float32),
        np.zeros((count, height, width), bool),
        np.full(count, duty, np.float32),
    )
