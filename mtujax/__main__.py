"""The command line: `mtujax deblur`, `demo`, `convert` and `weights`.

Errors that a user can mend are one line on stderr: exit status 2 for bad use, 1 for
everything else, 130 and 143 when interrupted. Heavy imports wait for their command.
"""

import errno
import os
import signal
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from mtujax.errors import UsageError, UserError

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
# The base class of what the parser raises, wherever this typer takes its click from.
_ParserError = typer.BadParameter.__base__
_DEFAULT_CUT = 0.4  # cuts.DEFAULT_THRESHOLD; a test compares them


class _Terminated(BaseException):
    """SIGTERM came."""


def main(args: list[str] | None = None) -> None:
    """Runs the command line and exits.

    Args:
        args: what follows the program's name; None takes it from the process.

    Raises:
        SystemExit: always, with the exit status.
    """
    previous = signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our line says it
    try:
        status = app(args, prog_name="mtujax", standalone_mode=False) or 0
    except (_Terminated, KeyboardInterrupt, typer.Abort) as stop:
        status = 143 if isinstance(stop, _Terminated) else 130
    except Exception as error:
        explained = _explain(error)
        if explained is None:
            raise
        status, message = explained
        print(f"mtujax: error: {message}", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, previous)
    if status in (130, 143):
        print("mtujax: error: interrupted", file=sys.stderr)
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
    """Deblur videos."""


@app.command()
def deblur(
    input: Annotated[
        str, typer.Argument(help="Video file, or folder of PNG or JPEG frames.")
    ],
    output: Annotated[
        str, typer.Argument(help="Video file (.mp4 .m4v .mov .mkv), or folder.")
    ],
    weights: Annotated[
        str, typer.Option(help="Bundled name (see `mtujax weights`) or .safetensors.")
    ] = "mtu2",
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 (exact), bfloat16 or float16 (for GPUs)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output, whole.")
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
):
    """Restore a blurry video. An output appears only once it is complete."""
    times = [_seconds("--start", start), _seconds("--end", end)]
    for option, text in (("--start", start), ("--end", end)):
        if text and ":" in text and os.path.isdir(input):
            raise UsageError(f"{option} {text}: of a folder, give a frame number")
    from mtujax.deblur import deblur_video
    from mtujax.progress import FrameProgress

    print(f"device: {_device()}, weights: {weights}", flush=True)
    with FrameProgress("deblurring") as progress:
        report = deblur_video(
            input,
            output,
            weights=weights,
            dtype=dtype,
            overwrite=overwrite,
            start=times[0],
            end=times[1],
            scene_threshold=scene_threshold,
            progress=progress,
            on_note=lambda note: print(f"note: {note}", flush=True),
        )
    size = f"{report.size[0]}x{report.size[1]}"
    cuts = f", {report.cuts} cut{'s'[: report.cuts != 1]}" if report.cuts else ""
    print(
        f"{report.output}: {report.frames} frame{'s'[: report.frames != 1]} of "
        f"{size}{cuts}, "
        f"{report.seconds:.1f} s, {report.fps:.1f} frames/s"
    )


@app.command()
def demo(
    output: Annotated[
        Path, typer.Argument(help="Folder for the clip and the comparison.")
    ] = Path("demo"),
    weights: Annotated[
        str, typer.Option(help="Bundled name (see `mtujax weights`) or .safetensors.")
    ] = "mtu2",
):
    """Deblur a clip made from a photograph and show what was gained."""
    from mtujax.demo import run

    print(f"device: {_device()}, weights: {weights}", flush=True)
    run(output, weights=weights)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The authors' .pytorch file.")],
    output: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    preset: Annotated[
        str | None, typer.Option(help="Expected network, as mtu2; found if not given.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with PyTorch on a short clip.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing output.")
    ] = False,
):
    """Convert a released PyTorch checkpoint to weights for mtujax."""
    from mtujax.agreement import check as compare
    from mtujax.convert import convert as convert_checkpoint
    from mtujax.outputs import check_output

    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such file")
    check_output(checkpoint, output, folder=False, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix=".", dir=output.parent) as folder:
        part = Path(folder) / output.name
        done = convert_checkpoint(checkpoint, part, preset=preset)
        found = compare(checkpoint, part) if check else None
        if found:
            print(
                f"against PyTorch: images differ by {found.image:.1e} at most, "
                f"{found.displacements} of {found.cells} displacements differ"
            )
        if found and not found.agree:
            raise UserError(f"{output}: not written, as it disagrees with PyTorch")
        os.replace(part, output)
    print(f"{output}: {done.preset}, {done.parameters:,} parameters")
    print(f"source sha256: {done.sha256}")
    if done.dropped:
        print(f"left out, as only training reads them: {', '.join(done.dropped)}")


@app.command("weights")
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


def _terminate(*_):
    raise _Terminated


def _device():
    import jax

    device = jax.devices()[0]
    kind = device.device_kind
    return device.platform if kind == device.platform else f"{device.platform} ({kind})"


def _seconds(option, text):
    """Seconds from 12.5, 1:02 or 00:01:02.5."""
    if text is None:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    if not 1 <= len(parts) <= 3 or any(not 0 <= p < 60 for p in parts[1:]):
        raise UsageError(f"{option} {text}: give seconds, 12.5, or a time, 00:01:02")
    return sum(part * 60**i for i, part in enumerate(reversed(parts)))


def _explain(error):
    """Exit status and one line for what a user can mend; None for a bug."""
    if isinstance(error, UserError):
        return error.status, str(error)
    if isinstance(error, _ParserError):
        message = " ".join(error.format_message().split()).rstrip(".")
        command = error.ctx.command_path if error.ctx else "mtujax"
        return error.exit_code, f"{message}; see `{command} --help`"
    message = _explain_library(error)
    return None if message is None else (1, message)


def _explain_library(error):
    """One line for errors of the system and of libraries that are no bug of ours."""
    if isinstance(error, OSError):
        what = error.strerror or str(error)
        if error.errno == errno.EFBIG:
            what = f"{what} (a limit of the file system or of this process)"
        return f"{error.filename}: {what}" if error.filename else what
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    text = " ".join(str(error).split())
    if name.startswith("av."):
        return f"video library: {text}"
    if name == "cv2.error":
        return f"image library: {text}"
    full = "RuntimeError" in name and "RESOURCE_EXHAUSTED" in text  # XLA's
    if full or isinstance(error, MemoryError):
        return "out of memory on the device: try --dtype bfloat16, or smaller frames"
    return None


if __name__ == "__main__":
    main()
