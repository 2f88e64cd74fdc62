"""The command line's `mtujax bench`: how fast a network is on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from mtujax import video
from mtujax.cli.entry import on_out_of_memory
from mtujax.common.files import check_output, make_folder
from mtujax.common.progress import FrameProgress
from mtujax.config import DEFAULT_WEIGHTS
from mtujax.errors import UsageError


@on_out_of_memory("--dtype bfloat16, or a smaller --size or --batch")
def bench(
    context: typer.Context,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Bundled name (see `mtujax weights`) or .safetensors; "
            f"{DEFAULT_WEIGHTS} if neither this nor --preset is given."
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Time this network with random weights: mtu1, mtu2, ..."),
    ] = None,
    size: Annotated[
        str,
        typer.Option(
            help="Frame size; sides are multiples of the network's cell, 4 or 8."
        ),
    ] = "1280x720",
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16.")
    ] = None,
    frames: Annotated[
        int, typer.Option(help="Number of timed rounds; a p99 needs 100.")
    ] = 30,
    batch: Annotated[int, typer.Option(help="Batch size, in videos.")] = 1,
    rate: Annotated[
        float, typer.Option(help="Frames per second of a live video, for its latency.")
    ] = 30.0,
    torch: Annotated[
        bool,
        typer.Option(
            "--torch", help="Also time our PyTorch form, in alternating rounds."
        ),
    ] = False,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain", help="Time the network as trained, not its inference form."
        ),
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(
            "--json",
            help="File to write or replace; `mtujax report` reads it.",
        ),
    ] = None,
):
    """Time a network: compilation, copies to and from the device, step, end to end.

    Each stage is waited for. The step is the network with everything on the device, as
    papers time it, 8-bit frames in and out; end to end is a frame pushed until its
    restored form is on the host.
    """
    if weights is None and preset is None:
        weights = DEFAULT_WEIGHTS
    elif weights is not None and preset is not None:
        raise UsageError(f"--preset {preset}: not with --weights, which have one")
    # The options are those of `BenchOptions`, by the same names.
    given = {k: v for k, v in context.params.items() if k != "results"}
    given |= {"weights": weights, "size": video.parse_size(size)}
    from mtujax.bench.run import BenchOptions, as_text, run, write_timing

    options = BenchOptions(**given)
    if results is not None:
        make_folder(results.parent, "name another file with --json")
        check_output(results.parent, results, folder=False, overwrite=True)
    with FrameProgress("timing", stderr=True) as progress:
        found = run(options, on_round=progress)
    typer.echo(as_text(found))
    if results is not None:
        write_timing(results, found)
        typer.echo(f"written to {results}")
