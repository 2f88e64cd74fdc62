"""A small training, for processes of their own as well as for the tests."""

import jax
import numpy as np

from mtujax.config import ModelConfig
from mtujax.model.network import MTUNet, init_params
from mtujax.training import step as training
from mtujax.training.config import TrainConfig
from mtujax.training.optimizers import init_train_state

MODEL = MTUNet(ModelConfig(num_units=2, channels=4, num_blocks=0, search_radius=1))
CONFIGS = {
    "paper": TrainConfig(steps=20, warmup=0, learning_rate=1e-3),
    "release": TrainConfig(
        steps=20, scheme="release", frames_per_update=1, warmup=0, learning_rate=1e-3
    ),
}


def make_batch(count=2, seed=0):
    rng = np.random.default_rng(seed)
    shape = (count, 2, 16, 16)
    sharp = rng.random((*shape, 3)).astype(np.float32)
    return {
        "blurry": 0.5 * (sharp + np.roll(sharp, 1, axis=3)),
        "sharp": sharp,
        "flow": rng.normal(0, 4, (*shape, 2)).astype(np.float32),
        # The first clip knows less: a mean of means would not be the mean.
        "valid": rng.random(shape) < np.array([0.2, 0.9])[:count, None, None, None],
    }


def tracings(replace=setattr):
    """A list that grows whenever `make_step`'s step is traced from now on.

    With `replace`, as of a monkeypatch, this can be undone.
    """
    training.make_step.cache_clear()  # what another test has traced is not traced again
    traced, step = [], training.clip_step

    def noted(*args, **settings):
        traced.append(step)
        return step(*args, **settings)

    replace(training, "clip_step", noted)
    return traced


def trained(step, config, batches, model=MODEL, place=lambda state: state):
    state = place(init_train_state(config, init_params(model, jax.random.key(0))))
    for batch in batches:
        state, terms = step(state, batch)
    return state, terms
