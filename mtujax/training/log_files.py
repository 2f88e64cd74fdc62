"""Files of a training log: CSV tables, a line per step, and TensorBoard's events."""

import contextlib
import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mtujax.common.files import whole_output
from mtujax.errors import UserError

_STEP = "step"


class Table:
    """A CSV file, each step once in its first column; `append` flushes each line."""

    def __init__(self, path: Path, *, start: int = 0):
        """Repairs an earlier run's file: drops half lines and those after `start`."""
        self._path = path
        text = self._read()
        self._columns, rows = _parse(text, path)
        rows = [row for row in rows if int(row[_STEP]) <= start]
        self._last = int(rows[-1][_STEP]) if rows else -1
        if text and self._written(rows) != text:
            self._replace(rows)

    def rows(self) -> list[dict[str, str]]:
        """Reads the rows by column, as text, with "" for unknown values."""
        return _parse(self._read(), self._path)[1]

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Adds a row, which has "step", with its new columns; None is unknown."""
        step = int(row[_STEP])
        new = [name for name in row if name not in self._columns]
        if new or step <= self._last:
            self._columns += new
            self._replace([old for old in self.rows() if int(old[_STEP]) < step])
        with writing(self._path), self._opened() as file:
            # If the file was removed meanwhile, the new one needs a header, too.
            file.write(self._written([row], header=not file.tell()))
        self._last = step

    def _opened(self):
        return open(self._path, "a", newline="", encoding="utf-8")

    def _read(self):
        with writing(self._path):
            if not self._path.exists():
                return ""
            return self._path.read_bytes().decode(errors="replace")

    def _replace(self, rows):
        with writing(self._path), whole_output(self._path, folder=False) as part:
            part.write_text(self._written(rows), "utf-8")

    def _written(self, rows, *, header=True):
        file = io.StringIO()
        names = self._columns
        lines = [[_text(row.get(name)) for name in names] for row in rows]
        header = [names] if header and names else []
        csv.writer(file, lineterminator="\n").writerows(header + lines)
        return file.getvalue()


@contextlib.contextmanager
def writing(what: Path | str) -> Iterator[None]:
    """Turns an `OSError` into a `UserError` that names `what` and how to resume."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{what}: the log cannot be written ({error.strerror or error}); when it "
            "can, the same command resumes from the last checkpoint"
        ) from error


def _parse(text, path):
    """Returns the columns, and the rows in ascending order without damaged ones."""
    lines = text.split("\n")[:-1]  # what no line break follows was cut off
    if not lines:
        return [], []
    columns = _cells(lines[0])
    if columns[:1] != [_STEP]:
        raise UserError(
            f"{path}: is not the log of a run, as its first column is not {_STEP!r}; "
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


def _text(value):
    if value is None:
        return ""
    # Seven digits, as float32 has: more would show how it was rounded.
    return f"{value:.7g}" if isinstance(value, float) else str(value)


GRADIENTS, RATES = "grad_norm_", "learning_rate"
"""Prefixes of gradient norms and learning rates; other terms are losses."""


class _Files:
    """tensorboardX's files, of any store, that warn once if they are not written."""

    # An error would end the thread that writes, and the run would wait for it.

    def __init__(self, library, warn):
        self._library, self._warn = library, warn

    def directory_check(self, path):
        self._library.directory_check(path.removeprefix(_PREFIX))

    def open(self, path):
        path = path.removeprefix(_PREFIX)
        file = self._library.open_file(path)
        return _File(file, path.rpartition("/")[0], self._warn)


class _File:
    def __init__(self, file, folder, warn):
        self._file, self._folder, self._warn = file, folder, warn
        self._whole = True

    def write(self, data):
        # What follows a part that is lost could not be read.
        self._whole = self._whole and self._succeeds(self._file.write, data)

    def flush(self):
        self._succeeds(self._file.flush)

    def close(self):
        self._succeeds(self._file.close)

    def _succeeds(self, act, *args):
        try:
            act(*args)
        except Exception as error:  # whatever the store's library raises
            if self._warn:
                self._warn(f"{self._folder}: cannot be written ({_one_line(error)})")
            self._warn = None
            return False
        return True


_KIND = "warns"  # of files, as tensorboardX tells them apart
_PREFIX = f"{_KIND}:"
_SECONDS = {True: 600.0, False: 10.0}  # until shown; a remote file travels whole


def open_events(folder: str, *, start: int, warn: Callable[[str], None]):
    """Opens tensorboardX's writer, with a new file; None, and why to `warn`, if not."""
    reason = _hindrance(folder)
    if reason is None:
        try:
            library = _tensorboard()
            files = _Files(library.record_writer, warn)
            library.record_writer.register_writer_factory(_KIND, files)
            return library.SummaryWriter(
                f"{_PREFIX}{folder}",
                # Of earlier files TensorBoard hides this step and all later ones.
                purge_step=start + 1,
                max_queue=0,  # no limit, so that nothing waits for the thread
                flush_secs=_SECONDS["://" in folder],
                filename_suffix=f".{start}",  # its time is in whole seconds
            )
        except Exception as error:  # whatever the store's library raises
            reason = f"{folder} cannot be written ({_one_line(error)})"
    warn(f"nothing is written for TensorBoard, as {reason}")
    return None


def tags(terms: Mapping[str, float]) -> dict[str, float]:
    """Renames terms to "loss/NAME", "gradient/NAME" and "learning_rate/NAME"."""
    tagged = {}
    for name, value in terms.items():
        if name.startswith(GRADIENTS):
            name = f"gradient/{name.removeprefix(GRADIENTS)}"
        elif name.startswith(RATES):
            name = f"learning_rate/{name.removeprefix(RATES).strip('_') or 'all'}"
        else:
            name = f"loss/{name}"
        tagged[name] = value
    return tagged


def _tensorboard():
    import PIL  # noqa: F401, for tensorboardX, which would miss it only later
    import tensorboardX

    return tensorboardX


def _hindrance(folder):
    try:
        record_writer = _tensorboard().record_writer
    except ImportError as error:
        return f"{error.name} is not installed; it comes with the extra train"
    kind, _, _ = folder.rpartition("://")
    if not kind:
        return None
    if kind not in record_writer.REGISTERED_FACTORIES:
        return f"tensorboardX cannot write to {kind}://"
    # It reports this only when the file is opened, and then with a traceback.
    needed = {
        "gs": (record_writer.GCS_ENABLED, "google-cloud-storage"),
        "s3": (record_writer.S3_ENABLED, "boto3"),
    }
    there, package = needed.get(kind, (True, ""))
    return None if there else f"{package} is not installed"


def _one_line(error):
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()) or type(error).__name__
