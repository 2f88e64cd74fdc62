"""Output that appears under its final name only when it is whole."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mtujax.errors import UserError

FRAME_SUFFIXES = (".png", ".jpg", ".jpeg")


def check_output(
    source: Path, output: Path, *, folder: bool, overwrite: bool = False
) -> None:
    """Refuses, before any work, an output that could not be or should not be written.

    Args:
        source: the input, an existing file or folder.
        output: final name of the file or folder.
        folder: whether a folder of frames is written.
        overwrite: allow an existing output; a folder only if it holds frames alone.

    Raises:
        UserError: naming what is in the way.
    """
    if output.exists() and output.samefile(source):
        raise UserError(f"{output}: output and input are the same")
    parent = output.parent
    if not parent.exists():
        raise UserError(f"{parent}: no such folder; create it for the output")
    if not parent.is_dir():
        raise UserError(f"{parent}: not a folder, so {output.name} cannot be in it")
    if not output.exists():
        return
    if folder != output.is_dir():
        found, wanted = ("file", "folder") if folder else ("folder", "file")
        raise UserError(f"{output}: is a {found}, but a {wanted} would be written")
    if folder and not any(output.iterdir()):
        return
    if not overwrite:
        raise UserError(f"{output}: exists already; --overwrite replaces it")
    if folder:
        _check_frames_only(output)


def _check_frames_only(folder):
    """Overwriting a folder deletes it: never one that holds something else."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in FRAME_SUFFIXES or not path.is_file():
            raise UserError(
                f"{folder}: not overwritten, as it holds more than frames: {path.name}"
            )


@contextlib.contextmanager
def whole_output(output: Path, *, folder: bool) -> Iterator[Path]:
    """Gives a temporary name beside `output` and renames it when the block succeeds.

    Whatever ends the block otherwise (an error, Ctrl-C), the temporary is deleted and
    what was at `output` before is still there.

    Args:
        output: final name; replaced if it exists.
        folder: whether the temporary is a folder, which is then created.

    Yields:
        The temporary path, with the suffix of `output`.
    """
    temporary = _beside(output, "part")
    try:
        if folder:
            temporary.mkdir()
        yield temporary
        if folder:
            _replace_folder(temporary, output)
        else:
            os.replace(temporary, output)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def _replace_folder(temporary, output):
    """Renames a folder; a folder with content cannot be replaced in one step."""
    if not output.exists():
        temporary.rename(output)
        return
    old = _beside(output, "old")
    output.rename(old)
    try:
        temporary.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(output, kind):
    return output.with_name(f".{output.stem}.{os.getpid()}.{kind}{output.suffix}")
