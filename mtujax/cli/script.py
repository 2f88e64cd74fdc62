"""What commands share: exit statuses, signals, error lines, processes.

Exit status 2 for bad use, 1 for whatever else a user can fix, 130 and 143 when
interrupted. Heavy imports wait for the flags.
"""

import ast
import dataclasses
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mtujax.errors import UsageError, UserError

if TYPE_CHECKING:
    from mtujax.training.config import RunConfig
import importlib
import signal
import sys
from collections.abc import Callable, Mapping

# The base class of what the parser raises, wherever this typer takes its click from.
_ParserError = typer.BadParameter.__base__


def explain(error: Exception) -> tuple[int, str] | None:
    """Exit status and one line for what a user can fix, or None for a bug."""
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


def notes_of(error: Exception) -> list[str]:
    """Notes added to an error, without the multi-line ones about tracebacks."""
    notes = getattr(error, "__notes__", [])
    return [note for note in notes if "\n" not in note.strip()]


@dataclasses.dataclass(frozen=True)
class Flags:
    """What a command line asks for.

    Attributes:
        config: of the run, from the file and the overrides.
        coordinator: "host:port" of the first of several processes, "auto" or "none";
            None if not given, as for the fields below.
        processes: how many there are.
        process: number of this one, from 0.
        cache: folder for compiled programs, "" for none.
    """

    config: "RunConfig"
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    cache: str | None = None

    def __post_init__(self):
        """Refuses flags that contradict each other."""
        numbers = self.processes is not None, self.process is not None
        if self.coordinator in (None, "auto", "none"):
            if any(numbers):
                raise UsageError("--processes and --process need --coordinator")
            return
        if not re.fullmatch(r".+:\d+", self.coordinator):
            raise UsageError(
                f"--coordinator={self.coordinator}: must be HOST:PORT, auto or none"
            )
        if not all(numbers):
            raise UsageError("--coordinator needs --processes and --process")
        if self.process >= self.processes:
            raise UsageError(
                f"--process={self.process}: must be below --processes={self.processes}"
            )


def config_titles(configs: Path) -> dict[str, str]:
    """Titles (first docstring lines) of a folder's configurations, by path."""
    titles = {}
    for path in sorted(configs.glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        titles[os.path.relpath(path)] = text.split("\n")[0].rstrip(".")
    return titles


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_script(program: str, work: Callable[[], int]) -> None:
    """Runs a command and exits with its status; one line for every mistake."""

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
    """Prints an error line to stderr."""
    print(f"{program}: error: {message}", file=sys.stderr, flush=True)


def asks_for_help(argv: list[str]) -> bool:
    """Whether a command line asks for help, in any of absl's ways."""
    asking = {"-h", "-help", "--help", "--helpshort", "--helpfull"}
    return bool(asking & set(argv[1:]))


def listed_configs(folder: Path) -> str:
    """Lists a folder's configurations for the help: a line each, path and title."""
    titles = config_titles(folder).items()
    return "\n".join(f"  {path:<24}  {title}" for path, title in titles)


def join_processes(flags: Flags) -> bool:
    """Joins the other processes before JAX is used; returns whether there are any."""
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


def launch(script: str, module: str) -> None:
    """Runs the command of a script from the first import on, and exits."""
    path = Path(script)  # the configurations are next to it, in `configs`
    try:
        command = importlib.import_module(f"mtujax.{module}")
        command.main(sys.argv, configs=path.parent / "configs")
    except KeyboardInterrupt:  # before `main` handles it
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "mtujax").startswith("mtujax"):
            raise
        message = f"{error.name} is not installed; pip install -e '.[train]'"
        print(f"{path.name}: error: {message}", file=sys.stderr)
        sys.exit(1)


def to_stderr(line: str) -> None:
    """Prints a line to stderr, where no output of the program goes."""
    print(line, file=sys.stderr, flush=True)
