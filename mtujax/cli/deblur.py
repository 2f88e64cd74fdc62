"""The commands `mtujax deblur` and `mtujax demo`."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Annotated

import typer

import mtujax
from mtujax import deblur as deblurring, video
from mtujax.cli.entry import Overwrite, Weights, on_out_of_memory, to_stderr
from mtujax.common.files import is_frame_name
from mtujax.common.progress import FrameProgress
from mtujax.common.text import counted, printable
from mtujax.config import DEFAULT_WEIGHTS, SCENE_THRESHOLD
from mtujax.errors import UsageError, UserError


def _has_frames(name: str) -> bool:
    """Whether a name is that of a folder of frames."""
    return os.path.isdir(name) and any(map(is_frame_name, os.listdir(name)))


def seconds(option: str, text: str | None, source: str = "") -> float | None:
    """Reads seconds, or a frame number, from 12.5, 1:02 or 00:01:02.5; None if None."""
    if text is None:
        return None
    if ":" in text and _has_frames(source):
        raise UsageError(f"{option} {text}: for a folder, give a frame number")
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


class DeblurCommand(typer.core.TyperCommand):
    """With both forms in its usage line: the parser knows only one list of names."""

    def collect_usage_pieces(self, ctx):
        """What follows the name in the usage line."""
        return [self.options_metavar, "{INPUT OUTPUT | INPUT... --to FOLDER}"]


@on_out_of_memory("--dtype bfloat16, or a smaller --tile")
def deblur(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Video file, folder of PNG or JPEG frames, or - (stdin); then OUTPUT: "
            "video file (.mp4 .mov .mkv .webm .mpg), folder, or - (stdout). "
            "With --to: any number of videos, folders, globs and lists (@list.txt).",
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for many outputs, which keep their names, and report.json.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="N/M", help="With --to: every M-th input from the N-th on, 3/16."
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto|local",
            help="With --to: spread the videos over a Ray cluster.",
        ),
    ] = None,
    batch: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="With --to: batch size, in videos; auto: one on a CPU, else up to 8, "
            "as memory allows.",
        ),
    ] = "auto",
    weights: Weights = DEFAULT_WEIGHTS,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 (exact), bfloat16 or float16 (for GPUs)."),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(help="jax, or openvino: quicker on CPU cores (extra openvino)."),
    ] = "jax",
    overwrite: Overwrite = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted run.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(help="Begin at 12.5 or 00:01:02; for a folder, a frame from 0."),
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
        typer.Option(help="h264, hevc, vp9, av1 or mpeg2; default: the container's."),
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
        str | None, typer.Option(help="Size of raw rgb24 frames from stdin: 640x360.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Frames per second of stdin or of a folder.")
    ] = None,
):
    """Restore a blurry video, or many. An output appears only once it is complete."""
    # The options are the functions', by the same names.
    options = {k: v for k, v in context.params.items() if k not in _READ_HERE}
    given = inputs if to is not None else inputs[:1]
    source = next(filter(_has_frames, given), "")
    options |= {
        "start": seconds("--start", start, source),
        "end": seconds("--end", end, source),
        "tile": tile_size(tile),
    }
    if to is not None:
        _deblur_many(inputs, to, options)
        return
    for name, default in _OF_MANY.items():
        if (value := options.pop(name)) != default:
            raise UsageError(f"--{name} {value}: is for many videos; give --to FOLDER")
    if len(inputs) < 2:
        raise UsageError("Missing argument 'OUTPUT'; or give --to FOLDER")
    if len(inputs) > 2:
        raise UsageError(
            f"Got unexpected extra argument ({inputs[2]}); of many videos, give --to "
            "FOLDER"
        )
    _deblur_one(*inputs, options)


_READ_HERE = "inputs", "to"
_OF_MANY = {"shard": None, "ray": None, "batch": "auto"}
_OF_ONE = "save_motion", "size", "rate"  # not of many videos


def _use_cache():
    from mtujax.common import hardware

    hardware.use_cache(None)


def _device(options):
    from mtujax.common import hardware

    if options["runtime"] == "openvino":
        return f"{hardware.cpu_name()} (OpenVINO)"
    return hardware.device_name()


def _deblur_one(input, output, options):
    from mtujax.deblur.output import Options
    from mtujax.video.inputs import check_input, output_kind

    # What follows loads JAX, which takes seconds: mistakes are reported before.
    chosen = {field.name: options[field.name] for field in dataclasses.fields(Options)}
    Options(**chosen).check(input, output, output_kind(output))
    check_input(input)
    _use_cache()
    say = to_stderr if output == "-" else functools.partial(print, flush=True)
    with FrameProgress("deblurring", stderr=output == "-") as progress:
        report = mtujax.deblur_video(
            input,
            output,
            **options,
            progress=progress,
            on_start=lambda: say(
                f"device: {_device(options)}, weights: {options['weights']}"
            ),
            on_note=lambda note: say(f"note: {note}"),
        )
    size = f"{report.size[0]}x{report.size[1]}"
    cuts = f", {counted(report.cuts, 'cut')}" if report.cuts else ""
    say(
        f"{report.output}: {counted(report.frames, 'frame')} of {size}{cuts}, "
        f"{report.seconds:.1f} s, {report.fps:.1f} frames/s"
    )


def _deblur_many(inputs, folder, options):
    from mtujax.deblur import listing, remote

    for name in _OF_ONE:
        if options.pop(name) is not None:
            option = name.replace("_", "-")
            raise UsageError(f"--{option}: is for one video; give OUTPUT, not --to")
    # Before JAX is loaded, where that does not ask a server twice.
    if not any(word.startswith("@") or remote.is_url(word) for word in inputs):
        listing.find_inputs(inputs, folder)
    _use_cache()
    batch = options["batch"]
    options["batch"] = int(batch) if batch.isdecimal() else batch

    def start(todo, count):
        done = f", {count - todo} done" if count > todo else ""
        print(f"{counted(todo, 'video')} to restore{done}", flush=True)
        if todo and options["ray"] is None:
            print(f"device: {_device(options)}, weights: {options['weights']}")

    def say(video):
        if video.error:
            named = "" if video.input in video.error else f"{video.input}: "
            to_stderr(f"failed: {printable(named + video.error)}")
        elif not video.skipped:
            frames = counted(video.frames, "frame")
            print(f"{video.output}: {frames}, {video.seconds:.1f} s", flush=True)

    with FrameProgress("deblurring") as progress:
        videos = mtujax.deblur_videos(
            inputs,
            folder,
            **options,
            progress=progress,
            on_start=start,
            on_video=say,
            on_note=lambda note: print(f"note: {note}", flush=True),
        )
    print("\n" + deblurring.as_table(videos), end="")
    if failed := sum(video.error is not None for video in videos):
        raise UserError(
            f"{folder}: {failed} of {counted(len(videos), 'video')} failed; correct "
            "the errors above, and --resume retries them"
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
