"""The training step: the updates from a batch of clips, by either scheme.

The step is pure and does no I/O; of devices it knows only the name of the axis over
which gradients are averaged, if any. Reference: Sec. 3.5.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax

from mtujax.errors import UsageError
from mtujax.model.network import MTUNet, initial_state
from mtujax.model.optimized_form import matrix_multiple, resized, wider
from mtujax.parallel import data_parallel
from mtujax.training.config import TrainConfig
from mtujax.training.gradients import Batch, gradients, read_batch
from mtujax.training.optimizers import (
    TrainState,
    adjusted_loss_scale,
    make_optimizers,
    reads_labels,
)


def apply_gradients(
    state: TrainState,
    grads: dict[str, dict],
    terms: dict[str, jax.Array],
    config: TrainConfig,
    end: jax.Array | int | None = None,
) -> TrainState:
    """Makes one update, or skips it where one of `terms` [] or it is not finite."""
    # `end` is the [] int number of updates at the end of a "timed" schedule, None for
    # `config.steps`.
    updates, opt_state = None, {}
    for name, optimizer in make_optimizers(config, end).items():
        update, opt_state[name] = optimizer.update(
            grads[name], state.opt_state[name], state.params
        )
        updates = update if updates is None else optax.tree.add(updates, update)
    params = optax.apply_updates(state.params, updates)
    # Early on the average would be mostly the initial weights: it forgets faster.
    decay = jnp.minimum(config.ema_decay, (1 + state.step) / (10 + state.step))
    ema = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, state.ema, params)
    scalars = [*terms.values(), optax.tree.norm(updates)]
    finite = jnp.all(jnp.isfinite(jnp.stack(scalars)))
    new = (params, ema, opt_state)
    old = (state.params, state.ema, state.opt_state)
    kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
    return TrainState(
        state.step + finite,
        state.skipped + ~finite,
        jnp.where(finite, 0, state.in_row + 1),
        *kept,
        state.scale,
    )


def clip_step(
    state: TrainState,
    batch: Batch,
    *,
    model: MTUNet,
    config: TrainConfig,
    axis_name: str | None = None,
    multiple: int | None = None,
    end: jax.Array | int | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Makes the updates from one batch of clips; pure, for `jax.jit` or `jax.pmap`.

    Examples:
        >>> config = TrainConfig(steps=9, motion_weight=0.0, frames_per_update=None)
        >>> state = init_train_state(config, init_params(model, jax.random.key(0)))
        >>> batch = {
        ...     "blurry": jnp.zeros((2, 7, 16, 16, 3)),
        ...     "sharp": jnp.zeros((2, 3, 16, 16, 3)),
        ... }
        >>> step = functools.partial(clip_step, model=model, config=config)
        >>> state, scalars = jax.eval_shape(step, state, batch)  # jax.jit(step) runs it
        >>> sorted(scalars)
        ['deblur', ...]

    Args:
        state: from `init_train_state` or the previous step.
        batch: clips and labels, as `read_batch` takes them.
        model: the network.
        config: training settings.
        axis_name: of the devices that share the batch, or None.
        multiple: within the step, numbers of channels are padded to a multiple of it
            by zeros, which change no result; None takes the multiple that suits the
            device's matrix units.
        end: int [] number of updates at the end of a "timed" schedule; None takes
            `config.steps`.

    Returns:
        The next state, and the scalars [] of `gradients` averaged over the updates.

    Raises:
        UserError: if clips are not a whole number of updates long, or labels are
            missing.
    """
    if multiple is None:
        # In half precision a GPU's compiler would pad every convolution again.
        on_cpu = jax.default_backend() == "cpu"
        multiple = 1 if on_cpu else matrix_multiple(model.config)
    if (form := wider(model.config, multiple)) != model.config:
        state, terms = clip_step(
            resized(state, model.config, form),
            batch,
            model=MTUNet(form),
            config=config,
            axis_name=axis_name,
            multiple=1,
            end=end,
        )
        return resized(state, form, model.config), terms
    frames = read_batch(model, batch, labelled=reads_labels(config))
    time = len(frames.index)
    each = config.frames_per_update or time
    if time % each:
        raise UsageError(
            f"frames_per_update {each}: clips of {time} frames are no multiple of it"
        )
    count, _, height, width, _ = frames.blurry.shape
    settings = {"model": model, "config": config, "axis_name": axis_name}
    scaled = model.config.dtype == "float16"

    def update(carry, part):
        before, recurrent = carry
        part = frames.replace(index=part[0], targets=part[1])
        scale = before.scale.factor if scaled else None
        grads, terms, recurrent = gradients(
            before.params, recurrent, part, scale=scale, **settings
        )
        recurrent = _forgetting(recurrent)
        state = apply_gradients(before, grads, terms, config, end)
        if scaled:
            finite = state.step > before.step
            state = state.replace(scale=adjusted_loss_scale(before.scale, finite))
        return (state, recurrent), terms

    carry = state, initial_state(model, count, height, width)
    parts = frames.index, frames.targets
    if each == time:
        (state, _), terms = update(carry, parts)
        return state, terms
    parts = jax.tree.map(lambda x: x.reshape(-1, each, *x.shape[1:]), parts)
    (state, _), terms = lax.scan(update, carry, parts)
    return state, jax.tree.map(jnp.mean, terms)


def _forgetting(recurrent):
    """Resets clips whose state is not finite, as their later frames may be finite."""
    kept = jnp.ones_like(recurrent.is_first)
    for leaf in jax.tree.leaves(recurrent):
        kept &= jnp.isfinite(leaf).reshape(len(kept), -1).all(axis=1)
    clean = jax.tree.map(
        lambda x: jnp.where(kept.reshape(-1, *[1] * (x.ndim - 1)), x, 0), recurrent
    )
    return clean.replace(is_first=recurrent.is_first | ~kept)


@functools.lru_cache(maxsize=4)
def make_step(
    model: MTUNet, config: TrainConfig, prepare: Callable | None = None
) -> Callable:
    """Builds the step of a run for all available devices.

    Calls with equal arguments return the same function, which is not compiled again.

    Examples:
        >>> config = TrainConfig(steps=9, motion_weight=0.0, frames_per_update=None)
        >>> make_step(model, config) is make_step(model, config)  # compiled once
        True

    Args:
        model: the network.
        config: training settings.
        prepare: pure function of constants and a batch that returns what `clip_step`
            takes, run on the device: it adds labels, or makes whole clips; None for
            none.

    Returns:
        A function of the state, whose buffers it reuses, and the constants, both
        `parallel.replicated`, this process's batch [b, ...] and, for a "timed"
        schedule, the number [] of updates at its end; it returns the next state and
        the scalars.
    """

    def step(state, constants, batch, end=None, axis_name=None):
        batch = prepare(constants, batch) if prepare else batch
        settings = dict(model=model, config=config, axis_name=axis_name)
        return clip_step(state, batch, end=end, **settings)

    return data_parallel(step)
