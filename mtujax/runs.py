"""A training run: from its configuration to checkpoints, logs and weights.

It can be stopped at any time, also killed, and goes on from its last checkpoint.
"""

import contextlib
import functools

import jax

from mtujax import parallel
from mtujax.checkpoints import Checkpoints
from mtujax.errors import UserError
from mtujax.export import CHECKPOINTS, state_like
from mtujax.feeds import open_feed
from mtujax.judging import Judge, open_clips
from mtujax.logbook import Logbook
from mtujax.loop import Finished, Loop, updates_of_batch
from mtujax.mappings import differing_fields, to_dict
from mtujax.network import MTUNet
from mtujax.runfolder import CONFIG, open_run
from mtujax.schemes import check_precision, learning_rates
from mtujax.settings import RunConfig, config_of, fixed_fields, state_fields
from mtujax.starting import first_params, state_of_another
from mtujax.stopping import Interrupted, Stopper
from mtujax.training import TrainState, init_train_state


def train(config: RunConfig, *, command: str | None = None) -> Finished:
    """Trains, or goes on training, until all updates are done or its time is over.

    Args:
        config: of the run.
        command: what goes on with it when it is stopped, for the message.

    Returns:
        What became of it.

    Raises:
        UserError: for whatever a user can mend; nothing saved before is lost.
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
    """
    if config.train.timed and jax.process_count() > 1:
        raise UserError("train.schedule timed: give cosine to several processes")
    check_precision(config.model, jax.default_backend())
    parallel.local_batch(config.batch)
    updates_of_batch(config)
    feed, clips = open_feed(config), open_clips(config)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_run(config.run))
        checkpoints = stack.enter_context(open_checkpoints(config))
        # Before the first checkpoint nothing depends on how a run was begun.
        old = folder.read_config() if checkpoints.steps() else None
        noted = _agree(old, folder.path(CONFIG), config) if old else []
        notes = [*feed.notes, *noted]
        state, batches, found = _first_state(config, checkpoints)
        folder.write_config(to_dict(config))  # only now: weights may have been refused
        loop = Loop(config, feed, checkpoints, _judge(config, clips))
        log = stack.enter_context(_logbook(config, loop, loop.position(state)))
        if not clips and config.validation.every:
            notes.append("validation.path is not given, so no checkpoint is the best")
        log.note(_work(config, feed, loop.position(state)))
        for note in [*notes, *found]:
            log.note(f"note: {note}")
        stopper = stack.enter_context(Stopper(config.max_minutes, say=log.note))
        finished = loop.go(state, batches, log, stopper)
    if stopper.number is not None and not finished.complete:
        again = command or "the same command"
        where = f"update {finished.updates + finished.skipped} of {loop.end}"
        raise Interrupted(
            stopper.number, f"interrupted; {where} is saved; to go on: {again}"
        )
    return finished


def _judge(config, clips):
    if not clips:
        return None
    return Judge(MTUNet(config.model), clips, images=config.validation.images)


def _work(config, feed, done):
    """What is going to be done, in a line."""
    if done >= (steps := config.train.most):
        return f"all {steps} updates are done; a larger train.steps goes on"
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    where = f"{count} devices" if count > 1 else "1 device"
    return (
        f"training on {feed.name}, {config.batch} clips at a time, by {where} "
        f"({kind}); the first update takes long, as it compiles"
    )


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
        f"{config.run.rstrip('/')}/{CHECKPOINTS}",
        latest=config.keep_latest,
        every=config.keep_every,
    )


def _logbook(config, loop, start):
    def rate(name, count):
        return learning_rates(config.train, loop.end)[name](count)

    rates = {
        f"learning_rate_{name}": functools.partial(rate, name)
        for name in learning_rates(config.train)
    }
    return Logbook(
        config.run if parallel.is_first() else None,
        total=None if config.train.timed else config.train.steps,
        start=start,
        every=config.log_every,
        tensorboard=config.tensorboard,
        rates=rates,
    )


def _agree(values: dict, where: str, config: RunConfig) -> list[str]:
    """Notes what may change; refuses what may not."""
    old = config_of(values, where)
    differing = differing_fields(fixed_fields(old), fixed_fields(config))
    if differing:
        way_out = "choose another run="
        if not differing_fields(state_fields(old), state_fields(config)):
            way_out += (
                f", with init_from={config.run} to start from its weights, or with "
                f"go_on_from=STATE to go on, where `mtujax export {config.run} STATE "
                "--state` has written STATE"
            )
        raise UserError(
            f"{config.run}: was begun with another configuration: "
            f"{'; '.join(differing)}; {way_out}"
        )
    steps = differing_fields(
        {"train": {"steps": old.train.steps}}, {"train": {"steps": config.train.steps}}
    )
    return steps


def _first_state(
    config: RunConfig, checkpoints: Checkpoints
) -> tuple[TrainState, int, list[str]]:
    """The state, how many batches it has seen, and notes."""
    restored = checkpoints.restore(state_like(config))
    if restored is not None:
        # The folder's own file may have been deleted, or be of another run.
        _agree(restored.extra["config"], f"{config.run}: {CHECKPOINTS}", config)
        over = restored.step >= config.train.most
        going = [] if over else [f"going on from update {restored.step}"]
        notes = [*restored.notes, *going]
        return restored.state, restored.extra["batches"], notes
    if config.go_on_from:
        return state_of_another(config)
    given = config.init_from
    params = first_params(
        MTUNet(config.model), seed=config.seed, spread=config.spread, init_from=given
    )
    notes = [f"starting from the weights of {given}"] if given else []
    return init_train_state(config.train, params), 0, notes
