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

from mtujax.common.files import check_free, check_only, check_place, whole_output
from mtujax.data.contact_sheet import SHOWN_FRAMES, SheetClip
from mtujax.data.flow import write_npz
from mtujax.errors import UsageError, UserError, check_least
from mtujax.synthesis.averaging import QUICK, clips_of_video, video_rate
from mtujax.synthesis.host.clip import BlurredClip, synthesize
from mtujax.synthesis.photos import read_cutouts, read_photos
from mtujax.synthesis.settings import BlurSettings, Exposure, Objects, Shake
from mtujax.synthesis.validation_set import FRAMES, recipe, validation_clips

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
