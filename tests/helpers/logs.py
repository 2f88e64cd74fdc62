"""Short logs for the tests of the logbook."""

import jax.numpy as jnp

from mtujax.training.logbook import Logbook


class Clock:
    """Stands still until it is told otherwise."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def open_book(folder, **settings):
    """A log of 100 updates, a line every 10."""
    given = dict(total=100, every=10, clock=Clock())
    return Logbook(str(folder), **given | settings)


def train(log, steps, value=1.0, **more):
    for step in steps:
        log.update(step, {"deblur": jnp.float32(value)} | more, {"skipped": 0})
