"""The command `train.py`: from its flags to a run. Heavy imports wait for the flags."""

import shlex
import sys
from pathlib import Path

from mtujax.compile_cache import CACHE, use_cache
from mtujax.scripts import (
    asks_for_help,
    join_processes,
    listed_configs,
    run_script,
    say,
)
from mtujax.train_flags import Flags, read_flags

_HELP = """\
usage: python train.py --config=FILE [--config.FIELD=VALUE ...]

Trains a network. It can be stopped at any time; the same command goes on.

  --config=FILE             a Python file whose get_config() gives the configuration
  --config.FIELD=VALUE      changes one field of it; None where a field may have it
  --coordinator=HOST:PORT   of several processes: where the first one listens; auto
                            asks the machine (TPU VMs; SLURM, Open MPI, Kubernetes
                            and GKE are seen without it); none: there is one process
  --processes=N             with it: how many there are
  --process=K               with it: which one this is, from 0
  --cache=DIR               compiled programs, used again by the next start; "" for
                            none [{cache}]

Fields that are often changed (mtujax/settings.py, schemes.py and config.py list all):
  --config.run=runs/mine            folder of checkpoints, logs and configuration
  --config.data.name=NAME           gopro, dvd, reds, bsd, pairs or synthetic
  --config.data.path=DIR            that dataset, or the photographs to be filmed
  --config.data.teacher=FILE        motion labels by `mtujax convert --teacher`
  --config.validation.path=DIR      photographs, or a dataset, to be judged by
  --config.batch=8                  clips of an update, over all devices
  --config.train.steps=300000       updates in all
  --config.train.motion_weight=0    without motion labels
  --config.model.dtype=bfloat16     half precision
  --config.init_from=mtu2           start from weights: a name, a file or a run
  --config.max_minutes=60           save and stop after that time

Configurations:
{configs}"""


def main(argv: list[str], *, configs: Path) -> None:
    """Trains as the command line says, and exits.

    Args:
        argv: with the program's name first.
        configs: folder of the configurations that come with the program.

    Raises:
        SystemExit: always, with the exit status.
    """
    if asks_for_help(argv):
        print(_HELP.format(cache=CACHE, configs=listed_configs(configs)))
        sys.exit(0)
    run_script("train.py", lambda: _train(argv, read_flags(argv, configs)))


def _train(argv, flags: Flags):
    """Heavy imports are done here."""
    use_cache(flags.cache)
    from mtujax import parallel
    from mtujax.runs import Interrupted, train

    if not join_processes(flags):
        parallel.use_cores(flags.config.batch)
    command = shlex.join(["python", *argv])
    try:
        finished = train(flags.config, command=command)
    except Interrupted as stop:
        say("train.py", stop)
        return stop.status
    if parallel.is_first():
        print(_summary(flags.config.run, finished, command), flush=True)
    return 0


def _summary(run, finished, command):
    """What became of it, in a line."""
    parts = [f"{run}: {finished.updates} updates"]
    if finished.skipped:
        parts.append(f"{finished.skipped} left out as not finite")
    if finished.psnr is not None:
        parts.append(f"{finished.psnr:.2f} dB (blurry {finished.blurry:.2f} dB)")
    if not finished.complete:
        parts.append(f"its time is over; to go on: {command}")
    return ", ".join(parts)
