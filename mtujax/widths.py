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


def matrix_multiple(config: ModelConfig) -> int:
    """The multiple of channels that an accelerator's matrix units like.

    Args:
        config: of the network.

    Returns:
        `WIDTH` in half precision, which they compute in; in float32 1, no padding.
    """
    return 1 if config.dtype == "float32" else WIDTH


def resized(tree, old: ModelConfig, new: ModelConfig):
    """Adds channels of zeros to parameters, or takes such away again.

    Args:
        tree: of arrays. Those at the end of a path of a parameter are changed, also
            within an optimiser's state; the others stay. NumPy arrays stay such: on the
            device each shape would have to be compiled for.
        old: their network's configuration.
        new: the same with another number of channels.

    Returns:
        A tree of the same structure.
    """
    shapes, sizes = _shapes(old), _shapes(new)

    def at(path, x):
        name = _name(path)
        if name not in shapes or shapes[name] == sizes[name]:
            return x
        size = sizes[name]
        if x.ndim > 1:
            groups = _groups(shapes[name], old.channels, name)
            parts = _module(x).split(x, groups, axis=-2)
            fitting = [_fitted(part, -2, size[-2] // groups) for part in parts]
            x = _module(x).concatenate(fitting, axis=-2)
        return _fitted(x, -1, size[-1])

    return jax.tree_util.tree_map_with_path(at, tree)


def _shapes(config):
    tree = param_shapes(MTUNet(config))
    return flax.traverse_util.flatten_dict(tree, sep="/")


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


def _fitted(x, axis, size):
    """Cut to a size along an axis, or with zeros behind."""
    xp = _module(x)
    x = xp.split(x, [min(size, x.shape[axis])], axis)[0]
    pads = [(0, 0)] * x.ndim
    pads[axis] = (0, size - x.shape[axis])
    return xp.pad(x, pads)


def _module(x):
    return jnp if isinstance(x, jax.Array) else np
