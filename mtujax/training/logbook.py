"""The log of a training run: lines, a progress bar, CSV tables and TensorBoard.

`log.csv` and `validation.csv` in the run directory have each step once, also where a
run was killed and resumed; its `tensorboard` is for TensorBoard. Logging never waits
for the device: what a step returns stays there until it is finished. Columns of
`log.csv`, a row every `log_every` updates, blank where unknown:

    step                updates so far
    deblur, motion      losses, the mean of the finite ones since the row before
    grad_norm_NAME      norm of an optimizer's gradient before it is clipped, likewise
    learning_rate_NAME  of each optimizer, in force
    skipped             updates left out so far, as something was not finite
    updates_per_second  since the row before, without validations

and of `validation.csv`, a row for each validation:

    step                updates so far
    psnr, psnr_blurry   mean in dB of the restored and of the blurry frames
    NAME                PSNR in dB of each clip
    dead_channels       largest share of dead channels of any layer
"""

import collections
import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from mtujax.common.text import pace_text
from mtujax.training.log_files import (
    GRADIENTS,
    RATES,
    Table,
    open_events,
    tags,
    writing,
)

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


_SPEED = "updates_per_second"


@dataclasses.dataclass
class _Line:
    """A line that is due when its updates are finished."""

    step: int
    terms: list[Mapping]
    counters: Mapping
    rates: Mapping[str, Callable]

    @property
    def ready(self):
        return all(map(_ready, [*self.terms, self.counters]))


class Logbook:
    """Logs a run; a context manager, which after an error logs what is finished."""

    def __init__(
        self,
        folder: str | None,
        *,
        total: int | None,
        start: int = 0,
        every: int = 50,
        tensorboard: bool = True,
        rates: Callable[[], Mapping[str, Callable]] = dict,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Opens the files and drops what they hold of later steps than `start`."""
        # A remote `folder` gets no CSV, and None logs nothing, for all processes but
        # the first. `rates` returns what is in force: functions of the number of
        # updates made before, by "learning_rate" or "learning_rate_NAME".
        self._silent, self._every = folder is None, every
        self._start = self._step = start
        self._rates, self._open = rates, True
        self._terms, self._counters, self._counted = [], {}, {}
        self._due = collections.deque()
        self._first = None
        self._pace = Pace(total, clock)
        self._console = Console(file=stream)
        self._bar = Progress(
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
        )
        shown = {"total": total, "completed": start, "text": _COMPILING}
        self._task = self._bar.add_task("", **shown)
        self._tables, self._events, self._best = {}, None, None
        if self._silent:
            return
        if "://" in folder:
            self.note(f"note: {folder} is remote: no log.csv, no validation.csv there")
        else:
            with writing(folder):
                Path(folder).mkdir(parents=True, exist_ok=True)
            for name in ("log", "validation"):
                self._tables[name] = Table(Path(folder) / f"{name}.csv", start=start)
            rows = self._tables["validation"].rows()
            scores = [(float(r.get("psnr") or "nan"), int(r["step"])) for r in rows]
            rated = [score for score in scores if not math.isnan(score[0])]
            self._best = max(rated, default=None)  # PSNR in dB and its step
        _rates(rates(), start)  # compiled now, so that no line has to wait for it
        if tensorboard:
            self._events = open_events(
                f"{folder.rstrip('/')}/tensorboard",
                start=start,
                warn=lambda line: self.note(f"note: {line}"),
            )

    def __enter__(self) -> "Logbook":
        """Shows the bar, if the output is a terminal."""
        if not self._silent:
            self._bar.start()
        return self

    def __exit__(self, kind, *_):
        """Closes; after an error it waits for no device and raises none of its own."""
        with contextlib.suppress(*[Exception] if kind else []):
            self.close(wait=kind is None)

    def update(
        self,
        step: int,
        terms: Mapping[str, jax.Array | float],
        counters: Mapping[str, jax.Array | int] | None = None,
    ) -> None:
        """Takes a batch's scalars [], and writes the lines that are finished."""
        # `terms` are losses, "grad_norm_NAME", perhaps "learning_rate_NAME"; a line has
        # the means of finite ones. `counters` count since the run started, such as
        # "skipped".
        if self._silent:
            return
        self._terms.append(terms)
        self._counters = counters or {}
        if self._first is None and not self._pace.started:
            self._first = step, terms
        before, self._step = self._step, step
        ends = self._pace.total is not None and step >= self._pace.total
        if step // self._every > before // self._every or ends:
            self._end_line()
        if self._bar.tasks[0].fields["text"] == _COMPILING:
            self._bar.update(self._task, text="")
        self._bar.update(self._task, completed=step)
        self._write_lines(wait=False)
        self._pace.touch()

    def expect(self, total: int) -> None:
        """Sets the number of updates at the end."""
        self._pace.total = total
        self._bar.update(self._task, total=total)

    def validation(
        self, step: int, scores: Mapping[str, float], images: Mapping[str, np.ndarray]
    ) -> None:
        """Logs a validation, on which the time since the last `update` was spent."""
        # `scores` in dB are "psnr", "psnr_blurry" and clips' own by name; others as
        # well. `images` are [H, W, 3] uint8 by name: blurry, restored and sharp side by
        # side.
        if self._silent:
            return
        self._pace.pause()
        self._write_lines(wait=True)  # all done, or there would be no scores
        scores = {name: float(value) for name, value in scores.items()}
        self._print(validation_line(step, scores, self._best))
        psnr = scores.get("psnr", math.nan)
        if psnr > (self._best[0] if self._best else -math.inf):
            self._best = psnr, step
        if self._tables:
            self._tables["validation"].append({"step": step, **scores})
        if self._events:
            for name, value in scores.items():
                self._events.add_scalar(f"validation/{name}", value, step)
            # Not under the scores' tags: TensorBoard takes one kind of data per tag.
            for name, image in images.items():
                self._events.add_image(f"images/{name}", image, step, dataformats="HWC")
        self._pace.pause()

    def note(self, line: str) -> None:
        """Prints a line."""
        if not self._silent:
            self._print(line)

    def close(self, *, wait: bool = True) -> None:
        """Writes what is left, with a last line on the updates since the one before."""
        if self._silent or not self._open:
            return
        self._open = False
        with contextlib.ExitStack() as stack:
            stack.callback(self._bar.stop)
            if self._events:
                stack.callback(self._events.close)
            if self._terms:
                self._end_line()
            self._write_lines(wait=wait)

    def _print(self, text, *, bar=None):
        """Prints a line; `bar` is the text next to the bar from now on."""
        file = self._console.file
        with writing("standard output" if file is sys.stdout else "output"):
            if bar is not None:
                self._bar.update(self._task, text=bar)
            if self._console.is_terminal:
                self._console.print(Text(text), soft_wrap=True)
            else:
                print(text, file=file, flush=True)

    def _end_line(self):
        line = _Line(self._step, self._terms, self._counters, self._rates())
        self._due.append(line)
        self._terms = []

    def _write_lines(self, *, wait):
        if self._first and (wait or _ready(self._first[1])):
            self._pace.begin(self._first[0])
            self._first = None
        while self._due and (wait or self._due[0].ready):
            self._write(self._due.popleft())

    def _write(self, line):
        terms, counters = jax.device_get((line.terms, dict(line.counters)))
        counters = {name: int(value) for name, value in counters.items()}
        made = line.step - counters.get("skipped", 0)
        terms = _means(terms) | _rates(line.rates, max(made - 1, 0))
        speed, left = self._pace.lap(line.step), self._pace.left(line.step)
        counted = {
            name: (now, now - self._counted.get(name, now if self._start else 0))
            for name, now in counters.items()
        }
        self._counted = counters
        pace = pace_text(speed, left, "updates")
        text = update_line(line.step, self._pace.total, terms, counted, pace)
        self._print(text, bar=" ".join(filter(None, (pace, losses_text(terms)))))
        if self._tables:
            row = {"step": line.step, **terms, **counters, _SPEED: speed}
            self._tables["log"].append(row)
        if self._events:
            rest = counters | ({} if speed is None else {_SPEED: speed})
            for tag, value in (tags(terms) | rest).items():
                self._events.add_scalar(tag, value, line.step)


def _ready(values):
    arrays = (v for v in values.values() if hasattr(v, "is_ready"))
    return all(array.is_ready() for array in arrays)


def _means(terms):
    """Averages finite values: a skipped update says nothing about the others."""
    means = {}
    for name in sorted(terms[-1], key=lambda name: name.startswith(GRADIENTS)):
        values = np.array([float(np.mean(t[name])) for t in terms if name in t])
        finite = values[np.isfinite(values)]
        means[name] = float(finite.mean()) if len(finite) else math.nan
    return means


def _rates(rates, count):
    if not rates:
        return {}
    # On the accelerator it would queue behind the updates in progress.
    try:
        place = jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        place = contextlib.nullcontext()
    with place:
        return {name: float(rate(count)) for name, rate in rates.items()}
