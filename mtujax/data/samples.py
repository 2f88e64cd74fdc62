"""What training draws from: clips of a dataset, or clips made from photographs.

Letters: T target frames of a clip, L frames of its blurry side, H W pixels of a frame,
h w of a crop.
"""

import abc
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mtujax.data.camera import Shake
from mtujax.data.clips import Clips, ClipSpec
from mtujax.data.exposure import Exposure
from mtujax.data.images import read_image
from mtujax.data.motion import MotionSource
from mtujax.data.objects import Objects
from mtujax.data.sources import Window
from mtujax.data.synthetic import read_cutout, synthesize
from mtujax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Sample:
    """A cropped clip.

    Attributes:
        blurry: [L, h, w, 3] uint8.
        sharp: [T, h, w, 3] uint8.
        positions: [L] of the blurry frames in their video; equal ones are one frame.
        flow: [T, h, w, 2] float32 in pixels, from each sharp frame back to the one
            before; zero for the first. None if the motion is not known.
        valid: bool [T, h, w], False for the first; None likewise.
    """

    blurry: np.ndarray
    sharp: np.ndarray
    positions: np.ndarray
    flow: np.ndarray | None = None
    valid: np.ndarray | None = None


class Samples(abc.ABC):
    """Clips by number, cropped at random; can be pickled, safe in threads.

    Attributes:
        name: what it is, for messages.
        spec: how clips are cut.
    """

    name: str
    spec: ClipSpec

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of clips."""

    @abc.abstractmethod
    def check(self, height: int, width: int) -> None:
        """Refuses a crop that is not inside each frame.

        Args:
            height: its rows in pixels.
            width: its columns.

        Raises:
            UserError: naming what is too small.
        """

    @abc.abstractmethod
    def draw(
        self, index: int, rng: np.random.Generator, height: int, width: int
    ) -> Sample:
        """One crop of a clip; the same generator, the same crop.

        Args:
            index: number of the clip.
            rng: source of randomness.
            height: h of the crop in pixels.
            width: w.

        Returns:
            It.

        Raises:
            UserError: naming a file that cannot be read.
        """


class VideoSamples(Samples):
    """Clips of a dataset's videos, and the motion in them.

    Attributes:
        name: what it is, for messages.
        spec: how clips are cut.
        note: a sentence about the videos that are too short, or None.
    """

    def __init__(self, clips: Clips, motion: MotionSource | None = None):
        """Reads no frame yet.

        Args:
            clips: of a split.
            motion: of the same split; None for training without motion loss.
        """
        self.name, self.spec, self.note = clips.source.name, clips.spec, clips.note
        self._clips, self._motion = clips, motion

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._clips)

    def check(self, height: int, width: int) -> None:
        """As `Samples.check`.

        Args:
            height: rows of the crop in pixels.
            width: its columns.

        Raises:
            UserError: naming the first video that is too small.
        """
        for video in self._clips.source.videos:
            if video.height < height or video.width < width:
                name = f"{self.name}: {video.name}"
                raise _too_small(name, video.height, video.width, height, width)

    def draw(
        self, index: int, rng: np.random.Generator, height: int, width: int
    ) -> Sample:
        """As `Samples.draw`.

        Args:
            index: number of the clip.
            rng: source of randomness.
            height: h of the crop in pixels.
            width: w.

        Returns:
            It; of a decoded copy, only the crop is read.
        """
        rows, columns = self._clips.size(index)
        top, left = (
            int(rng.integers(room + 1)) for room in (rows - height, columns - width)
        )
        window = Window(top, left, height, width)
        clip = self._clips.read(index, window=window)
        frames = clip["blurry"], clip["sharp"], clip["positions"]
        if self._motion is None:
            return Sample(*frames)
        flow = np.zeros((self.spec.frames, height, width, 2), np.float32)
        valid = np.zeros(flow.shape[:-1], bool)
        video, start = self._clips.place(index)
        for n in range(1, self.spec.frames):
            flow[n], valid[n] = self._motion.motion(video, start + n, window)
        return Sample(*frames, flow, valid)


class PhotoSamples(Samples):
    """Clips made from photographs when they are drawn: each is new.

    Attributes:
        name: what it is, for messages.
        spec: how clips are cut.
        note: None, as a photograph gives clips of any length.
    """

    note = None

    def __init__(
        self,
        photos: Sequence[str | os.PathLike],
        spec: ClipSpec | None = None,
        *,
        shake: Shake | None = None,
        objects: Objects | None = None,
        exposure: Exposure | None = None,
        cutouts: Sequence[str | os.PathLike] = (),
    ):
        """Reads the photographs.

        Args:
            photos: PNG or JPEG files.
            spec: how clips are cut; None takes the release's.
            shake: ranges of the camera's motion.
            objects: ranges of what is in front of the photograph.
            exposure: ranges of exposure, noise and compression.
            cutouts: PNG files with opacity: what the objects look like.

        Raises:
            UserError: naming a file that cannot be read, or if there is none.
        """
        if not photos:
            raise UserError("no photographs are given, so there is nothing to draw")
        self.name, self.spec = f"{len(photos)} photographs", spec or ClipSpec()
        self._photos, self._cutouts = ([Path(p) for p in f] for f in (photos, cutouts))
        self._ranges = dict(shake=shake, objects=objects, exposure=exposure)
        self._read()

    def _read(self):
        self._images = [read_image(photo) for photo in self._photos]
        try:
            self._shapes = [read_cutout(str(cutout)) for cutout in self._cutouts]
        except ValueError as error:
            raise UserError(str(error)) from error

    def __getstate__(self):
        """Leaves the pixels behind."""
        return {**self.__dict__, "_images": None, "_shapes": None}

    def __setstate__(self, state):
        """Reads the photographs anew."""
        self.__dict__.update(state)
        self._read()

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self._images)

    def check(self, height: int, width: int) -> None:
        """As `Samples.check`.

        Args:
            height: rows of the crop in pixels.
            width: its columns.

        Raises:
            UserError: naming the first photograph that is too small.
        """
        for path, image in zip(self._photos, self._images, strict=True):
            if image.shape[0] < height or image.shape[1] < width:
                raise _too_small(path, *image.shape[:2], height, width)

    def draw(
        self, index: int, rng: np.random.Generator, height: int, width: int
    ) -> Sample:
        """As `Samples.draw`.

        Args:
            index: number of the photograph.
            rng: source of randomness.
            height: h of the crop in pixels.
            width: w.

        Returns:
            It.
        """
        before = self.spec.lookback if self.spec.see_before else 0
        frames = before + self.spec.frames + self.spec.lookahead
        size = dict(frames=frames, height=height, width=width)
        clip = synthesize(
            self._images[index], rng, **size, **self._ranges, cutouts=self._shapes
        )
        positions = self.spec.positions(before, frames)
        targets = slice(before, before + self.spec.frames)
        flow, valid = clip.flow[targets].copy(), clip.valid[targets].copy()
        flow[0], valid[0] = 0, False
        return Sample(
            clip.blurry[positions], clip.sharp[targets], positions, flow, valid
        )


def _too_small(name, rows, columns, height, width):
    return UserError(
        f"{name} is {columns}x{rows}, smaller than the {width}x{height} crop; choose a "
        "smaller crop, or leave it out"
    )
