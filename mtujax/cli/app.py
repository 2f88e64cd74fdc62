"""The command line, `mtujax`: its commands, and one line for every error.

Errors that a user can fix are one line on stderr: exit status 2 for bad use, 1 for
everything else, 130 and 143 when interrupted. Heavy imports wait for their command.
"""

import functools
import os
from importlib.metadata import version
from typing import Annotated

import typer

from mtujax.cli.bench import bench
from mtujax.cli.data import app as data_app
from mtujax.cli.deblur import deblur, demo
from mtujax.cli.report import report
from mtujax.cli.script import configs_folder, run_script
from mtujax.cli.weights import convert, export, list_weights

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)


def main(args: list[str] | None = None) -> None:
    """Runs the command line, by default the process's, and exits (SystemExit)."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our line says it
    command = functools.partial(app, args, prog_name="mtujax", standalone_mode=False)
    run_script("mtujax", command)


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
    """Deblur videos; train and evaluate networks that do."""


_PASSED_ON = {
    "add_help_option": False,
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
}


@app.command(**_PASSED_ON)
def train(context: typer.Context):
    """Train a network; `mtujax train --help` lists its flags."""
    from mtujax.cli.train import main

    main(["mtujax train", *context.args], configs=configs_folder())


@app.command("eval", **_PASSED_ON)
def evaluate(context: typer.Context):
    """Score a network, or frames that others restored; --help lists its flags."""
    from mtujax.cli.evaluate import main

    main(["mtujax eval", *context.args], configs=configs_folder())


for _command in (deblur, demo, convert, bench, report, export):
    app.command()(_command)
app.command("weights")(list_weights)
app.add_typer(data_app, name="data")
