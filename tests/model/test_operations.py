"""Multiply-adds against counts by hand; bytes and flops against plain arithmetic."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from networks import TINY

from mtujax.config import PRESETS, ModelConfig
from mtujax.model.network import MTUNet, inference_params, init_params, parameter_count
from mtujax.model.operations import (
    compiled_flops,
    multiply_adds,
    network_operations,
)

# (places, taps of the kernel, channels in, channels out) of each layer of MTU2 for a
# frame of 1280x720, read off the paper and the released shapes. A transposed layer is
# computed as a 2x2 convolution that gives all four phases, one place more each way.
FULL, HALF, QUARTER = 1280 * 720, 640 * 360, 320 * 180
DETAIL = [
    (FULL, 25, 52, 26),
    (HALF, 9, 26, 26),
    (QUARTER, 9, 26, 52),
    *[(QUARTER, 9, 52, 52)] * 17,  # 8 blocks of two, and the last one
    (321 * 181, 4, 52, 4 * 26),
    (641 * 361, 4, 26, 4 * 26),
]
MTU2 = [
    (FULL, 9, 3, 26),  # structure
    (FULL, 9, 15, 26),  # temporal
    *DETAIL,
    *DETAIL,
    (QUARTER, 25, 26, 52),  # motion
    (FULL, 9, 26, 3),  # deblurring
]


def drawn(config):
    """Model and the shapes of its parameters."""
    model = MTUNet(config)
    tree = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    return model, inference_params(tree)


def test_mtu2_has_the_multiply_adds_of_its_layers():
    model, params = drawn(PRESETS["mtu2"])
    found = network_operations(model, params, 1, 720, 1280)
    assert found.convolutions == sum(np.prod(layer) for layer in MTU2)
    assert found.convolutions / 1e9 == pytest.approx(128, abs=0.5)
    # 441 scores of 52 products for each of the 180 x 320 cells.
    assert found.matching_defined == 180 * 320 * 441 * 52
    # In bands of 32 columns, which meet 32 + 20 columns of the other frame.
    assert found.matching == 180 * 320 * 21 * 52 * 52
    assert found.total == found.convolutions + found.matching
    assert parameter_count(params) == 1_037_325


def test_mtu1_has_the_parameters_that_the_paper_counts():
    assert parameter_count(drawn(PRESETS["mtu1"])[1]) == 538_073


def test_every_matching_unit_counts_and_a_batch_counts_each_frame():
    one = network_operations(*drawn(TINY), 1, 24, 32)
    many = network_operations(*drawn(TINY), 3, 24, 32)
    assert many == tuple(3 * n for n in one)
    twice = ModelConfig(**vars(TINY) | {"matching_units": (0, 1)})
    both = network_operations(*drawn(twice), 1, 24, 32)
    assert both.matching_defined == 2 * one.matching_defined == 2 * 48 * 49 * 16
    assert both.matching == 2 * one.matching
    # And its motion layer, of 5x5.
    assert both.convolutions - one.convolutions == 48 * 25 * 8 * 16


def test_without_motion_compensation_nothing_is_matched():
    config = ModelConfig(**vars(TINY) | {"motion_compensation": False})
    found = network_operations(*drawn(config), 1, 24, 32)
    assert (found.matching, found.matching_defined) == (0, 0)
    assert found.convolutions > 0


def by_hand(height, width, kernel, stride, pad, channels, features):
    """Products of a convolution, one loop turn each."""
    rows = range(0, height + 2 * pad - kernel + 1, stride)
    columns = range(0, width + 2 * pad - kernel + 1, stride)
    places = itertools.product(
        rows, columns, range(kernel), range(kernel), range(channels), range(features)
    )
    return sum(1 for _ in places)


@pytest.mark.parametrize("kernel, stride, pad", [(3, 1, 1), (5, 4, 1), (2, 2, 0)])
def test_a_convolution_counts_every_tap_at_every_place(kernel, stride, pad):
    x, k = jnp.zeros((1, 9, 12, 2)), jnp.zeros((kernel, kernel, 2, 3))

    def convolve(x, k):
        pads = ((pad, pad), (pad, pad))
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, k, (stride, stride), pads, dimension_numbers=numbers
        )

    assert multiply_adds(convolve, x, k) == by_hand(9, 12, kernel, stride, pad, 2, 3)


def test_groups_meet_their_own_channels_only():
    x, k = jnp.zeros((2, 5, 5, 4)), jnp.zeros((3, 3, 1, 4))

    def convolve(x, k):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=4
        )

    assert multiply_adds(convolve, x, k) == 2 * 25 * 9 * 4


def test_a_product_of_matrices_counts_what_it_sums():
    left, right = jnp.zeros((7, 3, 4)), jnp.zeros((7, 4, 5))
    assert multiply_adds(jnp.matmul, left, right) == 7 * 3 * 4 * 5
    assert multiply_adds(lambda x: x * x + 1, left) == 0


def test_what_is_nested_counts_as_often_as_it_runs():
    x = jnp.zeros((4, 4))
    product = 4 * 4 * 4

    def looped(x):
        return lax.scan(lambda y, _: (jax.jit(jnp.dot)(y, x), None), x, None, 6)[0]

    def branched(x):
        return lax.cond(x[0, 0] > 0, lambda y: y @ y @ y, lambda y: y @ y, x)

    assert multiply_adds(looped, x) == 6 * product
    assert multiply_adds(branched, x) == 2 * product  # the longer branch
    assert multiply_adds(jax.checkpoint(lambda y: y @ y), x) == product


def test_a_loop_of_unknown_length_is_refused_only_where_it_multiplies():
    x = jnp.ones((4, 4))

    def until(body):
        return lambda x: lax.while_loop(lambda y: y[0, 0] < 9, body, x)

    assert multiply_adds(until(lambda y: y + 1), x) == 0
    with pytest.raises(ValueError, match="length is not known"):
        multiply_adds(until(lambda y: y @ y), x)


def test_the_compilers_analysis_agrees_where_nothing_is_padded():
    x, k = jnp.zeros((1, 12, 12, 8)), jnp.zeros((3, 3, 8, 16))

    def convolve(x, k):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, k, (1, 1), "VALID", dimension_numbers=numbers
        )

    compiled = jax.jit(convolve).lower(x, k).compile()
    assert compiled_flops(compiled) == 2 * multiply_adds(convolve, x, k)


def test_the_compilers_analysis_leaves_out_padding_and_repetition():
    x, k = jnp.zeros((1, 12, 12, 8)), jnp.zeros((3, 3, 8, 16))

    def convolve(x, k):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers)

    inside = 12 * 3 - 2  # per axis, pairs of a place and a tap that meet the image
    compiled = jax.jit(convolve).lower(x, k).compile()
    assert compiled_flops(compiled) == 2 * inside**2 * 8 * 16
    assert multiply_adds(convolve, x, k) == (12 * 3) ** 2 * 8 * 16

    def looped(x):
        return lax.scan(lambda y, _: (y @ x, None), x, None, 50)[0]

    flops = compiled_flops(jax.jit(looped).lower(jnp.zeros((16, 16))).compile())
    assert 2 * 16**3 <= flops < 3 * 16**3  # once, and some counting


class Silent:
    """A compiler that tells nothing."""

    def cost_analysis(self):
        raise NotImplementedError


def test_a_compiler_that_tells_nothing_gives_none():
    assert compiled_flops(Silent()) is None
