"""The inference form: the same restored frames from less work, weights changed at load.

An exact transform: what reaches no image is left out, and channels of zeros make widths
that matrix units like. Only the displacement of what was left out is gone.
"""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import ModelConfig
from mtujax.network import MTUNet, inference_params
from mtujax.operations import network_operations
from mtujax.weights import expected_shapes

WIDTH = 16
"""Channels are padded to a multiple of it where that pays: 26 to 32, 52 to 64; 48 stay,
which 64 in their place would slow down by three quarters on a CPU."""


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
    channels = -(-matched.channels // multiple) * multiple
    wider = dataclasses.replace(matched, channels=channels)
    old, new = expected_shapes(matched), expected_shapes(wider)
    flat = flax.traverse_util.flatten_dict(inference_params(params), sep="/")
    padded = {
        name: _padded(flat[name], shape, _groups(old[name], matched.channels, name))
        for name, shape in new.items()
    }
    # Once at load, not in every step. XLA adds biases in the same precision.
    cast = {name: x.astype(jnp.dtype(wider.dtype)) for name, x in padded.items()}
    tree = flax.traverse_util.unflatten_dict(cast, sep="/")
    return MTUNet(wider), jax.device_put(tree)


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
    # A GPU's matrix units take half precision; a CPU's vectors like even widths too.
    full = config.dtype == "float32" and jax.default_backend() != "cpu"
    return 1 if full else WIDTH


def _without_idle_matching(config: ModelConfig) -> ModelConfig:
    """Leaves out the matching whose displacement moves nothing, as the last unit's."""
    units = config.matching_units
    if config.last_unit_reads_warped or config.num_units - 1 not in units:
        return config
    if units == (config.num_units - 1,):
        return dataclasses.replace(config, motion_compensation=False)
    return dataclasses.replace(config, matching_units=units[:-1])


def _groups(shape, channels, name):
    """How many tensors of C channels a kernel reads side by side."""
    concatenated = name.endswith(("encode_1/conv/kernel", "deblur/layer/conv/kernel"))
    return 2 if concatenated and shape[-2] == 2 * channels else 1


def _padded(x, shape, groups):
    """Zeros behind each group of inputs and behind the outputs."""
    x = np.asarray(x)  # on the device each shape would have to be compiled for
    if x.ndim == 1:
        return np.pad(x, (0, shape[0] - x.shape[0]))
    more = (0, (shape[-2] - x.shape[-2]) // groups)
    parts = np.split(x, groups, axis=-2)
    parts = [np.pad(part, ((0, 0), (0, 0), more, (0, 0))) for part in parts]
    x = np.concatenate(parts, axis=-2)
    return np.pad(x, [(0, new - old) for old, new in zip(x.shape, shape, strict=True)])
