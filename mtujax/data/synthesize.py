"""Sets of blurry and sharp frames, made from photographs or from quick video.

Both write the layout `pairs`: OUT/SPLIT/CLIP/{blur,sharp}/0001.png, with exact motion
in `flow` if asked for, and in each split `synthesis.json`, which says how it was made.
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

from mtujax.data.camera import Shake
from mtujax.data.exposure import Exposure
from mtujax.data.flowfiles import write_npz
from mtujax.data.objects import Objects
from mtujax.data.synthetic import BlurredClip, synthesize
from mtujax.errors import UsageError, UserError
from mtujax.outputs import whole_output

MANIFEST = "synthesis.json"
"""What a split tells of itself; only a folder that holds it is ever overwritten."""


@dataclasses.dataclass(frozen=True)
class Filming:
    """What clips are made of photographs.

    Attributes:
        clips: how many.
        frames: T of each.
        width: W of the frames in pixels.
        height: H.
        seed: of all that is random; clip number k does not depend on how many follow.
        shake: how the camera moves.
        objects: what is in front of the photographs; None for nothing.
        exposure: how frames are exposed, and what noise and compression do.
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
        """Refuses what cannot be filmed.

        Raises:
            UsageError: naming the field.
        """
        for name, least in dict(clips=1, frames=1, width=16, height=16).items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} {getattr(self, name)}: at least {least}")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: at least 0")


def filmed(
    photos: dict[str, np.ndarray], filming: Filming, cutouts: Sequence[np.ndarray] = ()
) -> Iterator[tuple[str, BlurredClip]]:
    """Films photographs, one after the other.

    Args:
        photos: [H', W', 3] uint8 by name.
        filming: what to make of them.
        cutouts: [h, w, 4] uint8: what objects look like.

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
        clips: names, and clips of any lengths.
        output: folder of the set.
        about: what `synthesis.json` is to say; JSON values.
        split: part of the set that they become.
        flow: also write each frame's motion, `flow/0001.npz`.
        overwrite: replace a split that was made here before.
        progress: called with the frames written and their expected number.
        total: that number, if known.

    Returns:
        Number of clips.

    Raises:
        UsageError: for a split that is no plain name.
        UserError: if the split exists, the folder holds something else, or no clip
            comes.
        OSError: if it cannot be written.
    """

    def step(done):
        if progress:
            progress(done, total)

    if not split.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"split {split!r}: use letters, digits, - and _")
    output = Path(output)
    _check_place(output, split, overwrite)
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
    """A folder, which does not stay if nothing comes into it."""
    folder.mkdir(exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()


def _check_place(output, split, overwrite):
    if not output.parent.is_dir():
        raise UserError(f"{output.parent}: no such folder; create it for the output")
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file; give a new folder")
    for inside in output.iterdir() if output.is_dir() else ():
        if not (inside / MANIFEST).is_file():
            raise UserError(
                f"{output}: holds something else than such a set ({inside.name}); "
                "not touched"
            )
    if (output / split).exists() and not overwrite:
        raise UserError(
            f"{output / split}: exists already; --overwrite replaces it, another "
            "--split is written beside it"
        )


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
    """What `synthesis.json` says of filmed clips.

    Args:
        filming: how they are made.

    Returns:
        JSON values.
    """
    return dataclasses.asdict(filming)
