"""What commands share: exit statuses, signals, error lines, processes.

Exit status 2 for bad use (a UsageError: what can work with no file and on no machine),
1 for whatever else a user can fix, 130 and 143 when interrupted. Heavy imports wait for
the options.
"""

import codecs
import contextlib
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from mtujax.common import interrupts
from mtujax.common.interrupts import Interrupted
from mtujax.errors import (
    UsageError,
    UserError,
    not_installed,
    notes_of,
    out_of_memory,
    reason,
)

# The base class of what the parser raises, wherever this typer takes its click from.
_ParserError = typer.BadParameter.__base__


Weights = Annotated[
    str, typer.Option(help="Name (see `mtujax weights`) or .safetensors.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output.")
]
Coordinator = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Address of the first of several processes; auto: detected (TPU VMs; "
        "SLURM, Open MPI, Kubernetes and GKE need no option); none: one process.",
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="With --coordinator: number of processes."),
]
Process = Annotated[
    int | None,
    typer.Option(metavar="K", min=0, help="With --coordinator: this process, from 0."),
]
Cache = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Folder of compiled programs, reused by later runs; '' for none; default: "
        "XDG_CACHE_HOME/mtujax/jax or ~/.cache/mtujax/jax.",
    ),
]


_OF_TRAINING = (
    "absl array_record etils grain ml_collections optax orbax tensorboardX "
    "tensorflow_datasets"
).split()
_EXTRAS = {"matplotlib": "plots", "torch": "torch"}
_EXTRAS |= dict.fromkeys(_OF_TRAINING, "train")
"""Libraries of extras, by what they are imported as."""


def explain(error: Exception) -> tuple[int, str] | None:
    """Exit status and one line for what a user can fix, or None for a bug."""
    if isinstance(error, UserError):
        return error.status, str(error)
    if isinstance(error, _ParserError):
        message = " ".join(error.format_message().split()).rstrip(".")
        hint = f"`{error.ctx.command_path} --help`" if error.ctx else "--help"
        return error.exit_code, f"{message}; see {hint}"
    if isinstance(error, ModuleNotFoundError):
        library = (error.name or "").partition(".")[0]
        if extra := _EXTRAS.get(library):
            return 1, not_installed(library, extra)
    line = reason(error)
    return None if line is None else (1, line)


@contextlib.contextmanager
def on_out_of_memory(remedy: str):
    """Decorates a command: adds what needs less memory to an out-of-memory error."""
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            error.add_note(f"try {remedy}")
        raise


def _escape(error):
    """Escapes what the encoding of a terminal or log lacks, for `codecs`."""
    try:  # bytes of a name that Python could not decode, as in the locale C
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


@contextlib.contextmanager
def _readable(program):
    """Standard output and error that take any text, and warnings of one line."""
    codecs.register_error("mtujax.escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file, no replacement of it
            stream.reconfigure(errors="mtujax.escape")
    shown, warnings.formatwarning = (
        warnings.formatwarning,
        lambda message, *_, **__: f"{program}: warning: {message}\n",
    )
    try:
        yield
    finally:
        warnings.formatwarning = shown


def run_script(program: str, work: Callable[[], int | None]) -> None:
    """Runs a command and exits with its status; one line for every mistake."""
    with _readable(program), interrupts.catching(program) as wish:
        try:
            status = work() or 0
            interrupts.check()
        except Interrupted as stopped:
            wish.stay()
            status = stopped.status
            say(program, "; ".join([str(stopped), *notes_of(stopped)]))
        except Exception as error:
            wish.stay()
            status = _said(program, error, wish.number)
    sys.exit(status)


def _said(program, error, number):
    """Prints the line of an error, and returns its status; raises it if it is a bug."""
    if number is not None:  # a library made another error of the interruption
        explained = 128 + number, "interrupted"
    elif (explained := explain(error)) is None:
        raise error
    status, message = explained
    say(program, "; ".join([message, *notes_of(error)]))
    return status


def say(program: str, message: object) -> None:
    """Prints an error to stderr, one line even if a name or a library breaks it."""
    line = " ".join(part.strip() for part in str(message).splitlines())
    print(f"{program}: error: {line}", file=sys.stderr, flush=True)


def start_jax(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    cache: str | None,
    batch: int | None = None,
) -> Callable[[], bool]:
    """Joins other processes, or lets cores share a batch; gives `parallel.is_first`."""
    _check_processes(coordinator, processes, process)
    from mtujax import parallel
    from mtujax.common.hardware import use_cache

    use_cache(cache)
    alone = coordinator == "none" or coordinator is None and not in_cluster(os.environ)
    if not alone:
        address = (
            () if coordinator in (None, "auto") else (coordinator, processes, process)
        )
        parallel.start(*address)
        interrupts.install()  # JAX takes SIGTERM for itself
    elif batch is not None:
        parallel.use_cores(batch)
    return parallel.is_first


def _check_processes(coordinator, processes, process):
    """Refuses options that contradict each other."""
    numbers = processes is not None, process is not None
    if coordinator in (None, "auto", "none"):
        if any(numbers):
            raise UsageError("--processes and --process need --coordinator")
        return
    if not re.fullmatch(r".+:\d+", coordinator):
        raise UsageError(
            f"--coordinator={coordinator}: must be HOST:PORT, auto or none"
        )
    if not all(numbers):
        raise UsageError("--coordinator needs --processes and --process")
    if process >= processes:
        raise UsageError(f"--process={process}: must be below --processes={processes}")


def in_cluster(environment: Mapping[str, str]) -> bool:
    """Whether this is one of several processes that a cluster has started."""
    # The signs by which JAX knows the other processes. Being in a cluster is not
    # enough: a shell or a notebook in it is alone.
    tasks = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
    hosts = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
    job = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
    return (
        any(environment.get(name, "1") != "1" for name in tasks)
        or any("," in environment.get(name, "") for name in hosts)
        or all(name in environment for name in job)
    )


def command_line(context: typer.Context) -> str:
    """The command as it was typed: `python train.py ...` or `mtujax train ...`."""
    root = context.find_root()
    return shlex.join([*root.info_name.split(), *root.obj])


def to_stderr(line: str) -> None:
    """Prints a line to stderr, where no output of the program goes."""
    print(line, file=sys.stderr, flush=True)
