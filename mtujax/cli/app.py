"""The command line, `mtujax`: its commands, and one line for every error.

Errors that a user can fix are one line on stderr: exit status 2 for bad use, 1 for
everything else, 130 and 143 when interrupted. Heavy imports wait for their command.
"""

import os
import signal
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from mtujax.cli.bench import bench
from mtujax.cli.data import app as data_app
from mtujax.cli.deblur import deblur, demo
from mtujax.cli.report import report
from mtujax.cli.script import explain, notes_of, to_stderr
from mtujax.cli.weights import convert, export, list_weights

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


class _Stopped(BaseException):
    """A signal arrived. Not KeyboardInterrupt, which the parser would swallow."""

    def __init__(self, number):
        super().__init__()
        self.status = 128 + number


def main(args: list[str] | None = None) -> None:
    """Runs the command line, by default the process's, and exits (SystemExit)."""
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:  # as in a background job of a shell
            signal.signal(number, _stop)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our own line reports it
    try:
        status = app(args, prog_name="mtujax", standalone_mode=False) or 0
    except _Stopped as stop:
        status = stop.status
        to_stderr("; ".join(["mtujax: error: interrupted", *notes_of(stop)]))
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        status, message = explained
        to_stderr("; ".join([f"mtujax: error: {message}", *notes_of(error)]))
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


def _stop(number, _):
    raise _Stopped(number)


for _command in (deblur, demo, convert, bench, report, export):
    app.command()(_command)
app.command("weights")(list_weights)
app.add_typer(data_app, name="data")
