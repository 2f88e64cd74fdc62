"""Display of a training run: the lines of its log, a progress bar, its speed."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from mtujax.training.log_files import GRADIENTS, RATES, writing

_COMPILING = "compiling"
_INSTANT = 0.01  # seconds


class Pace:
    """Measures the speed of updates without pauses, and the time left with them."""

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic):
        """Counts nothing yet; `total` is the step at the end, if known."""
        self.total, self._clock = total, clock
        self._touched, self._paused = clock(), 0.0
        self._first = self._last = None

    @property
    def started(self) -> bool:
        """Whether the first update is done."""
        return self._first is not None

    def begin(self, step: int) -> None:
        """Starts counting at `step`: the updates before it include compilation."""
        self._first = step, self._clock()
        self._last = step, self._clock() - self._paused

    def touch(self) -> None:
        """Notes that updates were running until now."""
        self._touched = self._clock()

    def pause(self) -> None:
        """Counts the time since the last `touch` or `pause` as a pause."""
        self._paused += self._clock() - self._touched
        self.touch()

    def lap(self, step: int) -> float | None:
        """Returns updates per second since the last lap; None does not end the lap."""
        if not self.started:
            self.begin(step)
        now, (before, then) = self._clock() - self._paused, self._last
        # Lines that became due while one update ran are written one after the other.
        if step <= before or now - then < _INSTANT:
            return None
        self._last = step, now
        return (step - before) / (now - then)

    def each(self, step: int) -> float | None:
        """Returns the seconds an update has taken so far; None if not known yet."""
        before, then = self._first or (step, 0.0)
        # Pauses (validation) count here, as there will be more of them.
        return (self._clock() - then) / (step - before) if step > before else None

    def left(self, step: int) -> float | None:
        """Estimates the seconds until the end; None if that cannot be known yet."""
        each = self.each(step)
        if each is None or self.total is None:
            return None
        return max(self.total - step, 0) * each


class TrainingProgress:
    """Displays a run: lines, in a terminal above a bar."""

    def __init__(self, total: int | None, *, start: int, stream: TextIO | None):
        """Displays nothing yet; the run resumes from step `start`."""
        self._console = Console(file=stream)
        self._bar = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(
            "", total=total, completed=start, text=_COMPILING
        )

    def begin(self) -> None:
        """Shows the bar, if the output is a terminal."""
        self._bar.start()

    def expect(self, total: int) -> None:
        """Sets the step at the end."""
        self._bar.update(self._task, total=total)

    def reached(self, step: int) -> None:
        """Moves the bar to a step."""
        if self._bar.tasks[0].fields["text"] == _COMPILING:
            self._bar.update(self._task, text="")
        self._bar.update(self._task, completed=step)

    def line(self, text: str, *, bar: str | None = None) -> None:
        """Prints a line; `bar` is the text next to the bar from now on."""
        file = self._console.file
        with writing("standard output" if file is sys.stdout else "output"):
            if bar is not None:
                self._bar.update(self._task, text=bar)
            if self._console.is_terminal:
                self._console.print(Text(text), soft_wrap=True)
            else:
                print(text, file=file, flush=True)

    def close(self) -> None:
        """Stops the bar and leaves it visible."""
        self._bar.stop()


def update_line(
    step: int,
    total: int | None,
    terms: Mapping[str, float],
    counters: Mapping[str, tuple[int, int]],
    pace: str,
) -> str:
    """A line on updates up to `step`; `counters` are (in all, in this line)."""
    rates = _named(terms, RATES, "rate", "{:.2e}".format)
    norms = _named(terms, GRADIENTS, "gradient", _figure)
    counted = [
        f"{name} {now}" + (f" (+{more})" if more else "")
        for name, (now, more) in counters.items()
        if now
    ]
    parts = [losses_text(terms), norms, rates, pace, *counted]
    number = str(step) if total is None else f"{step:{len(str(total))}d}/{total}"
    return f"update {number}: {' | '.join(part for part in parts if part)}"


def losses_text(terms: Mapping[str, float]) -> str:
    """Formats the losses among the terms, as in "deblur 0.02134, motion 2.310"."""
    return ", ".join(
        f"{name} {_figure(value)}"
        for name, value in terms.items()
        if not name.startswith((GRADIENTS, RATES))
    )


def pace_text(speed: float | None, left: float | None) -> str:
    """As "148.2 updates/s, 0:33 h left", rounded up, or "34 s left"."""
    parts = []
    if speed is not None:
        parts.append(f"{speed:.{1 if speed >= 1 else 3}f} updates/s")
    if left and left <= 60:
        parts.append(f"{math.ceil(left)} s left")
    elif left:
        hours, minutes = divmod(math.ceil(left / 60), 60)
        parts.append(f"{hours}:{minutes:02d} h left")
    return ", ".join(parts)


def validation_line(
    step: int, scores: Mapping[str, float], best: tuple[float, int] | None
) -> str:
    """A line on a validation; `best` is the highest earlier PSNR and its step."""
    line = f"validation at update {step}: "
    if "psnr" not in scores:
        return line + ", ".join(f"{n} {_figure(s)}" for n, s in scores.items())
    psnr = scores["psnr"]
    line += f"{psnr:.2f} dB"
    gain = psnr - scores.get("psnr_blurry", math.nan)
    if not math.isnan(gain):
        where = "above" if gain >= 0 else "below"
        line += f", {abs(gain):.2f} dB {where} the blurry frames"
    if best is None:
        return line
    if psnr > best[0]:
        return f"{line}; the best so far"
    return f"{line}; the best was {best[0]:.2f} dB at update {best[1]}"


def _named(terms, beginning, word, write):
    """Formats the terms of one kind, without a name where there is only one."""
    found = {
        name.removeprefix(beginning).strip("_"): write(value)
        for name, value in terms.items()
        if name.startswith(beginning)
    }
    if len(found) == 1:
        return f"{word} {next(iter(found.values()))}"
    return f"{word} " * bool(found) + ", ".join(f"{n} {v}" for n, v in found.items())


def _figure(value):
    return f"{value:#.4g}".rstrip(".")
