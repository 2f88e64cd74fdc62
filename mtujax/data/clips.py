"""What training draws from: clips of T consecutive frames and their neighbours.

Letters: T target frames of a clip, L = lookback + T + lookahead frames of its blurry
side, H W pixels of a frame, h w of a crop.
"""

import abc
import dataclasses

import numpy as np

from mtujax.common.text import listed
from mtujax.data.flow import MotionSource
from mtujax.data.frames import FrameSource, Window
from mtujax.errors import UserError, check_least


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """How clips are cut out of videos.

    Examples:
        >>> ClipSpec(frames=3).positions(start=2, length=5).tolist()
        [2, 2, 2, 3, 4, 4, 4]

    Attributes:
        frames: T; the release trains on 13.
        lookback: blurry frames before the first target.
        lookahead: blurry frames after the last target.
        stride: frames from the start of one clip to the start of the next.
        use_preceding_frames: take the lookback from the video before the clip. The
            release repeats the clip's first frame, as for a video that starts there.
    """

    frames: int = 13
    lookback: int = 2
    lookahead: int = 2
    stride: int = 1
    use_preceding_frames: bool = False

    def __post_init__(self):
        """Raises a UsageError that names the first invalid field."""
        check_least(1, frames=self.frames, stride=self.stride)
        check_least(0, lookback=self.lookback, lookahead=self.lookahead)

    def positions(self, start: int, length: int) -> np.ndarray:
        """Positions of a clip's blurry frames in its video.

        Args:
            start: position of the first target.
            length: frames of the video.

        Returns:
            int32 [L], clamped at the end of the video and, at the other side, at the
            clip's first frame or the video's.
        """
        wanted = np.arange(start - self.lookback, start + self.frames + self.lookahead)
        first = 0 if self.use_preceding_frames else start
        return np.clip(wanted, first, length - 1).astype(np.int32)


class Clips:
    """The clips of a split, by number; a source for Grain, picklable.

    Examples:
        >>> frames = open_frames("pairs", "set", split="train")
        >>> clips = Clips(frames, ClipSpec(frames=3))
        >>> len(clips), clips[0]["blurry"].shape  # two frames on either side
        (4, (7, 48, 64, 3))

    Attributes:
        source: of the frames.
        spec: how clips are cut.
        short: videos with fewer than T frames, which give no clip.
    """

    def __init__(self, source: FrameSource, spec: ClipSpec | None = None):
        """Counts the clips.

        Args:
            source: frames of one split.
            spec: how clips are cut; None takes the release's.

        Raises:
            UserError: if no video is long enough.
        """
        self.source, self.spec = source, spec or ClipSpec()
        least = self.spec.frames
        self.short = tuple(v for v in source.videos if v.frames < least)
        room = [v.frames - least for v in source.videos]
        counts = [r // self.spec.stride + 1 if r >= 0 else 0 for r in room]
        self._ends = np.cumsum(counts)
        if not sum(counts):
            longest = max((v.frames for v in source.videos), default=0)
            raise UserError(
                f"{source.name}: no clip of {least} frames, as the longest video has "
                f"{longest}; ask for shorter clips (data.frames, validation.frames)"
            )

    @property
    def note(self) -> str | None:
        """A sentence about the videos that are too short, or None."""
        if not self.short:
            return None
        names = listed((f"{v.name} ({v.frames})" for v in self.short), 5)
        return (
            f"{len(self.short)} of {len(self.source.videos)} videos are shorter than "
            f"{self.spec.frames} frames and give no clip: {names}"
        )

    def __len__(self) -> int:
        """Number of clips."""
        return int(self._ends[-1])

    def place(self, index: int) -> tuple[int, int]:
        """Finds the video and the first target frame of a clip.

        Args:
            index: number of the clip.

        Returns:
            Position of its video in `source.videos`, and of its first target in that.

        Raises:
            IndexError: if there is no such clip.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        video = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[video - 1]) if video else 0
        return video, (int(index) - before) * self.spec.stride

    def size(self, index: int) -> tuple[int, int]:
        """Rows H and columns W of a clip's frames, without reading them.

        Args:
            index: number of the clip.

        Returns:
            H and W.
        """
        info = self.source.videos[self.place(index)[0]]
        return info.height, info.width

    def read(
        self, index: int, *, window: Window | None = None
    ) -> dict[str, np.ndarray]:
        """Reads one clip.

        Args:
            index: number of the clip.
            window: part of every frame; None reads whole frames. Of a decoded copy,
                only the window is read.

        Returns:
            "blurry": uint8 [L, h, w, 3]; "sharp": uint8 [T, h, w, 3]; "positions":
            int32 [L] of the blurry frames in the video; "video": int32 [].

        Raises:
            IndexError: if there is no such clip.
            UserError: naming a frame that cannot be read.
        """
        video, start = self.place(index)
        positions = self.spec.positions(start, self.source.videos[video].frames)
        targets = range(start, start + self.spec.frames)
        wanted = {"blurry": positions, "sharp": targets}
        read = self.source.read(video, wanted, window=window)
        return {**read, "positions": positions, "video": np.int32(video)}

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """One clip of whole frames, as returned by `read`."""
        return self.read(int(index))


@dataclasses.dataclass(frozen=True)
class Sample:
    """A cropped clip."""

    blurry: np.ndarray  # [L, h, w, 3] uint8
    sharp: np.ndarray  # [T, h, w, 3] uint8
    # [L] of the blurry frames in their video; equal ones are one frame
    positions: np.ndarray
    # [T, h, w, 2] float32 in pixels, from each sharp frame back to the one before; zero
    # for the first. None if the motion is unknown.
    flow: np.ndarray | None = None
    # Bool [T, h, w], False for the first frame; None if `flow` is
    valid: np.ndarray | None = None


class Samples(abc.ABC):
    """Clips by number, cropped at random; picklable and thread-safe."""

    name: str  # for messages
    spec: ClipSpec

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of clips."""

    @abc.abstractmethod
    def check(self, height: int, width: int) -> None:
        """Raises a UserError if a crop of this size, in pixels, exceeds any frame."""

    @abc.abstractmethod
    def describe(self, index: int) -> str:
        """Names what a clip is made from: a video and its frames, or a file."""

    @abc.abstractmethod
    def draw(
        self, index: int, rng: np.random.Generator, height: int, width: int
    ) -> Sample:
        """Draws a crop, in pixels, the same by the same generator state."""


class VideoSamples(Samples):
    """Clips of a dataset's videos, and their motion; `note` is as in `Clips`."""

    def __init__(self, clips: Clips, motion: MotionSource | None = None):
        """Reads no frame yet; `motion` is of the same split, or None for no labels."""
        self.name, self.spec, self.note = clips.source.name, clips.spec, clips.note
        self._clips, self._motion = clips, motion

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._clips)

    def check(self, height: int, width: int) -> None:
        """As `Samples.check`; the error names the first video that is too small."""
        for video in self._clips.source.videos:
            if video.height < height or video.width < width:
                name = f"{self.name}: {video.name}"
                raise too_small(name, video.height, video.width, height, width)

    def describe(self, index: int) -> str:
        """The video of a clip and its frames."""
        video, start = self._clips.place(index)
        name, last = self._clips.source.videos[video].name, start + self.spec.frames - 1
        return f"{name}, frames {start} to {last}"

    def draw(
        self, index: int, rng: np.random.Generator, height: int, width: int
    ) -> Sample:
        """As `Samples.draw`; of a decoded copy, only the crop is read."""
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
    """The UserError for a crop larger than a frame of rows x columns pixels."""
    return UserError(
        f"{name} is {columns}x{rows}, smaller than the {width}x{height} crop; choose a "
        "smaller crop (data.crop of a run), or leave it out"
    )
