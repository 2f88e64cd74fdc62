"""Files that get their final name only once they are complete, and file locks."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from mtujax.errors import UserError

_LONGEST_ENDING = 64  # characters; what a folder has after a dot may be any text
_FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")


def check_output(
    source: Path, output: Path, *, folder: bool, overwrite: bool = False
) -> None:
    """Refuses, before any work, an output that could not or should not be written."""
    if output.exists() and output.samefile(source):
        raise UserError(f"{output}: output and input are the same")
    check_place(output, folder=folder)
    if not output.exists():
        return
    if folder and Path.cwd().is_relative_to(os.path.realpath(output)):
        raise UserError(f"{output}: is the folder you are in; name another")
    check_free(output, folder=folder, overwrite=overwrite)
    if folder:
        check_frames_only(output)


def check_place(output: Path, *, folder: bool) -> None:
    """Refuses an output in no folder, one that is neither, and one for the other."""
    parent = Path(os.path.realpath(output)).parent
    size, most = len(os.fsencode(output.name)), _most_bytes(parent)
    if size > most:
        raise UserError(
            f"{output}: a name of {size} bytes, but here are {most} allowed; "
            "choose a shorter one"
        )
    if not parent.exists():
        raise UserError(f"{output.parent}: no such folder; create it for the output")
    if not parent.is_dir():
        name = output.parent
        raise UserError(f"{name}: not a folder, so {output.name} cannot be in it")
    _check_regular(output)
    if output.exists() and folder != output.is_dir():
        found, wanted = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"{output}: is a {found}, but a {wanted} would be written")


_KINDS = (
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def irregular(path: Path) -> str | None:
    """What a path is in place of a file or folder, as "pipe"; None if it is neither."""
    # Asked before anything is opened: opening a pipe waits for its other end.
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return "link that leads to itself" if error.errno == errno.ELOOP else None
    return next((kind for is_it, kind in _KINDS if is_it(mode)), None)


def _check_regular(output):
    if kind := irregular(output):
        raise UserError(f"{output}: is a {kind}, and is not replaced; name another")


def check_free(
    output: Path, *, folder: bool, overwrite: bool, instead: str = ""
) -> None:
    """Refuses what exists, but for an empty folder; `instead` names another remedy."""
    if _is_taken(output, folder) and not overwrite:
        other = f", {instead}" if instead else ""
        raise UserError(
            f"{output}: exists already; --overwrite (overwrite=True) replaces it{other}"
        )


def check_only(folder: Path, ours: Callable[[Path], bool], what: str) -> None:
    """Refuses to replace a folder if it holds more than `what`, which is `ours`."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not ours(path):
            raise UserError(
                f"{folder}: not replaced, as it holds more than {what}: {path.name}"
            )


def check_frames_only(folder: Path) -> None:
    """Refuses to replace a folder if it holds more than PNG and JPEG files."""
    check_only(
        folder,
        lambda path: path.suffix.lower() in FRAME_SUFFIXES and path.is_file(),
        "frames",
    )


def make_folder(folder: Path, remedy: str) -> None:
    """Makes a folder and its parents; a UserError if a file is in the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: not a folder; {remedy}") from None


def check_space(folder: Path, needed: int) -> None:
    """Refuses a folder on a disk with less than the bytes needed."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: needs {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; "
            "choose another --output"
        )


@contextlib.contextmanager
def whole_output(
    output: Path, *, folder: bool, overwrite: bool = True
) -> Iterator[Path]:
    """Yields a temporary path next to `output` and renames it if the block succeeds.

    However else the block ends (an error, Ctrl-C), the temporary is deleted and what
    was at `output` before is still there. It has the suffix of `output`; with `folder`
    it is a new folder. UserError if `output` is a pipe or a device, or if without
    `overwrite` it has appeared by then.
    """
    _check_regular(output)
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
    return named_after(
        output, f".{os.urandom(16).hex()}.{kind}{output.suffix}", hidden=True
    )


def named_after(output: Path, ending: str, *, hidden: bool = False) -> Path:
    """A name beside `output`: its own and an ending, cut where there is no room.

    What is cut is replaced by a digest, so that other outputs have other names.
    """
    name = f".{output.name}" if hidden else output.name
    ending = ending[:_LONGEST_ENDING]
    room = _most_bytes(output.parent) - len(os.fsencode(ending))
    if len(os.fsencode(name)) > room:
        mark = f"-{digest(os.fsencode(output.name))[:16]}"
        start = os.fsencode(name)[: room - len(mark)]
        name = start.decode(errors="ignore") + mark
    return output.with_name(name + ending)


def _most_bytes(folder):
    """The length of a file name that a folder's file system takes."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return 255


@contextlib.contextmanager
def one_at_a_time(
    lock: Path,
    output: Path,
    *,
    busy: str = "is being prepared by another process; wait until it is done",
) -> Iterator[None]:
    """Holds a lock file while `output` is made; a UserError if another process does."""
    import filelock  # slow to import

    # The package's own substitute outlives a process that is killed: nobody could
    # write there again.
    held = filelock.FileLock(
        lock, timeout=0, thread_local=False, fallback_to_soft=False
    )
    try:
        held.acquire()
    except filelock.Timeout:
        raise UserError(f"{output}: {busy}") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warnings.warn(
            f"{output}: written without a lock, as this file system has none "
            f"({os.strerror(error.errno)}); start no second process that writes it",
            stacklevel=4,
        )
    try:
        yield
    finally:
        held.release()


def natural_key(name: str) -> tuple:
    """Sort key that orders numbers in names by value: frame2 before frame10."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), name


def digest(data: bytes) -> str:
    """Hexadecimal SHA-256 digest of some bytes."""
    return hashlib.sha256(data).hexdigest()
