"""What training draws from: clips by number; here those of a dataset.

Letters: T target frames of a clip, L frames of its blurry side, H W pixels of a frame,
h w of a crop.
"""

import abc
import dataclasses

import numpy as np

from mtujax.data.clips import Clips, ClipSpec
from mtujax.data.motion import MotionSource
from mtujax.data.sources import Window
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
    def describe(self, index: int) -> str:
        """What a clip is made of, in words.

        Args:
            index: number of the clip.

        Returns:
            A video and its frames, or a file.
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
                raise too_small(name, video.height, video.width, height, width)

    def describe(self, index: int) -> str:
        """As `Samples.describe`.

        Args:
            index: number of the clip.

        Returns:
            The video and its frames.
        """
        video, start = self._clips.place(index)
        name, last = self._clips.source.videos[video].name, start + self.spec.frames - 1
        return f"{name}, frames {start} to {last}"

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


def too_small(name: object, rows: int, columns: int, height: int, width: int):
    """What to raise where a crop is larger than frames.

    Args:
        name: of what is too small.
        rows: of it.
        columns: of it.
        height: of the crop.
        width: of the crop.

    Returns:
        A `UserError`.
    """
    return UserError(
        f"{name} is {columns}x{rows}, smaller than the {width}x{height} crop; choose a "
        "smaller crop (data.crop of a run), or leave it out"
    )
