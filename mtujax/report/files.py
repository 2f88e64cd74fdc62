"""Files of results: where they lie, and fields that are not as they should be."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtujax.errors import UsageError, UserError

RESULTS, SETTINGS = "results.json", "settings.json"
"""What the folder of an evaluation holds; only the first are results."""


class Fields(dict):
    """A mapping of a file; a field that it lacks is an error that names the file.

    Attributes:
        path: of the file.
        prefix: of the mapping's fields in the whole.
    """

    def __init__(self, path: Path, values: dict, prefix: str = ""):
        """Copies the values.

        Args:
            path: of the file.
            values: of the mapping.
            prefix: of its fields in the whole, ending in a dot.
        """
        super().__init__(values)
        self.path, self.prefix = path, prefix

    def __missing__(self, name):
        """Refuses to go on without a field."""
        raise UserError(f"{self.path}: lacks {self.prefix}{name}")

    def part(self, name: str) -> "Fields":
        """The mapping that a field holds.

        Args:
            name: of the field.

        Returns:
            It.

        Raises:
            UserError: if it is missing, or no mapping.
        """
        value = self[name]
        if not isinstance(value, dict):
            raise UserError(f"{self.path}: {self.prefix}{name} is no mapping")
        return Fields(self.path, value, f"{self.prefix}{name}.")

    def count(self, name: str) -> int:
        """The whole number that a field holds.

        Args:
            name: of the field.

        Returns:
            It.

        Raises:
            UserError: if it is missing.
            ValueError: if it is no whole number.
        """
        value = self[name]
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{self.prefix}{name} {value!r}: must be a whole number")
        return value

    def number(self, name: str) -> float | None:
        """The number that a field holds.

        Args:
            name: of the field.

        Returns:
            It; NaN for the text that stands for it in JSON, None for none.

        Raises:
            UserError: if it is missing.
            ValueError: if it is neither a number nor null.
        """
        value = self[name]
        try:
            return None if value is None else float(value)
        except (TypeError, ValueError):
            words = f"{self.prefix}{name} {value!r}: must be a number"
            raise ValueError(words) from None


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turns what values of a wrong type give rise to into an error of their file.

    Args:
        path: of the file.

    Yields:
        Nothing.

    Raises:
        UserError: "FILE: damaged (...)".
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError, UsageError) as error:
        raise UserError(f"{path}: damaged ({error})") from None


def load(path: Path) -> Fields | None:
    """Reads a file.

    Args:
        path: of the file.

    Returns:
        Its mapping; None if it holds something else.

    Raises:
        UserError: if it is missing or no JSON.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    return Fields(path, values) if isinstance(values, dict) else None


def result_files(paths: Sequence[Path]) -> list[Path]:
    """Lists files of results.

    Args:
        paths: files; folders of evaluations, of which `results.json` is taken; or
            folders, of which all `.json` files and those of evaluations in them are.

    Returns:
        The files, each once.

    Raises:
        UserError: if there are none, or a folder has none.
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
