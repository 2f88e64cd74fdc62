"""The command `train`: from its options to a run. Heavy imports wait for the options.

JAX is not imported before the options, and the configuration file, are read.
"""

import typer

import mtujax
from mtujax.cli.configs import Config, read_config
from mtujax.cli.entry import (
    Cache,
    Coordinator,
    Process,
    Processes,
    command_line,
    on_out_of_memory,
    start_jax,
)
from mtujax.errors import UsageError


@on_out_of_memory("a smaller --config.batch or --config.data.crop")
def train(
    context: typer.Context,
    config: Config = None,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
    cache: Cache = None,
):
    """Train a network.

    Interrupt it at any time; rerun the same command to resume.
    """
    settings = read_config(config, context.args, context.command.params)
    if settings is None:
        raise UsageError("give the configuration as --config=NAME|FILE; see --help")
    is_first = start_jax(coordinator, processes, process, cache, settings.batch)
    command = command_line(context)
    finished = mtujax.train(settings, command=command)
    if is_first():
        print(_summary(settings.run, finished, command), flush=True)


def _summary(run, finished, command):
    """Summarises the run in a line."""
    parts = [f"{run}: {finished.updates} updates"]
    if finished.skipped:
        parts.append(f"{finished.skipped} left out as not finite")
    if finished.psnr is not None:
        parts.append(f"{finished.psnr:.2f} dB (blurry {finished.blurry:.2f} dB)")
    if not finished.complete:
        parts.append(f"time limit reached; resume with: {command}")
    return ", ".join(parts)
