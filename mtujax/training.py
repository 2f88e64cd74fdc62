"""Training on clips: both losses, one update per clip, recurrence detached (Sec. 3.5).

The step is pure and knows nothing of devices or files. Letters: B batch, T time,
H W pixels.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax

from mtujax.losses import displacement_class, motion_loss, restoration_loss
from mtujax.network import MTUNet, initial_state
from mtujax.recurrent import clip_windows, window_at
from mtujax.stream import to_unit_range

Batch = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: updates in all, one per batch of clips.
        learning_rate: of Adam, after the warm-up; falls to 0 along a cosine.
        warmup: updates of linear warm-up.
        clip_norm: largest global norm of the gradient.
        motion_weight: alpha, the weight of the motion loss (0.01 in the paper).
        ema_decay: of the moving average of the parameters.
    """

    steps: int
    learning_rate: float = 1e-4
    warmup: int = 100
    clip_norm: float = 1.0
    motion_weight: float = 0.01
    ema_decay: float = 0.999


@flax.struct.dataclass
class TrainState:
    """Everything that an update changes.

    Attributes:
        step: int32 number of updates made.
        params: parameters, float32.
        ema: their moving average, which is what is evaluated and shipped.
        opt_state: of the optimiser.
    """

    step: jax.Array
    params: dict
    ema: dict
    opt_state: optax.OptState


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Adam with clipped gradients and a warmed-up cosine schedule.

    Args:
        config: how to train.

    Returns:
        An optax transformation.
    """
    warmup = min(config.warmup, max(config.steps - 1, 0))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, warmup, config.steps
    )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm), optax.adam(schedule)
    )


def init_train_state(config: TrainConfig, params: dict) -> TrainState:
    """The state before the first update.

    Args:
        config: how to train.
        params: where to start, with the training-only layers; `init_params` draws them.

    Returns:
        A state that shares no buffer with `params`: an update reuses its own.
    """
    params, ema = (jax.tree.map(jnp.array, params) for _ in range(2))
    opt_state = make_optimizer(config).init(params)
    return TrainState(jnp.zeros((), jnp.int32), params, ema, opt_state)


def clip_loss(
    params: dict, batch: Batch, *, model: MTUNet, motion_weight: float
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean over time of L_deblur + alpha L_motion; what one frame hands on is constant.

    Args:
        params: parameters with the training-only layers.
        batch: `blurry`, `sharp` [B, T, H, W, 3] uint8 or float in [0, 1]; `flow`
            [B, T, H, W, 2] in pixels and `valid` bool [B, T, H, W], only read if the
            network matches. H and W must be multiples of 4.
        model: the network.
        motion_weight: alpha.

    Returns:
        The loss and its terms (`deblur`, `motion`), scalars.
    """
    blurry, sharp = to_unit_range(batch["blurry"]), to_unit_range(batch["sharp"])
    count, time, height, width, _ = blurry.shape
    frames, index = clip_windows(model.config, blurry)
    targets = {"sharp": sharp}
    if model.config.matching_units:
        targets |= _motion_targets(batch, model.config.search_radius)

    def step(state, inputs):
        index, target = inputs
        state, outputs = model.apply(
            {"params": params}, lax.stop_gradient(state), window_at(frames, index), True
        )
        return state, _frame_losses(outputs, target)

    first = initial_state(model, count, height, width)
    inputs = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (index, targets))
    _, terms = lax.scan(step, first, inputs)
    terms = jax.tree.map(jnp.mean, terms)
    return terms["deblur"] + motion_weight * terms["motion"], terms


def _motion_targets(batch, radius):
    flow, valid = batch["flow"], batch["valid"]
    merge = functools.partial(jnp.reshape, shape=(-1, *flow.shape[2:]))
    target = displacement_class(merge(flow), radius=radius)
    target = target.reshape(*flow.shape[:2], *target.shape[1:])
    return {"class": target, "valid": valid[:, :, 1::4, 1::4]}


def _frame_losses(outputs, target):
    deblur = restoration_loss(
        outputs["restored"], target["sharp"], outputs["intermediate"]
    )
    motion = jnp.zeros(())
    if "cost_volume" in outputs:
        motion = motion_loss(outputs["cost_volume"], target["class"], target["valid"])
    return {"deblur": deblur, "motion": motion}


@functools.partial(
    jax.jit, static_argnames=("model", "config"), donate_argnames="state"
)
def train_step(
    state: TrainState, batch: Batch, *, model: MTUNet, config: TrainConfig
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update from one batch of clips.

    Args:
        state: from `init_train_state` or the update before; its buffers are reused.
        batch: clips [B, T, H, W, 3] and labels, as `clip_loss` reads them.
        model: the network.
        config: how to train.

    Returns:
        The next state, and the scalars `loss`, `deblur`, `motion` and `grad_norm`.
    """
    loss_fn = functools.partial(
        clip_loss, model=model, motion_weight=config.motion_weight
    )
    (loss, terms), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params, batch
    )
    updates, opt_state = make_optimizer(config).update(
        grads, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    # Early on the average would be mostly the initial weights: let it forget faster.
    decay = jnp.minimum(config.ema_decay, (1 + state.step) / (10 + state.step))
    ema = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, state.ema, params)
    terms |= {"loss": loss, "grad_norm": optax.tree.norm(grads)}
    return TrainState(state.step + 1, params, ema, opt_state), terms


def fit(
    model: MTUNet,
    state: TrainState,
    batches: Iterable[Batch],
    config: TrainConfig,
    *,
    on_step: Callable[[int, TrainState, dict[str, jax.Array]], None] | None = None,
) -> TrainState:
    """Updates `state` until `config.steps` updates are made or the batches end.

    Args:
        model: the network.
        state: where to start, or to go on.
        batches: of clips [B, T, H, W, 3] and labels, as `clip_loss` reads them.
        config: how to train.
        on_step: called after each update with the number of updates made, the state and
            the scalars of `train_step`; the state's buffers are only valid in the call.

    Returns:
        The final state.

    Raises:
        FloatingPointError: if the loss is not finite; checked every 50 updates.
    """
    step = int(state.step)
    if step >= config.steps:
        return state
    for batch in batches:
        state, terms = train_step(state, batch, model=model, config=config)
        step += 1
        if step % 50 == 0 and not jnp.isfinite(terms["loss"]):
            raise FloatingPointError(
                f"loss is {terms['loss']} after {step} updates: lower the learning rate"
            )
        if on_step:
            on_step(step, state, terms)
        if step >= config.steps:
            break
    return state
