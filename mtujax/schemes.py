"""The two published ways to update the weights, and their settings (Sec. 3.5, 4.1).

"paper": one Adam on L_deblur + alpha L_motion. "release": two gradients and two Adams
on one set of weights, whose updates are added; alpha is a factor of the second one's
learning rate. They are different optimisers.
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from mtujax.config import ModelConfig
from mtujax.errors import UsageError, UserError

_CHOICES = {
    "scheme": ("paper", "release"),
    "loss": (None, "paper", "release", "psnr"),
    "schedule": ("cosine", "drops", "constant", "timed"),
}
_POSITIVE = ("steps", "learning_rate", "clip_norm", "loss_scale")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: updates in all, but for the schedule "timed". With `frames_per_update`,
            a clip gives several.
        scheme: "paper" or "release", as above; each with its own deblurring loss.
        loss: deblurring loss in place of the scheme's: "paper", "release" or "psnr", as
            `losses.restoration_loss` has them; None takes the scheme's.
        frames_per_update: frames of a clip from one update to the next, 1 in the
            release; None for one update a clip.
        bptt: frames through which the gradient goes back in time: 1 detaches what each
            frame hands on, as published; None goes back to the update before.
        remat: compute each frame's activations anew for its gradient, which saves
            memory where `bptt` is long.
        learning_rate: of Adam, after the warm-up.
        schedule: "cosine" falls to 0 after `steps`; "drops" multiplies; "constant";
            "timed" falls as "cosine" does, to 0 when the run's time is over.
        drops: (number of updates, factor) of the latter.
        warmup: updates of linear warm-up, which also count.
        clip_norm: largest global norm of each gradient.
        motion_weight: alpha, the weight of the motion loss; with 0 it needs no labels.
        ema_decay: of the moving average of the parameters.
        loss_scale: factor of the losses in the beginning, where the network computes in
            float16; `loss_scale.adjusted` changes it from then on.
    """

    steps: int
    scheme: Literal["paper", "release"] = "paper"
    loss: Literal["paper", "release", "psnr"] | None = None
    frames_per_update: int | None = None
    bptt: int | None = 1
    remat: bool = False
    learning_rate: float = 1e-4
    schedule: Literal["cosine", "drops", "constant", "timed"] = "cosine"
    drops: Sequence[tuple[int, float]] = ((1_000_000, 0.25), (1_250_000, 0.25))
    warmup: int = 100
    clip_norm: float = 1.0
    motion_weight: float = 0.01
    ema_decay: float = 0.999
    loss_scale: float = 2.0**15

    @property
    def timed(self) -> bool:
        """Whether training ends with its time, not after a number of updates."""
        return self.schedule == "timed"

    @property
    def most(self) -> int:
        """Updates after which training ends, however much time there is."""
        return sys.maxsize if self.timed else self.steps

    def __post_init__(self):
        """Refuses what cannot be trained with.

        Raises:
            UsageError: naming the field.
        """
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                raise UsageError(
                    f"{name} {value!r}: must be {' or '.join(map(str, choices))}"
                )
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(
                    f"{name} {getattr(self, name)}: must be above 0 and finite"
                )
        for name in ("motion_weight", "warmup"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(
                    f"{name} {getattr(self, name)}: must be 0 or above, and finite"
                )
        for name in ("frames_per_update", "bptt"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} {value}: must be 1 or more, or None")
        if (self.bptt or 0) > (self.frames_per_update or math.inf):
            raise UsageError(
                f"bptt {self.bptt}: the gradient goes back within an update at most, "
                f"which is of frames_per_update={self.frames_per_update}"
            )
        if not 0 <= self.ema_decay < 1:
            raise UsageError(f"ema_decay {self.ema_decay}: must be in [0, 1)")
        # A list, as configuration files give it, could not be hashed.
        object.__setattr__(self, "drops", tuple(tuple(drop) for drop in self.drops))


RELEASE = TrainConfig(
    steps=1_300_000,
    scheme="release",
    frames_per_update=1,
    schedule="drops",
    warmup=0,
)
"""The release's training of the tables: an update for each frame, batch 8."""


def check_precision(model: ModelConfig, backend: str) -> None:
    """Refuses a precision that a device does not compute in.

    Args:
        model: the network.
        backend: the device's, as `jax.default_backend()` names it.

    Raises:
        UserError: for float16 on a CPU.
    """
    if model.dtype == "float16" and backend == "cpu":
        raise UserError(
            "model.dtype float16 with loss scaling: not on a CPU; take bfloat16, or "
            "float32, which is faster there"
        )


def learning_rate(
    config: TrainConfig, end: jax.Array | int | None = None
) -> optax.Schedule:
    """The learning rate after each number of updates.

    Args:
        config: how to train.
        end: [] int, updates when the time of a "timed" schedule is over, as far as
            that can be told; None takes `config.steps`.

    Returns:
        An optax schedule: of a number [] to a rate [].
    """
    warmup = min(config.warmup, max(config.steps - 1, 0))
    peak = config.learning_rate
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, config.steps)
    if config.timed:
        end = config.steps if end is None else end
        return functools.partial(_timed, peak, config.warmup, end)
    drops = dict(config.drops) if config.schedule == "drops" else {}
    later = optax.piecewise_constant_schedule(peak, drops)
    if not warmup:
        return later
    rise = optax.linear_schedule(0.0, peak, warmup)
    return lambda count: jnp.where(count < warmup, rise(count), later(count))


def _timed(peak, warmup, end, count):
    """Optax's cosine after a warm-up, whose end may be known only when it runs."""
    warmup = jnp.minimum(warmup, end // 10)  # there may be time for a few updates only
    share = jnp.clip((count - warmup) / jnp.maximum(end - warmup, 1), 0, 1)
    falling = optax.cosine_decay_schedule(peak, 1)(share)
    rising = peak * count / jnp.maximum(warmup, 1)
    return jnp.where(count < warmup, rising, falling)


def loss_weights(config: TrainConfig) -> dict[str, dict[str, float]]:
    """Which gradients are taken.

    Args:
        config: how to train.

    Returns:
        For each optimiser the weight of each loss in what it minimises; without the
        motion loss where alpha is 0.
    """
    motion = config.motion_weight
    if config.scheme == "paper":
        return {"total": {"deblur": 1.0} | ({"motion": motion} if motion else {})}
    return {"deblur": {"deblur": 1.0}} | ({"motion": {"motion": 1.0}} if motion else {})


def reads_labels(config: TrainConfig) -> bool:
    """Whether any loss reads motion labels.

    Args:
        config: how to train.

    Returns:
        True if one does.
    """
    return any("motion" in losses for losses in loss_weights(config).values())


def learning_rates(
    config: TrainConfig, end: jax.Array | int | None = None
) -> dict[str, optax.Schedule]:
    """The learning rates [] of the optimisers.

    Args:
        config: how to train.
        end: as `learning_rate`.

    Returns:
        As `learning_rate`, by the names of `loss_weights`; alpha is a factor of the
        release's second one.
    """
    rate = learning_rate(config, end)

    def slow(count):
        return config.motion_weight * rate(count)

    return {name: slow if name == "motion" else rate for name in loss_weights(config)}


def make_optimizers(
    config: TrainConfig, end: jax.Array | int | None = None
) -> dict[str, optax.GradientTransformation]:
    """Adams with clipped gradients, each for the parameters that it owns.

    Args:
        config: how to train.
        end: [] int, as `learning_rate`.

    Returns:
        By the names of `loss_weights`: transformations whose updates are added.
    """

    def owned_by(name):
        return lambda params: owners(params)[name]

    return {
        name: _adam(config, rate)
        if name == "total"
        else _owned(_adam(config, rate), owned_by(name))
        for name, rate in learning_rates(config, end).items()
    }


def _adam(config, rate):
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adam(rate, b1=0.9, b2=0.999, eps=1e-8),
    )


def _owned(optimizer, owned):
    """Only what is owned is clipped together and updated; the rest stays."""

    def others(params):
        return jax.tree.map(lambda own: not own, owned(params))

    return optax.chain(
        optax.masked(optimizer, owned), optax.masked(optax.set_to_zero(), others)
    )


def owners(params: dict) -> dict[str, dict]:
    """Which parameters each optimiser of the release owns.

    The deblurring one owns all but the motion layers; the motion one all but the last
    unit (of which it owns a motion layer) and the deblur layers.

    Args:
        params: a parameter tree of `MTUNet`, or one of the same structure.

    Returns:
        For "deblur" and "motion" a tree of bool.
    """
    last = f"unit_{sum(name.startswith('unit_') for name in params) - 1}"

    def of_deblurring(path, _):
        return path[1].key != "motion"

    def of_motion(path, _):
        unit, part = path[0].key, path[1].key
        return part == "motion" or (unit != last and part != "deblur")

    return {
        "deblur": jax.tree_util.tree_map_with_path(of_deblurring, params),
        "motion": jax.tree_util.tree_map_with_path(of_motion, params),
    }
