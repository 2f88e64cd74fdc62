"""The inference form: the same restored frames with less work, weights changed at load.

An exact transform: layers that reach no image are left out, and channels of zeros make
widths that suit matrix units (multiples of 8 or more). These stay zero in training, as
no gradient reaches them, and change no frame.
"""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import ModelConfig
from mtujax.model.network import MTUNet, expected_shapes, inference_params, param_shapes
from mtujax.ops.motion_samples import PYRAMID_SIDE

WIDTH = 16
"""Channels are padded to a multiple of it where that pays: 26 to 32, 52 to 64; 48 stay,
as 64 instead would be slower by three quarters on a CPU."""

_LEAST = 4  # cells per side, for any network


def wider(config: ModelConfig, multiple: int = WIDTH) -> ModelConfig:
    """The configuration with its channels rounded up to a multiple."""
    channels = -(-config.channels // multiple) * multiple
    return dataclasses.replace(config, channels=channels)


def matrix_multiple(config: ModelConfig) -> int:
    """Multiple of channels that suits matrix units: `WIDTH`, in float32 1."""
    return 1 if config.dtype == "float32" else WIDTH


def resized(tree, old: ModelConfig, new: ModelConfig):
    """Adds channels of zeros to the parameters in a tree, or removes them again."""
    # Leaves whose path ends in a parameter's, also within an optimizer's state, change.
    # NumPy arrays stay NumPy: on the device each shape would have to be compiled for.
    shapes, sizes = _shapes(old), _shapes(new)

    def at(path, x):
        name = _name(path)
        if name not in shapes or shapes[name] == sizes[name]:
            return x
        size = sizes[name]
        if x.ndim > 1:
            groups, xp = (
                _groups(shapes[name], old.channels, name),
                x.__array_namespace__(),
            )
            parts = xp.split(x, groups, axis=-2)
            fitting = [_fitted(part, -2, size[-2] // groups) for part in parts]
            x = xp.concatenate(fitting, axis=-2)
        return _fitted(x, -1, size[-1])

    return jax.tree_util.tree_map_with_path(at, tree)


def _shapes(config):
    tree = param_shapes(MTUNet(config))
    return flax.traverse_util.flatten_dict(tree, sep="/")


def _name(path):
    """The dictionary keys at the end of a path, joined: a parameter's path."""
    keys = []
    for part in reversed(path):
        if not isinstance(part, jax.tree_util.DictKey):
            break
        keys.append(str(part.key))
    return "/".join(reversed(keys))


def _groups(shape, channels, name):
    """Number of C-channel tensors that are concatenated in the input of a kernel."""
    concatenated = name.endswith(("encode_1/conv/kernel", "deblur/layer/conv/kernel"))
    return 2 if concatenated and shape[-2] == 2 * channels else 1


def _fitted(x, axis, size):
    """Cuts an axis to a size, or pads it with zeros at the end."""
    xp = x.__array_namespace__()
    x = xp.split(x, [min(size, x.shape[axis])], axis)[0]
    pads = [(0, 0)] * x.ndim
    pads[axis] = (0, size - x.shape[axis])
    return xp.pad(x, pads)


def inference_form(
    model: MTUNet, params: dict, *, multiple: int | None = None
) -> tuple[MTUNet, dict]:
    """Makes the network that restores the same frames with less work.

    Examples:
        >>> model, params = inference_form(*load("fast_live"))
        >>> Stream(model, params).latency
        0

    Args:
        model: the network.
        params: its parameters.
        multiple: the number of channels is rounded up to a multiple of it; None takes
            `WIDTH`, except for float32 on an accelerator, where it adds none.

    Returns:
        A network and its inference parameters, in the dtype that it computes in.
        Restored frames are equal up to rounding; the displacement is None where no
        image depended on it.

    Raises:
        ValueError: if `multiple` is not positive.
    """
    if multiple is None:  # even widths also suit a CPU's vector units
        on_cpu = jax.default_backend() == "cpu"
        multiple = WIDTH if on_cpu else matrix_multiple(model.config)
    if multiple < 1:
        raise ValueError(f"multiple={multiple}: must be >= 1")
    matched = without_idle_matching(model.config)
    form = wider(matched, multiple)
    flat = flax.traverse_util.flatten_dict(inference_params(params), sep="/")
    flat = {name: flat[name] for name in expected_shapes(matched)}
    needed = flax.traverse_util.unflatten_dict(flat, sep="/")
    # On the host: on the device each shape would have to be compiled for.
    padded = resized(jax.tree.map(np.asarray, needed), matched, form)
    # Once at load, not in every step. XLA adds biases in the same precision.
    cast = jax.tree.map(lambda x: x.astype(jnp.dtype(form.dtype)), padded)
    return MTUNet(form), jax.device_put(cast)


def without_idle_matching(config: ModelConfig) -> ModelConfig:
    """Leaves out the last unit's matching where its displacement moves nothing."""
    units = config.matching_units
    if config.last_unit_reads_warped or config.num_units - 1 not in units:
        return config
    if units == (config.num_units - 1,):
        return dataclasses.replace(config, motion_compensation=False)
    return dataclasses.replace(config, matching_units=units[:-1])


def least_cells(config: ModelConfig) -> int:
    """Least cells per side that an exported step takes: the motion pyramid's too."""
    return max(_LEAST, -(-PYRAMID_SIDE // config.cell) * bool(config.motion_samples))
