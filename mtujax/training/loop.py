"""The training loop: updates, validation and checkpoints, until the end or a signal."""

import collections
import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mtujax import parallel
from mtujax.common import interrupts
from mtujax.common.dataclass_json import to_dict
from mtujax.common.text import listed
from mtujax.errors import UsageError, UserError, out_of_memory
from mtujax.model.network import MTUNet
from mtujax.training.checkpoints import Checkpoints
from mtujax.training.config import RunConfig
from mtujax.training.dead_channels import (
    dead_counts,
    dead_lines,
    revived,
    worst_share,
)
from mtujax.training.inputs import Feed
from mtujax.training.logbook import Logbook, Pace
from mtujax.training.optimizers import TrainState
from mtujax.training.step import make_step
from mtujax.training.validation import ValidationResult, Validator

_FIRST = 3  # batches: the first one compiles, the next ones are waited for


class Horizon:
    """Estimates the number of updates at the end from the pace so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Starts without a pace."""
        self._calls, self._pace = 0, Pace(None, clock)

    def end(self, position: int, left: float) -> int | None:
        """Estimates the last update, `left` in seconds; call it before each batch."""
        self._calls += 1
        if self._calls <= _FIRST:
            self._pace.begin(position)
            return None
        each = self._pace.each(position)
        return position + math.ceil(left / each) if each else None


class Stopper:
    """Says when to stop: by a signal or the clock; a second signal exits at once."""

    def __init__(
        self,
        max_minutes: float | None = None,
        *,
        say: Callable[[str], None] = print,
        leave: Callable[[int], None] = os._exit,
    ):
        """Starts the clock of `max_minutes`; None is no limit."""
        self._wish, self._say, self._leave = None, say, leave
        self._found = None
        self._end = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._undo = contextlib.ExitStack()

    @property
    def number(self) -> int | None:
        """Number of the signal that came, here or in another process; None if none."""
        return self._found or (self._wish and self._wish.number)

    def found(self, number: int) -> None:
        """Takes over a signal that came in another process."""
        self._found = number

    @property
    def left(self) -> float:
        """Seconds until the time is over; infinite without a limit."""
        if self._end is None:
            return math.inf
        return max(self._end - time.monotonic(), 0.0)

    @property
    def over(self) -> bool:
        """Whether to stop now."""
        return self.left == 0 or self.number is not None

    def __enter__(self) -> "Stopper":
        """Has signals noted; one that came before is obeyed here."""
        interrupts.check()
        self._wish = self._undo.enter_context(interrupts.catching(leave=self._leave))
        self._undo.enter_context(self._wish.deferred(self._say))
        return self

    def __exit__(self, *_):
        """Restores the signal handlers that were installed before."""
        self._found = self.number
        self._undo.close()


_ASK_EVERY = 8  # batches after which several processes ask each other whether to stop
_NAMED = 8  # records in a message


@dataclasses.dataclass(frozen=True)
class Finished:
    """Outcome of a run."""

    updates: int  # made so far
    skipped: int  # updates skipped, as something was not finite
    # Whether all updates are done, or all that a "timed" schedule had time for; False
    # if the run was stopped before
    complete: bool
    psnr: float | None = None  # of the last validation in dB
    blurry: float | None = None  # PSNR of the blurry frames there in dB


def updates_of_batch(config: RunConfig) -> int:
    """Counts the updates per batch; a `UsageError` if clips are no multiple."""
    frames, each = config.data.frames, config.train.frames_per_update
    if each is None:
        return 1
    if frames % each:
        raise UsageError(
            f"train.frames_per_update {each}: clips of {frames} frames (data.frames) "
            "are no multiple of it"
        )
    return frames // each


class Loop:
    """The training loop, with all that does not change in it."""

    def __init__(
        self,
        config: RunConfig,
        feed: Feed,
        checkpoints: Checkpoints,
        validator: Validator | None,
    ):
        """Builds the step, which compiles on first use."""
        self._config, self._feed = config, feed
        self._timed = config.train.timed
        self.end = config.train.steps  # of a "timed" schedule: estimated
        self._checkpoints, self._validator = checkpoints, validator
        model = MTUNet(config.model)
        self._step = make_step(model, config.train, feed.prepare)
        self._constants = parallel.replicated(feed.constants)
        self._updates = updates_of_batch(config)
        most = config.max_skipped_updates // self._updates + 2
        self._records = collections.deque(maxlen=most)
        self._scored: ValidationResult | None = None

    @staticmethod
    def position(state: TrainState) -> int:
        """Counts the updates made or skipped before a state."""
        return int(state.step) + int(state.skipped)

    def last(self, position: int) -> int:
        """The last update of a run from `position` on: a batch's are all made."""
        batches = max(0, -(-(self.end - position) // self._updates))
        return position + batches * self._updates

    def go(
        self, state: TrainState, batches: int, log: Logbook, stopper: Stopper
    ) -> Finished:
        """Trains until the end or a stop, and saves; uses up the buffers of `state`."""
        state = parallel.replicated(state)
        position, waiting = self.position(state), None
        total, stopped = self._config.train.most, False
        horizon, complete = Horizon(), position >= total
        with contextlib.closing(self._feed.start(batches)) as source:
            while not complete and not stopped:
                if self._timed:
                    self._expect_end(horizon, position, stopper.left, log)
                state, terms = self._update(state, next(source))
                position, batches = position + self._updates, batches + 1
                # Checked a batch later: it is done by then, and nothing waits for it.
                self._check_finite(waiting, position - self._updates)
                waiting = jnp.array(state.in_row)
                log.update(position, terms, {"skipped": jnp.array(state.skipped)})
                stopped = self._stops(stopper, batches)
                # The end of a "timed" schedule is when its time is over.
                in_time = self._timed and stopped and stopper.number is None
                complete = position >= total or in_time
                state = self._scored_and_saved(
                    state, position, batches, stopped, complete, log
                )
        self._check_finite(waiting, position)
        self._checkpoints.wait()
        made, skipped = int(state.step), int(state.skipped)
        scores = (v.psnr, v.blurry) if (v := self._scored) else ()
        return Finished(made, skipped, complete, *scores)

    def _expect_end(self, horizon, position, left, log):
        end = horizon.end(position, left)
        # The learning rate is 0 while no end is known: only the moments are updated.
        self.end = position if end is None else end
        if end is not None:
            log.expect(end)

    def _update(self, state, batch):
        self._records.append(batch.pop("record", batch.get("clip")))
        try:
            end = np.int32(self.end) if self._timed else None
            return self._step(state, self._constants, batch, end)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                "out of memory on the device: give a smaller batch or data.crop, "
                "model.dtype=bfloat16, or train.remat=True"
            ) from error

    def _stops(self, stopper, batches):
        if jax.process_count() == 1:
            return stopper.over
        if batches % _ASK_EVERY:
            return False
        found = parallel.largest(stopper.number or int(stopper.over))
        if found > 1:  # no signal has the number 1 here: it stands for the time
            stopper.found(found)
        return found > 0

    def _scored_and_saved(self, state, position, batches, stopped, last, log):
        """The state, in which a validation may have revived dead channels."""
        config, psnr = self._config, None
        every = config.validation.every
        if self._validator and (last or self._crossed(position, every)):
            self._scored = found = self._validator(state.ema)
            psnr = found.psnr
            scores = {"psnr": psnr, "psnr_blurry": found.blurry, **found.by_clip}
            counts = dead_counts(found.dead)
            scores["dead_channels"] = worst_share(counts)
            log.validation(position, scores, found.images)
            for line in dead_lines(position, counts):
                log.note(line)
            if config.train.revive_dead and not last:
                state = revived(state, found.dead, (config.seed, position))
        regular = (config.save_every, config.keep_every)
        due = any(self._crossed(position, every) for every in regular if every)
        if due or last or stopped or psnr is not None:
            extra = {"batches": batches, "config": to_dict(config)}
            self._checkpoints.save(position, state, extra, psnr=psnr)
        return state

    def _crossed(self, position, every):
        return position // every > (position - self._updates) // every

    def _check_finite(self, in_row, position):
        if in_row is None or int(in_row) < self._config.max_skipped_updates:
            return
        named = [self._feed.describe(int(n)) for part in self._records for n in part]
        raise UserError(
            f"losses or gradients were not finite in {int(in_row)} updates in a row, "
            f"until update {position}: lower train.learning_rate (in a new run=, by "
            "resume_state_from=STATE.safetensors of `mtujax export RUN "
            "STATE.safetensors --state`), or inspect these samples: "
            f"{listed(dict.fromkeys(named), _NAMED, '; ')}"
        )
