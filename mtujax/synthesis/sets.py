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
from mtujax.data.contact_sheet import SHOWN_FRAMES, Look, check_count
from mtujax.data.flow import write_npz
from mtujax.errors import UsageError, UserError
from mtujax.synthesis.averaging import QUICK, clips_of_video, video_rate
from mtujax.synthesis.host.clip import BlurredClip, synthesize
from mtujax.synthesis.photos import read_cutouts, read_photos
from mtujax.synthesis.settings import Exposure, Objects, Shake
from mtujax.synthesis.validation_set import FRAMES, recipe, validation_clips

MANIFEST = "synthesis.json"
"""File that describes a split; only a folder that holds it is ever overwritten."""


@dataclasses.dataclass(frozen=True)
class Filming:
    """Settings of clips that are made from photographs.

    Attributes:
        clips: number of clips.
        frames: T of each clip.
        width: W of the frames in pixels.
        height: H of the frames in pixels.
        seed: of all randomness; clip number k does not depend on how many follow.
        shake: how the camera moves.
        objects: what is in front of the photographs; None for nothing.
        exposure: exposure time, noise and compression of the blurry frames.
    """

    clips: int = 20
    frames: int = 13
    width: int = 640
    height: int = 360
    seed: int = 0
    shake: Shake = Shake(speed=(2.0, 24.0))
    objects: Objects | None = Objects()
    exposure: Exposure = Exposure(duty=(0.3, 1.0), compressed=0.3)

    def __post_init__(self):
        """Raises UsageError naming a field that is out of range."""
        for name, least in dict(clips=1, frames=1, width=16, height=16).items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}: at least {least}")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: at least 0")


def filmed(
    photos: dict[str, np.ndarray], filming: Filming, cutouts: Sequence[np.ndarray] = ()
) -> Iterator[tuple[str, BlurredClip]]:
    """Makes clips from photographs, which take turns in the order of their names.

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
            shake=filming.shake,
            objects=filming.objects,
            exposure=filming.exposure,
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

    def step(done):
        if progress:
            progress(done, total)

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
    with _new_folder(output):
        return _write_split(output / split, clips, about, flow, overwrite, step)


def _write_split(place, clips, about, flow, overwrite, step):
    done = count = 0
    with whole_output(place, folder=True, overwrite=overwrite) as temporary:
        for name, clip in clips:
            for number in range(len(clip.sharp)):
                _write_frame(temporary / name, clip, number, flow)
                done += 1
                step(done)
            count += 1
        if not count:
            raise UserError(f"{place.parent}: nothing to write, no clip was made")
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


def settings_of(filming: Filming) -> dict:
    """Gives the part of `synthesis.json` that describes `filming`."""
    return dataclasses.asdict(filming)


_FASTEST = 200  # pixels per frame; above it, consecutive frames share nothing


class FromPhotos:
    """Clips made from photographs; `notes` are sentences for the user."""

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        size: tuple[int, int] = (640, 360),
        clips: int = 20,
        frames: int = 13,
        seed: int = 0,
        speed: tuple[float, float] = (2.0, 24.0),
        duty: tuple[float, float] = (0.3, 1.0),
        compressed: float = 0.3,
        cutouts: str | os.PathLike | None = None,
    ):
        """Reads photographs and cut-outs; small photographs are left out, with a note.

        `size` is (width, height) in pixels, `speed` the camera's range in pixels per
        frame, `duty` the range of exposure time as a share of the frame interval, and
        `compressed` the share of clips whose blurry frames go through H.264.
        """
        if not 0 < speed[0] <= speed[1] <= _FASTEST:
            raise UsageError(
                f"speed {speed[0]:g}:{speed[1]:g}: must be above 0, at most {_FASTEST}"
            )
        if not 0 < duty[0] <= duty[1] <= 1:
            raise UsageError(f"duty {duty[0]:g}:{duty[1]:g}: must be in (0, 1]")
        if not 0 <= compressed <= 1:
            raise UsageError(f"compressed {compressed:g}: must be in [0, 1]")
        width, height = size
        self._filming = Filming(
            clips=clips,
            frames=frames,
            width=width,
            height=height,
            seed=seed,
            shake=Shake(speed=speed),
            exposure=Exposure(duty=duty, compressed=compressed),
        )
        self._photos, small = read_photos(folder, width=width, height=height)
        self._cutouts, self.notes = read_cutouts(cutouts), []
        if small:
            self.notes.append(
                f"{len(small)} photographs are smaller than {width}x{height} and left "
                f"out: {', '.join(small[:5])}{' ...' if len(small) > 5 else ''}"
            )

    def write(self, output: str | os.PathLike, **options) -> int:
        """Writes the set with the options of `write_set`; gives the number of clips."""
        about = {"from": sorted(self._photos), **dataclasses.asdict(self._filming)}
        total = self._filming.clips * self._filming.frames
        clips = filmed(self._photos, self._filming, self._cutouts)
        return write_set(clips, output, about=about, total=total, **options)


class FromVideo:
    """Clips averaged from high-frame-rate video; `notes` are for the user."""

    def __init__(
        self,
        path: str | os.PathLike,
        average: int = 11,
        every: int | None = None,
        frames: int = 100,
    ):
        """Reads the frame rate; takes settings of `clips_of_video`."""
        self._path, self.notes = Path(path), []
        self._settings = dict(average=average, every=every, frames=frames)
        if (rate := video_rate(path)) < QUICK:
            self.notes.append(
                f"{path}: has {rate:g} frames per second, where 240 are usual: what "
                "moves quickly will show steps instead of blur"
            )

    def write(self, output: str | os.PathLike, *, flow: bool = False, **options) -> int:
        """Writes the set like `write_set`; refuses `flow`, as the motion is unknown."""
        if flow:
            raise UsageError(
                "--flow: the motion in a video is not known; `mtujax data flow pairs "
                f"{output}` estimates it"
            )
        clips = clips_of_video(self._path, **self._settings)
        about = {"from": [self._path.name], **self._settings}
        return write_set(clips, output, about=about, **options)


class Validation:
    """The fixed validation set; `notes` are sentences for the user."""

    def __init__(self, folder: str | os.PathLike):
        """Takes the folder with the seven photographs; makes nothing yet."""
        self._folder, self.notes = folder, []

    def write(self, output: str | os.PathLike, **options) -> int:
        """Writes the set with the options of `write_set`; gives the number of clips."""
        total = FRAMES * len(recipe()[0])
        about = {"from": "the validation set"}
        return write_set(self._clips(), output, about=about, total=total, **options)

    def _clips(self):
        for made in validation_clips(self._folder):
            if made.note:
                self.notes.append(made.note)
            yield made.entry.name, made.clip


def looks_of_photos(
    folder: str | os.PathLike,
    *,
    size: tuple[int, int],
    cutouts: str | os.PathLike | None = None,
    exposure: Exposure | None = None,
    count: int = 8,
    seed: int = 0,
) -> tuple[list[Look], str]:
    """Makes `count` clips as training does, from different photographs if possible.

    `size` is (width, height) of the frames in pixels; smaller photographs are left out.
    Gives the clips and the source of their motion.
    """
    check_count(count)
    width, height = size
    rng = np.random.default_rng(seed)
    photos, _ = read_photos(folder, width=width, height=height)
    titles, shapes = rng.permutation(sorted(photos)), read_cutouts(cutouts)
    looks = []
    for number in range(count):
        title = str(titles[number % len(titles)])
        clip = synthesize(
            photos[title],
            rng,
            frames=SHOWN_FRAMES,
            height=height,
            width=width,
            objects=Objects(),
            exposure=exposure,
            cutouts=shapes,
        )
        frames = clip.blurry, clip.sharp, clip.flow, clip.valid
        looks.append(Look(title[:24], *frames, clip.duty))
    return looks, "exact flow"
