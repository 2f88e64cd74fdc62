"""How a training run is shown: lines, in a terminal above a bar, and its pace."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from mtujax.log_tables import writing

_COMPILING = "compiling"
_INSTANT = 0.01  # seconds


class Pace:
    """How fast updates are made and how long they will take.

    The first one, which compiles, does not count. Pauses (validation) do not count as
    slow updates, but in the time that is left, as there will be more of them.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic):
        """Counts nothing yet.

        Args:
            total: the step at the end, if known.
            clock: gives seconds.
        """
        self._total, self._clock = total, clock
        self._touched, self._paused = clock(), 0.0
        self._first = self._last = None

    @property
    def begun(self) -> bool:
        """Whether the first update is done."""
        return self._first is not None

    def begin(self, step: int) -> None:
        """Starts counting.

        Args:
            step: that has just been reached.
        """
        self._first = step, self._clock()
        self._last = step, self._clock() - self._paused

    def touch(self) -> None:
        """Notes that updates were going on until now."""
        self._touched = self._clock()

    def pause(self) -> None:
        """Takes the time since the last note of this kind for a pause."""
        self._paused += self._clock() - self._touched
        self.touch()

    def lap(self, step: int) -> float | None:
        """Measures since the last call.

        Args:
            step: that has been reached.

        Returns:
            Updates per second, or None if there is nothing to measure; the next call
            then counts from the same place.
        """
        if not self.begun:
            self.begin(step)
        now, (before, then) = self._clock() - self._paused, self._last
        # Lines that became due while one update ran are written one after the other.
        if step <= before or now - then < _INSTANT:
            return None
        self._last = step, now
        return (step - before) / (now - then)

    def expect(self, total: int) -> None:
        """Corrects where the end is.

        Args:
            total: the step at the end.
        """
        self._total = total

    def left(self, step: int) -> float | None:
        """Measures since the beginning.

        Args:
            step: that has been reached.

        Returns:
            Seconds until the end, or None if that cannot be known yet.
        """
        if not self.begun or self._total is None:
            return None
        before, then = self._first
        if step <= before:
            return None
        return max(self._total - step, 0) * (self._clock() - then) / (step - before)


class TrainingProgress:
    """Shows the course of a run: a bar with lines above it, or lines only."""

    def __init__(
        self, total: int | None, *, start: int = 0, stream: TextIO | None = None
    ):
        """Shows nothing yet.

        Args:
            total: the step at the end, if known.
            start: that the run goes on from.
            stream: where to; None for standard output.
        """
        self._total, self._start = total, start
        self._console = Console(file=stream)
        self._bar = self._task = None

    def begin(self) -> None:
        """Shows the bar, if this is a terminal."""
        if self._console.is_terminal and self._bar is None:
            self._bar = _bar(self._console)
            self._task = self._bar.add_task(
                "", total=self._total, completed=self._start, text=_COMPILING
            )
            self._bar.start()

    def expect(self, total: int) -> None:
        """Corrects where the end is.

        Args:
            total: the step at the end.
        """
        self._total = total
        if self._bar:
            self._bar.update(self._task, total=total)

    def reached(self, step: int) -> None:
        """Moves the bar.

        Args:
            step: where to.
        """
        if self._bar:
            if self._bar.tasks[0].fields["text"] == _COMPILING:
                self._bar.update(self._task, text="")
            self._bar.update(self._task, completed=step)

    def line(self, text: str, *, bar: str | None = None) -> None:
        """Shows a line.

        Args:
            text: the line.
            bar: what stands beside the bar from now on.

        Raises:
            UserError: if it cannot be written.
        """
        file = self._console.file
        with writing("standard output" if file is sys.stdout else "output"):
            if self._bar is None:
                print(text, file=file, flush=True)
                return
            if bar is not None:
                self._bar.update(self._task, text=bar)
            self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar:
            self._bar.stop()
            self._bar = None


def _bar(console):
    return Progress(
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=console,
        expand=True,
    )
