"""Builds a set once, to be read many times: completely, or not at all.

`OUTPUT/NAME/[CONFIG/]1.0.0` holds TFDS records, `OUTPUT/NAME/[CONFIG/]raw` decoded
arrays. Both are built in a hidden folder of `OUTPUT`, then moved into place.
"""

import contextlib
import dataclasses
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mtujax.common.files import (
    Made,
    check_free,
    check_space,
    naming,
    one_at_a_time,
    publish,
)
from mtujax.common.interrupts import tidied
from mtujax.data.array_cache import build_cache, cache_bytes, read_manifest
from mtujax.data.check import Report, check_dataset
from mtujax.data.datasets import PAIRS
from mtujax.data.folders import find
from mtujax.data.frames import builder, current_version, default_output, versions
from mtujax.errors import UsageError, UserError

RAW = "raw"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared set: its folder, its size in bytes and the report of its check."""

    folder: Path
    bytes: int
    report: Report


def prepare_dataset(
    name: str,
    root: str | os.PathLike,
    output: str | os.PathLike | None = None,
    *,
    config: str | None = None,
    raw: bool = False,
    partial: bool = False,
    overwrite: bool = False,
    quick: bool = False,
    threads: int | None = None,
    progress: Callable[[str], contextlib.AbstractContextManager] = (
        lambda label: contextlib.nullcontext(None)
    ),
) -> Prepared:
    """Checks a dataset's folder and builds records or arrays from it.

    Examples:
        >>> done = prepare_dataset("pairs", "set", "prepared", raw=True)
        >>> open_frames("pairs", "prepared", split="train").videos[0].frames
        6

    Args:
        name: of the dataset.
        root: folder that holds it.
        output: folder for sets; None takes `default_output`.
        config: form of the dataset; None takes the default.
        raw: decoded arrays (fast, large) instead of TFDS records.
        partial: accept an incomplete set.
        overwrite: replace what exists, also of an older version.
        quick: do not decode every image first.
        threads: that decode in parallel; None takes one for each core.
        progress: given a label, returns a context manager of a function that is called
            with the frames done and their total, as `FrameProgress`.

    Returns:
        The folder of the set, its size and the report of the check.

    Raises:
        UserError: listing what is wrong with the folder; or if the set exists, is being
            prepared by another process, or does not fit on the disk.
        UsageError: for an unknown name or config.
    """
    output = Path(output) if output is not None else default_output()
    found = find(name, root, config)
    if output.resolve().is_relative_to(found.root.resolve()):
        raise UsageError(f"{output}: is inside the dataset; choose another --output")
    # The version is of no builder, which would read what may be damaged.
    final = output / name / (found.config or "") / (RAW if raw else current_version())
    _refuse_existing(final, name, overwrite)
    output.mkdir(parents=True, exist_ok=True)
    hidden = output / f".{found.label.replace('/', '-')}-{final.name}"
    with (
        one_at_a_time(Path(f"{hidden}.lock"), final),
        _part(Path(f"{hidden}.part")) as part,
    ):
        _refuse_existing(final, name, overwrite)  # another process may have finished it
        with progress("checking") as show:
            # Arrays are decoded anyway, which finds the same damage.
            report = check_dataset(
                name,
                root,
                config=config,
                quick=quick or raw,
                threads=threads,
                progress=show,
            )
        report.refuse(partial=partial)
        pairs = (v.paths(n) for v in found.videos for n in range(len(v.pairs)))
        sizes = (path.stat().st_size for paths in pairs for path in paths)
        check_space(output, cache_bytes(found) if raw else sum(sizes))
        with progress("writing") as show, _naming(final, part):
            made = part / RAW
            if raw:
                made.mkdir()
                build_cache(found, made, threads=threads, progress=show)
            else:
                made = _records(found, part, show)
            final.parent.mkdir(parents=True, exist_ok=True)
            publish(Made(made, final, folder=True), overwrite=overwrite)
        if not raw:
            _tidy(part / name / ".config", final)
    used = sum(path.stat().st_size for path in final.rglob("*") if path.is_file())
    return Prepared(final, used, report)


def _refuse_existing(final, dataset, overwrite):
    if overwrite:
        return
    if final.exists() and final.name == RAW:
        read_manifest(final)  # raises if it is of another version
    several = dataset == PAIRS.name
    instead = "--config NAME prepares another set of your own next to it" * several
    check_free(final, folder=False, overwrite=False, instead=instead)
    if final.name != RAW and (others := versions(final.parent)):
        raise UserError(
            f"{final.parent}: prepared as version {others[-1]}, not {final.name}; "
            f"--overwrite replaces it"
        )


@contextlib.contextmanager
def _part(folder):
    """A hidden folder to build in, deleted afterwards; replaces a killed process's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tidy = functools.partial(shutil.rmtree, folder, ignore_errors=True)
    try:
        with tidied(tidy):
            yield folder
    finally:
        tidy()


@contextlib.contextmanager
def _naming(final, part):
    """Makes errors name the set, not the hidden file."""
    with naming(final, part):
        try:
            yield
        except RuntimeError as error:  # from array_record
            _, write, rest = str(error).partition("write() failed: ")
            if not write:
                raise
            why = rest.partition(";")[0]
            raise UserError(f"{final}: cannot be written: {why}") from error


def _records(found, part, show):
    made = builder(found.dataset.name, config=found.config, data_dir=part)
    done = 0

    def count():
        nonlocal done
        done += 2
        if show:
            show(done, 2 * found.frames)

    made.on_pair = count
    made.prepare_from(os.path.abspath(found.root))
    return Path(made.data_dir)


def _tidy(note, final):
    """Keeps TFDS's record of the default config, and deletes older versions."""
    kept = final.parent.parent / ".config"
    if note.is_dir() and not kept.exists():
        note.rename(kept)
    for version in versions(final.parent):
        if version != final.name:
            shutil.rmtree(final.parent / version)
