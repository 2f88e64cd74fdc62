"""The inference form: the same restored frames from less work, weights changed at load.

An exact transform: what reaches no image is left out, and channels of zeros make widths
that matrix units like (multiples of 8 or more). These stay zero in training, as no
gradient reaches them, and change no frame.
"""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import ModelConfig
from mtujax.model.cost import network_operations
from mtujax.model.network import MTUNet, expected_shapes, inference_params, param_shapes

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


def inference_form(
    model: MTUNet, params: dict, *, multiple: int | None = None
) -> tuple[MTUNet, dict]:
    """Makes the network that restores the same frames with less work.

    Args:
        model: the network.
        params: its parameters.
        multiple: the number of channels becomes a multiple of it; None takes `WIDTH`,
            but for float32 on an accelerator 1, which is no padding.

    Returns:
        A network and its inference parameters, in the dtype that it computes in.
        Restored frames are equal to rounding; the displacement is None where no image
        depended on it.

    Raises:
        ValueError: if `multiple` is not positive.
    """
    multiple = _usual(model.config) if multiple is None else multiple
    if multiple < 1:
        raise ValueError(f"multiple={multiple}: must be >= 1")
    matched = _without_idle_matching(model.config)
    form = wider(matched, multiple)
    needed = _only(inference_params(params), expected_shapes(matched))
    # On the host: on the device each shape would have to be compiled for.
    padded = resized(jax.tree.map(np.asarray, needed), matched, form)
    # Once at load, not in every step. XLA adds biases in the same precision.
    cast = jax.tree.map(lambda x: x.astype(jnp.dtype(form.dtype)), padded)
    return MTUNet(form), jax.device_put(cast)


def _only(params, names):
    """Without the layers that the network does without."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    kept = {name: flat[name] for name in names}
    return flax.traverse_util.unflatten_dict(kept, sep="/")


def needed_operations(config: ModelConfig, batch: int, height: int, width: int) -> int:
    """Counts the work that restored frames take, in whatever form it is done.

    Args:
        config: of the network.
        batch: videos B that advance together.
        height: rows H of a frame in pixels.
        width: its columns W.

    Returns:
        Multiply-adds of all B frames: no channels of zeros, no matching that moves
        nothing, and of the rest the products that the cost volumes consist of.
    """
    least = _without_idle_matching(config)
    shapes = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32)
        for name, shape in expected_shapes(least).items()
    }
    params = flax.traverse_util.unflatten_dict(shapes, sep="/")
    counted = network_operations(MTUNet(least), params, batch, height, width)
    return counted.convolutions + counted.matching_defined


def _usual(config):
    # A CPU's vectors like even widths, too.
    return WIDTH if jax.default_backend() == "cpu" else matrix_multiple(config)


def _without_idle_matching(config: ModelConfig) -> ModelConfig:
    """Leaves out the matching whose displacement moves nothing, as the last unit's."""
    units = config.matching_units
    if config.last_unit_reads_warped or config.num_units - 1 not in units:
        return config
    if units == (config.num_units - 1,):
        return dataclasses.replace(config, motion_compensation=False)
    return dataclasses.replace(config, matching_units=units[:-1])
