"""The command line's `mtujax report`: tables and figures as the paper has them."""

from pathlib import Path
from typing import Annotated

import typer

from mtujax import video
from mtujax.cli.entry import to_stderr
from mtujax.common.files import check_there
from mtujax.config import DEFAULT_WEIGHTS
from mtujax.errors import UsageError


def report(
    context: typer.Context,
    results: Annotated[
        list[Path],
        typer.Argument(help="Files that eval.py or `mtujax bench` wrote, or folders."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder to write; files of the same name are replaced.")
    ],
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw figures (extra `plots`).")
    ] = False,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Weights whose features are drawn; repeat for more."),
    ] = None,
    without: Annotated[
        str | None,
        typer.Option(help="Weights without structure injection, to compare features."),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(help="Photograph to film, at least as large as --size."),
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the filmed frames.")] = "640x360",
    crop: Annotated[
        list[str] | None,
        typer.Option(help="LABEL=FOLDER of frames to show; repeat, the input first."),
    ] = None,
    frame: Annotated[
        int, typer.Option(help="With --crop: the first of two frames, from 0.")
    ] = 0,
    box: Annotated[
        str | None,
        typer.Option(help="With --crop: the part, as X,Y,WIDTH,HEIGHT in pixels."),
    ] = None,
):
    """Write the paper's tables, measured next to reported, and its figures.

    tables.md and tables.tex hold Tables 1 to 4 as far as something was measured for
    them, and a table for every other dataset and protocol. Blank: not measured.
    """
    for option in ("weights", "without", "photo", "crop"):
        if context.params[option] and not figures:
            raise UsageError(f"--{option}: only with --figures")
    if box and not crop:
        raise UsageError(f"--box {box}: only with --crop")
    for path in results:
        check_there(path)
    folders, part = [_labelled(text) for text in crop or ()], _box(box)
    from mtujax.report import inputs, tables

    measured, draw = inputs.read_measured(results), []
    if figures:
        shown = {"without": without, "photo": photo, "size": video.parse_size(size)}
        draw = _figures(measured, weights, shown, (folders, frame, part))
    files = tables.write_tables(measured, out)
    for one in draw:
        files += one(out)
    for file in files:
        print(file)


def _figures(measured, weights, shown, cut):
    """Functions that draw the figures into a folder; all mistakes are found before."""
    from mtujax.report import crops, efficiency

    folders, number, box = cut
    box = box and crops.Box(*box)
    strips = crops.read_folders(folders, number, box) if folders else None
    seen = crops.compute_views(weights or (DEFAULT_WEIGHTS,), to_stderr, **shown)
    draw = [
        lambda out: efficiency.draw_efficiency(measured, out / "efficiency"),
        lambda out: crops.draw_pictures(seen, out),
    ]
    if strips:
        draw.append(lambda out: crops.draw_folders(strips, out, number=number, box=box))
    return draw


def _labelled(text):
    label, equals, folder = text.partition("=")
    if not (label and equals and folder):
        raise UsageError(f"--crop {text}: must be LABEL=FOLDER")
    return label, Path(folder)


def _box(text):
    if text is None:
        return None
    words = text.split(",")
    if len(words) != 4 or not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"--box {text}: must be X,Y,WIDTH,HEIGHT in pixels")
    return [int(word) for word in words]
