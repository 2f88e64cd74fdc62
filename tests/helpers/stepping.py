"""One update of a training, compiled for one device."""

import jax

from mtujax.training.step import clip_step

train_step = jax.jit(
    clip_step,
    static_argnames=("model", "config", "axis_name", "multiple"),
    donate_argnames="state",
)
