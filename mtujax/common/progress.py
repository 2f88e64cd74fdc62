"""Progress of long work: a bar in a terminal, elsewhere an occasional line."""

import contextlib
import time

from mtujax.common.interrupts import check
from mtujax.common.text import pace_text

_SECONDS_BETWEEN_LINES = 10.0


class FrameProgress(contextlib.AbstractContextManager):
    """Shows frames done, frames per second and time left; a context manager."""

    def __init__(self, label: str, *, stderr: bool = False, unit: str = "frames"):
        """Shows nothing yet; `stderr` is for output whose stdout carries frames."""
        self._label, self._unit = label, unit
        self._shown = time.monotonic()
        self._bar, self._file = _bar(stderr)
        self._first = self._task = None

    def __exit__(self, *_):
        """Stops the bar and leaves it as it stands."""
        if self._bar and self._task is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int | None) -> None:
        """Shows the number of frames done and expected (None if unknown)."""
        check()
        now = time.monotonic()
        # From the first call on: until then programs are compiled, and a job that is
        # resumed counts what was done before.
        begun, before = self._first = self._first or (now, done)
        speed = (done - before) / (now - begun) if done > before else None
        left = max(total - done, 0) / speed if speed and total else None
        if self._bar:
            if self._task is None:
                self._bar.start()
                self._task = self._bar.add_task(self._label, total=total, speed="")
            text = pace_text(speed, None, self._unit)
            self._bar.update(self._task, completed=done, total=total, speed=text)
        elif now - self._shown >= _SECONDS_BETWEEN_LINES:
            self._shown = now
            count = f"{done}/{total}" if total else f"{done}"
            parts = f"{count} {self._unit}", pace_text(speed, left, self._unit)
            line = f"{self._label}: {', '.join(filter(None, parts))}"
            print(line, file=self._file, flush=True)


def _bar(stderr):
    """A bar, or None without a terminal, and the file for lines in its place."""
    from rich import console, progress  # slow to import

    console = console.Console(stderr=stderr)
    if not console.is_terminal:
        return None, console.file
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[speed]}"),
        progress.TimeRemainingColumn(),
    )
    return progress.Progress(*columns, console=console), console.file
