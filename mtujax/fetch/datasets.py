"""The data sets as the paper's authors rearranged them: unpacked, checked, in place."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from mtujax.common.files import (
    FRAME_SUFFIXES,
    check_place,
    check_space,
    file_digest,
    make_folder,
    named_after,
    whole_output,
)
from mtujax.common.text import nearest
from mtujax.data.check import check_dataset
from mtujax.errors import UsageError, UserError
from mtujax.fetch.archive import (
    ArchiveError,
    files_below,
    opened,
    unpack,
    unusable_deleted,
)
from mtujax.fetch.download import Note, Progress, download, is_url
from mtujax.fetch.records import Ask, fetching
from mtujax.fetch.sources import DATASETS

_ANOTHER = "name another folder by --to"


@dataclasses.dataclass(frozen=True)
class FetchedDataset:
    """A data set that has been fetched.

    Attributes:
        name: of the data set.
        path: its folder.
        files: number of images.
        bytes: their size.
        sha256: digest of the archive.
        missing: what it lacks against the published set, a line each.
    """

    name: str
    path: Path
    files: int
    bytes: int
    sha256: str
    missing: tuple[str, ...]


def fetch_dataset(
    name: str,
    to: str | os.PathLike,
    *,
    source: str | os.PathLike | None = None,
    split: str | None = None,
    accept_licence: bool = False,
    accept_changed: bool = False,
    ask: Ask = lambda text: False,
    progress: Progress = lambda done, total: None,
    on_note: Note = lambda note: None,
) -> FetchedDataset:
    """Downloads and unpacks a data set as the paper's authors rearranged it.

    Args:
        name: "gopro" or "dvd".
        to: folder to make for it; one that exists must be empty.
        source: the archive that is there already, or its URL elsewhere.
        split: "train" or "test" for that part alone; None for both.
        accept_licence: accept the licence that the data are under.
        accept_changed: take an archive that differs from the first download.
        ask: asks whether the licence, given as text, is accepted.
        progress: called with the bytes downloaded and their total, or None.
        on_note: called with a line about what is tried, and what failed of it.

    Returns:
        The folder, and what it lacks against the published set.

    Raises:
        UsageError: for an unknown name, split or scheme of the URL, or if the licence
            is not accepted.
        UserError: if it cannot be had, is damaged, unsafe or another than before, or if
            there is no room for it.
    """
    if name not in DATASETS:
        raise UsageError(f"{name!r}: no data set to fetch; {nearest(name, DATASETS)}")
    origin, output = DATASETS[name], Path(to)
    splits = tuple(origin.folders) if split is None else (split,)
    if splits[0] not in origin.folders:
        raise UsageError(f"--split {split}: {nearest(split, origin.folders)}")
    make_folder(output.absolute().parent, _ANOTHER)
    check_place(output, folder=True)
    if output.exists():
        make_folder(output, _ANOTHER)  # one that is read-only cannot be replaced
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output}: exists already and is not empty; name another")
    with fetching() as (_, records):
        archive = None if source is None or is_url(source) else Path(source)
        kept = archive is not None
        if archive is None:
            url = str(source or origin.url)
            archive = named_after(output.absolute(), ".zip", hidden=True)
            if not archive.is_file():
                records.accept(origin, url, accept_licence, ask, on_note)
                download(url, archive, progress=progress, on_note=on_note)
        elif not archive.is_file():
            what = "is a folder" if archive.is_dir() else "no such file"
            raise UserError(
                f"{archive}: {what}; --from takes the archive, or a URL that begins "
                "with http:// or https://"
            )
        sha256 = file_digest(archive)
        records.check(name, sha256, accept_changed=accept_changed)
        with contextlib.nullcontext() if kept else unusable_deleted(archive):
            done = _unpacked(name, archive, splits, output, sha256)
        records.note(name, sha256)
        if not kept:
            archive.unlink()
    return done


def _unpacked(
    name: str,
    path: Path,
    splits: Sequence[str],
    output: Path,
    sha256: str,
) -> FetchedDataset:
    with opened(path) as archive:
        files = {}
        for split in splits:
            folder = DATASETS[name].folders[split]
            found = files_below(path, archive, folder)
            images = {
                name: info
                for name, info in found.items()
                if name.suffix.lower() in FRAME_SUFFIXES
            }
            if not images:
                raise ArchiveError(f"{path}: no folder {folder} with images is in it")
            files |= images
        size = sum(info.file_size for info in files.values())
        check_space(output.absolute().parent, size, "--to")
        with whole_output(output, folder=True, overwrite=False) as part:
            for short, info in files.items():
                target = part / short
                target.parent.mkdir(parents=True, exist_ok=True)
                unpack(archive, info, target)
            report = check_dataset(name, part, splits=splits, quick=True)
            if report.broken:
                raise ArchiveError(
                    f"{path}: not unpacked, {len(report.broken)} of its parts cannot "
                    f"be used, as {_relative(report.broken[0], part)}"
                )
    missing = tuple(_relative(line, part) for line in report.missing)
    return FetchedDataset(name, output, len(files), size, sha256, missing)


def _relative(line, folder):
    return line.replace(f"{folder}{os.sep}", "")
