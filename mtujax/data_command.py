"""The command line's `mtujax data`: datasets checked and prepared."""

from pathlib import Path
from typing import Annotated

import typer

from mtujax.errors import UserError

app = typer.Typer(
    help="Check and prepare datasets.", add_completion=False, rich_markup_mode=None
)
_NAMES = "gopro, dvd, reds, bsd, or pairs (your own frames)."
_Name = Annotated[str, typer.Argument(help=_NAMES)]
_Root = Annotated[Path, typer.Argument(help="Folder that holds it.")]
_Config = Annotated[
    str | None,
    typer.Option(
        help="gopro: blur_gamma or blur; bsd: 1ms8ms, 2ms16ms or 3ms24ms; pairs: any "
        "name for your set."
    ),
]
_Threads = Annotated[
    int | None, typer.Option(help="Images decoded at once; else one for each core.")
]


@app.command()
def check(
    name: _Name,
    path: _Root,
    config: _Config = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Names and counts only; decode nothing.")
    ] = False,
    threads: _Threads = None,
):
    """Compare a dataset with the published one.

    Every image is read. Exit status 1, with a list, if a video or a frame is missing,
    extra, unreadable or without a partner. A decoded copy (what prepare --raw wrote) is
    compared with its checksums.
    """
    from mtujax.data.cache import is_cache
    from mtujax.data.check import check as compare
    from mtujax.progress import FrameProgress

    if is_cache(path):
        _check_copy(path)
        return
    with FrameProgress("checking") as progress:
        report = compare(
            name, path, config=config, quick=quick, threads=threads, progress=progress
        )
    _print_report(report)
    report.refuse()
    print("whole" if report.found.dataset.known else "every frame has its partner")


@app.command()
def prepare(
    name: _Name,
    path: _Root,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for sets; else TFDS_DATA_DIR, ~/tensorflow_datasets"),
    ] = None,
    config: _Config = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Decoded arrays for fast training, instead of TFDS records."
        ),
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Take a set that is not whole.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a set that exists.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not decode every image before.")
    ] = False,
    threads: _Threads = None,
):
    """Write a dataset for training.

    It is checked, then written as TFDS records or decoded arrays; it appears only once
    it is complete. Not needed for a first try: plain folders can be trained on.
    """
    from mtujax.data.prepare import prepare as build
    from mtujax.progress import FrameProgress

    done = build(
        name,
        path,
        output,
        config=config,
        raw=raw,
        partial=partial,
        overwrite=overwrite,
        quick=quick,
        threads=threads,
        progress=FrameProgress,
    )
    _print_report(done.report)
    for line in done.report.missing:
        print(f"note: {line}")
    print(f"{done.folder}: {done.bytes / 1e6:,.1f} MB")


def _check_copy(path):
    from mtujax.data.cache import verify_cache

    if damaged := verify_cache(path):
        raise UserError("\n  ".join([f"{path}: {len(damaged)} damaged", *damaged]))
    print(f"{path}: every array is as it was written")


def _print_report(report):
    found = report.found
    print(f"{found.label} in {found.root}, {found.layout}")
    print(f"{'split':<8}{'videos':>8}{'pairs':>8}  size")
    for row in report.rows:
        sizes = [f"{text} ({n})" for text, n in row.sizes.items()]
        text = next(iter(row.sizes), "") if len(sizes) < 2 else ", ".join(sizes)
        print(f"{row.split:<8}{row.videos:>8}{row.pairs:>8}  {text}")
    for note in report.notes:
        print(f"note: {note}")
