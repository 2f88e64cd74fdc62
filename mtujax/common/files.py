"""Files that get their final name only once they are complete, and file locks."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from mtujax.errors import UserError

_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")


def check_output(
    source: Path, output: Path, *, folder: bool, overwrite: bool = False
) -> None:
    """Raises UserError if `output` cannot be written or must not be replaced."""
    if output.exists() and output.samefile(source):
        raise UserError(f"{output}: output and input are the same")
    parent = Path(os.path.realpath(output)).parent
    if not parent.exists():
        raise UserError(f"{output.parent}: no such folder; create it for the output")
    if not parent.is_dir():
        name = output.parent
        raise UserError(f"{name}: not a folder, so {output.name} cannot be in it")
    if not output.exists():
        return
    if folder != output.is_dir():
        found, wanted = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"{output}: is a {found}, but a {wanted} would be written")
    if folder and Path.cwd().is_relative_to(os.path.realpath(output)):
        raise UserError(f"{output}: is the folder you are in; name another")
    if _is_taken(output, folder) and not overwrite:
        raise UserError(
            f"{output}: exists already; --overwrite (overwrite=True) replaces it"
        )
    if folder:
        check_frames_only(output)


def check_frames_only(folder: Path) -> None:
    """Raises UserError if a folder, which replacing deletes, holds more than frames."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in FRAME_SUFFIXES or not path.is_file():
            raise UserError(
                f"{folder}: not overwritten, as it holds more than frames: {path.name}"
            )


@contextlib.contextmanager
def whole_output(
    output: Path, *, folder: bool, overwrite: bool = True
) -> Iterator[Path]:
    """Yields a temporary path next to `output` and renames it if the block succeeds.

    However else the block ends (an error, Ctrl-C), the temporary is deleted and what
    was at `output` before is still there. It has the suffix of `output`; with `folder`
    it is a new folder. UserError if `output` has appeared by then without `overwrite`.
    """
    temporary = _beside(Path(os.path.realpath(output)), "part")
    if folder:
        temporary.mkdir()
    try:
        with naming(output, temporary):
            yield temporary
            publish(temporary, output, folder=folder, overwrite=overwrite)
    finally:
        if folder:
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(output: Path, temporary: Path) -> Iterator[None]:
    """Makes OSErrors name the requested `output`, not the temporary that is written."""
    try:
        yield
    except OSError as error:
        if temporary.name in str(error.filename) or error.errno in _FULL:
            raise OSError(error.errno, error.strerror, str(output)) from error
        raise


def publish(temporary: Path, output: Path, *, folder: bool, overwrite: bool) -> None:
    """Renames a complete temporary, on the same file system; UserError if taken."""
    final = Path(os.path.realpath(output))  # what a link leads to is replaced
    if not overwrite and _is_taken(final, folder):
        raise UserError(f"{output}: appeared in the meantime, and is not replaced")
    if folder:
        _replace_folder(temporary, final)
    else:
        _to_disk(temporary)
        os.replace(temporary, final)


def _is_taken(output, folder):
    # An empty folder may always be replaced.
    return output.exists() and not (folder and not any(output.iterdir()))


def _to_disk(path):
    """Flushes a file to disk, so that its new name cannot outlive its content."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _replace_folder(temporary, output):
    """Renames a folder; one with content cannot be replaced in a single step."""
    if not output.exists():
        temporary.rename(output)
        return
    old = _beside(output, "old")
    output.rename(old)
    try:
        temporary.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(output, kind):
    # Not the process ID: in a container it is the same at every start.
    return output.with_name(f".{output.stem}.{uuid.uuid4().hex}.{kind}{output.suffix}")


@contextlib.contextmanager
def one_at_a_time(
    lock: Path,
    output: Path,
    *,
    busy: str = "is being prepared by another process; wait until it is done",
) -> Iterator[None]:
    """Holds a file lock, which the system frees if we die; UserError if it is held."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{output}: {busy}") from error
        yield


def natural_key(name: str) -> tuple:
    """Sort key that orders numbers in names by value: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name


def digest(data: bytes) -> str:
    """Hexadecimal SHA-256 digest of some bytes."""
    return hashlib.sha256(data).hexdigest()
