"""Files of a training log: CSV tables, a line per step, and TensorBoard's events.

tensorboardX's `SummaryWriter` writes in a thread. When the disk is full, that thread
dies and the run would wait for it for ever: so its parts are used without the thread.
"""

import contextlib
import csv
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

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
        if text and _written(self._columns, rows) != text:
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
        with writing(self._path), open(self._path, "a", newline="") as file:
            # If the file was removed meanwhile, the new one needs a header, too.
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


GRADIENTS, RATES = "grad_norm_", "learning_rate"
"""Prefixes of gradient norms and learning rates; other terms are losses."""


_SECONDS = 10.0
_SECONDS_REMOTE = 600.0  # the whole file travels each time


class Events:
    """TensorBoard's event files of a run: one folder, a new file for each start."""

    def __init__(
        self,
        folder: str,
        *,
        start: int = 0,
        warn: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Opens a file; TensorBoard hides later steps than `start` of earlier ones."""
        import tensorboardX

        events = tensorboardX.proto.event_pb2
        self._event, self._summary = (
            events.Event,
            tensorboardX.proto.summary_pb2.Summary,
        )
        self._folder, self._remote = folder, "://" in folder
        self._warn, self._clock, self._flushed = warn, clock, clock()
        self._failed = False
        with writing(folder):
            tensorboardX.record_writer.directory_check(folder)
            # By its time in whole seconds alone, a file could be overwritten.
            number = 0 if self._remote else len(os.listdir(folder))
            prefix = f"{folder.rstrip('/')}/events"
            self._file = tensorboardX.event_file_writer.EventsWriter(
                prefix, f".{number:04d}"
            )
            begin = events.SessionLog(status=events.SessionLog.START)
            # Read as "hide this step and all later ones".
            event = self._event(
                step=start + 1, wall_time=time.time(), session_log=begin
            )
            self._file.write_event(event)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds points to curves by tag, as "loss/deblur"."""
        self._write(step, [{"tag": t, "simple_value": v} for t, v in values.items()])

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Adds images [H, W, 3] uint8 RGB by tag."""
        for tag, image in images.items():
            _, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
            height, width, channels = image.shape
            size = {"height": height, "width": width, "colorspace": channels}
            encoded = {**size, "encoded_image_string": data.tobytes()}
            self._write(step, [{"tag": tag, "image": encoded}])

    def close(self) -> None:
        """Writes what is left."""
        self._guarded(self._file.close)

    def _write(self, step, values):
        values = [self._summary.Value(**value) for value in values]
        summary = self._summary(value=values)
        event = self._event(step=step, wall_time=time.time(), summary=summary)
        with writing(self._folder):
            self._file.write_event(event)
        wait = _SECONDS_REMOTE if self._remote else _SECONDS
        if self._clock() - self._flushed >= wait:
            self._flushed = self._clock()
            self._guarded(self._file.flush)

    def _guarded(self, store):
        if not self._remote:
            with writing(self._folder):
                store()
            return
        # A remote folder that cannot be written ends no run: it is tried again later.
        try:
            store()
        except Exception as error:  # whatever the store's library raises
            if not self._failed:
                self._warn(
                    f"{self._folder}: cannot be written now ({_one_line(error)})"
                )
            self._failed = True


def open_events(
    folder: str,
    *,
    start: int,
    warn: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
) -> Events | None:
    """Opens an event file; where it cannot, says why to `warn` and returns None.

    Only a local folder that cannot be written raises a `UserError`.
    """
    reason = _hindrance(folder)
    if reason is None:
        try:
            return Events(folder, start=start, warn=warn, clock=clock)
        except Exception as error:  # whatever the store's library raises
            if "://" not in folder:
                raise
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


def _hindrance(folder):
    try:
        from tensorboardX import record_writer
    except ImportError:
        return "tensorboardX is not installed; it comes with the extra train"
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
    return " ".join(str(error).split()) or type(error).__name__
