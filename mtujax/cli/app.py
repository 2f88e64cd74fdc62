"""The command line, `mtujax`: its commands, and one line for every error.

Errors that a user can fix are one line on stderr: exit status 2 for bad use, 1 for
everything else, 130 and 143 when interrupted. Heavy imports wait for their command.
"""

import os
import sys
from typing import Annotated

import typer

import mtujax
from mtujax.cli.bench import bench
from mtujax.cli.configs import (
    TAKES_FIELDS,
    command_with,
    listed_configs,
    listed_fields,
)
from mtujax.cli.data import app as data_app
from mtujax.cli.deblur import DeblurCommand, deblur, demo
from mtujax.cli.entry import run_script
from mtujax.cli.evaluate import evaluate, listed_protocols
from mtujax.cli.fetch import fetch
from mtujax.cli.report import report
from mtujax.cli.train import train
from mtujax.cli.weights import convert, export, list_weights

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
)


def main(args: list[str] | None = None, *, script: str | None = None) -> None:
    """Runs the command line, by default the process's, and exits (SystemExit)."""
    # `script` is the one command that a script of the clone runs: "train" or "eval".
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our line says it
    args = sys.argv[1:] if args is None else args
    command, name, typed = typer.main.get_command(app), "mtujax", "mtujax"
    if script:
        name = f"{script}.py"
        command, typed = command.commands[script], f"python {name}"
    run_script(
        name,
        lambda: command.main(args, prog_name=typed, standalone_mode=False, obj=args),
    )


def _print_version(wanted: bool):
    if wanted:
        print(f"mtujax {mtujax.__version__}")
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


app.command(cls=DeblurCommand)(deblur)
app.command()(demo)
for _name, _command, _sections in (
    ("train", train, (listed_fields, listed_configs)),
    ("eval", evaluate, (listed_protocols, listed_configs)),
):
    app.command(
        _name,
        cls=command_with(*_sections),
        context_settings=HELP | TAKES_FIELDS,
        options_metavar="[OPTIONS] [--config.FIELD=VALUE ...]",
    )(_command)
for _command in (fetch, convert, bench, report, export):
    app.command()(_command)
app.command("weights")(list_weights)
app.add_typer(data_app, name="data")
