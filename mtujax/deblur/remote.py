"""Files behind URLs: whatever fsspec reads, copied here and published whole there.

The functions take a name of this machine as well, for which they are those of `os`.
Copies are in a hidden temporary folder, which is deleted when the work on them ends
or, if the process was killed, when it is repeated.
"""

import contextlib
import glob as local_glob
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mtujax.common.files import (
    FULL,
    digest,
    is_frame_name,
    make_folder as make_local_folder,
    staged,
    state_of as state_of_local,
)
from mtujax.errors import UserError, extra


def is_url(name: str | os.PathLike) -> bool:
    """Whether a name is a URL, as s3://bucket/a.mp4."""
    return "://" in os.fspath(name)


@contextlib.contextmanager
def _reached(url):
    """File system and path of a URL, which is named by whatever fails in the block."""
    with extra("remote"):
        import fsspec.core
    try:
        yield fsspec.core.url_to_fs(os.fspath(url))
    except FileNotFoundError:
        raise UserError(f"{url}: no such file or folder") from None
    except Exception as error:  # each library has its own
        if isinstance(error, OSError) and error.errno in FULL:  # this machine's disk
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{url}: {said}") from error


def _info(url):
    """What is behind a URL; None if nothing is."""
    with _reached(url) as (files, path):
        try:
            return files.info(path)
        except FileNotFoundError:
            return None


def exists(name: str) -> bool:
    """Whether there is such a file or folder."""
    return _info(name) is not None if is_url(name) else os.path.exists(name)


def isdir(name: str) -> bool:
    """Whether there is such a folder."""
    if not is_url(name):
        return os.path.isdir(name)
    info = _info(name)
    return info is not None and info["type"] == "directory"


def listdir(folder: str) -> list[str]:
    """Names of what a folder holds."""
    return [os.path.basename(info["name"].rstrip("/")) for info in _infos(folder)]


def _infos(url):
    if not is_url(url):
        return [{"name": name} for name in os.listdir(url)]
    with _reached(url) as (files, path):
        return files.ls(path, detail=True)


def glob(pattern: str) -> list[str]:
    """Files and folders whose names match a pattern."""
    if not is_url(pattern):
        return local_glob.glob(pattern, recursive=True)
    with _reached(pattern) as (files, path):
        return [files.unstrip_protocol(name) for name in files.glob(path)]


def state_of(name: str) -> tuple[int, ...] | None:
    """What changes when a file or frames are written again; None if there is none."""
    # Bytes, and a digest of what the file system knows a version by; of a folder
    # those of its frames, and their number.
    if not is_url(name):
        return state_of_local(name)
    if (info := _info(name)) is None:
        return None
    if not (folder := info["type"] == "directory"):
        infos = [info]
    else:
        infos = [one for one in _infos(name) if is_frame_name(one["name"])]
    with _reached(name) as (files, _):
        known = sorted(files.ukey(one["name"]) for one in infos)
    # 52 bits are exact in any JSON.
    version = int(digest("".join(known).encode())[:13], 16)
    size = sum(one["size"] or 0 for one in infos)
    return (size, version, len(infos)) if folder else (size, version)


def size_of(name: str) -> int | None:
    """Bytes of a file, or of the frames of a folder; None if there is none."""
    state = state_of(name)
    return state and state[0]


def is_taken(name: str) -> bool:
    """Whether a name is in use; that of an empty folder is not."""
    if isdir(name):
        return bool(listdir(name))
    return exists(name) if is_url(name) else os.path.lexists(name)


def make_folder(folder: str, remedy: str) -> None:
    """Makes a folder to write to, and its parents; else a UserError with the remedy."""
    if not is_url(folder):
        make_local_folder(Path(folder), remedy)
        return
    with _reached(folder) as (files, path):
        files.makedirs(path, exist_ok=True)


@contextlib.contextmanager
def _scratch(name, *of):
    """A temporary folder for copies of a URL, for this process alone."""
    mark = digest(os.fsencode(" ".join([str(Path.home()), name, *of])))[:16]
    place = Path(tempfile.gettempdir()) / f"mtujax-{mark}"
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(staged(place, folder=True))
        except UserError as error:  # busy
            raise UserError(str(error).replace(str(place), name)) from None
        yield made.path


@contextlib.contextmanager
def copied(name: str, output: str) -> Iterator[str]:
    """The name here of an input, while an output is made of it in the block."""
    if not is_url(name):
        yield name
        return
    with _scratch(name, output) as place:
        here = str(place / os.path.basename(name.rstrip("/")))
        _fetch(name, here)
        yield here


def _fetch(url, here):
    frames = listdir(url) if isdir(url) else None
    with _reached(url) as (files, path):
        if frames is None:
            files.get_file(path, here)
            return
        os.mkdir(here)
        for name in filter(is_frame_name, frames):
            files.get_file(f"{path}/{name}", os.path.join(here, name))


@contextlib.contextmanager
def published(name: str, *, overwrite: bool) -> Iterator[str]:
    """The name here of an output, which appears under its own if the block succeeds."""
    if not is_url(name):
        yield name
        return
    with _scratch(name) as place:
        base = os.path.basename(name.rstrip("/"))
        here = place / base
        yield str(here) + "/" * name.endswith("/")
        if not overwrite and is_taken(name):
            raise UserError(f"{name}: appeared in the meantime, and is not replaced")
        _send(here, name.rstrip("/"))


def _send(here, url):
    """Copies a file or folder to a hidden name, and renames it."""
    folder = here.is_dir()
    with _reached(url) as (files, path):
        parent, _, base = path.rpartition("/")
        part = f"{parent}/.{base}.part"
        _delete(files, part)
        if folder:
            files.makedirs(part)
            for one in sorted(here.iterdir()):
                files.put_file(str(one), f"{part}/{one.name}")
            _delete(files, path)
        else:
            files.put_file(str(here), part)
        files.mv(part, path, recursive=folder)


def _delete(files, path):
    if files.exists(path):
        files.rm(path, recursive=True)


@contextlib.contextmanager
def mirrored(
    folder: str, name: str, pattern: str
) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder's files that match a pattern, here; and what writes `name` back."""
    if not is_url(folder):
        yield Path(folder), lambda: None
        return
    url = os.path.join(folder, name)
    with _scratch(url) as place:
        for found in glob(os.path.join(folder, pattern)):
            _fetch(found, str(place / os.path.basename(found)))
        try:
            yield place, lambda: _send(place / name, url)
        except UserError as error:
            raise type(error)(str(error).replace(str(place), str(folder))) from None
