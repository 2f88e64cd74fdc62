"""A decoded copy for training: frames as uncompressed, memory-mapped arrays.

Reading a crop is then a copy of some rows, not the decoding of a PNG. One .npy file
[N, H, W, 3] uint8 for the blurry and one for the sharp frames of a video, and a
manifest that records which files they were made from. Letters: N frames, H W pixels.
"""

import dataclasses
import itertools
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mtujax.common.array_files import map_npy
from mtujax.common.dataclass_json import read_json, write_json
from mtujax.common.files import to_disk
from mtujax.common.threads import default_threads, in_order
from mtujax.data.folders import KINDS, FolderSet, frame_files
from mtujax.data.frames import FrameSource, VideoInfo, no_split, video_info
from mtujax.errors import UserError
from mtujax.video.image_files import decode

VERSION = 1
_MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class _Array:
    """A file of frames, and the name, length and checksum of each of its sources."""

    file: str
    bytes: int
    crc32: int
    folder: str
    sources: tuple[tuple[str, int, int], ...]
    begin: str = ""  # of the names that count, where a folder holds several videos


@dataclasses.dataclass(frozen=True)
class _Video:
    """A video: its name, frames, height and width, and its two arrays."""

    video: tuple[str, int, int, int]
    blurry: _Array
    sharp: _Array

    def __post_init__(self):
        if min(self.video[1:]) < 1:
            raise ValueError(f"video {list(self.video)}: must be of 1 or more")

    @property
    def info(self):
        return VideoInfo(*self.video)

    @property
    def arrays(self):
        return [getattr(self, kind) for kind in KINDS]


@dataclasses.dataclass(frozen=True)
class _Manifest:
    """Contents of the manifest; `built` is in nanoseconds since the epoch."""

    version: int
    set: str
    built: int
    splits: dict[str, tuple[_Video, ...]]

    @property
    def videos(self):
        return list(itertools.chain(*self.splits.values()))


def build_cache(
    found: FolderSet,
    folder: Path,
    *,
    threads: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Decodes a set, all frames of which have partners, into an empty folder."""
    # `progress` is called with the frames written and their total. A UserError names
    # the first frame that is damaged or of another size.
    threads = threads or default_threads()
    done, splits = itertools.count(1), {}

    def count():
        number = next(done)
        if progress:
            progress(number, 2 * found.frames)

    for split, videos in found.splits.items():
        (folder / split).mkdir()
        splits[split] = [
            _build_video(v, folder / split, threads, count) for v in videos
        ]
    manifest = {"version": VERSION, "set": found.label, "built": time.time_ns()}
    write_json(folder / _MANIFEST, {**manifest, "splits": splits})


def _build_video(video, folder, threads, count):
    """Writes the arrays of a video; returns its entry of the manifest."""
    info = video_info(video)
    entry = {"video": dataclasses.astuple(info)}
    for kind in KINDS:
        paths = [video.paths(n)[KINDS.index(kind)] for n in range(info.frames)]
        file, sources, crc32 = folder / f"{info.name}.{kind}.npy", [], 0
        shape = (info.frames, info.height, info.width, 3)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        # Frame by frame, not mapped: a full disk is an error then, not a signal.
        with file.open("wb") as out:
            np.lib.format.write_array_header_1_0(out, header)
            for image, source in _decoded(paths, info, threads):
                out.write(image.data)
                crc32 = zlib.crc32(image.data, crc32)
                sources.append(source)
                count()
        to_disk(file)
        entry[kind] = {
            "file": f"{folder.name}/{file.name}",
            "bytes": file.stat().st_size,
            "crc32": crc32,
            "folder": str(paths[0].parent.resolve()),
            "begin": video.begin,
            "sources": sources,
        }
    return entry


def cache_bytes(found: FolderSet) -> int:
    """Bytes that the arrays of a set take."""
    infos = [video_info(video) for video in found.videos]
    return sum(2 * i.frames * i.height * i.width * 3 for i in infos)


def _decoded(paths, info, threads):
    """Yields (image [H, W, 3] uint8, [name, bytes, crc32]) of each file."""

    def one(path):
        data = path.read_bytes()
        image = decode(data, path)
        if image.shape != (info.height, info.width, 3):
            rows, columns, _ = image.shape
            raise UserError(
                f"{path}: is {columns}x{rows}, but the video's first frame is "
                f"{info.width}x{info.height}"
            )
        return image, [path.name, len(data), zlib.crc32(data)]

    # A few at a time, to bound the memory.
    for at in range(0, len(paths), 4 * threads):
        yield from in_order(one, paths[at : at + 4 * threads], threads=threads)


class CachedFrames(FrameSource):
    """One split of a decoded copy."""

    def __init__(
        self, folder: str | os.PathLike, *, split: str, label: str | None = None
    ):
        """Reads the manifest and compares it with the files."""
        # `label` is the set expected, such as `gopro/blur_gamma`; None takes any. A
        # UserError if it is another set, damaged, of another version, or out of date.
        folder = Path(folder)
        manifest = read_manifest(folder)
        self.name = f"{manifest.set} in {folder}"
        if label not in (None, manifest.set):
            raise UserError(f"{folder}: holds {manifest.set}, not {label}")
        if split not in manifest.splits:
            raise no_split(self.name, split, manifest.splits)
        entries = manifest.splits[split]
        for entry in entries:
            for array in entry.arrays:
                _compare(folder, array, manifest.built)
        self.videos = tuple(entry.info for entry in entries)
        self._files = [
            {k: folder / a.file for k, a in zip(KINDS, entry.arrays, strict=True)}
            for entry in entries
        ]
        self._arrays = {}

    def __getstate__(self):
        """Leaves out the open files."""
        return {**self.__dict__, "_arrays": {}}

    def _load(self, video, places, window):
        return [window.of(self._array(video, kind)[frame]) for kind, frame in places]

    def _array(self, video, kind):
        if (video, kind) not in self._arrays:
            file = self._files[video][kind]
            if (array := _mapped(file, self.videos[video])) is None:
                raise UserError(f"{file}: {_HEADER}; {_AGAIN}")
            self._arrays[video, kind] = array
        return self._arrays[video, kind]


def read_manifest(folder: Path) -> _Manifest:
    """Reads a decoded copy's manifest; a UserError if missing or of another version."""
    path = folder / _MANIFEST
    if not path.is_file():
        raise UserError(f"{folder}: no decoded copy, as it has no {_MANIFEST}")
    values = read_json(path, _AGAIN)
    version = values.get("version", VERSION) if isinstance(values, dict) else VERSION
    if version != VERSION:
        raise UserError(
            f"{folder}: decoded copy of version {version}, but this mtujax reads "
            f"{VERSION}; {_AGAIN}"
        )
    return read_json(path, _AGAIN, kind=_Manifest)


_AGAIN = "`mtujax data prepare NAME FOLDER --raw --overwrite` builds it again"


def _compare(folder, array, built):
    """Rejects arrays that are cut short, or older than their source frames."""
    path = folder / array.file
    if not path.is_file() or path.stat().st_size != array.bytes:
        raise UserError(f"{path}: missing or cut short; {_AGAIN}")
    source = Path(array.folder)
    if not source.is_dir():
        return  # moved away after decoding, which is fine
    for name, length, crc32 in array.sources:
        file = source / name
        found = file.stat() if file.is_file() else None
        # A newer time alone may come from copying: then the content decides.
        if (
            found is None
            or found.st_size != length
            or (found.st_mtime_ns > built and zlib.crc32(file.read_bytes()) != crc32)
        ):
            raise UserError(f"{path}: stale, as {file} has changed since; {_AGAIN}")
    known = {os.path.splitext(name)[0] for name, *_ in array.sources}
    there = frame_files(source, array.begin)
    if added := sorted(there.keys() - known):
        raise UserError(
            f"{path}: stale, as {source / there[added[0]]} is new; {_AGAIN}"
        )


def is_cache(folder: Path) -> bool:
    """Finds out whether a folder is a decoded copy, which `prepare_dataset` writes.

    Examples:
        >>> is_cache(Path("set"))
        False

    Args:
        folder: of any kind, or none.

    Returns:
        True for a decoded copy of any version.
    """
    return (folder / _MANIFEST).is_file()


_HEADER = "damaged: its header does not fit"


def _mapped(path, info):
    """A memory-mapped array [N, H, W, 3] uint8; None if its header is damaged."""
    try:
        array = map_npy(path)
    except UserError:
        return None
    fits = array.shape == (info.frames, info.height, info.width, 3)
    return array if fits and array.dtype == "u1" and array.flags.c_contiguous else None


def verify_cache(folder: Path) -> list[str]:
    """Compares header and checksum of every array of a decoded copy.

    Examples:
        >>> done = prepare_dataset("pairs", "set", "copies", raw=True)
        >>> verify_cache(done.folder)
        []

    Args:
        folder: of the copy.

    Returns:
        A line for each damaged array.

    Raises:
        UserError: if it is no decoded copy, or one of another version.
    """
    videos = read_manifest(folder).videos
    return [line for v in videos for a in v.arrays for line in _damage(folder, a, v)]


def _damage(folder, array, video):
    path = folder / array.file
    if not path.is_file() or path.stat().st_size != array.bytes:
        yield f"{path}: missing or cut short"
        return
    frames, crc32 = _mapped(path, video.info), 0
    if frames is None:
        yield f"{path}: {_HEADER}"
        return
    for frame in frames:
        crc32 = zlib.crc32(frame.data, crc32)
    if crc32 != array.crc32:
        yield f"{path}: damaged: its checksum does not fit"
