"""The command `train.py`: from its flags to a run, with one line for every mistake.

Exit status 2 for bad use, 1 for whatever else a user can mend, 130 and 143 when
interrupted. Heavy imports wait for the flags.
"""

import os
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from mtujax.explain import explain
from mtujax.train_flags import Flags, config_titles, read_flags

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
_CACHE = "~/.cache/mtujax/jax"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(argv: list[str], *, configs: Path) -> None:
    """Trains as the command line says, and exits.

    Args:
        argv: with the program's name first.
        configs: folder of the configurations that come with the program.

    Raises:
        SystemExit: always, with the exit status.
    """
    if {"-h", "-help", "--help", "--helpshort", "--helpfull"} & set(argv[1:]):
        titles = config_titles(configs).items()
        lines = "\n".join(f"  {path:<24}  {title}" for path, title in titles)
        print(_HELP.format(cache=_CACHE, configs=lines))
        sys.exit(0)
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as in a background job of a shell
            signal.signal(number, _stop)
    try:
        status = _train(argv, read_flags(argv, configs))
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        status, message = explained
        _say("; ".join([message, *getattr(error, "__notes__", [])]))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.exit(status)


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Whether this is one of several processes that a cluster has started.

    These are the signs by which JAX knows who the others are. That there is a cluster
    is not enough: a shell or a notebook in it is alone.

    Args:
        environment: of the process.

    Returns:
        True if `parallel.start` needs to be told nothing.
    """
    tasks = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    hosts = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
    job = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
    return (
        any(environment.get(name, "1") != "1" for name in tasks)
        or any("," in environment.get(name, "") for name in hosts)
        or all(name in environment for name in job)
    )


def _stop(number, _):
    _say("interrupted")
    sys.exit(128 + number)


def _say(message):
    print(f"train.py: error: {message}", file=sys.stderr, flush=True)


def _train(argv, flags: Flags):
    """Heavy imports are done here."""
    _use_cache(flags.cache)
    from mtujax import parallel
    from mtujax.runs import Interrupted, train

    if flags.coordinator == "auto" or (
        flags.coordinator is None and in_cluster(os.environ)
    ):
        parallel.start()
    elif flags.coordinator not in (None, "none"):
        parallel.start(flags.coordinator, flags.processes, flags.process)
    command = shlex.join(["python", *argv])
    try:
        finished = train(flags.config, command=command)
    except Interrupted as stop:
        _say(stop)
        return stop.status
    if parallel.is_first():
        print(_summary(flags.config.run, finished, command), flush=True)
    return 0


def _use_cache(folder):
    import jax

    if folder is None:
        if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
            return
        folder = _CACHE
    if not folder:
        return
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


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
