"""A training run: from its configuration and initial weights to checkpoints and logs.

It can be stopped or killed at any time, and resumes from its last checkpoint.
"""

import contextlib
import dataclasses

import einops
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mtujax import parallel
from mtujax.common.dataclass_json import check_same, differing_fields, to_dict
from mtujax.common.interrupts import Interrupted
from mtujax.errors import UserError
from mtujax.model.network import MTUNet, expected_shapes, inference_params, init_params
from mtujax.training.checkpoints import Checkpoints
from mtujax.training.config import (
    RunConfig,
    check_precision,
    config_of,
    fixed_fields,
    state_fields,
)
from mtujax.training.inputs import open_feed
from mtujax.training.logbook import Logbook
from mtujax.training.loop import Finished, Loop, Stopper, updates_of_batch
from mtujax.training.optimizers import TrainState, init_train_state, learning_rates
from mtujax.training.run_folder import (
    CHECKPOINTS,
    CONFIG,
    open_run,
    read_run,
    state_like,
)
from mtujax.training.state_files import read_extra, read_state
from mtujax.training.validation import Validator, open_clips
from mtujax.weights.files import is_run, load
from mtujax.weights.safetensors_io import shape_findings

_TEMPORAL = "temporal/conv/kernel"  # the only weights whose shape the window decides
_STEERED = "steered/conv/kernel"
_ADDED = "blend_previous", "neighbour_samples"  # what samples may be added to later


def first_params(
    model: MTUNet,
    *,
    seed: int = 0,
    rescale_init: bool = False,
    init_from: str | None = None,
) -> dict:
    """Draws parameters, or takes those of `init_from` where it has them."""
    # `init_from` is a bundled name, a `.safetensors` file or a run directory. The
    # former two lack the training-only layers, which are drawn. Weights for another
    # window serve as well: a causal network starts from one that looks ahead. So do
    # those without `blend_previous` or `neighbour_samples` for a network with them.
    params = init_params(model, jax.random.key(seed))
    if rescale_init:
        mixed = model.config.filter_taps + model.config.blend_shares
        params = rescaled_params(params, mixed=mixed)
    if init_from is None:
        return params
    if is_run(init_from):
        config, found = read_run(init_from)
        network, given = config.model, found.state.ema
    else:
        loaded, given = load(init_from)
        network = loaded.config
    given = flatten_dict(jax.tree.map(jnp.asarray, given), sep="/")
    given[_TEMPORAL] = _with_window(given[_TEMPORAL], network, model.config)
    fitted = ["lookback", "lookahead"]
    if _samples_more(model.config, network):
        given |= _with_samples(given, network, model.config)
        fitted += _ADDED
    here = {name: getattr(model.config, name) for name in fitted}
    network = dataclasses.replace(network, **here)
    flat = flatten_dict(inference_params(unflatten_dict(given, sep="/")), sep="/")
    shapes = {name: value.shape for name, value in flat.items()}
    findings = shape_findings(shapes, expected_shapes(model.config))
    # Weights for another activation have the same shapes, but do not fit.
    if findings or network.activation != model.config.activation:
        fields = differing_fields(to_dict(network), to_dict(model.config))
        raise UserError(
            f"init_from {init_from}: not weights of this network: "
            f"{'; '.join(fields) or findings[0]}"
        )
    return unflatten_dict(flatten_dict(params, sep="/") | given, sep="/")


def _with_window(kernel, there, here):
    """The temporal layer's kernel for another window; new frames weigh nothing."""
    side = there.patch**2
    places = [range(-cfg.lookback, cfg.lookahead + 1) for cfg in (there, here)]
    frames = einops.rearrange(kernel, "h w (s f c) o -> f h w s c o", s=side, c=3)
    known = dict(zip(places[0], frames, strict=True))
    kept = [known.get(place, jnp.zeros_like(frames[0])) for place in places[1]]
    return einops.rearrange(kept, "f h w s c o -> h w (s f c) o")


def _samples_more(here, there):
    """Whether `here` samples along the motion what `there` does, perhaps with more."""
    alike = (here.patch, here.motion_samples) == (there.patch, there.motion_samples)
    more = all(getattr(here, name) >= getattr(there, name) for name in _ADDED)
    return alike and more and there.motion_samples > 0


def _with_samples(given, there, here):
    """Weights for what `here` samples: what is new weighs 0, a next frame may go."""
    side, kernel, both = there.patch**2, given[_STEERED], (there, here)
    taps = [cfg.taps_of_frames for cfg in both]
    inputs = [(*cfg.taps_of_frames, 6, 3 * cfg.blend_previous) for cfg in both]
    outputs = [(3 * side, *cfg.taps_of_frames, cfg.blend_shares) for cfg in both]
    samples, rest = jnp.split(kernel, [side * sum(inputs[0])], axis=2)
    samples = einops.rearrange(samples, "h w (s f) o -> h w o s f", s=side)
    samples = _resized(samples, *inputs)
    samples = einops.rearrange(samples, "h w o s f -> h w (s f) o")
    changed = {_STEERED: jnp.concatenate([samples, rest], axis=2)}
    for name, value in given.items():
        if "/deblur/layer/" in name:
            changed[name] = _resized(value, *outputs)
        elif name.endswith("/deblur/exposure"):
            changed[name] = _resized(value, *taps)
    return changed


def _resized(x, there, here):
    """Resizes each part of the last axis: zeros on both sides, or nothing is left."""
    parts = jnp.split(x, np.cumsum(there)[:-1], axis=-1)
    found = []
    for part, old, new in zip(parts, there, here, strict=True):
        missing = new - old
        pads = [(0, 0)] * (x.ndim - 1) + [(missing // 2, missing - missing // 2)]
        found.append(jnp.pad(part, pads) if missing >= 0 else part[..., :new])
    return jnp.concatenate(found, axis=-1)


def rescaled_params(params: dict, *, mixed: int = 0) -> dict:
    """Rescales drawn weights, so that a few thousand updates are enough to learn."""

    # The published 0.03, which a million updates overcome, makes features fade from
    # layer to layer and leaves them to the image's brightness, though blur is in its
    # detail. Here kernels see differences only (their mean is 0), features keep their
    # size, and the layers that give images or end a residual block start small. Their
    # last `mixed` outputs, which weight motion samples and the frame before, start at
    # 0: the first frames would cost more than they gain.
    def rescale(path, kernel):
        names = [part.key for part in path]
        if names[-1] != "kernel":
            return kernel
        if "deblur" in names:
            colours = np.arange(kernel.shape[-1]) < kernel.shape[-1] - mixed
            return 0.02 * kernel * colours.reshape(1, 1, 1, -1)
        first = names[0] in ("structure", "temporal")
        if names[0] != "steered":  # which reads differences, of order 1
            kernel = kernel - kernel.mean((0, 1) if first else (0, 1, 2), keepdims=True)
        # Each output of a transposed convolution sums 4 of its 16 taps.
        taps = 4 if names[-2].startswith("decode") else kernel.shape[0] ** 2
        gain = np.sqrt(2.0 / (taps * kernel.shape[2])) / 0.03
        return kernel * gain * (10.0 if first else 0.3 if "conv_1" in names else 1.0)

    return jax.tree_util.tree_map_with_path(rescale, params)


def _state_of_another(config):
    """As `first_state`, by `resume_state_from`."""
    given = config.resume_state_from
    old = config_of(read_extra(given)["config"], given)
    what = f"{given}: is of another configuration"
    check_same(state_fields(old), state_fields(config), what)
    state, extra = read_state(given, state_like(config))
    changed = differing_fields(fixed_fields(old), fixed_fields(config))
    return state, extra["batches"], [f"resuming from {given}", *changed]


def train(config: RunConfig, *, command: str | None = None) -> Finished:
    """Trains, or resumes training, until all updates are done or its time is over.

    Examples:
        >>> config = RunConfig(
        ...     model.config,
        ...     TrainConfig(steps=2, motion_weight=0.0, frames_per_update=None),
        ...     DataConfig(name="pairs", path="set", frames=3, crop=16),
        ...     ValidationConfig(every=0),
        ...     run="run",
        ...     batch=2,
        ...     tensorboard=False,
        ... )
        >>> train(config).updates
        training on pairs/default in set, ...
        2

    Args:
        config: of the run.
        command: command line that resumes the run, for the message when it is stopped.

    Returns:
        Numbers of updates, whether the run is complete, and its last validation.

    Raises:
        UserError: for whatever a user can mend; nothing saved before is lost.
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
    """
    if config.train.timed and jax.process_count() > 1:
        raise UserError("train.schedule timed: use cosine with several processes")
    check_precision(config.model, jax.default_backend())
    parallel.local_batch(config.batch)
    updates_of_batch(config)
    feed, clips = open_feed(config), open_clips(config)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(open_run(config.run))
        checkpoints = stack.enter_context(open_checkpoints(config))
        # Before the first checkpoint nothing depends on how a run was started.
        old = folder.read_config() if checkpoints.steps() else None
        noted = _check_config(old, folder.path(CONFIG), config) if old else []
        notes = [*feed.notes, *noted]
        state, batches, found = _first_state(config, checkpoints)
        folder.write_config(to_dict(config))  # only now: weights may have been refused
        shown = config.validation.images
        validator = clips and Validator(MTUNet(config.model), clips, images=shown)
        loop = Loop(config, feed, checkpoints, validator or None)
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
        done = finished.updates + finished.skipped
        where = f"update {done} of {loop.last(done)}"
        raise Interrupted(
            stopper.number, f"interrupted; {where} is saved; resume with: {again}"
        )
    return finished


def _work(config, feed, done):
    """Describes in a line what will be done."""
    if done >= (steps := config.train.most):
        return f"all {steps} updates are done; a larger train.steps continues it"
    count, kind = jax.device_count(), jax.devices()[0].device_kind
    where = f"{count} devices" if count > 1 else "1 device"
    return (
        f"training on {feed.name}, {config.batch} clips at a time, by {where} "
        f"({kind}); the first update takes long, as it compiles"
    )


def open_checkpoints(config: RunConfig) -> Checkpoints:
    """Opens the checkpoints of a run; a context manager."""
    return Checkpoints(
        f"{config.run.rstrip('/')}/{CHECKPOINTS}",
        latest=config.keep_latest,
        every=config.keep_every,
    )


def _logbook(config, loop, start):
    def rates():
        found = learning_rates(config.train, loop.end)  # its end may still change
        return {f"learning_rate_{name}": rate for name, rate in found.items()}

    return Logbook(
        config.run if parallel.is_first() else None,
        total=None if config.train.timed else loop.last(start),
        start=start,
        every=config.log_every,
        tensorboard=config.tensorboard,
        rates=rates,
    )


def _check_config(values: dict, where: str, config: RunConfig) -> list[str]:
    """Returns notes on changes that are allowed; refuses the others."""
    old = config_of(values, where)
    remedy = "choose another run="
    if not differing_fields(state_fields(old), state_fields(config)):
        remedy += (
            f", with init_from={config.run} to start from its weights, or with "
            "resume_state_from=STATE.safetensors to resume from what `mtujax export "
            f"{config.run} STATE.safetensors --state` writes"
        )
    what = f"{config.run}: was started with another configuration"
    check_same(fixed_fields(old), fixed_fields(config), what, remedy)
    return differing_fields(
        {"train": {"steps": old.train.steps}}, {"train": {"steps": config.train.steps}}
    )


def _first_state(
    config: RunConfig, checkpoints: Checkpoints
) -> tuple[TrainState, int, list[str]]:
    """Returns the state, how many batches it has seen, and notes."""
    restored = checkpoints.restore(state_like(config))
    if restored is not None:
        # The run directory's config may have been deleted, or be of another run.
        _check_config(restored.extra["config"], f"{config.run}: {CHECKPOINTS}", config)
        over = restored.step >= config.train.most
        going = [] if over else [f"resuming from update {restored.step}"]
        notes = [*restored.notes, *going]
        return restored.state, restored.extra["batches"], notes
    return first_state(config)


def first_state(config: RunConfig) -> tuple[TrainState, int, list[str]]:
    """The state that a run begins with, how many batches it has seen, and notes."""
    if config.resume_state_from:
        return _state_of_another(config)
    given = config.init_from
    params = first_params(
        MTUNet(config.model),
        seed=config.seed,
        rescale_init=config.rescale_init,
        init_from=given,
    )
    notes = [f"starting from the weights of {given}"] if given else []
    return init_train_state(config.train, params), 0, notes
