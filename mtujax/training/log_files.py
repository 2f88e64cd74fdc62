"""Files of a training log: CSV tables, a line per step, and TensorBoard's events.

tensorboardX's `SummaryWriter` writes in a thread. When the disk is full that dies, and
the run would wait for it for ever: so its parts are used here, without the thread.
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


GRADIENTS, RATES = "grad_norm_", "learning_rate"
"""How names of gradient norms and learning rates begin; other terms are losses."""


_SECONDS = 10.0
_SECONDS_REMOTE = 600.0  # the whole file travels each time


class Events:
    """An event file of its own for each start of a run, in the run's one folder."""

    def __init__(
        self,
        folder: str,
        *,
        start: int = 0,
        warn: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Opens the file.

        Args:
            folder: of event files, local or remote as gs://bucket/run/tensorboard.
            start: the step that the run goes on from; TensorBoard hides later ones of
                earlier event files.
            warn: takes a line when a remote folder cannot be written, which ends no
                run: it is tried again later.
            clock: gives seconds.

        Raises:
            UserError: if it cannot be written.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import directory_check

        self._folder, self._remote = folder, "://" in folder
        self._warn, self._clock, self._flushed = warn, clock, clock()
        self._failed = False
        with writing(folder):
            directory_check(folder)
            # The name alone has the time in whole seconds, and would be written over.
            number = 0 if self._remote else len(os.listdir(folder))
            prefix = f"{folder.rstrip('/')}/events"
            self._file = EventsWriter(prefix, f".{number:04d}")
            begin = SessionLog(status=SessionLog.START)
            # Read as "hide this step and all later ones".
            event = Event(step=start + 1, wall_time=time.time(), session_log=begin)
            self._file.write_event(event)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds points to curves.

        Args:
            step: where.
            values: by tag, as "loss/deblur".

        Raises:
            UserError: if they cannot be written.
        """
        self._write(step, [{"tag": t, "simple_value": v} for t, v in values.items()])

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Adds images.

        Args:
            step: when they were made.
            images: [H, W, 3] uint8 RGB by tag.

        Raises:
            UserError: if they cannot be written.
        """
        for tag, image in images.items():
            _, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
            height, width, channels = image.shape
            size = {"height": height, "width": width, "colorspace": channels}
            encoded = {**size, "encoded_image_string": data.tobytes()}
            self._write(step, [{"tag": tag, "image": encoded}])

    def close(self) -> None:
        """Writes what is left.

        Raises:
            UserError: if that cannot be written.
        """
        self._guarded(self._file.close)

    def _write(self, step, values):
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(**value) for value in values])
        event = Event(step=step, wall_time=time.time(), summary=summary)
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
    """Opens an event file where that can be done; a run needs none.

    Args:
        folder: as `Events`, as all the others.
        start: the step that the run goes on from.
        warn: takes a line that says why there will be none.
        clock: gives seconds.

    Returns:
        It, or None.

    Raises:
        UserError: if it cannot be written into a local folder.
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
    """Names of curves, which TensorBoard groups by what is before the slash.

    Args:
        terms: losses, gradient norms and learning rates.

    Returns:
        Their values by "loss/NAME", "gradient/NAME" and "learning_rate/NAME".
    """
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
    # It tells only when the file is opened, and then with a traceback beside it.
    needed = {
        "gs": (record_writer.GCS_ENABLED, "google-cloud-storage"),
        "s3": (record_writer.S3_ENABLED, "boto3"),
    }
    there, package = needed.get(kind, (True, ""))
    return None if there else f"{package} is not installed"


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__
