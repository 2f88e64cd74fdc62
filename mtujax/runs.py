"""A training run: from its configuration to checkpoints, logs and weights.

It can be stopped at any time, also killed, and goes on from its last checkpoint.
"""

import collections
import contextlib
import dataclasses

import jax
import jax.numpy as jnp

from mtujax import parallel
from mtujax.archive import unpack
from mtujax.checkpoints import Checkpoints
from mtujax.errors import UserError
from mtujax.feeds import Feed, open_feed
from mtujax.judging import Judge, Verdict, open_clips
from mtujax.logbook import Logbook
from mtujax.mappings import from_dict, to_dict
from mtujax.network import MTUNet
from mtujax.runfolder import RunFolder, differing_fields, open_run
from mtujax.schemes import check_precision, learning_rates
from mtujax.settings import RunConfig, fixed_fields
from mtujax.starting import first_params
from mtujax.stopping import Interrupted, Stopper
from mtujax.training import TrainState, init_train_state

_ASK_EVERY = 8  # batches after which several processes ask each other whether to stop
_NAMED = 8  # records in a message


@dataclasses.dataclass(frozen=True)
class Finished:
    """What became of a run.

    Attributes:
        updates: made so far.
        skipped: left out, as something was not finite.
        complete: whether all of them are done; else its time was over.
        psnr: of the last validation in dB, or None.
        blurry: of the blurry frames there, or None.
    """

    updates: int
    skipped: int
    complete: bool
    psnr: float | None = None
    blurry: float | None = None


def train(config: RunConfig, *, command: str | None = None) -> Finished:
    """Trains, or goes on training, until `config.train.steps` updates are done.

    Args:
        config: of the run.
        command: what goes on with it when it is stopped, for the message.

    Returns:
        What became of it.

    Raises:
        UserError: for whatever a user can mend; nothing saved before is lost.
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
    """
    check_precision(config.model, jax.default_backend())
    parallel.local_batch(config.batch)
    _updates_of_batch(config)
    feed, clips = open_feed(config), open_clips(config)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_run(config.run))
        notes = [*feed.notes, *_agree_on_config(folder, config)]
        checkpoints = stack.enter_context(open_checkpoints(config))
        state, batches, found = _first_state(config, checkpoints)
        judge = Judge(MTUNet(config.model), clips, images=config.validation.images)
        run = _Run(config, feed, checkpoints, judge if clips else None)
        log = stack.enter_context(_logbook(config, run.position(state)))
        if not clips and config.validation.every:
            notes.append("validation.path is not given, so no checkpoint is the best")
        for note in [*notes, *found]:
            log.note(f"note: {note}")
        stopper = stack.enter_context(Stopper(config.max_minutes))
        finished = run.go(state, batches, log, stopper)
    if stopper.number is not None:
        again = command or "the same command"
        where = f"update {finished.updates + finished.skipped} of {config.train.steps}"
        raise Interrupted(
            stopper.number, f"interrupted; {where} is saved; to go on: {again}"
        )
    return finished


def open_checkpoints(config: RunConfig) -> Checkpoints:
    """The checkpoints of a run.

    Args:
        config: of the run.

    Returns:
        A context manager.

    Raises:
        UserError: if the folder cannot be used.
    """
    return Checkpoints(
        f"{config.run.rstrip('/')}/checkpoints",
        latest=config.keep_latest,
        every=config.keep_every,
    )


def _logbook(config, start):
    rates = learning_rates(config.train)
    return Logbook(
        config.run if parallel.is_first() else None,
        total=config.train.steps,
        start=start,
        every=config.log_every,
        tensorboard=config.tensorboard,
        rates={f"learning_rate_{name}": rates[name] for name in rates},
    )


def _updates_of_batch(config: RunConfig) -> int:
    frames, each = config.data.frames, config.train.frames_per_update
    if each is None:
        return 1
    if frames % each:
        raise UserError(
            f"train.frames_per_update {each}: clips of {frames} frames (data.frames) "
            "are no multiple of it"
        )
    return frames // each


def _agree_on_config(folder: RunFolder, config: RunConfig) -> list[str]:
    """Notes what may change; refuses what may not."""
    old = folder.read_config()
    if old is None:
        folder.write_config(to_dict(config))
        return []
    old = from_dict(old, RunConfig)
    differing = differing_fields(fixed_fields(old), fixed_fields(config))
    if differing:
        raise UserError(
            f"{config.run}: was begun with another configuration: "
            f"{'; '.join(differing)}; choose another run=, with "
            f"init_from={config.run} to start from its weights"
        )
    steps = differing_fields(
        {"train": {"steps": old.train.steps}}, {"train": {"steps": config.train.steps}}
    )
    folder.write_config(to_dict(config))
    return steps


def _first_state(
    config: RunConfig, checkpoints: Checkpoints
) -> tuple[TrainState, int, list[str]]:
    """The state, how many batches it has seen, and notes."""
    like = untrained_state(config)
    restored = checkpoints.restore(like)
    if restored is not None:
        notes = [*restored.notes, f"going on from update {restored.step}"]
        return restored.state, restored.extra["batches"], notes
    if config.go_on_from:
        state, extra = unpack(config.go_on_from, like)
        differing = differing_fields(
            fixed_fields(from_dict(extra["config"], RunConfig)), fixed_fields(config)
        )
        if differing:
            raise UserError(
                f"{config.go_on_from}: is of another configuration: "
                f"{'; '.join(differing)}"
            )
        return state, extra["batches"], [f"going on from {config.go_on_from}"]
    if config.init_from:
        return untrained_state(config, config.init_from), 0, []
    return like, 0, []


def untrained_state(config: RunConfig, init_from: str | None = None) -> TrainState:
    """The state before the first update.

    Args:
        config: of the run.
        init_from: weights to take in place of drawn ones, as `first_params`.

    Returns:
        It; also a pattern of the states of the run.

    Raises:
        UserError: if those are not weights of this network.
    """
    params = first_params(
        MTUNet(config.model),
        seed=config.seed,
        spread=config.spread,
        init_from=init_from,
    )
    return init_train_state(config.train, params)


class _Run:
    """The loop, with all that does not change in it."""

    def __init__(
        self,
        config: RunConfig,
        feed: Feed,
        checkpoints: Checkpoints,
        judge: Judge | None,
    ):
        self._config, self._feed = config, feed
        self._checkpoints, self._judge = checkpoints, judge
        model = MTUNet(config.model)
        self._step = parallel.make_step(model, config.train, feed.prepare)
        self._updates = _updates_of_batch(config)
        most = config.most_skipped // self._updates + 2
        self._records = collections.deque(maxlen=most)
        self._verdict: Verdict | None = None

    @staticmethod
    def position(state: TrainState) -> int:
        """Updates made or left out."""
        return int(state.step) + int(state.skipped)

    def go(
        self, state: TrainState, batches: int, log: Logbook, stopper: Stopper
    ) -> Finished:
        """Trains until the end, or until it is told to stop."""
        position, waiting = self.position(state), None
        total, stopped = self._config.train.steps, False
        with contextlib.closing(self._feed.start(batches)) as source:
            while position < total and not stopped:
                state, terms = self._update(state, next(source))
                position, batches = position + self._updates, batches + 1
                # Looked at a batch later: it is done by then, and nothing waits for it.
                self._check_finite(waiting, position - self._updates)
                waiting = jnp.array(state.in_row)
                log.update(position, terms, {"skipped": jnp.array(state.skipped)})
                stopped = self._stops(stopper, batches)
                self._look_and_save(state, position, batches, stopped, log)
        self._check_finite(waiting, position)
        self._checkpoints.wait()
        made, skipped = int(state.step), int(state.skipped)
        scores = (v.psnr, v.blurry) if (v := self._verdict) else ()
        return Finished(made, skipped, position >= total, *scores)

    def _update(self, state, batch):
        self._records.append(batch.pop("record", batch.get("clip")))
        try:
            return self._step(state, self._feed.constants, batch)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise UserError(
                "out of memory on the device: give a smaller batch or data.crop, "
                "model.dtype=bfloat16, or train.remat=True"
            ) from error

    def _stops(self, stopper, batches):
        if jax.process_count() == 1:
            return stopper.over
        return batches % _ASK_EVERY == 0 and parallel.any_process(stopper.over)

    def _look_and_save(self, state, position, batches, stopped, log):
        config, psnr = self._config, None
        last = position >= config.train.steps
        if self._judge and (last or self._crossed(position, config.validation.every)):
            self._verdict = verdict = self._judge(state.ema)
            psnr = verdict.psnr
            log.validation(
                position,
                {"psnr": psnr, "psnr_blurry": verdict.blurry, **verdict.by_clip},
                verdict.images,
            )
        due = self._crossed(position, config.save_every)
        if due or last or stopped or psnr is not None:
            extra = {"batches": batches, "config": to_dict(config)}
            self._checkpoints.save(position, state, extra, psnr=psnr)

    def _crossed(self, position, every):
        return position // every > (position - self._updates) // every

    def _check_finite(self, in_row, position):
        if in_row is None or int(in_row) < self._config.most_skipped:
            return
        named = [self._feed.describe(int(n)) for part in self._records for n in part]
        named = list(dict.fromkeys(named))
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        raise UserError(
            f"losses or gradients were not finite in {int(in_row)} updates in a row, "
            f"until update {position}: lower train.learning_rate, or look at what they "
            f"were made of: {'; '.join(named[:_NAMED])}{more}"
        )
