"""Random access to the frames of a split, in any storage format.

Folders and prepared TFDS records are here, decoded arrays in `array_cache.py`; all give
the same frames. Letters: H W pixels, h w a window of them, N frames.
"""

import abc
import contextlib
import dataclasses
import errno
import operator
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mtujax.common.text import listed
from mtujax.common.threads import default_threads
from mtujax.data.datasets import config_of, dataset
from mtujax.data.folders import KINDS, FolderVideo, find
from mtujax.errors import UsageError, UserError, extra
from mtujax.video.image_files import decode, image_size


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

    Examples:
        >>> frames = open_frames("pairs", "set", split="train")
        >>> isinstance(frames, FrameSource), frames.videos[0].frames
        (True, 6)

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
        down, right = window.top + window.height, window.left + window.width
        if window.height < 1 or window.width < 1 or min(window.top, window.left) < 0:
            raise UsageError(f"{window}: not a part of a frame")
        if down > info.height or right > info.width:
            raise UsageError(
                f"{window.width}x{window.height} at ({window.left}, {window.top}): "
                f"outside the frames of {info.name}, which are "
                f"{info.width}x{info.height}"
            )
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
    """A dataset as it was unpacked: no preparation, but slow decoding.

    Examples:
        >>> frames = FolderFrames("pairs", "set", split="train")
        >>> frames.read(0, {"sharp": [0, 1]})["sharp"].shape
        (2, 48, 64, 3)
    """

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
            raise UserError(
                f"{root}: split {split} has frames without a partner: "
                f"{listed(unpaired, between='; ')}"
            )
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


def builder(
    name: str,
    *,
    config: str | None = None,
    data_dir: str | os.PathLike | None = None,
):
    """The `PairBuilder` of a dataset; None takes TFDS's own folder."""
    config = config_of(dataset(name), config)
    made = getattr(_builders(), name.capitalize())
    chosen = {"config": made.named(config)} if config is not None else {}
    folder = None if data_dir is None else os.path.abspath(data_dir)
    return made(data_dir=folder, file_format="array_record", **chosen)


def current_version() -> str:
    """Of the sets that are prepared."""
    return str(_builders().VERSION)


def _builders():
    with extra("train"):
        from mtujax.data import builders
    return builders


def prepared(
    name: str, *, config: str | None = None, data_dir: str | os.PathLike | None = None
):
    """The `PairBuilder` of a prepared set; a UserError if none of this version."""
    made = builder(name, config=config, data_dir=data_dir)
    folder = Path(made.data_dir)
    if made.is_prepared():
        return made
    label = "/".join(folder.parts[len(Path(made.data_dir_root).parts) : -1])
    again = f"`mtujax data prepare {name} FOLDER --output {made.data_dir_root}`"
    if others := versions(folder.parent):
        raise UserError(
            f"{folder.parent}: {label} is prepared as version {others[-1]}, but this "
            f"mtujax reads {folder.name}; {again} --overwrite builds it again"
        )
    raise UserError(f"{made.data_dir_root}: {label} is not prepared; {again} does it")


def versions(folder: Path) -> list[str]:
    """Versions of a set in its folder, which need not exist, oldest first."""
    if not folder.is_dir():
        return []
    found = [p.name for p in folder.iterdir() if (p / "dataset_info.json").is_file()]
    numbers = [n for n in found if all(part.isdigit() for part in n.split("."))]
    return sorted(numbers, key=lambda name: [int(part) for part in name.split(".")])


# Errors of the system that damage has: TFDS's own, and of folders in place of files.
_OF_CONTENT = None, errno.EISDIR, errno.ENOTDIR, errno.ELOOP


class RecordFrames(DecodedFrames):
    """Frames from records, as written by `data prepare`."""

    def __init__(
        self,
        name: str,
        data_dir: str | os.PathLike,
        *,
        split: str,
        config: str | None = None,
        threads: int | None = None,
    ):
        """Opens the records; a UserError if nothing is prepared, or no such split."""
        super().__init__(threads)
        self.name = f"{name} in {Path(data_dir)}"
        with self._read():
            builder = prepared(name, config=config, data_dir=data_dir)
            self.name = f"{builder.info.full_name} in {Path(data_dir)}"
            if split not in builder.info.splits:
                raise no_split(self.name, split, list(builder.info.splits))
            self.videos = tuple(
                VideoInfo(str(video), *map(operator.index, sizes))
                for video, *sizes in builder.info.metadata["videos"][split]
            )
            if any(min(v.height, v.width) < 1 for v in self.videos):
                raise ValueError("a video has no size")
            self._starts = np.cumsum([0, *(video.frames for video in self.videos)])
            self._records = builder.raw_source(split)
            if len(self._records) != self._starts[-1]:
                raise ValueError("records are missing")

    @contextlib.contextmanager
    def _read(self):
        """Names the set in what TFDS raises over damaged files: errors of any kind."""
        try:
            yield
        except Exception as error:
            lost = isinstance(error, OSError) and error.errno not in _OF_CONTENT
            if lost or isinstance(error, UserError):
                raise
            why = " ".join(str(error).split())[:120]
            raise UserError(
                f"{self.name}: damaged ({why}); `mtujax data prepare` with --overwrite "
                "builds it again"
            ) from error

    def _load(self, video, places, window):
        info, start = self.videos[video], int(self._starts[video])
        positions = sorted({frame for _, frame in places})
        with self._read():
            records = self._records.__getitems__([start + n for n in positions])
            by_position = dict(zip(positions, records, strict=True))
            for position, record in by_position.items():
                if (_text(record["video"]), int(record["frame"])) != (
                    info.name,
                    position,
                ):
                    raise ValueError(f"{info.name}, frame {position}: out of order")
            found = {(k, n): bytes(by_position[n][k]) for k, n in places}

        def fetch(place):
            kind, frame = place
            return found[place], f"{self.name}: {info.name}, {kind} frame {frame}"

        return self._decode(fetch, places, video, window)


def _text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def default_output() -> Path:
    """Where TFDS keeps its sets: `TFDS_DATA_DIR`, or a folder in the user's home."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
