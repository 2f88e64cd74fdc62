"""One line for every error that a user can mend, also for those of libraries."""

import errno

import typer

from mtujax.errors import UserError

# The base class of what the parser raises, wherever this typer takes its click from.
_ParserError = typer.BadParameter.__base__


def explain(error: Exception) -> tuple[int, str] | None:
    """Explains what a user can mend.

    Args:
        error: whatever ended the command.

    Returns:
        Exit status and one line, or None for a bug.
    """
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
    """What was added to an error on its way.

    Args:
        error: any.

    Returns:
        Lines; what libraries add about tracebacks, of several lines, is none of them.
    """
    notes = getattr(error, "__notes__", [])
    return [note for note in notes if "\n" not in note.strip()]
