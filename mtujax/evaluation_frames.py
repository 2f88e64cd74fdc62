"""Results that anything has made: which file is which frame, and what it holds.

Letters: H W pixels.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from mtujax.data.images import decode
from mtujax.data.sources import VideoInfo
from mtujax.errors import UserError
from mtujax.frames import natural_key
from mtujax.outputs import FRAME_SUFFIXES

_ARRAY = ".npy"
_PNG_DEPTH = 24  # where a PNG says how many bits a channel has
_MOST = 2.0  # of floats in [0, 1], with room for what a network overshoots


def fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """Tells whether files were changed, added or removed since.

    Args:
        files: what each is called, wherever it lies, and the file.

    Returns:
        A sha256, hexadecimal, of names, sizes and times.

    Raises:
        UserError: naming a file that is missing.
    """
    listed = hashlib.sha256()
    for name, path in files:
        try:
            about = path.stat()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        line = f"{name} {about.st_size} {about.st_mtime_ns}\n"
        listed.update(line.encode(errors="surrogateescape"))
    return listed.hexdigest()


class ResultFrames:
    """Frames that any method has made of a split: DIR/VIDEO/FRAME.

    PNG, JPEG, or NumPy arrays [H, W, 3] (.npy), uint8 or float in [0, 1]. Names are
    those of the dataset's frames, or any others in the same order.

    Attributes:
        folder: that holds them.
        fingerprint: tells whether a file was changed or added since.
        deep: for each video, whether it is float32, not uint8.
        renumbered: names of the videos whose results count on from another number
            than the dataset's frames do; they are taken in order.
    """

    def __init__(
        self,
        folder: Path,
        infos: Sequence[VideoInfo],
        stems: Sequence[Sequence[str] | None],
    ):
        """Lists the folders.

        Args:
            folder: holds one for each video of the split.
            infos: the videos of the split.
            stems: for each, the names of its frames without suffix; None where they
                are not kept as files.

        Raises:
            UserError: naming the first missing video or frame, or one too many.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder of results")
        self.folder, self._infos = folder, tuple(infos)
        self._files = [
            _matched(folder / info.name, info, names)
            for info, names in zip(infos, stems, strict=True)
        ]
        self.deep = [any(map(_is_deep, files)) for files in self._files]
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
    """Whether some results are named as frames of the dataset."""
    return stems is not None and bool({path.stem for path in files} & set(stems))


def _count_on(files, stems):
    """Whether results and frames are each numbered without a gap."""
    found = [path.stem for path in files]
    return all(names == _numbered(names, len(names)) for names in (found, list(stems)))


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
    image = image.astype(np.float32)
    largest = np.max(np.abs(image), where=np.isfinite(image), initial=0)
    if largest > _MOST:
        raise UserError(
            f"{path}: holds values of {largest:g}, but floats must be in [0, 1]; "
            "divide them by 255 if they are 8-bit levels, or give uint8"
        )
    return image
