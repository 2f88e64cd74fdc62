"""Files of results: where they are, and errors that name their damaged fields."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtujax.errors import UsageError, UserError

RESULTS, SETTINGS = "results.json", "settings.json"
"""Files in the folder of an evaluation; only the first has results."""


class Fields(dict):
    """A mapping of a file; a missing field is a UserError that names the file.

    Attributes:
        path: of the file.
        prefix: of the mapping's fields within the whole file, ending in a dot.
    """

    def __init__(self, path: Path, values: dict, prefix: str = ""):
        """Copies the values."""
        super().__init__(values)
        self.path, self.prefix = path, prefix

    def __missing__(self, name):
        """Raises UserError for a missing field."""
        raise UserError(f"{self.path}: lacks {self.prefix}{name}")

    def part(self, name: str) -> "Fields":
        """Gives the mapping in a field; UserError if it is not one."""
        value = self[name]
        if not isinstance(value, dict):
            raise UserError(f"{self.path}: {self.prefix}{name} is no mapping")
        return Fields(self.path, value, f"{self.prefix}{name}.")

    def count(self, name: str) -> int:
        """Gives the whole number in a field; ValueError if it is not one."""
        value = self[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{self.prefix}{name} {value!r}: must be a whole number")
        return value

    def number(self, name: str) -> float | None:
        """Gives a field's number: NaN if it is the text "NaN", None for null."""
        value = self[name]
        try:
            return None if value is None else float(value)
        except (TypeError, ValueError):
            words = f"{self.prefix}{name} {value!r}: must be a number"
            raise ValueError(words) from None


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turns errors from values of a wrong type into a UserError naming the file."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, UsageError) as error:
        raise UserError(f"{path}: damaged ({error})") from None


def load(path: Path) -> Fields | None:
    """Reads a JSON file's mapping, None for other JSON; UserError if unreadable."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    return Fields(path, values) if isinstance(values, dict) else None


def result_files(paths: Sequence[Path]) -> list[Path]:
    """Lists files of results, each once; UserError if there are none.

    `paths` are files; evaluation folders, which give their `results.json`; or folders,
    which give their `.json` files and those of the evaluation folders in them.
    """
    files = [file for path in paths for file in _inside(path)]
    if not files:
        raise UserError("no results: give files of eval.py or `mtujax bench`")
    return list(dict.fromkeys(files))


def _inside(path):
    if not path.is_dir():
        return [path]
    results, settings = path / RESULTS, path / SETTINGS
    if settings.is_file():
        if results.is_file():
            return [results]
        raise UserError(
            f"{path}: this evaluation is not finished; the same eval.py goes on with it"
        )
    found = [*sorted(path.glob("*.json")), *sorted(path.glob(f"*/{RESULTS}"))]
    if not found:
        raise UserError(
            f"{path}: no results; there is neither a .json file in this folder nor an "
            "evaluation's folder"
        )
    return found
