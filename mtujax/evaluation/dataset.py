"""Input of an evaluation: a dataset's frames, or results of any method.

Letters: B videos that advance together, H W pixels.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mtujax.common.array_files import map_npy
from mtujax.common.files import FRAME_SUFFIXES, digest, natural_key
from mtujax.data.array_cache import is_cache
from mtujax.data.datasets import config_of, dataset
from mtujax.data.flow import ComputedMotion, FlowFiles, dis_flow
from mtujax.data.folders import find
from mtujax.data.frames import FolderFrames, FrameSource, VideoInfo
from mtujax.data.locate import flow_beside, holds_flow, open_frames
from mtujax.errors import UserError
from mtujax.evaluation.lanes import LaneStep, window_ends
from mtujax.video.image_files import decode

_ARRAY = ".npy"
_PNG_DEPTH = 24  # byte of a PNG with the number of bits of a channel
_MOST = 2.0  # largest float for [0, 1], as a network may overshoot


def fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """Hashes (name, file) pairs by name, size and time, as a hexadecimal sha256."""
    listed = []
    for name, path in files:
        try:
            about = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        listed.append(f"{name} {about.st_size} {about.st_mtime_ns}\n")
    return digest("".join(listed).encode(errors="surrogateescape"))


class ResultFrames:
    """Frames of a split that any method has restored: DIR/VIDEO/FRAME.

    PNG, JPEG, or NumPy arrays [H, W, 3] (.npy), uint8 or float in [0, 1]. Names are
    those of the dataset's frames, or any others in the same order.
    """

    def __init__(
        self,
        folder: Path,
        infos: Sequence[VideoInfo],
        stems: Sequence[Sequence[str] | None],
    ):
        """Lists the files; `stems` of each video's frames, None if not files."""
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of results")
        self.folder, self._infos = folder, tuple(infos)
        self._files = [
            _matched(folder / info.name, info, names)
            for info, names in zip(infos, stems, strict=True)
        ]
        # Videos that are float32, not uint8.
        self.deep = [any(map(_is_deep, files)) for files in self._files]
        # Videos whose results count on from another number than the dataset's frames;
        # they are taken in order.
        self.renumbered = [
            info.name
            for info, names, files in zip(infos, stems, self._files, strict=True)
            if _overlap(files, names) and [p.stem for p in files] != list(names)
        ]
        self.fingerprint = fingerprint(
            (f"{info.name}/{file.name}", file)
            for info, files in zip(infos, self._files, strict=True)
            for file in files
        )

    def read(self, video: int, frame: int) -> np.ndarray:
        """Reads a frame [H, W, 3], uint8, or float32 if the video is deep."""
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
    """Lists the files of a video's results, in the order of its frames."""
    if not folder.is_dir():
        raise UserError(f"{folder}: missing; results need a folder for each video")
    suffixes = (*FRAME_SUFFIXES, _ARRAY)
    files = [p for p in folder.iterdir() if p.suffix.lower() in suffixes]
    files = sorted(files, key=lambda path: natural_key(path.stem))
    by_stem = {path.stem: path for path in files}
    if len(by_stem) < len(files):
        twice = next(p for p in files if by_stem[p.stem] != p)
        raise UserError(f"{twice}: there is {by_stem[twice.stem].name} as well")
    named = _overlap(files, stems)
    if named and by_stem.keys() == set(stems):
        return [by_stem[stem] for stem in stems]
    if len(files) == info.frames and (not named or _count_on(files, stems)):
        return files
    stems = stems if named else None
    raise UserError(
        f"{folder}: has {len(files)} frames, but {info.name} has {info.frames}; "
        f"{_first_difference(by_stem, info, stems)}"
    )


def _overlap(files, stems):
    """Whether some results have names of the dataset's frames."""
    return stems is not None and bool({path.stem for path in files} & set(stems))


def _count_on(files, stems):
    """Whether results and frames are each numbered without a gap."""
    found = [path.stem for path in files]
    return all(names == _numbered(names, len(names)) for names in (found, list(stems)))


def _first_difference(by_stem, info, stems):
    """Names the first missing or extra result; by frame if named like the frames."""
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
    """Numbers names upwards from the first; those found where they are not numbers."""
    parts = [re.fullmatch(r"(.*?)(\d+)", stem) for stem in found]
    if not found or None in parts or len({part[1] for part in parts}) > 1:
        return found[:count]
    before, first = parts[0].groups()
    return [f"{before}{int(first) + n:0{len(first)}d}" for n in range(count)]


def _is_deep(path):
    """Whether a file has more than 8 bits."""
    if path.suffix == _ARRAY:
        try:
            return map_npy(path).dtype != np.uint8
        except UserError:
            return False  # reported when it is read
    with path.open("rb") as file:
        return _is_deep_png(file.read(_PNG_DEPTH + 1))


def _is_deep_png(data):
    return data[1:4] == b"PNG" and data[_PNG_DEPTH : _PNG_DEPTH + 1] == b"\x10"


def _read_image(path):
    data = path.read_bytes()
    deep = _is_deep_png(data)
    image = decode(data, path, deep=deep)
    return image.astype(np.float32) / 65535 if deep else image


def _read_array(path):
    image = np.array(map_npy(path))
    if image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"{path}: is of shape {image.shape}, not [H, W, 3]")
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"{path}: is {image.dtype}; give uint8, or float in [0, 1]")
    image = image.astype(np.float32)
    largest = np.max(np.abs(image), where=np.isfinite(image), initial=0)
    if largest > _MOST:
        raise UserError(
            f"{path}: holds values of {largest:g}, but floats must be in [0, 1]; "
            "divide them by 255 if they are 8-bit levels, or give uint8"
        )
    return image


class Videos:
    """The videos of a split and the names of their frames."""

    def __init__(
        self, name: str, path: str | Path, *, split: str, variant: str | None = None
    ):
        """Lists the videos; `variant` is the kind of blur, None for the default."""
        self.source = open_frames(name, path, split=split, config=variant)
        self.dataset, self.path, self.split = name, Path(path), split
        self.variant = config_of(dataset(name), variant)
        # Names of each video's frames without suffix; None where they are no files.
        self.stems: list[list[str] | None] = [None] * len(self.source.videos)
        self._folders = ()
        if isinstance(self.source, FolderFrames):
            self._folders = find(name, path, variant).splits[split]
            self.stems = [[Path(p[0]).stem for p in v.pairs] for v in self._folders]
        if not sum(video.frames for video in self.source.videos):
            raise UserError(f"{self.source.name}: split {split} has no frames")

    def frame_name(self, video: int, frame: int) -> str:
        """Returns the name of a frame's file, else its number with five digits."""
        stems = self.stems[video]
        return f"{frame:05d}" if stems is None else stems[frame]

    def exact_motion(self) -> dict[int, FlowFiles]:
        """Opens motion stored next to frames, by video, each as of a split of one."""
        # `mtujax data synthesize --flow` writes it; what `mtujax data flow` estimates
        # is stored elsewhere and is not included.
        found = {}
        for number, video in enumerate(self._folders):
            folder = flow_beside(video)
            if holds_flow(folder):
                info = self.source.videos[number]
                names = [[Path(sharp).stem for _, sharp in video.pairs]]
                found[number] = FlowFiles(str(folder), [info], [folder], names)
        return found

    def fingerprint(self, *, motion: bool = False) -> str:
        """Hashes the frames' files, and with `motion` those in `flow`, as a sha256."""
        return fingerprint(self._files(motion))

    def _files(self, motion):
        for video in self._folders:
            for frame in range(len(video.pairs)):
                for kind, path in zip("bs", video.paths(frame), strict=True):
                    yield f"{video.name}/{kind}/{path.name}", path
            folder = flow_beside(video)
            if motion and folder.is_dir():
                for path in sorted(folder.iterdir()):
                    yield f"{video.name}/flow/{path.name}", path
        if self._folders:
            return
        # Prepared: a few large files; what is next to them may be of another form.
        own = Path(*filter(None, [self.path, self.dataset, self.variant]))
        place = self.path if is_cache(self.path) else own
        for path in sorted(place.rglob("*")):
            name = path.relative_to(place)
            if path.is_file() and name.parts[0] != "flow":
                yield name.as_posix(), path


class LaneReader:
    """Reads what every lane needs in one step; thread-safe."""

    def __init__(
        self,
        source: FrameSource,
        group: Sequence[int],
        *,
        reach: tuple[int, int],
        results: ResultFrames | None,
        flow: bool,
        exact: Mapping[int, FlowFiles] | None,
    ):
        """Takes the numbers of videos of one size; reads nothing yet."""
        # `reach` are the frames of a window before and after its target. `results`
        # replace blurry frames. `flow` also estimates the motion between sharp frames,
        # which takes long. `exact` is from `Videos.exact_motion`; None leaves it out.
        self._source, self._results, self._reach = source, results, reach
        self.lengths = {video: source.videos[video].frames for video in group}
        info = source.videos[group[0]]
        self._size = info.height, info.width
        deep = results is not None and results.deep[group[0]]
        self._dtype = np.float32 if deep else np.uint8
        self._motion = ComputedMotion(source, dis_flow) if flow else None
        self._exact = exact

    def __call__(self, step: LaneStep) -> tuple[LaneStep, dict[str, np.ndarray]]:
        """Reads what `lanes.lane_step` is given; zeros in idle lanes."""
        lanes, (back, ahead) = len(step.targets), self._reach
        low, high = window_ends(
            step.targets, self.lengths, lookback=back, lookahead=ahead
        )
        given = {
            "fresh": np.zeros((lanes, *self._size, 3), self._dtype),
            "sharp": np.zeros((lanes, *self._size, 3), np.uint8),
            "low": low,
            "high": high,
            "start": np.array([t is None or t.frame == 0 for t in step.targets]),
        }
        if self._motion:
            given["flow"] = np.zeros((lanes, *self._size, 2), np.float32)
            given["seen"] = np.zeros((lanes, *self._size), bool)
        if self._exact is not None:
            given["exact"] = np.zeros((lanes, *self._size, 2), np.float32)
            given["known"] = np.zeros((lanes, *self._size), bool)
        if self._results is not None:
            given["blurry"] = np.zeros_like(given["sharp"])
        for lane, (target, fresh) in enumerate(zip(*step, strict=True)):
            self._fill(given, lane, target, fresh)
        return step, given

    def _fill(self, given, lane, target, fresh):
        if fresh is not None:
            given["fresh"][lane] = self._fresh(fresh)
        if target is None:
            return
        kinds = given.keys() & {"sharp", "blurry"}
        read = self._source.read(target.video, {kind: [target.frame] for kind in kinds})
        for kind, (frame,) in read.items():
            given[kind][lane] = frame
        if self._motion:
            flow, seen = self._motion.motion(target.video, target.frame)
            given["flow"][lane], given["seen"][lane] = flow, seen
        if self._exact and (files := self._exact.get(target.video)):
            flow, known = files.motion(0, target.frame)
            given["exact"][lane], given["known"][lane] = flow, known

    def _fresh(self, place):
        if self._results is not None:
            return self._results.read(place.video, place.frame)
        return self._source.read(place.video, {"blurry": [place.frame]})["blurry"][0]
