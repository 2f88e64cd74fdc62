"""Random access to the frames of a split, in any storage format.

Folders are here, TFDS records in `tfds.py`, decoded arrays in `array_cache.py`; all
give the same frames. Letters: H W pixels, h w a window of them, N frames.
"""

import abc
import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mtujax.common.threads import default_threads
from mtujax.data.folders import FolderVideo, find
from mtujax.errors import UsageError, UserError
from mtujax.video.image_files import decode, image_size

KINDS = ("blurry", "sharp")


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """One video of a split: its number of pairs, and its frames' size in pixels."""

    name: str
    frames: int
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class Window:
    """A rectangle of a frame, in pixels: first row and column, h rows and w columns."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """Cuts it out of [..., H, W, C]: a view [..., h, w, C]."""
        rows = slice(self.top, self.top + self.height)
        return image[..., rows, self.left : self.left + self.width, :]


class FrameSource(abc.ABC):
    """Frames of one split by video and position; picklable and thread-safe.

    Attributes:
        name: of the source, for messages.
        videos: the videos of the split, in order.
    """

    name: str
    videos: tuple[VideoInfo, ...]

    def read(
        self,
        video: int,
        frames: Mapping[str, Sequence[int]],
        *,
        window: Window | None = None,
    ) -> dict[str, np.ndarray]:
        """Reads frames of one video.

        Args:
            video: its position in `videos`.
            frames: {"blurry": positions, "sharp": positions} from 0, in any order;
                repeated ones are decoded once; either may be left out.
            window: part of every frame to return; None returns all of it.

        Returns:
            {kind: [N, h, w, 3] uint8 RGB} for the kinds requested.

        Raises:
            UserError: naming the file or record that cannot be read.
            UsageError: if the window is not inside the frame.
        """
        info = self.videos[video]
        window = window or Window(0, 0, info.height, info.width)
        _check_window(window, info)
        places = [(k, n) for k in frames for n in dict.fromkeys(map(int, frames[k]))]
        read = dict(zip(places, self._load(video, places, window), strict=True))
        shape = (window.height, window.width, 3)
        result = {}
        for kind, wanted in frames.items():
            result[kind] = np.empty((len(wanted), *shape), np.uint8)
            for out, n in zip(result[kind], wanted, strict=True):
                out[:] = read[kind, int(n)]
        return result

    @abc.abstractmethod
    def _load(self, video, places, window):
        """Windows [h, w, 3] uint8 of the frames at (kind, position), in order."""


def _check_window(window, info):
    down, right = window.top + window.height, window.left + window.width
    if window.height < 1 or window.width < 1 or min(window.top, window.left) < 0:
        raise UsageError(f"{window}: not a part of a frame")
    if down > info.height or right > info.width:
        raise UsageError(
            f"{window.width}x{window.height} at ({window.left}, {window.top}): outside "
            f"the frames of {info.name}, which are {info.width}x{info.height}"
        )


class DecodedFrames(FrameSource):
    """A source of compressed frames, which a thread pool decodes."""

    def __init__(self, threads: int | None):
        """Starts no thread yet; `threads` None takes one for each core."""
        self._threads = threads or default_threads()
        self._pool = ThreadPoolExecutor(self._threads)

    def __getstate__(self):
        """Leaves out the thread pool."""
        return {k: v for k, v in self.__dict__.items() if k != "_pool"}

    def __setstate__(self, state):
        """Creates a new thread pool."""
        self.__dict__.update(state)
        self._pool = ThreadPoolExecutor(self._threads)

    def _decode(self, fetch, places, video, window):
        info = self.videos[video]

        def one(place):
            data, name = fetch(place)
            image = decode(data, name)
            if image.shape[:2] != (info.height, info.width):
                raise UserError(
                    f"{name}: is {image.shape[1]}x{image.shape[0]}, but other frames "
                    f"of {info.name} are {info.width}x{info.height}"
                )
            return window.of(image)

        return self._pool.map(one, places)


class FolderFrames(DecodedFrames):
    """A dataset as it was unpacked: no preparation, but slow decoding."""

    def __init__(
        self,
        name: str,
        root: str | os.PathLike,
        *,
        split: str,
        config: str | None = None,
        threads: int | None = None,
    ):
        """Lists the folders and reads the size of each video's first frame.

        Args:
            name: of the dataset.
            root: folder that holds it.
            split: which part of it.
            config: its form; None takes the default.
            threads: that decode in parallel; None takes one for each core.

        Raises:
            UserError: if the dataset or the split is missing, or a frame is unpaired.
        """
        super().__init__(threads)
        found = find(name, root, config)
        self.name = f"{found.label} in {root}"
        videos = found.splits.get(split)
        if videos is None:
            raise no_split(self.name, split, found.splits)
        unpaired = [line for video in videos for line in video.unpaired]
        if unpaired:
            first = f"{root}: split {split} has frames without a partner"
            raise UserError("\n  ".join([first, *unpaired]))
        self._videos = videos
        self.videos = tuple(self._pool.map(video_info, videos))

    def _load(self, video, places, window):
        def fetch(place):
            kind, frame = place
            path = self._videos[video].paths(frame)[KINDS.index(kind)]
            return path.read_bytes(), path

        return self._decode(fetch, places, video, window)


def video_info(video: FolderVideo) -> VideoInfo:
    """Name, length and size of a video with a pair, by its first frame's file."""
    return VideoInfo(video.name, len(video.pairs), *image_size(video.paths(0)[0]))


def no_split(name: str, split: str, splits: Sequence[str]) -> UserError:
    """The UserError for a split that does not exist."""
    return UserError(
        f"{name}: no split {split!r}; it has {', '.join(splits) or 'none'}"
    )
