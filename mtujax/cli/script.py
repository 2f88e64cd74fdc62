"""What commands share: exit statuses, signals, error lines, processes.

Exit status 2 for bad use, 1 for whatever else a user can fix, 130 and 143 when
interrupted. Heavy imports wait for the flags.
"""

import ast
import dataclasses
import errno
import importlib
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mtujax.errors import UsageError, UserError

if TYPE_CHECKING:
    from mtujax.training.config import RunConfig

# The base class of what the parser raises, wherever this typer takes its click from.
_ParserError = typer.BadParameter.__base__


_EXTRAS = {
    "absl": "train",
    "array_record": "train",
    "etils": "train",
    "grain": "train",
    "matplotlib": "plots",
    "ml_collections": "train",
    "optax": "train",
    "orbax": "train",
    "tensorboardX": "train",
    "tensorflow_datasets": "train",
}
"""Libraries of extras, by what they are imported as."""


def explain(error: Exception) -> tuple[int, str] | None:
    """Exit status and one line for what a user can fix, or None for a bug."""
    if isinstance(error, UserError):
        return error.status, str(error)
    if isinstance(error, _ParserError):
        message = " ".join(error.format_message().split()).rstrip(".")
        command = error.ctx.command_path if error.ctx else "mtujax"
        return error.exit_code, f"{message}; see `{command} --help`"
    if isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        extra = _EXTRAS[error.name]
        return 1, f"{error.name} is not installed; pip install 'mtujax[{extra}]'"
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


def notes_of(error: BaseException) -> list[str]:
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
        # As it can be typed: a path in the clone, a name elsewhere.
        label = os.path.relpath(path)
        titles[path.stem if label.startswith("..") else label] = text.split("\n")[
            0
        ].rstrip(".")
    return titles


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Stopped(BaseException):
    """A signal came. Not KeyboardInterrupt, which parsers swallow."""

    def __init__(self, number):
        super().__init__()
        self.status = 128 + number


def run_script(program: str, work: Callable[[], int | None]) -> None:
    """Runs a command and exits with its status; one line for every mistake."""

    def stop(number, _):
        raise _Stopped(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # as in a background job of a shell
            signal.signal(number, stop)
    try:
        status = work() or 0
    except _Stopped as stopped:
        status = stopped.status
        say(program, "; ".join(["interrupted", *notes_of(stopped)]))
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


def program_of(argv: list[str]) -> str:
    """The program's name in messages: "train.py", or "mtujax train"."""
    return Path(argv[0]).name


def invoked(argv: list[str]) -> list[str]:
    """The command line as it is typed: `python train.py ...` or `mtujax train ...`."""
    if argv[0].endswith(".py"):
        return ["python", *argv]
    return [*argv[0].split(), *argv[1:]]


def configs_folder() -> Path:
    """The folder of the configurations: in the wheel, or at the top of the clone."""
    package = Path(__file__).parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def make_importable(configs: Path) -> None:
    """Lets configuration files import each other, as `from configs import default`."""
    if "configs" in sys.modules or importlib.util.find_spec("configs"):
        return
    spec = importlib.util.spec_from_file_location(
        "configs", configs / "__init__.py", submodule_search_locations=[str(configs)]
    )
    sys.modules["configs"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


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
    path = Path(script)

    def work():
        command = importlib.import_module(f"mtujax.{module}")
        command.main(sys.argv, configs=path.parent / "configs")

    run_script(path.name, work)


def to_stderr(line: str) -> None:
    """Prints a line to stderr, where no output of the program goes."""
    print(line, file=sys.stderr, flush=True)
