"""The command line, `mtujax`.

Errors that a user can mend are one line on stderr: exit status 2 for bad use, 1 for
everything else, 130 and 143 when interrupted. Heavy imports wait for their command.
"""

import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from mtujax.arguments import seconds, tile_size
from mtujax.bench_command import bench
from mtujax.config import DEFAULT_WEIGHTS
from mtujax.convert_command import convert
from mtujax.data_command import app as data_app
from mtujax.errors import UsageError
from mtujax.explain import explain, notes_of
from mtujax.export_command import export
from mtujax.report_command import report

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
_DEFAULT_CUT = 0.4  # cuts.DEFAULT_THRESHOLD; a test compares them


class _Stopped(BaseException):
    """A signal came. Not KeyboardInterrupt, which the parser would swallow."""

    def __init__(self, number):
        super().__init__()
        self.status = 128 + number


def main(args: list[str] | None = None) -> None:
    """Runs the command line and exits.

    Args:
        args: what follows the program's name; None takes it from the process.

    Raises:
        SystemExit: always, with the exit status.
    """
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:  # as in a background job of a shell
            signal.signal(number, _stop)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our line says it
    try:
        status = app(args, prog_name="mtujax", standalone_mode=False) or 0
    except _Stopped as stop:
        status = stop.status
        _to_stderr("; ".join(["mtujax: error: interrupted", *notes_of(stop)]))
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        status, message = explained
        _to_stderr("; ".join([f"mtujax: error: {message}", *notes_of(error)]))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    sys.exit(status)


def _print_version(wanted: bool):
    if wanted:
        print(f"mtujax {version('mtujax')}")
        raise typer.Exit()


@app.callback()
def _options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and stop.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
):
    """Deblur videos. In a clone, train.py trains networks and eval.py scores them."""


def deblur(
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
    weights: Annotated[
        str, typer.Option(help="Bundled name (see `mtujax weights`) or .safetensors.")
    ] = DEFAULT_WEIGHTS,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 (exact), bfloat16 or float16 (for GPUs)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output, whole.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(help="Begin at 12.5 or 00:01:02; of a folder, a frame from 0."),
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="End before this time or frame number.")
    ] = None,
    scene_threshold: Annotated[
        float, typer.Option(help="How different two shots are, in [0, 1]; 0: no cuts.")
    ] = _DEFAULT_CUT,
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
    compare: Annotated[
        str | None, typer.Option(help="Write a comparison: side, wipe or diff.")
    ] = None,
    save_motion: Annotated[
        str | None, typer.Option(help="Also write the motion found, as a colour video.")
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
    say = _to_stderr if output == "-" else _to_stdout
    times = [seconds("--start", start), seconds("--end", end)]
    for option, text in (("--start", start), ("--end", end)):
        if text and ":" in text and os.path.isdir(input):
            raise UsageError(f"{option} {text}: of a folder, give a frame number")
    from mtujax.deblur import deblur_video
    from mtujax.progress import FrameProgress

    say(f"device: {_device()}, weights: {weights}")
    with FrameProgress("deblurring", stderr=output == "-") as progress:
        report = deblur_video(
            input,
            output,
            weights=weights,
            dtype=dtype,
            overwrite=overwrite,
            resume=resume,
            start=times[0],
            end=times[1],
            scene_threshold=scene_threshold,
            codec=codec,
            crf=crf,
            preset=preset,
            compare=compare,
            save_motion=save_motion,
            tile=tile_size(tile),
            size=size,
            rate=rate,
            progress=progress,
            on_note=lambda note: say(f"note: {note}"),
        )
    size = f"{report.size[0]}x{report.size[1]}"
    cuts = f", {report.cuts} cut{'s'[: report.cuts != 1]}" if report.cuts else ""
    say(
        f"{report.output}: {report.frames} frame{'s'[: report.frames != 1]} of "
        f"{size}{cuts}, "
        f"{report.seconds:.1f} s, {report.fps:.1f} frames/s"
    )


def demo(
    output: Annotated[
        Path, typer.Argument(help="Folder for the clip and the comparison.")
    ] = Path("demo"),
    weights: Annotated[
        str, typer.Option(help="Bundled name (see `mtujax weights`) or .safetensors.")
    ] = DEFAULT_WEIGHTS,
):
    """Deblur a clip made from a photograph and show what was gained."""
    from mtujax.demo import run

    print(f"device: {_device()}, weights: {weights}", flush=True)
    run(output, weights=weights)


def list_weights():
    """List the weights that come with the package."""
    from mtujax.weights import bundled

    for file in bundled():
        frames = file.config.lookahead
        print(
            f"{file.name}: {file.parameters:,} parameters, {file.size / 1e6:.1f} MB, "
            f"look-ahead {frames} frame{'s'[: frames != 1]}"
        )
        for key, value in file.metadata.items():
            print(f"  {key}: {value}")


def _to_stdout(line):
    print(line, flush=True)


def _to_stderr(line):
    print(line, file=sys.stderr, flush=True)


def _stop(number, _):
    raise _Stopped(number)


def _device():
    import jax

    from mtujax.compile_cache import use_cache

    use_cache(None)
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder talks to stderr
    device = jax.devices()[0]
    kind = device.device_kind
    return device.platform if kind == device.platform else f"{device.platform} ({kind})"


for _command in (deblur, demo, convert, bench, report, export):
    app.command()(_command)
app.command("weights")(list_weights)
app.add_typer(data_app, name="data")

if __name__ == "__main__":
    main()
