"""The same network with more channels, all of them zero, and back.

Matrix units take channels in multiples of 8 or more. What is added is zero, stays zero
in training, as no gradient reaches it, and changes no frame.
"""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import ModelConfig
from mtujax.network import MTUNet, param_shapes

WIDTH = 16
"""Channels are padded to a multiple of it where that pays: 26 to 32, 52 to 64; 48 stay,
which 64 in their place would slow down by three quarters on a CPU."""


def wider(config: ModelConfig, multiple: int = WIDTH) -> ModelConfig:
    """The configuration with more channels.

    Args:
        config: of the network.
        multiple: the number of channels becomes a multiple of it.

    Returns:
        A configuration; the same where nothing has to be added.
    """
    channels = -(-config.channels // multiple) * multiple
    return dataclasses.replace(config, channels=channels)


def widened(tree, old: ModelConfig, new: ModelConfig):
    """Adds channels of zeros to parameters.

    Args:
        tree: of arrays. Those at the end of a path of a parameter are changed, also
            within an optimiser's state; the others stay. NumPy arrays stay such.
        old: their network's configuration.
        new: the same with more channels.

    Returns:
        A tree of the same structure.
    """
    shapes = _shapes(old), _shapes(new)
    return _mapped(tree, old, shapes, _widened)


def narrowed(tree, old: ModelConfig, new: ModelConfig):
    """Takes away what `widened` has added.

    Args:
        tree: of arrays, in the widths of `new`.
        old: the configuration to go back to.
        new: the one with more channels.

    Returns:
        A tree of the same structure.
    """
    shapes = _shapes(old), _shapes(new)
    return _mapped(tree, old, shapes, _narrowed)


def _shapes(config):
    tree = param_shapes(MTUNet(config))
    return flax.traverse_util.flatten_dict(tree, sep="/")


def _mapped(tree, config, shapes, change):
    old, new = shapes

    def at(path, x):
        name = _name(path)
        if name not in old or old[name] == new[name]:
            return x
        groups = _groups(old[name], config.channels, name)
        return change(x, old[name], new[name], groups)

    return jax.tree_util.tree_map_with_path(at, tree)


def _name(path):
    """The dictionary keys at the end of a path, which are a parameter's."""
    keys = []
    for part in reversed(path):
        if not isinstance(part, jax.tree_util.DictKey):
            break
        keys.append(str(part.key))
    return "/".join(reversed(keys))


def _groups(shape, channels, name):
    """How many tensors of C channels a kernel reads side by side."""
    concatenated = name.endswith(("encode_1/conv/kernel", "deblur/layer/conv/kernel"))
    return 2 if concatenated and shape[-2] == 2 * channels else 1


def _widened(x, old, new, groups):
    """Zeros behind each group of inputs and behind the outputs."""
    # On the device each shape would have to be compiled for: NumPy's stay there.
    xp = jnp if isinstance(x, jax.Array) else np
    if x.ndim > 1:
        more = [(0, 0)] * x.ndim
        more[-2] = (0, (new[-2] - old[-2]) // groups)
        parts = [xp.pad(part, more) for part in xp.split(x, groups, axis=-2)]
        x = xp.concatenate(parts, axis=-2)
    return xp.pad(x, [(0, b - a) for a, b in zip(x.shape, new, strict=True)])


def _narrowed(x, old, new, groups):
    xp = jnp if isinstance(x, jax.Array) else np
    if x.ndim > 1:
        kept = old[-2] // groups
        parts = [part[..., :kept, :] for part in xp.split(x, groups, axis=-2)]
        x = xp.concatenate(parts, axis=-2)
    return x[..., : old[-1]]
