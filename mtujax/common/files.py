"""Files that get their final name only once they are complete, and file locks."""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import os
import re
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from mtujax.common import interrupts
from mtujax.common.text import readable
from mtujax.errors import UsageError, UserError

FULL = (errno.EFBIG, errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk, or a part of it, that has no room."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")


def check_output(
    source: Path, output: Path, *, folder: bool, overwrite: bool = False
) -> None:
    """Refuses, before any work, an output that could not or should not be written."""
    if output.exists() and output.samefile(source):
        raise UsageError(f"{output}: output and input are the same")
    check_place(output, folder=folder)
    if not output.exists():
        return
    if folder and Path.cwd().is_relative_to(os.path.realpath(output)):
        raise UserError(f"{output}: is the folder you are in; name another")
    check_free(output, folder=folder, overwrite=overwrite)
    if folder:
        check_frames_only(output)


def check_place(output: Path, *, folder: bool) -> None:
    """Refuses an output whose folder is missing, or that exists as another kind."""
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
    sweep(output)


_KINDS = {"p": "pipe", "s": "socket", "c": "device", "b": "device"}  # as `ls -l` has it


def irregular(path: Path) -> str | None:
    """The kind of a special file, as "pipe"; None for a file, a folder or nothing."""
    # Asked before anything is opened: opening a pipe waits for its other end.
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return "link that leads to itself" if error.errno == errno.ELOOP else None
    return _KINDS.get(stat.filemode(mode)[0])


def check_there(
    name: str | os.PathLike, remedy: str = "", *, of_pipe: str = ""
) -> None:
    """Refuses an input that is no file or folder, before anything slow is imported."""
    if what := irregular(Path(name)):
        raise UserError(f"{name}: is a {what}, not a file{of_pipe * (what == 'pipe')}")
    if not Path(name).exists():
        raise UserError(f"{name}: no such file or folder{remedy}")


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
        if not ours(path) and not is_leftover(path):
            raise UserError(
                f"{folder}: not replaced, as it holds more than {what}: {path.name}"
            )


def is_frame_name(name: str) -> bool:
    """Whether a folder's frames may have this name: PNG or JPEG, and not hidden."""
    return name.lower().endswith(FRAME_SUFFIXES) and not name.startswith(".")


def check_frames_only(folder: Path) -> None:
    """Refuses to replace a folder if it holds more than PNG and JPEG files."""
    check_only(
        folder,
        lambda path: path.suffix.lower() in FRAME_SUFFIXES and path.is_file(),
        "frames",
    )


def make_folder(folder: Path, remedy: str) -> None:
    """Makes a folder to write to, and its parents; else a UserError with the remedy."""
    why = "cannot be made"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        why = "cannot be written"
        # A trial, as permissions alone do not say so of every user and file system.
        tempfile.TemporaryFile(dir=folder).close()
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder}: not a folder; {remedy}") from None
    except OSError as error:
        raise UserError(f"{folder}: {why} ({error.strerror}); {remedy}") from None


def check_space(folder: Path, needed: int, option: str = "--output") -> None:
    """Refuses a folder, which `option` chose, on a disk with too few free bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: needs {readable(needed)}, but {readable(free)} are free; "
            f"choose another {option}"
        )


_LOCK, _OLD, _GONE = ".lock", ".old", ".gone"
BUSY = "another process is writing it"
"""Why a lock is not had."""


@dataclasses.dataclass(frozen=True)
class Made:
    """Something complete, next to other unfinished work, and the output it becomes."""

    path: Path  # what was written, on the file system of the output
    output: Path  # the file or folder that it becomes
    folder: bool  # whether it is a folder

    def place(self) -> None:
        """Renames it, once: a process that was killed in the middle is finished."""
        final = Path(os.path.realpath(self.output))  # what a link leads to is replaced
        if not self.path.exists():
            return
        if not self.folder:
            os.replace(self.path, final)
            return
        old = self.path.with_name(_OLD)  # a folder is not replaced in a single step
        if final.exists():
            final.rename(old)
        try:
            self.path.rename(final)
        except BaseException:
            if old.exists():
                old.rename(final)
            raise
        shutil.rmtree(old, ignore_errors=True)


def publish(
    *made: Made, overwrite: bool, commit: Callable[[], None] = lambda: None
) -> None:
    """Gives what is complete its final names; UserError if one is taken."""
    # `commit` is called before the first, to note what may have to be finished by
    # `Made.place` if the process is killed.
    for one in made:
        if not overwrite and _is_taken(one.output, one.folder):
            raise UserError(
                f"{one.output}: appeared in the meantime, and is not replaced"
            )
        if not one.folder:
            to_disk(one.path)
    interrupts.check()
    with interrupts.undivided():
        commit()
        for one in made:
            one.place()


@contextlib.contextmanager
def whole_output(
    output: Path, *, folder: bool, overwrite: bool = True
) -> Iterator[Path]:
    """Yields a path to write; renames it to `output` if the block succeeds."""
    # It has the name of `output`, in a hidden folder; with `folder` it is a new folder.
    # UserError if `output` is a pipe or a device, or if without `overwrite` it has
    # appeared by the end.
    _check_regular(output)
    interrupts.check()
    with staged(output, folder=folder) as made:
        yield made.path
        publish(made, overwrite=overwrite)


@contextlib.contextmanager
def staged(output: Path, *, folder: bool) -> Iterator[Made]:
    """Yields what is to be written, to `publish` it in the block; UserError if busy."""
    # It is in a hidden folder, `.NAME.part`, which is deleted when the block ends; if
    # the process is killed, by the next one that writes `output`.
    final = Path(os.path.realpath(output))
    place = _hidden(final)
    with naming(output, place), _taken(place, final, output):
        made = Made(place / final.name, output, folder)
        if folder:
            made.path.mkdir()
        yield made


@contextlib.contextmanager
def naming(output: Path, temporary: Path) -> Iterator[None]:
    """Makes OSErrors name the requested `output`, not the temporary that is written."""
    try:
        yield
    except OSError as error:
        if str(temporary) in str(error.filename) or error.errno in FULL:
            raise OSError(error.errno, error.strerror, str(output)) from error
        raise


@contextlib.contextmanager
def unwritable_named(path: Path) -> Iterator[None]:
    """Makes an OSError of the block a UserError that says what cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def discard(folder: Path) -> None:
    """Deletes a folder, hidden first: if the process is killed, no half is left."""
    with _taken(_hidden(folder), folder, folder):
        folder.rename(_hidden(folder) / _GONE)


def sweep(output: Path) -> None:
    """Deletes, or finishes replacing, what a killed process left of an output."""
    final = Path(os.path.realpath(output))
    if is_leftover(_hidden(final)):
        with contextlib.suppress(UserError), _taken(_hidden(final), final, output):
            pass


def is_leftover(path: Path) -> bool:
    """Whether a killed process left it, or another one is writing there."""
    # What is written there may itself be written in a hidden folder first.
    if not path.name.startswith(".") or path.suffix != ".part" or not path.is_dir():
        return False
    made = [p for p in path.iterdir() if p.name not in (_LOCK, _OLD, _GONE)]
    return all(_hidden(path.with_name(p.name)) == path or is_leftover(p) for p in made)


def _hidden(final):
    return named_after(final, ".part", hidden=True)


@contextlib.contextmanager
def _taken(place, final, output):
    """A hidden folder for this process alone, empty at first, deleted at the end."""
    with contextlib.suppress(FileExistsError):
        place.mkdir()
    if not is_leftover(place):
        raise UserError(f"{place}: exists, but not made by mtujax; move it away")
    with one_at_a_time(place / _LOCK, output, busy=BUSY):
        made, old = place / final.name, place / _OLD
        if old.exists() and not final.exists():  # killed between two renames
            (made if made.exists() else old).rename(final)
        empty(place, _LOCK)
        try:
            with interrupts.tidied(functools.partial(_remove, place)):
                yield
        finally:
            _remove(place)


def _remove(place):
    empty(place, _LOCK)
    remove_locked(place, _LOCK)


def remove_locked(folder: Path, lock: str) -> None:
    """Deletes a folder in which only its lock is left."""
    with contextlib.suppress(OSError):  # Windows keeps what is open
        (folder / lock).unlink()
        folder.rmdir()


def empty(folder: Path, *kept: str) -> None:
    """Deletes what is in a folder, but for some names."""
    for path in folder.iterdir():
        if path.name in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_taken(output, folder):
    # An empty folder may always be replaced.
    return output.exists() and not (folder and not any(output.iterdir()))


def to_disk(path: str | os.PathLike) -> None:
    """Flushes a file to disk, so that its new name cannot outlive its content."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def named_after(output: Path, ending: str, *, hidden: bool = False) -> Path:
    """A name beside `output`: its own and an ending, cut where there is no room."""
    # What is cut is replaced by a digest, so that other outputs have other names.
    name = f".{output.name}" if hidden else output.name
    room = _most_bytes(output.parent) - len(os.fsencode(ending))
    if len(os.fsencode(name)) > room:
        mark = f"-{digest(os.fsencode(output.name))[:16]}"
        start = os.fsencode(name)[: room - len(mark)]
        name = start.decode(errors="ignore") + mark
    return output.parent / (name + ending)  # the root has no name


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
        while not lock.exists():  # its holder has deleted it since it was opened
            held.release()
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


WEB_PAGE = "is a web page (of a quota or a login, perhaps)"
"""What an error calls one."""


def is_web_page(path: str | os.PathLike) -> bool:
    """Whether a file that should be binary is what servers send in its place."""
    with open(path, "rb") as file:
        return file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def digest(data: bytes) -> str:
    """Hexadecimal SHA-256 digest of some bytes."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | os.PathLike) -> str:
    """Hexadecimal SHA-256 digest of a file, of any size."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_of(path: str | os.PathLike) -> tuple[int, ...] | None:
    """What changes when a file or frames are written again; None if there is none."""
    # Bytes and time (ns); of a folder the sums over its frames, and their number: its
    # own time stays when one is written in place, and changes with a hidden file.
    path = Path(path)
    with contextlib.suppress(OSError):
        if not path.is_dir():
            found = path.stat()
            return found.st_size, found.st_mtime_ns
        stats = [file.stat() for file in path.iterdir() if is_frame_name(file.name)]
        times = sum(one.st_mtime_ns for one in stats) % 2**53  # exact in any JSON
        return sum(one.st_size for one in stats), times, len(stats)
    return None
