"""What training minimises, and its gradients, over some frames (Sec. 3.5).

Pure; of devices it knows the name of the axis over which gradients are averaged, or
none.
"""

import jax
import jax.numpy as jnp
import optax
from jax import lax

from mtujax.batches import Frames
from mtujax.losses import motion_loss, restoration_loss
from mtujax.network import MTUNet, RecurrentState
from mtujax.recurrent import window_at
from mtujax.schemes import TrainConfig, loss_weights, owners


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
        The means [] over the frames of `deblur` and, with labels, `motion`; and what
        the last frame hands on.
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
        form=config.loss or config.scheme,
    )
    if "motion" not in target:
        return {"deblur": deblur}
    motion = motion_loss(
        outputs["cost_volume"],
        target["motion"],
        target["motion_valid"],
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
    scale: jax.Array | None = None,
) -> tuple[dict[str, dict], dict[str, jax.Array], RecurrentState]:
    """One forward pass, and a gradient for each optimiser.

    Args:
        params: as `frame_losses`, as all the others.
        state: what the frame before handed on.
        frames: to go through.
        model: the network.
        config: how to train.
        axis_name: of the devices that share the batch, or None.
        scale: factor [] of the losses on the way back, by which the gradients are
            divided in float32: small ones vanish in float16 without it.

    Returns:
        Gradients by optimiser, averaged over the devices; the losses and each
        `grad_norm_NAME` before clipping, over what the optimiser owns; and what the
        last frame hands on.
    """

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
    seed = jnp.float32(1) if scale is None else scale
    grads = {}
    for name in sums:
        # Each transposed alone: a zero for the other would be multiplied through all
        # layers, also those that this one does not reach.
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
