"""Operations of a computation, counted without running it.

A multiply-add is one product that is added to a sum, so two floating-point operations.
Convolutions and matrix products are counted, padding included, as is usual for
networks. Letters: B batch, H W pixels, h w motion grid, C channels.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp

from mtujax.config import ModelConfig
from mtujax.model.network import MTUNet, expected_shapes, initial_state
from mtujax.model.optimized_form import without_idle_matching
from mtujax.ops.matching import match
from mtujax.ops.resampling import padded_size


class Operations(NamedTuple):
    """Multiply-adds of one frame."""

    convolutions: int  # everything but the matching
    # the cost volumes as `match` computes them, in bands of columns whose edges score
    # some displacements too many
    matching: int
    matching_defined: int  # the products in the definition of the cost volumes

    @property
    def total(self) -> int:
        """Multiply-adds, with the matching as it is computed."""
        return self.convolutions + self.matching


def network_operations(
    model: MTUNet, params: dict, batch: int, height: int, width: int
) -> Operations:
    """Counts the multiply-adds of the one-frame network for all `batch` frames."""
    cfg = model.config
    window = jax.ShapeDtypeStruct((batch, cfg.window, height, width, 3), jnp.float32)
    state = jax.eval_shape(lambda: initial_state(model, batch, height, width))

    def frame(params, state, window):
        return model.apply({"params": params}, state, window)

    total = multiply_adds(frame, params, state, window)
    rows, columns = (n // cfg.cell for n in padded_size(height, width, cfg.cell))
    channels = cfg.channels * (2 if cfg.motion_layer else 1)
    cells, units = batch * rows * columns, len(cfg.matching_units)
    grid = jax.ShapeDtypeStruct((batch, rows, columns, channels), jnp.float32)
    one = multiply_adds(lambda q, k: match(q, k, radius=cfg.search_radius), grid, grid)
    planes = (2 * cfg.search_radius + 1) ** 2
    return Operations(
        total - units * one, units * one, units * cells * planes * channels
    )


@functools.cache
def needed_operations(config: ModelConfig, batch: int, height: int, width: int) -> int:
    """Counts the multiply-adds of all B frames that any form of the network needs."""
    # No channels of zeros, no matching that moves nothing, and of the other matching
    # only the products in the definition of the cost volumes.
    least = without_idle_matching(config)
    shapes = {
        name: jax.ShapeDtypeStruct(shape, jnp.float32)
        for name, shape in expected_shapes(least).items()
    }
    params = flax.traverse_util.unflatten_dict(shapes, sep="/")
    counted = network_operations(MTUNet(least), params, batch, height, width)
    return counted.convolutions + counted.matching_defined


def multiply_adds(function: Callable, *args) -> int:
    """Counts the multiply-adds of any function, which is traced and not run.

    Examples:
        >>> multiply_adds(jnp.dot, jnp.ones((4, 8)), jnp.ones((8, 2)))
        64

    Args:
        function: of arrays.
        *args: trees of arrays, or of `jax.ShapeDtypeStruct`.

    Returns:
        Multiply-adds of its convolutions and matrix products; a loop's body counts as
        often as it runs, and of branches the most expensive counts.

    Raises:
        ValueError: if a loop of unknown length has any.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr):
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation):
    name, out = equation.primitive.name, equation.outvars[0:1]
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = equation.params["dimension_numbers"].rhs_spec[0]
        taps = math.prod(kernel) // kernel[outputs]
        return math.prod(out[0].aval.shape) * taps
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        summed = math.prod(left[axis] for axis in contracted)
        return math.prod(out[0].aval.shape) * summed
    inner = [_count(jaxpr) for jaxpr in _inner(equation.params)]
    if name == "scan":
        return equation.params["length"] * sum(inner)
    if name == "while" and sum(inner):
        raise ValueError("multiply-adds: in a loop whose length is not known")
    return max(inner, default=0) if name == "cond" else sum(inner)


def _inner(params):
    """Yields the jaxprs that an equation contains."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)  # of one with its constants
            if hasattr(part, "eqns"):
                yield part


def achieved(
    multiply_adds: int, moved: float | None, milliseconds: float
) -> dict[str, float | None]:
    """Rates in TFLOP/s and GB/s; the latter is None if `moved` (bytes) is."""
    seconds = milliseconds / 1e3
    return {
        "tflops_per_s": 2 * multiply_adds / seconds / 1e12,
        "gbytes_per_s": None if moved is None else moved / seconds / 1e9,
    }


def compiled_flops(compiled: jax.stages.Compiled) -> float | None:
    """FLOPs by the compiler's own analysis, or None; a loop's body counts once."""
    # Element-wise operations count, too; products with padding do not.
    return _cost(compiled, "flops")


def compiled_bytes(compiled: jax.stages.Compiled) -> float | None:
    """Bytes read and written by the compiler's analysis, or None; loop bodies once."""
    # What is fused into one operation is not written in between.
    return _cost(compiled, "bytes accessed")


def _cost(compiled, name):
    try:
        analysis = compiled.cost_analysis()
    except (AttributeError, NotImplementedError, RuntimeError):
        return None
    if isinstance(analysis, list | tuple):  # one per program
        analysis = analysis[0] if analysis else None
    return (analysis or {}).get(name)
