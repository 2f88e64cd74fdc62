"""What `train.py` and `eval.py` share: exit statuses, signals, processes.

Exit status 2 for bad use, 1 for whatever else a user can mend, 130 and 143 when
interrupted. Heavy imports wait for the flags.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from mtujax.explain import explain, notes_of
from mtujax.train_flags import Flags, config_titles

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_script(program: str, work: Callable[[], int]) -> None:
    """Runs a command to its exit, with one line for every mistake.

    Args:
        program: as "train.py", for messages.
        work: what it does; gives its exit status.

    Raises:
        SystemExit: always, with the exit status.
    """

    def stop(number, _):
        say(program, "interrupted")
        sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as in a background job of a shell
            signal.signal(number, stop)
    try:
        status = work()
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        status, message = explained
        say(program, "; ".join([message, *notes_of(error)]))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    sys.exit(status)


def say(program: str, message: object) -> None:
    """Tells what went wrong.

    Args:
        program: as "train.py".
        message: a line.
    """
    print(f"{program}: error: {message}", file=sys.stderr, flush=True)


def asks_for_help(argv: list[str]) -> bool:
    """Whether a command line asks for help.

    Args:
        argv: with the program's name first.

    Returns:
        True if it does, in any of absl's ways.
    """
    asking = {"-h", "-help", "--help", "--helpshort", "--helpfull"}
    return bool(asking & set(argv[1:]))


def listed_configs(folder: Path) -> str:
    """The configurations that come with the program, for its help.

    Args:
        folder: that holds them.

    Returns:
        A line each: its path and what it is.
    """
    titles = config_titles(folder).items()
    return "\n".join(f"  {path:<24}  {title}" for path, title in titles)


def join_processes(flags: Flags) -> bool:
    """Joins the other processes, if there are any; comes before anything else of JAX.

    Args:
        flags: say which, or nothing.

    Returns:
        Whether there are any.
    """
    from mtujax import parallel

    if flags.coordinator == "auto" or (
        flags.coordinator is None and in_cluster(os.environ)
    ):
        parallel.start()
        return True
    if flags.coordinator in (None, "none"):
        return False
    parallel.start(flags.coordinator, flags.processes, flags.process)
    return True


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
