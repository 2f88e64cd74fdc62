"""The factor of the losses that keeps small gradients alive in float16.

It halves when a gradient was not finite and doubles after long without, as usual.
Reference: Micikevicius et al., "Mixed Precision Training" (ICLR 2018), Sec. 3.2.
"""

import flax.struct
import jax
import jax.numpy as jnp

_PATIENCE = 2000
_LEAST, _MOST = 1.0, 2.0**24


@flax.struct.dataclass
class LossScale:
    """The factor and what decides on its next change.

    Attributes:
        factor: float32 power of two, so that it changes no digit.
        steady: int32 number of updates since it changed or one was not finite.
    """

    factor: jax.Array
    steady: jax.Array


def first_scale(factor: float) -> LossScale:
    """The scale before the first update.

    Args:
        factor: to begin with.

    Returns:
        It.
    """
    return LossScale(jnp.float32(factor), jnp.int32(0))


def adjusted(scale: LossScale, finite: jax.Array) -> LossScale:
    """The scale after an update.

    Args:
        scale: before it.
        finite: bool [], whether its losses and gradients were.

    Returns:
        Twice the factor after 2000 finite ones, half of it after one that was not.
    """
    steady = jnp.where(finite, scale.steady + 1, 0)
    grows = steady >= _PATIENCE
    factor = jnp.where(finite, scale.factor, scale.factor / 2)
    factor = jnp.where(grows, 2 * factor, factor)
    return LossScale(jnp.clip(factor, _LEAST, _MOST), jnp.where(grows, 0, steady))
