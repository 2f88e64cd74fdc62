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
from mtujax.widths import WIDTH, matrix_multiple, resized, wider


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
