"""The commands `mtujax deblur` and `mtujax demo`."""

import functools
import os
from pathlib import Path
from typing import Annotated

import typer

import mtujax
from mtujax import video
from mtujax.cli.entry import Weights, on_out_of_memory, to_stderr
from mtujax.common.progress import FrameProgress
from mtujax.common.text import counted
from mtujax.config import DEFAULT_WEIGHTS, SCENE_THRESHOLD
from mtujax.errors import UsageError


def seconds(option: str, text: str | None, source: str = "") -> float | None:
    """Reads seconds, or a frame number, from 12.5, 1:02 or 00:01:02.5; None if None."""
    if text is None:
        return None
    if ":" in text and os.path.isdir(source):
        raise UsageError(f"{option} {text}: of a folder, give a frame number")
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or any(not 0 <= p < 60 for p in parts[1:]):
        raise UsageError(f"{option} {text}: give seconds, 12.5, or a time, 00:01:02")
    return sum(part * 60**i for i, part in enumerate(reversed(parts)))


def tile_size(text: str) -> str | tuple[int, int] | None:
    """Reads "auto", "none" (None), or 960x540 as (rows, columns) in pixels."""
    if text in ("auto", "none"):
        return None if text == "none" else text
    return video.parse_size(text)[::-1]


@on_out_of_memory("--dtype bfloat16, or a smaller --tile")
def deblur(
    context: typer.Context,
    input: Annotated[
        str,
        typer.Argument(help="Video file, folder of PNG or JPEG frames, or - (stdin)."),
    ],
    output: Annotated[
        str,
        typer.Argument(
            help="Video file (.mp4 .mov .mkv .webm .mpg), folder, or - (stdout)."
        ),
    ],
    weights: Weights = DEFAULT_WEIGHTS,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 (exact), bfloat16 or float16 (for GPUs)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output, whole.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted run.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(help="Begin at 12.5 or 00:01:02; of a folder, a frame from 0."),
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="End before this time or frame number.")
    ] = None,
    scene_threshold: Annotated[
        float,
        typer.Option(help="Scene-cut threshold in [0, 1]; 0 disables cut detection."),
    ] = SCENE_THRESHOLD,
    codec: Annotated[
        str | None,
        typer.Option(help="h264, hevc, vp9, av1 or mpeg2; else the container's usual."),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(help="Constant quality, on the codec's scale; 0 best."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Speed of the encoder, as veryfast or slow.")
    ] = None,
    pix_fmt: Annotated[
        str | None,
        typer.Option(help="yuv420p (all players show it), yuv422p or yuv444p."),
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="Write a comparison: side, wipe or diff.")
    ] = None,
    save_motion: Annotated[
        str | None,
        typer.Option(help="Also write the optical flow as a colour-coded video."),
    ] = None,
    tile: Annotated[
        str, typer.Option(help="auto (if memory is short), none, or a size: 960x540.")
    ] = "auto",
    size: Annotated[
        str | None, typer.Option(help="Of raw rgb24 frames from stdin: 640x360.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Frames per second of stdin or of a folder.")
    ] = None,
):
    """Restore a blurry video. An output appears only once it is complete."""
    from mtujax.common import hardware

    say = to_stderr if output == "-" else functools.partial(print, flush=True)
    read = {
        "start": seconds("--start", start, input),
        "end": seconds("--end", end, input),
        "tile": tile_size(tile),
    }
    hardware.use_cache(None)
    with FrameProgress("deblurring", stderr=output == "-") as progress:
        # The options are the function's, by the same names.
        report = mtujax.deblur_video(
            **context.params | read,
            progress=progress,
            on_start=lambda: say(
                f"device: {hardware.device_name()}, weights: {weights}"
            ),
            on_note=lambda note: say(f"note: {note}"),
        )
    size = f"{report.size[0]}x{report.size[1]}"
    cuts = f", {counted(report.cuts, 'cut')}" if report.cuts else ""
    say(
        f"{report.output}: {counted(report.frames, 'frame')} of {size}{cuts}, "
        f"{report.seconds:.1f} s, {report.fps:.1f} frames/s"
    )


def demo(
    output: Annotated[
        Path, typer.Argument(help="Folder for the clip and the comparison.")
    ] = Path("demo"),
    weights: Weights = DEFAULT_WEIGHTS,
):
    """Deblur a clip made from a photograph and show what was gained."""
    from mtujax.cli.demo import run

    run(output, weights=weights)
