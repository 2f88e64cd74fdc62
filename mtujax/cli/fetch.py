"""The command `mtujax fetch`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mtujax import fetch as fetching
from mtujax.cli.entry import to_stderr
from mtujax.common.progress import FrameProgress
from mtujax.errors import UsageError

ALL = "weights"


def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Weights that the paper's authors released, as mtu2-gopro (see "
            "`mtujax weights`), liteflownet, or weights for all; or a data set, gopro "
            "or dvd."
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE|FOLDER|URL",
            help="An archive, folder or checkpoint that you have, or another URL; "
            "default: the authors' server.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the result. A data set needs one, new or empty. Weights "
            "stored in one are found by path, not by name; default: the cache.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="For a data set: only train or test.")
    ] = None,
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence", help="Accept the licence without being asked."
        ),
    ] = False,
    accept_changed: Annotated[
        bool,
        typer.Option(
            "--accept-changed", help="Accept files that differ from the first download."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Download weights again.")
    ] = False,
):
    """Download the authors' weights or data sets, ready for use.

    Weights are converted (PyTorch is not needed) and kept in the cache; their names
    then work like those of bundled weights.
    """
    sets = [name for name in names if name in fetching.DATASETS]
    if sets and len(names) > 1:
        raise UsageError(f"{sets[0]}: is a data set; fetch it by a separate command")
    shared = {
        "source": source,
        "accept_licence": accept_licence,
        "accept_changed": accept_changed,
        "ask": _ask,
        "on_note": to_stderr,
    }
    with FrameProgress("downloading", stderr=True, unit="MB") as bar:
        shared["progress"] = lambda done, total: bar(
            done // 10**6, total and total // 10**6
        )
        if sets:
            _fetch_set(sets[0], to, split, overwrite, shared)
            return
        if split:
            raise UsageError(f"--split {split}: is for data sets")
        wanted = [] if ALL in names else names
        found = fetching.fetch_weights(wanted, to=to, overwrite=overwrite, **shared)
    for file in found:
        if not file.sha256:
            print(f"{file.name}: is there already, {file.path}")
            continue
        print(f"{file.name}: {file.path}, source sha256 {file.sha256}")
    for digest in sorted({file.archive_sha256 for file in found} - {""}):
        print(f"archive sha256 {digest}")


def _fetch_set(name, to, split, overwrite, shared):
    if to is None:
        raise UsageError(f"{name}: --to DIR is the folder to put it in")
    if overwrite:
        raise UsageError("--overwrite: is for weights; name another --to")
    done = fetching.fetch_dataset(name, to, split=split, **shared)
    print(f"{done.path}: {done.files:,} images, {done.bytes / 1e6:,.1f} MB")
    print(f"archive sha256 {done.sha256}")
    for line in done.missing:
        print(f"note: {line}")


def _ask(text):
    """Asks on the terminal; False without one."""
    if not sys.stdin.isatty():
        return False
    typer.echo(text, err=True)
    return typer.confirm("accept?", err=True)
