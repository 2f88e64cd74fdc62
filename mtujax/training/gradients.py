"""Batches of clips, the losses minimised on them, and their gradients (Sec. 3.5).

Pure; of devices it knows only the name of the axis over which gradients are averaged,
if any. Letters: B batch, T time, L frames given, K frames of a window, H W pixels, h w
motion grid.
"""

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import lax

from mtujax.errors import UserError
from mtujax.model.clip import clip_windows, window_at
from mtujax.model.network import MTUNet, RecurrentState
from mtujax.ops.labels import motion_labels
from mtujax.ops.resampling import to_unit_range
from mtujax.training.config import TrainConfig
from mtujax.training.losses import motion_loss, restoration_loss
from mtujax.training.optimizers import loss_weights, owners

Batch = dict[str, jax.Array]


@flax.struct.dataclass
class Frames:
    """A batch of clips as the step reads it, with time as leading axis."""

    blurry: jax.Array  # [B, L, H, W, 3] in [0, 1], all frames
    index: jax.Array  # int32 [T, B, K] positions among them of each window's frames
    # "sharp" [T, B, H, W, 3]; with labels "motion" int32 and "motion_valid" bool [T, B,
    # h, w]
    targets: dict[str, jax.Array]


def read_batch(model: MTUNet, batch: Batch, *, labelled: bool = True) -> Frames:
    """Converts a batch to the form that a step reads; labels only if `labelled`."""
    # Reads `sharp` [B, T, H, W, 3] and `blurry` [B, T, H, W, 3] or, with the frames
    # that the network sees around them, [B, lookback + T + lookahead, H, W, 3]; uint8,
    # or float in [0, 1]; H and W multiples of `ModelConfig.cell`. Labels, if the
    # network matches: `motion` int and `motion_valid` bool [B, T, h, w], or `flow` [B,
    # T, H, W, 2] in pixels and `valid` bool [B, T, H, W], False in frames with none
    # before them.
    config = model.config
    sharp, blurry = to_unit_range(batch["sharp"]), to_unit_range(batch["blurry"])
    time, around = sharp.shape[1], blurry.shape[1] - sharp.shape[1]
    back = config.lookback
    if around == 0:
        frames, index = clip_windows(config, blurry)
    elif around == back + config.lookahead:
        parts = (
            blurry[:, back : back + time],
            blurry[:, :back],
            blurry[:, back + time :],
        )
        frames, index = clip_windows(config, *parts)
    else:
        raise ValueError(
            f"{blurry.shape[1]} blurry frames for {time} sharp ones: give as many, or "
            f"{back} before and {config.lookahead} after them as well"
        )
    targets = {"sharp": sharp}
    if labelled and config.matching_units:
        targets |= _motion_targets(batch, config)
    index, targets = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (index, targets))
    return Frames(frames, index, targets)


def _motion_targets(batch, config):
    if {"motion", "motion_valid"} <= batch.keys():
        motion, valid = batch["motion"], batch["motion_valid"]
    elif {"flow", "valid"} <= batch.keys():
        rule = {"radius": config.search_radius, "cell": config.cell}
        motion, valid = motion_labels(batch["flow"], batch["valid"], **rule)
    else:
        raise UserError(
            "batch without motion labels: give motion and motion_valid, or flow and "
            "valid, or train with motion_weight=0"
        )
    return {"motion": motion, "motion_valid": valid}


def frame_losses(
    params: dict,
    state: RecurrentState,
    frames: Frames,
    *,
    model: MTUNet,
    config: TrainConfig,
    axis_name: str | None = None,
) -> tuple[dict[str, jax.Array], RecurrentState]:
    """Mean losses [] `deblur` and, with labels, `motion`; and the state after."""
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
        losses = {
            "deblur": restoration_loss(
                outputs["restored"],
                target["sharp"],
                outputs["intermediate"],
                form=config.loss or config.scheme,
            )
        }
        if "motion" in target:
            motion = outputs["cost_volume"], target["motion"], target["motion_valid"]
            losses["motion"] = motion_loss(*motion, axis_name=axis_name)
        return state, losses

    if config.remat:
        step = jax.checkpoint(step, prevent_cse=False)
    inputs = jnp.arange(time), frames.index, frames.targets
    state, losses = lax.scan(step, lax.stop_gradient(state), inputs)
    return jax.tree.map(jnp.mean, losses), state


def gradients(
    params: dict,
    state: RecurrentState,
    frames: Frames,
    *,
    model: MTUNet,
    config: TrainConfig,
    axis_name: str | None = None,
    scale: jax.Array | None = None,
) -> tuple[dict[str, dict], dict[str, jax.Array], RecurrentState]:
    """A gradient per optimiser by one forward pass, scalars [], and the state after."""
    # Gradients are averaged over the devices. The scalars are the losses and each
    # `grad_norm_NAME` before clipping, over what that optimiser owns.

    def objectives(params):
        losses, after = frame_losses(
            params, state, frames, model=model, config=config, axis_name=axis_name
        )
        sums = {
            # A network that matches nothing has no motion loss.
            name: sum(
                (
                    weight * losses[loss]
                    for loss, weight in terms.items()
                    if loss in losses
                ),
                start=jnp.zeros(()),
            )
            for name, terms in loss_weights(config).items()
        }
        return sums, (losses, after)

    sums, linear, (losses, after) = jax.linearize(objectives, params, has_aux=True)
    # The losses are scaled on the way back, and gradients divided by the scale in
    # float32: small ones would vanish in float16.
    seed = jnp.float32(1) if scale is None else scale
    grads = {}
    for name in sums:
        # Each transposed alone: a zero for the other would be multiplied through all
        # layers, also those that this loss does not reach.
        backward = jax.linear_transpose(lambda x, name=name: linear(x)[name], params)
        (grads[name],) = backward(seed)
    if scale is not None:
        grads = jax.tree.map(lambda g: g / scale, grads)
    if axis_name is not None:
        grads, losses = lax.pmean((grads, losses), axis_name)
    owned = owners(params)
    norms = {}
    for name, grad in grads.items():
        if name in owned:
            grad = jax.tree.map(lambda g, own: g * own, grad, owned[name])
        norms[f"grad_norm_{name}"] = optax.tree.norm(grad)
    return grads, losses | norms, after
