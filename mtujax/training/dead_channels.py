"""Dead channels, which carry nothing on real frames: counted, logged, redrawn.

A ReLU that is off in every pixel passes no gradient, so its channel is lost to training
for good, unless it is redrawn (ReDo: Sokar et al., "The Dormant Neuron Phenomenon in
Deep Reinforcement Learning", 2023). Letters: T time, H W pixels, C channels of a layer.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtujax.model.clip import clip_windows, window_at
from mtujax.model.network import MTUNet, initial_state
from mtujax.model.unit import Conv, UpConv
from mtujax.ops.resampling import to_unit_range
from mtujax.training.optimizers import TrainState

MOST_DEAD = 0.2
"""Share of dead channels of a layer above which a warning is given."""

WARNS_FROM = 1000
"""First update of that warning: a trial of fewer ends with what it started from."""

FEWEST = 1e-3
"""The share of pixels above zero below which a channel counts as dead."""

SHARE = 0.1
"""Size of a channel that is redrawn, of the layer's living ones."""

_CONSTANT = 1e-6  # of the layer's largest value: what rounding leaves of a constant


def dead_counts(masks: Mapping[str, np.ndarray]) -> dict[str, tuple[int, int]]:
    """Counts what `dead_masks` gives: (dead channels, C) by layer."""
    return {name: (int(np.sum(mask)), len(mask)) for name, mask in masks.items()}


def dead_masks(
    model: MTUNet, params: dict, clips: Iterable[np.ndarray]
) -> dict[str, np.ndarray]:
    """Finds dead channels of layers with an activation: bool [C] by layer."""
    # Of `clips`, at least one of [T, H, W, 3] blurry frames, uint8 or float in [0, 1].
    # After a ReLU a channel is dead if less than `FEWEST` of its pixels are above zero.
    # A leaky ReLU always passes a gradient; its channel is dead if it has the same
    # value everywhere, so that nothing of the image reaches it. Layers are called
    # "structure", "unit_0/encode_1" or "unit_0/block_0/conv_1".
    found = [jax.device_get(_seen(model, params, clip)) for clip in clips]
    if not found:
        raise ValueError("clips is empty: give one at least")
    dead = {}
    for name in found[0]:
        above, pixels, low, high = zip(*(each[name] for each in found), strict=True)
        if model.config.activation == "relu":
            dead[name] = np.sum(above, 0, np.int64) < FEWEST * np.sum(pixels)
        else:
            low, high = np.min(low, axis=0), np.max(high, axis=0)
            largest = np.max(np.maximum(-low, high))
            dead[name] = high - low <= _CONSTANT * largest
    return dead


@functools.partial(jax.jit, static_argnums=0)
def _seen(model, params, clip):
    """By layer: pixels above zero [C], pixels [], lowest and highest value [C]."""
    frames = to_unit_range(clip)[None]
    frames, index = clip_windows(model.config, frames)

    def step(state, places):
        (state, _), kept = model.apply(
            {"params": params},
            state,
            window_at(frames, places),
            capture_intermediates=lambda layer, _: (
                isinstance(layer, (Conv, UpConv)) and layer.activation is not None
            ),
            mutable=["intermediates"],
        )
        return state, _outputs(kept["intermediates"])

    state = initial_state(model, 1, *clip.shape[1:3])
    _, seen = lax.scan(step, state, jnp.swapaxes(index, 0, 1))
    return {
        name: (above.sum(0), pixels.sum(0), low.min(0), high.max(0))
        for name, (above, pixels, low, high) in seen.items()
    }


def _outputs(kept):
    """The statistics of `_seen` for one frame."""
    flat = flax.traverse_util.flatten_dict(kept)
    layers = {_layer(path): x[0] for path, x in flat.items()}
    places = (0, 1, 2)
    return {
        name: (
            jnp.sum(x > 0, places),
            jnp.int32(x[..., 0].size),
            jnp.min(x, places).astype(jnp.float32),
            jnp.max(x, places).astype(jnp.float32),
        )
        for name, x in layers.items()
    }


def revived(
    state: TrainState, dead: dict[str, np.ndarray], seed: Sequence[int]
) -> TrainState:
    """Redraws the kernels of dead channels, from `dead_masks`; their biases are 0."""
    # Parameters and moving average get the same kernels. Moments stay: of dead channels
    # they are 0. The paper's residual blocks add what a channel gives to others
    # directly, so that a weight of 0 behind it (as in ReDo) would not keep the output:
    # small kernels do nearly.
    params, ema = (_revived(tree, dead, seed) for tree in (state.params, state.ema))
    return state.replace(params=params, ema=ema)


def _revived(params, dead, seed):
    flat, rng = flax.traverse_util.flatten_dict(params), np.random.default_rng(seed)
    for path in sorted(flat):
        mask = dead.get(_layer(path))
        if mask is None or not mask.any():
            continue
        value = np.array(flat[path])
        if path[-1] == "bias":
            value[mask] = 0
        else:
            # The mean of a kernel is 0, so that it sees differences: about half of the
            # pixels are above zero, whatever the brightness.
            drawn = rng.standard_normal((*value.shape[:-1], mask.sum()))
            drawn -= drawn.mean((0, 1, 2))
            size = np.linalg.norm(value.reshape(-1, mask.size), axis=0)[~mask]
            usual = size.mean() if size.any() else math.sqrt(2)  # He's, if all are dead
            drawn *= SHARE * usual / np.sqrt((drawn**2).sum((0, 1, 2)))
            value[..., mask] = drawn
        flat[path] = jax.device_put(value, flat[path].sharding)
    return flax.traverse_util.unflatten_dict(flat)


def _layer(path):
    """A layer's name here, from the path to what is in it."""
    return "/".join(p for p in path[:-1] if p not in ("detail", "layer", "conv"))


def dead_lines(step: int, dead: Mapping[str, tuple[int, int]]) -> list[str]:
    """A line on (dead, all) channels by layer, and a warning above `MOST_DEAD`."""
    # The line is as "dead channels at update 500: 14 of 1144; unit_0 encode_1 3/26".
    if not dead:
        return []
    lost, channels = map(sum, zip(*dead.values(), strict=True))
    line = f"dead channels at update {step}: {lost} of {channels}"
    named = [(name, found) for name, found in dead.items() if found[0]]
    for unit, layers in itertools.groupby(named, key=lambda one: _unit(one[0])):
        counts = (f"{name.removeprefix(unit)} {n}/{of}" for name, (n, of) in layers)
        line += "; " + unit.replace("/", " ") + ", ".join(counts)
    worst = worst_share(dead)
    if worst <= MOST_DEAD or step < WARNS_FROM:
        return [line]
    layer = max(dead, key=lambda name: dead[name][0] / dead[name][1])
    return [
        line,
        f"warning: {worst:.0%} of the channels of {layer} are dead, and training "
        "hardly revives any: start a new run= with a lower train.learning_rate, a "
        "longer train.warmup, train.revive_dead=True or model.activation=leaky",
    ]


def worst_share(dead: Mapping[str, tuple[int, int]]) -> float:
    """Returns the largest share of dead channels of any layer, in [0, 1]."""
    return max(lost / channels for lost, channels in dead.values())


def _unit(layer):
    """Returns the prefix "unit_0/" of a layer's name, or "" outside of units."""
    return layer[: layer.find("/") + 1]
