"""Untrusted zip archives: checked before anything is unpacked."""

import contextlib
import errno
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mtujax.common import interrupts
from mtujax.common.files import WEB_PAGE, is_web_page
from mtujax.errors import UnwritableError, UserError, WeightsError

_CHUNK = 1 << 20
_LARGEST_RATIO = 200  # of a file to what it takes in the archive


class ArchiveError(UserError):
    """An archive that cannot be used, whatever the options."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens an archive; ArchiveError if it is damaged or has a name that leads out."""
    try:
        with _reading(path):
            archive = zipfile.ZipFile(path)
        with archive:
            # Cut in its last member, it ends in that one's directory if that is a zip.
            if min((i.header_offset for i in archive.infolist()), default=1):
                raise zipfile.BadZipFile("it is cut, or empty")
            for info in archive.infolist():
                _check_safe(path, info)
            yield archive
    except zipfile.BadZipFile as error:
        raise _damaged(path, error) from None


@contextlib.contextmanager
def _reading(path):
    """Turns every error that damaged bytes cause in the reader into one kind."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        if isinstance(error, RuntimeError) and "encrypted" in str(error):
            raise ArchiveError(f"{path}: is encrypted, and cannot be read") from None
        raise zipfile.BadZipFile(str(error)) from error


@contextlib.contextmanager
def unusable_deleted(path: Path) -> Iterator[None]:
    """Deletes a download whose content turns out to be unusable."""
    try:
        yield
    except UnwritableError:
        raise
    except (ArchiveError, WeightsError) as error:
        path.unlink(missing_ok=True)
        error.add_note("the download was deleted")
        raise


def _damaged(path, error):
    if is_web_page(path):
        return ArchiveError(f"{path}: {WEB_PAGE}, not an archive; get the file again")
    return ArchiveError(f"{path}: damaged or not a zip archive ({error}); get it again")


def _check_safe(path, info):
    name = info.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    unsafe = None
    if stat.S_ISLNK(info.external_attr >> 16):
        unsafe = "a link"
    elif not parts or ".." in parts or parts[0] == "/" or ":" in parts[0]:
        unsafe = "a name that leads out of it"
    elif info.file_size > max(_CHUNK, _LARGEST_RATIO * info.compress_size):
        unsafe = "a file that unpacks to far more than it takes"
    if unsafe:
        raise ArchiveError(
            f"{path}: refused, it holds {unsafe}: {name[:200]!r}; nothing was unpacked"
        )


def find_member(
    path: Path, archive: zipfile.ZipFile, name: str
) -> zipfile.ZipInfo | None:
    """The file of a name, in whatever folder; None without one, ArchiveError of two."""
    found = [
        info
        for info in archive.infolist()
        if not info.is_dir() and _plain(info).name.lower() == name.lower()
    ]
    if len(found) > 1:
        raise ArchiveError(f"{path}: refused, {name} is in it {len(found)} times")
    return found[0] if found else None


def files_below(
    path: Path, archive: zipfile.ZipFile, folder: str
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """All files in the folder of a name, by their path from its parent."""
    found = {}
    for info in archive.infolist():
        name = _plain(info)
        if info.is_dir() or folder not in name.parent.parts or "__MACOSX" in name.parts:
            continue
        short = PurePosixPath(*name.parts[name.parts.index(folder) :])
        if short in found:
            raise ArchiveError(f"{path}: refused, {short} is in it twice")
        found[short] = info
    return found


def _plain(info):
    return PurePosixPath(info.filename.replace("\\", "/"))


def unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, output: Path) -> None:
    """Writes a file of an archive that is `opened`, of at most its declared size."""
    left = info.file_size
    with open(output, "wb") as file:
        for data in _chunks(archive, info):
            interrupts.check()
            if (left := left - len(data)) < 0:
                raise zipfile.BadZipFile(f"{info.filename} is larger than declared")
            file.write(data)


def _chunks(archive, info):
    with _reading(archive.filename), archive.open(info) as source:
        while data := source.read(_CHUNK):
            yield data
