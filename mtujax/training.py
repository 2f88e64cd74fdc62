"""Training on clips: forward, gradients, updates, for either scheme (Sec. 3.5).

The step is pure and knows nothing of files; of devices it knows the name of the axis
over which gradients are averaged, or none. Letters: B batch, T time, L frames given,
K frames of an update, H W pixels, h w motion grid.
"""

from collections.abc import Callable, Iterable

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax

from mtujax.batches import Batch, Frames, read_batch
from mtujax.errors import UserError
from mtujax.losses import motion_loss, restoration_loss
from mtujax.network import MTUNet, RecurrentState, initial_state
from mtujax.recurrent import window_at
from mtujax.schemes import TrainConfig, loss_weights, make_optimizers, owners

MOST_SKIPPED = 20
"""Updates in a row that may be skipped because something was not finite."""


@flax.struct.dataclass
class TrainState:
    """Everything that an update changes.

    Attributes:
        step: int32 number of updates made.
        skipped: int32 number of updates left out, as a loss or gradient of theirs was
            not finite.
        in_row: int32 how many of these came last, without one that was made.
        params: parameters, float32.
        ema: their moving average, which is what is evaluated and shipped.
        opt_state: of the optimisers, by name.
    """

    step: jax.Array
    skipped: jax.Array
    in_row: jax.Array
    params: dict
    ema: dict
    opt_state: dict[str, optax.OptState]


def init_train_state(config: TrainConfig, params: dict) -> TrainState:
    """The state before the first update.

    Args:
        config: how to train.
        params: where to start, with the training-only layers; `init_params` draws them.

    Returns:
        A state that shares no buffer with `params`: an update reuses its own.
    """
    params, ema = (jax.tree.map(jnp.array, params) for _ in range(2))
    optimizers = make_optimizers(config)
    opt_state = {name: tx.init(params) for name, tx in optimizers.items()}
    zeros = (jnp.zeros((), jnp.int32) for _ in range(3))
    return TrainState(*zeros, params, ema, opt_state)


def frame_losses(
    params: dict,
    state: RecurrentState,
    frames: Frames,
    *,
    model: MTUNet,
    config: TrainConfig,
    axis_name: str | None = None,
) -> tuple[dict[str, jax.Array], RecurrentState]:
    """Both losses over some frames, one after the other.

    Args:
        params: parameters with the training-only layers.
        state: what the frame before handed on; constant for the gradient.
        frames: to go through.
        model: the network.
        config: how to train.
        axis_name: of the devices that share the batch, or None.

    Returns:
        The means over the frames of `deblur` and `motion`, scalars, and what the last
        frame hands on.
    """
    time = len(frames.index)
    every = config.bptt or time

    def step(state, inputs):
        number, index, target = inputs
        if every == 1:
            state = lax.stop_gradient(state)
        elif every < time:
            cut = number % every == 0
            state = jax.tree.map(
                lambda x: jnp.where(cut, lax.stop_gradient(x), x), state
            )
        window = window_at(frames.blurry, index)
        state, outputs = model.apply({"params": params}, state, window, True)
        return state, _losses(outputs, target, config, axis_name)

    if config.remat:
        step = jax.checkpoint(step, prevent_cse=False)
    inputs = jnp.arange(time), frames.index, frames.targets
    state, losses = lax.scan(step, lax.stop_gradient(state), inputs)
    return jax.tree.map(jnp.mean, losses), state


def _losses(outputs, target, config, axis_name):
    deblur = restoration_loss(
        outputs["restored"],
        target["sharp"],
        outputs["intermediate"],
        form=config.scheme,
    )
    motion = jnp.zeros(())
    if "cost_volume" in outputs:
        motion = motion_loss(
            outputs["cost_volume"],
            target["class"],
            target["known"],
            axis_name=axis_name,
        )
    return {"deblur": deblur, "motion": motion}


def gradients(
    params: dict,
    state: RecurrentState,
    frames: Frames,
    *,
    model: MTUNet,
    config: TrainConfig,
    axis_name: str | None = None,
) -> tuple[dict[str, dict], dict[str, jax.Array], RecurrentState]:
    """One forward pass, and a gradient for each optimiser.

    Args:
        params: as `frame_losses`, as all the others.
        state: what the frame before handed on.
        frames: to go through.
        model: the network.
        config: how to train.
        axis_name: of the devices that share the batch, or None.

    Returns:
        Gradients by optimiser, averaged over the devices; both losses and each
        `grad_norm_NAME` before clipping, over what the optimiser owns; and what the
        last frame hands on.
    """

    def objectives(params):
        losses, after = frame_losses(
            params, state, frames, model=model, config=config, axis_name=axis_name
        )
        weights = loss_weights(config)
        sums = {
            name: sum(weight * losses[loss] for loss, weight in terms.items())
            for name, terms in weights.items()
        }
        return sums, (losses, after)

    sums, backward, (losses, after) = jax.vjp(objectives, params, has_aux=True)
    grads = {}
    for name in sums:
        seed = {other: jnp.float32(other == name) for other in sums}
        (grads[name],) = backward(seed)
    if axis_name is not None:
        grads, losses = lax.pmean((grads, losses), axis_name)
    owned = owners(params)
    norms = {}
    for name, grad in grads.items():
        if name in owned:
            grad = jax.tree.map(lambda g, own: g * own, grad, owned[name])
        norms[f"grad_norm_{name}"] = optax.tree.norm(grad)
    return grads, losses | norms, after


def apply_gradients(
    state: TrainState,
    grads: dict[str, dict],
    terms: dict[str, jax.Array],
    config: TrainConfig,
) -> TrainState:
    """One update, or none where something is not finite.

    Args:
        state: before it.
        grads: from `gradients`.
        terms: from there as well.
        config: how to train.

    Returns:
        The state after it.
    """
    updates, opt_state = None, {}
    for name, optimizer in make_optimizers(config).items():
        update, opt_state[name] = optimizer.update(
            grads[name], state.opt_state[name], state.params
        )
        updates = update if updates is None else optax.tree.add(updates, update)
    params = optax.apply_updates(state.params, updates)
    # Early on the average would be mostly the initial weights: let it forget faster.
    decay = jnp.minimum(config.ema_decay, (1 + state.step) / (10 + state.step))
    ema = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, state.ema, params)
    finite = jnp.all(jnp.isfinite(jnp.stack(list(terms.values()))))
    new = (params, ema, opt_state)
    old = (state.params, state.ema, state.opt_state)
    kept = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
    return TrainState(
        state.step + finite,
        state.skipped + ~finite,
        jnp.where(finite, 0, state.in_row + 1),
        *kept,
    )


def clip_step(
    state: TrainState,
    batch: Batch,
    *,
    model: MTUNet,
    config: TrainConfig,
    axis_name: str | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The updates from one batch of clips; pure, for `jax.jit` or `jax.pmap`.

    Args:
        state: from `init_train_state` or the step before.
        batch: clips and labels, as `read_batch` takes them.
        model: the network.
        config: how to train.
        axis_name: of the devices that share the batch, or None.

    Returns:
        The next state, and means over the updates of the scalars of `gradients`.

    Raises:
        UserError: if clips are not whole numbers of updates long.
    """
    frames = read_batch(model, batch)
    time = len(frames.index)
    each = config.frames_per_update or time
    if time % each:
        raise UserError(
            f"frames_per_update {each}: clips of {time} frames are no multiple of it"
        )
    count, _, height, width, _ = frames.blurry.shape
    settings = {"model": model, "config": config, "axis_name": axis_name}

    def update(carry, part):
        state, recurrent = carry
        part = frames.replace(index=part[0], targets=part[1])
        grads, terms, recurrent = gradients(state.params, recurrent, part, **settings)
        return (apply_gradients(state, grads, terms, config), recurrent), terms

    carry = state, initial_state(model, count, height, width)
    parts = frames.index, frames.targets
    if each == time:
        (state, _), terms = update(carry, parts)
        return state, terms
    parts = jax.tree.map(lambda x: x.reshape(-1, each, *x.shape[1:]), parts)
    (state, _), terms = lax.scan(update, carry, parts)
    return state, jax.tree.map(jnp.mean, terms)


train_step = jax.jit(
    clip_step,
    static_argnames=("model", "config", "axis_name"),
    donate_argnames="state",
)
"""`clip_step`, compiled for one device; reuses the buffers of `state`."""


def fit(
    model: MTUNet,
    state: TrainState,
    batches: Iterable[Batch],
    config: TrainConfig,
    *,
    on_step: Callable[[int, TrainState, dict[str, jax.Array]], None] | None = None,
) -> TrainState:
    """Updates `state` until `config.steps` updates are done or the batches end.

    Args:
        model: the network.
        state: where to start, or to go on.
        batches: of clips and labels, as `read_batch` takes them.
        config: how to train.
        on_step: called after each batch with the number of updates done, the state and
            the scalars of `clip_step`; the state's buffers are only valid in the call.

    Returns:
        The final state.

    Raises:
        FloatingPointError: if too many updates in a row were not finite.
    """
    step, waiting = int(state.step + state.skipped), None
    if step >= config.steps:
        return state
    for batch in batches:
        state, terms = train_step(state, batch, model=model, config=config)
        time = batch["sharp"].shape[1]
        step += time // (config.frames_per_update or time)
        # Looked at a batch later: it is done by then, and nothing has to wait for it.
        _check_finite(waiting, step)
        waiting = jnp.array(state.in_row)
        if on_step:
            on_step(step, state, terms)
        if step >= config.steps:
            break
    _check_finite(waiting, step)
    return state


def _check_finite(in_row, step):
    if in_row is not None and int(in_row) >= MOST_SKIPPED:
        raise FloatingPointError(
            f"losses or gradients were not finite in {int(in_row)} updates in a row, "
            f"until update {step}: lower the learning rate, or look at the data"
        )
