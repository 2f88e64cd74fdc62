"""Tables of a training run as CSV: a line per step, which a crash cannot spoil."""

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mtujax.errors import UserError
from mtujax.outputs import whole_output

_STEP = "step"


class Table:
    """A CSV file whose first column is the step; each step stands in it once.

    Every line is on its way to the disk when `append` returns.
    """

    def __init__(self, path: Path, *, start: int = 0):
        """Mends what an earlier run left there: half a line, or lines to be made anew.

        Args:
            path: the file, which need not exist.
            start: the step that the run goes on from; later lines are dropped.

        Raises:
            UserError: if it cannot be read or written, or is another kind of file.
        """
        self._path = path
        text = self._read()
        self._columns, rows = _parse(text, path)
        rows = [row for row in rows if int(row[_STEP]) <= start]
        self._last = int(rows[-1][_STEP]) if rows else -1
        if text and _written(self._columns, rows) != text:
            self._replace(rows)

    def rows(self) -> list[dict[str, str]]:
        """Reads what stands in it.

        Returns:
            Rows by column, as text, "" where nothing was known.

        Raises:
            UserError: if it cannot be read.
        """
        return _parse(self._read(), self._path)[1]

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Adds a line; a column not seen before is added to the whole table.

        Args:
            row: values by column, among them "step"; None for an unknown one.

        Raises:
            UserError: if it cannot be written.
        """
        step = int(row[_STEP])
        new = [name for name in row if name not in self._columns]
        if new or step <= self._last:
            self._columns += new
            self._replace([old for old in self.rows() if int(old[_STEP]) < step])
        with writing(self._path), open(self._path, "a", newline="") as file:
            # Of a file that was taken away, the new one needs its header, too.
            columns = [] if file.tell() else self._columns
            file.write(_written(columns, []) + _line(_values(row, self._columns)))
        self._last = step

    def _read(self):
        with writing(self._path):
            if not self._path.exists():
                return ""
            return self._path.read_bytes().decode(errors="replace")

    def _replace(self, rows):
        with writing(self._path), whole_output(self._path, folder=False) as part:
            part.write_text(_written(self._columns, rows))


@contextlib.contextmanager
def writing(what: Path | str) -> Iterator[None]:
    """Says in one line that a log cannot be written, and what to do then.

    Args:
        what: the log, as the message names it.

    Yields:
        Nothing.

    Raises:
        UserError: in place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{what}: the log cannot be written ({error.strerror or error}); when it "
            "can, the same command goes on from the last checkpoint"
        ) from error


def _parse(text, path):
    """Columns, and rows in ascending order without those that are damaged."""
    lines = text.split("\n")[:-1]  # what no line break follows was cut off
    if not lines:
        return [], []
    columns = _cells(lines[0])
    if columns[:1] != [_STEP]:
        raise UserError(
            f"{path}: is no log of a run, as its first column is not {_STEP!r}; "
            "move it away"
        )
    rows = []
    for cells in map(_cells, lines[1:]):
        if len(cells) == len(columns) and _are_numbers(cells):
            if not rows or int(cells[0]) > int(rows[-1][_STEP]):
                rows.append(dict(zip(columns, cells, strict=True)))
    return columns, rows


def _are_numbers(cells):
    try:
        return int(cells[0]) >= 0 and all(not c or float(c) is not None for c in cells)
    except ValueError:
        return False


def _cells(line):
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _written(columns, rows):
    lines = [_line(columns)] if columns else []
    return "".join(lines + [_line(_values(row, columns)) for row in rows])


def _values(row, columns):
    return [_text(row.get(name)) for name in columns]


def _text(value):
    if value is None:
        return ""
    # Seven digits, as float32 has: more would show how it was rounded.
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(cells)
    return file.getvalue()
