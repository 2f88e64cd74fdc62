"""What every benchmark says of its machine, and the file that its figures go to."""

import argparse
import json
import pathlib
from collections.abc import Callable

from mtujax.common.files import whole_output
from mtujax.common.hardware import machine


def add_json(parser: argparse.ArgumentParser):
    """Adds the option that asks for the file."""
    parser.add_argument("--json", type=_folder, help="folder for the results")


def _folder(text):
    """A folder to write to, refused before anything is measured."""
    path = pathlib.Path(text)
    there = next(p for p in (path, *path.parents) if p.exists())
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file; name a folder")
    return path


def machine_printed() -> dict:
    """What the benchmark runs on, which is printed as well."""
    about = machine()
    print(" | ".join(f"{k} {v}" for k, v in about.items()), flush=True)
    return about


def write(results: dict, benchmark: str, folder: pathlib.Path | None):
    """Writes results with their "machine", if a folder is given."""
    if path := keep(results, benchmark, folder):
        print(f"written to {path}")


def keep(results: dict, benchmark: str, folder: pathlib.Path | None):
    """As `write`, in silence: what there is so far, should the rest never come."""
    if folder is None:
        return None
    path = file_of(results, benchmark, folder)
    save(results, path)
    return path


def file_of(results: dict, benchmark: str, folder: pathlib.Path) -> pathlib.Path:
    """The name that says what was measured, on what and when."""
    about = results["machine"]
    name = f"{benchmark}-{about['device']}-{about['date']}.json"
    return folder / name.replace(" ", "-").lower()


def load(path: pathlib.Path, *names: str) -> dict:
    """Reads a file of results that must have these entries.

    Raises:
        SystemExit: one line, if there is no such file, or of another benchmark.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        complete = isinstance(found, dict) and found.keys() >= set(names)
    except OSError as error:
        raise SystemExit(f"error: {path}: {error.strerror}") from None
    except ValueError:
        complete = False
    if not complete:
        raise SystemExit(f"error: {path}: no results of this benchmark") from None
    return found


def with_text(page: pathlib.Path, text: str, mark: str) -> str:
    """A page's text with what stands between two marks replaced.

    Raises:
        SystemExit: one line, if the page cannot be read, or has not two marks.
    """
    try:
        parts = page.read_text("utf-8").split(mark)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is not text"
        raise SystemExit(f"error: {page}: {why}") from None
    if len(parts) != 3:
        raise SystemExit(
            f"error: {page}: must hold {mark} twice, not {len(parts) - 1} times"
        )
    return mark.join((parts[0], f"\n\n{text}\n", parts[2]))


def show(
    text: str,
    page: pathlib.Path | None,
    mark: str,
    draw: Callable[[pathlib.Path], None],
    chart: str | None = None,
):
    """Prints a text, or puts it into a page between marks, with a chart beside it.

    The chart has the page's name, with .png, unless another is given.
    """
    if page is None:
        return print(text)
    whole, chart = (
        with_text(page, text, mark),
        page.with_name(chart or f"{page.stem}.png"),
    )
    draw(chart)
    page.write_text(whole, "utf-8")
    print(f"written to {page} and {chart}")


def save(results: dict, path: pathlib.Path):
    """Writes a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_output(path, folder=False) as part:
        part.write_text(json.dumps(results, indent=1) + "\n")
