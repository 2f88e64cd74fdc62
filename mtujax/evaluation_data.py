"""What an evaluation reads: a dataset's frames, or results that anything has made.

Letters: B lanes, H W pixels.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mtujax.data.clips import open_frames
from mtujax.data.folders import find
from mtujax.data.images import decode
from mtujax.data.layouts import config_of, dataset
from mtujax.data.motion import ComputedMotion, dis_flow
from mtujax.data.sources import FolderFrames, FrameSource
from mtujax.errors import UserError
from mtujax.frames import natural_key
from mtujax.lanes import Moment, window_ends
from mtujax.outputs import FRAME_SUFFIXES

_ARRAY = ".npy"
_PNG_DEPTH = 24  # where a PNG says how many bits a channel has


class Videos:
    """The videos of a split and what their frames are called.

    Attributes:
        source: of their frames.
        dataset: name.
        split: part of it.
        variant: its kind of blur, None for a dataset that has only one.
        stems: for each video, its frames' file names without suffix; None where they
            are not kept as files.
    """

    def __init__(
        self, name: str, path: str | Path, *, split: str, variant: str | None = None
    ):
        """Lists the videos.

        Args:
            name: of the dataset.
            path: its folder, unpacked or prepared.
            split: part of it.
            variant: its kind of blur; None takes the default.

        Raises:
            UserError: if nothing usable is there, or a frame has no partner.
        """
        self.source = open_frames(name, path, split=split, config=variant)
        self.dataset, self.split = name, split
        self.variant = config_of(dataset(name), variant)
        self.stems: list[list[str] | None] = [None] * len(self.source.videos)
        if isinstance(self.source, FolderFrames):
            found = find(name, path, variant).splits[split]
            self.stems = [[Path(p[0]).stem for p in v.pairs] for v in found]
        if not sum(video.frames for video in self.source.videos):
            raise UserError(f"{self.source.name}: split {split} has no frames")

    def frame_name(self, video: int, frame: int) -> str:
        """What a frame is called: as its file, else its number with five digits."""
        stems = self.stems[video]
        return f"{frame:05d}" if stems is None else stems[frame]


class ResultFrames:
    """Frames that any method has made of a split: DIR/VIDEO/FRAME.

    PNG, JPEG, or NumPy arrays [H, W, 3] (.npy), uint8 or float in [0, 1]. Names are
    those of the dataset's frames, or any others in the same order.

    Attributes:
        fingerprint: tells whether a file was changed or added since.
        deep: for each video, whether it is float32, not uint8.
    """

    def __init__(self, folder: Path, videos: Videos):
        """Lists the folders.

        Args:
            folder: holds one for each video of the split.
            videos: of which they are.

        Raises:
            UserError: naming the first missing video or frame, or one too many.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of results")
        self._infos, self._files, self.deep = videos.source.videos, [], []
        listed = hashlib.sha256()
        for number, info in enumerate(self._infos):
            files = _matched(folder / info.name, info, videos.stems[number])
            for file in files:
                about = file.stat()
                line = f"{info.name}/{file.name} {about.st_size} {about.st_mtime_ns}\n"
                listed.update(line.encode())
            self._files.append(files)
            self.deep.append(any(map(_is_deep, files)))
        self.fingerprint = listed.hexdigest()

    def read(self, video: int, frame: int) -> np.ndarray:
        """One frame.

        Args:
            video: number of its video.
            frame: its number there.

        Returns:
            [H, W, 3] uint8, or float32 if the video is deep.

        Raises:
            UserError: naming the file, if it cannot be read or has another size.
        """
        path, info = self._files[video][frame], self._infos[video]
        image = _read_array(path) if path.suffix == _ARRAY else _read_image(path)
        rows, columns = image.shape[:2]
        if (rows, columns) != (info.height, info.width):
            raise UserError(
                f"{path}: is {columns}x{rows}, but its sharp frame is "
                f"{info.width}x{info.height}"
            )
        if self.deep[video] and image.dtype == np.uint8:  # a mixture
            return np.float32(image) / np.float32(255)
        return image


def _matched(folder, info, stems):
    """The files of a video's results, in the order of its frames."""
    if not folder.is_dir():
        raise UserError(f"{folder}: missing; results need a folder for each video")
    suffixes = (*FRAME_SUFFIXES, _ARRAY)
    files = [p for p in folder.iterdir() if p.suffix.lower() in suffixes]
    files = sorted(files, key=lambda path: natural_key(path.stem))
    by_stem = {path.stem: path for path in files}
    if len(by_stem) < len(files):
        twice = next(p for p in files if by_stem[p.stem] != p)
        raise UserError(f"{twice}: there is {by_stem[twice.stem].name} as well")
    named = stems is not None and bool(by_stem.keys() & set(stems))
    if named and by_stem.keys() == set(stems):
        return [by_stem[stem] for stem in stems]
    if not named and len(files) == info.frames:
        return files
    stems = stems if named else None
    raise UserError(
        f"{folder}: has {len(files)} frames, but {info.name} has {info.frames}; "
        f"{_first_difference(by_stem, info, stems)}"
    )


def _first_difference(by_stem, info, stems):
    """What is missing or too many, by name where results are named as the frames."""
    found = list(by_stem)
    stems = _numbered(found, info.frames) if stems is None else stems
    missing = [stem for stem in stems if stem not in by_stem]
    if missing:
        return f"the first missing is {missing[0]}"
    extra = [stem for stem in found if stem not in set(stems)]
    if extra:
        return f"the first that is not one of its frames is {extra[0]}"
    return f"the first missing comes after {found[-1]}" if found else "it is empty"


def _numbered(found, count):
    """Names that count on from the first; those found where they are not numbers."""
    parts = [re.fullmatch(r"(.*?)(\d+)", stem) for stem in found]
    if not found or None in parts or len({part[1] for part in parts}) > 1:
        return found[:count]
    before, first = parts[0].groups()
    return [f"{before}{int(first) + n:0{len(first)}d}" for n in range(count)]


def _is_deep(path):
    """Whether a file has more than 8 bits."""
    if path.suffix == _ARRAY:
        try:
            return np.load(path, mmap_mode="r").dtype != np.uint8
        except (ValueError, OSError, EOFError):
            return False  # said when it is read
    with path.open("rb") as file:
        start = file.read(_PNG_DEPTH + 1)
    return start[1:4] == b"PNG" and start[_PNG_DEPTH:] == b"\x10"


def _read_image(path):
    data = path.read_bytes()
    image = decode(data, path)
    if not _is_deep(path):
        return image
    flag = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    return np.ascontiguousarray(deep[..., ::-1]).astype(np.float32) / 65535


def _read_array(path):
    try:
        image = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        raise UserError(f"{path}: damaged, or no NumPy array") from None
    if image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"{path}: is of shape {image.shape}, not [H, W, 3]")
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"{path}: is {image.dtype}; give uint8, or float in [0, 1]")
    return image.astype(np.float32)


class LaneReader:
    """Reads what every lane needs in one step; safe in threads."""

    def __init__(
        self,
        source: FrameSource,
        group: Sequence[int],
        *,
        reach: tuple[int, int],
        results: ResultFrames | None = None,
        flow: bool = False,
    ):
        """Reads nothing yet.

        Args:
            source: of the dataset's frames.
            group: numbers of the videos that are read, all of one size.
            reach: frames of a window before and after its target.
            results: what comes in in place of blurry frames.
            flow: also estimate the motion between sharp frames, which takes long.
        """
        self._source, self._results, self._reach = source, results, reach
        self.lengths = {video: source.videos[video].frames for video in group}
        info = source.videos[group[0]]
        self._size = info.height, info.width
        deep = results is not None and results.deep[group[0]]
        self._dtype = np.float32 if deep else np.uint8
        self._motion = ComputedMotion(source, dis_flow) if flow else None

    def __call__(self, moment: Moment) -> tuple[Moment, dict[str, np.ndarray]]:
        """Reads the frames of a moment.

        Args:
            moment: which.

        Returns:
            The moment, and what `lane_steps.lane_step` is given; zeros in idle lanes.

        Raises:
            UserError: naming what cannot be read.
        """
        lanes, (back, ahead) = len(moment.targets), self._reach
        low, high = window_ends(
            moment.targets, self.lengths, lookback=back, lookahead=ahead
        )
        given = {
            "fresh": np.zeros((lanes, *self._size, 3), self._dtype),
            "sharp": np.zeros((lanes, *self._size, 3), np.uint8),
            "low": low,
            "high": high,
            "start": np.array([t is None or t.frame == 0 for t in moment.targets]),
        }
        if self._motion:
            given["flow"] = np.zeros((lanes, *self._size, 2), np.float32)
            given["seen"] = np.zeros((lanes, *self._size), bool)
        for lane, (target, fresh) in enumerate(zip(*moment, strict=True)):
            self._fill(given, lane, target, fresh)
        return moment, given

    def _fill(self, given, lane, target, fresh):
        if fresh is not None:
            given["fresh"][lane] = self._fresh(fresh)
        if target is None:
            return
        frames = {"sharp": [target.frame]}
        given["sharp"][lane] = self._source.read(target.video, frames)["sharp"][0]
        if self._motion:
            flow, seen = self._motion.motion(target.video, target.frame)
            given["flow"][lane], given["seen"][lane] = flow, seen

    def _fresh(self, place):
        if self._results is not None:
            return self._results.read(place.video, place.frame)
        return self._source.read(place.video, {"blurry": [place.frame]})["blurry"][0]
