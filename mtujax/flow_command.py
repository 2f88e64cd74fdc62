"""The command `mtujax data flow`: motion computed once, by either method."""

from pathlib import Path
from typing import Annotated

import typer

from mtujax.data_arguments import Config, Name, Threads
from mtujax.errors import UsageError

_TEACHER_PAIRS = 2  # at once: one is written while the other is computed


def flow(
    name: Name,
    path: Annotated[
        Path, typer.Argument(help="Folder that holds it, as unpacked or prepared.")
    ],
    split: Annotated[str, typer.Option(help="Part of it.")] = "train",
    method: Annotated[
        str | None,
        typer.Option(
            help="dis: OpenCV's dense inverse search; teacher: LiteFlowNet. Else what "
            "--teacher says."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="Its weights, made by `mtujax convert --teacher`."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for sets; else the one that holds the set where it is "
            "prepared, or TFDS_DATA_DIR, ~/tensorflow_datasets"
        ),
    ] = None,
    config: Config = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what is stale.")
    ] = False,
    threads: Threads = None,
):
    """Compute the motion between sharp frames, for the motion loss.

    Done once and kept: 5 bytes for each pixel. A run that was stopped goes on with the
    video where it was.
    """
    from mtujax.data.clips import open_frames
    from mtujax.data.flowcache import compute_motion
    from mtujax.data.flowsets import flow_folder
    from mtujax.progress import FrameProgress

    method, estimate = _estimator(method, teacher)
    folder = flow_folder(name, path, config=config, output=output) / split
    source = open_frames(name, path, split=split, config=config, threads=threads)
    with FrameProgress("motion") as progress:
        there = compute_motion(
            source,
            folder,
            method=method,
            estimate=estimate,
            overwrite=overwrite,
            threads=threads or (_TEACHER_PAIRS if estimate else None),
            progress=progress,
        )
    note = f", {there} of them there already" if there else ""
    print(f"{folder}: motion of {len(source.videos)} videos{note}")


def _estimator(method, teacher):
    """The method's name as it is kept, and its function; None: the package's own."""
    if teacher is None:
        return method or "dis", None
    if method not in (None, "teacher"):
        raise UsageError(f"--teacher {teacher}: --method {method} reads no weights")
    import numpy as np

    from mtujax.teacher import flow as teacher_flow
    from mtujax.teacher_weights import load_teacher, teacher_sha256

    _, params = load_teacher(teacher)

    def estimate(current, previous):
        return np.asarray(teacher_flow(params, current[None], previous[None])[0])

    return f"teacher {teacher_sha256(teacher)[:16]}", estimate
