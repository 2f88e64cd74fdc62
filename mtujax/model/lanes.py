"""Streams of several videos whose steps run together, in one program.

Each lane keeps a stream of its own, with its state; only the network's inputs are
stacked, within the program. Lanes do not affect each other. Letters: B batch, H W
pixels.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from mtujax.model.network import MTUNet, RecurrentState
from mtujax.model.stream import Stream, _step, restore_frames


class LaneStream(Stream):
    """A stream whose steps its owner runs, maybe together with those of others."""

    def __init__(self, model: MTUNet, params: dict, run: Callable):
        """`run(model, params, state, window)` does one step, as `run_together` does."""
        super().__init__(model, params)
        self._run_with_others = run

    def _run(self, window):
        step = self._model, self._params, self._state, window
        self._state, *outputs = self._run_with_others(*step)
        return outputs


def run_together(
    model: MTUNet,
    params: dict,
    states: Sequence[RecurrentState],
    windows: Sequence[tuple[jax.Array, ...]],
) -> list[tuple]:
    """Starts one step of several streams, and returns what `run` does for each."""
    # A window is K frames [B, H, W, 3]. Copying the states in and out costs little
    # beside the network, whose every layer moves as much.
    if len(states) == 1:  # the program that is there already
        return [_step(model, params, states[0], windows[0])]
    return _run(model, params, tuple(states), tuple(windows))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _run(model, params, states, windows):
    state, window = (
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *trees)
        for trees in (states, windows)
    )
    found = restore_frames(model, params, state, window)
    sizes = [state.is_first.shape[0] for state in states]
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [
        jax.tree.map(lambda x, a=end - size, b=end: x[a:b], found)
        for size, end in zip(sizes, ends, strict=True)
    ]
