"""The command `eval`: from its options to tables. Heavy imports wait for the options.

Options set the method, the dataset and the protocols. Those of a configuration file are
read as `train` reads them.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

import mtujax
from mtujax import evaluation, metrics
from mtujax.cli.configs import Config, read_config
from mtujax.cli.entry import (
    Cache,
    Coordinator,
    Process,
    Processes,
    on_out_of_memory,
    start_jax,
)
from mtujax.common.progress import FrameProgress
from mtujax.errors import UsageError

_READ_HERE = "config protocol coordinator processes process cache".split()


@on_out_of_memory("--dtype bfloat16, or a smaller --batch")
def evaluate(
    context: typer.Context,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE|RUN",
            help="Bundled weights (`mtujax weights`), a .safetensors file, or the "
            "folder of a training run (its latest checkpoint).",
        ),
    ] = None,
    results: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Frames to be scored: DIR/VIDEO/FRAME.png (.jpg, .npy), named as the "
            "dataset's, or in the same order.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="gopro, dvd, reds, bsd or pairs (your own)."),
    ] = None,
    path: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the data set, as unpacked or by `mtujax data prepare`.",
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split; default: test.")
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Kind of blur, as blur_gamma; default: the set's."
        ),
    ] = None,
    config: Config = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the results, shared by all processes; default: "
            "results/METHOD-DATASET-FOLDER, FOLDER being the name of --path.",
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME,...", help="Protocols; default: rt-paper,koehler."),
    ] = None,
    motion: Annotated[
        bool,
        typer.Option(
            "--motion",
            help="Also score the motion between sharp frames (paper, Sec. 4.2) and, "
            "where exact flow is next to them, its end-point error.",
        ),
    ] = False,
    consistency: Annotated[
        bool,
        typer.Option(
            "--consistency",
            help="Also compare neighbouring frames along their motion; slow.",
        ),
    ] = False,
    save_frames: Annotated[
        bool,
        typer.Option(
            "--save_frames",
            "--save-frames",
            help="Keep restored frames as PNG, in OUT/frames.",
        ),
    ] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the method, in tables.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            help="float32, bfloat16 or float16; default: the network's.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Evaluation batch size, in videos; default: one for each device.",
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(metavar="N", help="Number of devices; default: all."),
    ] = None,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
    cache: Cache = None,
):
    """Score a network on a dataset, or frames that any other method restored.

    Give --weights or --results, and --dataset with --path or --config. Of a
    configuration, dataset, path and variant are its data's, the split is its
    validation's, and the weights must be of its model; other options take precedence.

    Interrupt it at any time; rerun the same command to resume with the next video.
    """
    run = read_config(config, context.args, context.command.params)
    options = {k: v for k, v in context.params.items() if k not in _READ_HERE}
    options = _options(options, run, protocol or ())
    is_first = start_jax(coordinator, processes, process, cache)
    with FrameProgress("evaluating", stderr=True) as progress:
        found = mtujax.evaluate(**options, on_frames=progress, on_note=print)
    if is_first():
        print(evaluation.as_text(found))
        print(f"in {options['out']}: results.json, videos.csv, frames.csv")


def _options(given, run, protocols):
    """Arguments of `evaluation.api.evaluate`."""
    if given["weights"] is None and given["results"] is None:
        raise UsageError("give --weights=NAME|FILE|RUN, or --results=DIR; see --help")
    if given["weights"] is not None and given["results"] is not None:
        raise UsageError("--weights and --results: give one of them")
    options = given | _place(given, run)
    if run is not None and options["results"] is None:
        options["model"] = run.model
    options["out"] = options["out"] or _default_out(options)
    if protocols:
        options["protocols"] = [one for text in protocols for one in text.split(",")]
    return options


def _place(given, run):
    """Where the frames are: options take precedence over the configuration."""
    found = {"dataset": None, "path": None, "variant": None, "split": "test"}
    if run is not None:
        found["dataset"] = run.data.name
        found["path"] = run.validation.path or run.data.path
        found["variant"] = run.data.variant
        found["split"] = run.validation.split
    found |= {name: given[name] for name in found if given[name] is not None}
    if found["dataset"] is None:
        raise UsageError("give --dataset=NAME and --path=DIR, or --config; see --help")
    if found["dataset"] == "synthetic":
        raise UsageError(
            "dataset synthetic: has no pairs of its own; give --dataset=gopro (dvd, "
            "reds, bsd, pairs) and --path=DIR"
        )
    if not found["path"]:
        raise UsageError(f"give --path=DIR, the folder of {found['dataset']}")
    return found


def _default_out(options):
    method = options["name"] or Path(options["weights"] or options["results"]).stem
    folder = os.path.basename(os.path.abspath(options["path"]))  # also of "."
    words = [method, options["dataset"], folder, options["variant"]]
    words += [options["split"]] if options["split"] != "test" else []
    words += [options["dtype"]]
    return str(Path("results") / "-".join(word for word in words if word))


def listed_protocols() -> tuple[str, list]:
    """The protocols, for the help."""
    protocols = metrics.PROTOCOLS.items()
    return "Protocols", [(name, found.origin) for name, found in protocols]
