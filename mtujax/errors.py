"""Errors that a user can fix, and errors about weights."""

import contextlib
import errno
import math


class UserError(Exception):
    """An input, output or setting that cannot be used; `str()` is one line.

    Examples:
        >>> try:
        ...     load("nothing.safetensors")
        ... except UserError as error:
        ...     print(error)
        nothing.safetensors: no such file

    Attributes:
        status: exit status of the command line, 1.
    """

    status = 1


class UsageError(UserError):
    """A setting that is wrong whatever files there are, and whatever the machine.

    An unknown name or suffix, a value out of range, two that exclude each other.

    Examples:
        >>> try:
        ...     load("mtu3")
        ... except UsageError as error:
        ...     print(error.status)
        2

    Attributes:
        status: exit status of the command line, 2.
    """

    status = 2


class WeightsError(UserError, ValueError):
    """Weights that cannot be used."""

    findings: tuple[str, ...] = ()  # of each tensor; they end the message


class UnwritableError(WeightsError):
    """Weights that cannot be written; nothing is wrong with what they come from."""


class UnknownWeightsError(UsageError, WeightsError):
    """A name that no weights, preset or file of weights can have, or no dtype."""


@contextlib.contextmanager
def extra(name: str):
    """Makes a missing library a UserError that says which extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(not_installed(error.name, name)) from error


def not_installed(module: str, extra: str) -> str:
    """The line for a library that an extra of the package installs."""
    # From a clone: the package is on no index.
    library = module.partition(".")[0]
    return f"{library} is not installed; in a clone, pip install '.[{extra}]'"


def check_least(least: int, **values: float | None) -> None:
    """Raises a UsageError for the first value below the least or infinite, by name."""
    for name, value in values.items():
        if value is not None and not least <= value < math.inf:
            finite = ", and finite" if value == math.inf else ""
            raise UsageError(f"{name} {value}: must be {least} or more{finite}")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory of the host or device ran out."""
    if isinstance(error, MemoryError):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    of_xla = not names.isdisjoint(("XlaRuntimeError", "JaxRuntimeError"))
    # The status of a computation on a CPU is INTERNAL; making an array there raises a
    # ValueError.
    said = str(error)
    return "RESOURCE_EXHAUSTED" in said or (of_xla and "Out of memory" in said)


def reason(error: BaseException) -> str | None:
    """One line for what a user can fix, without its notes; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
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
    return "out of memory" if out_of_memory(error) else None


def notes_of(error: BaseException) -> list[str]:
    """Notes added to an error, without the multi-line ones about tracebacks."""
    notes = getattr(error, "__notes__", [])
    return [note for note in notes if "\n" not in note.strip()]
