"""The two losses of training (Sec. 3.5).

Letters: B batch, H W pixels, h w motion grid, N units, M matching units,
D displacements.
"""

from typing import Literal

import chex
import jax
import jax.numpy as jnp
from jax import lax

from mtujax.ops.resampling import any_byte_order

FORMS = ("paper", "release", "psnr")
"""Forms of the deblurring loss."""


_ENOUGH = 0.01  # error added to each: almost perfect frames could gain most otherwise


@any_byte_order
def restoration_loss(
    restored: jax.Array,
    sharp: jax.Array,
    intermediate: jax.Array | None = None,
    *,
    intermediate_weight: float = 0.1,
    form: Literal["paper", "release", "psnr"] = "paper",
) -> jax.Array:
    """Deblurring loss of one frame: `sum_n lambda_n mean |I^{r,n} - I^GT|`, Eq. 1.

    The form "release" takes mean squared plus mean absolute error, and the mean over
    the units n < N instead of their sum. "psnr" is minus the mean PSNR of the frames in
    dB, with an error of 40 dB added to each: a frame counts by its gain, however blurry
    it is, and no longer once it is sharp enough.

    Examples:
        >>> sharp = jnp.zeros((1, 8, 8, 3))
        >>> round(float(restoration_loss(sharp + 0.25, sharp)), 3)
        0.25

    Args:
        restored: [B, H, W, 3] output of the last unit, in [0, 1]; lambda_N = 1.
        sharp: [B, H, W, 3] ground truth, in [0, 1].
        intermediate: [B, N - 1, H, W, 3] outputs of the other units, or None.
        intermediate_weight: lambda_n for n < N.
        form: "paper", "release" or "psnr".

    Returns:
        A scalar [], the mean over pixels and channels.

    Raises:
        ValueError: for another form.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r}: must be {' or '.join(FORMS)}")
    chex.assert_equal_shape([restored, sharp])
    loss = _error(restored - sharp, form)
    if intermediate is None or intermediate.shape[1] == 0:
        return loss
    others = _error(intermediate - sharp[:, None], form)
    count = 1 if form == "release" else intermediate.shape[1]
    return loss + intermediate_weight * count * others


def _error(difference, form):
    if form == "psnr":
        square = jnp.mean(difference**2, axis=(-3, -2, -1))
        return jnp.mean(10 * jnp.log10(square + _ENOUGH**2))
    absolute = jnp.mean(jnp.abs(difference))
    return absolute if form == "paper" else absolute + jnp.mean(difference**2)


@any_byte_order
def motion_loss(
    cost_volume: jax.Array,
    target: jax.Array,
    valid: jax.Array | None = None,
    *,
    axis_name: str | None = None,
) -> jax.Array:
    """Computes the cross-entropy of the cost volume and the true displacement, Eq. 2.

    Examples:
        >>> logits = jnp.zeros((1, 1, 4, 4, 9))  # radius 1: nine displacements
        >>> target = jnp.full((1, 4, 4), 4)  # no motion
        >>> round(float(motion_loss(logits, target)), 3)  # log 9
        2.197

    Args:
        cost_volume: [B, M, h, w, D] pooled similarities, taken as logits.
        target: [B, h, w] integer class (dy + r)(2r + 1) + (dx + r).
        valid: bool [B, h, w], False where the target is unknown, whatever its value;
            None means valid everywhere.
        axis_name: of the devices that share a batch, or None. The mean of their
            results is then the mean over all valid cells, however these are
            distributed.

    Returns:
        A scalar []: the mean over valid cells and matching units; 0 if none is valid.
    """
    chex.assert_rank(cost_volume, 5)
    chex.assert_shape(target, (cost_volume.shape[0], *cost_volume.shape[2:4]))
    if valid is not None:
        target = jnp.where(valid, target, 0)
    entropy = _cross_entropy(cost_volume.astype(jnp.float32), target[:, None])
    if valid is None:
        return jnp.mean(entropy)
    weight = jnp.broadcast_to(valid[:, None], entropy.shape).astype(jnp.float32)
    count = jnp.sum(weight)
    if axis_name is not None:
        count = lax.pmean(count, axis_name)
    # Devices share fractions of a count, so that only 0 must be avoided.
    return jnp.sum(entropy * weight) / jnp.where(count > 0, count, 1.0)


@jax.custom_vjp
def _cross_entropy(logits, target):
    """Cross-entropy [...] of logits [..., D] and a class that broadcasts to [...]."""
    return _cross_entropy_kept(logits, target)[0]


# By itself the gradient would scatter, and keep a second array as large as the logits.
def _cross_entropy_kept(logits, target):
    norm = jax.nn.logsumexp(logits, axis=-1)
    score = jnp.sum(jnp.where(_is_class(logits, target), logits, 0.0), axis=-1)
    return norm - score, (logits, norm, target)


def _cross_entropy_back(kept, grad):
    logits, norm, target = kept
    share = jnp.exp(logits - norm[..., None])
    return (share - _is_class(logits, target)) * grad[..., None], None


_cross_entropy.defvjp(_cross_entropy_kept, _cross_entropy_back)


def _is_class(logits, target):
    classes = lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1)
    return classes == target[..., None]
