"""Convolutions against PyTorch's, and their gradients against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from networks import slow

from mtujax.ops.convolution import (
    DIMENSIONS,
    conv2d,
    conv_general_dilated,
    conv_transpose2d,
)

CASES = [
    # size, kernel, stride, pads
    ((9, 11), 3, 1, ((1, 1), (1, 1))),
    ((8, 12), 3, 2, ((1, 1), (1, 1))),
    ((9, 7), 3, 2, ((1, 1), (1, 1))),
    ((12, 16), 5, 4, ((1, 1), (1, 1))),
    ((10, 10), 5, 1, ((2, 2), (2, 2))),
    ((6, 7), 2, 1, ((1, 1), (1, 1))),
    ((7, 9), 3, 2, ((0, 2), (1, 0))),
]


@pytest.mark.parametrize(
    "features", [9, slow(5)]
)  # either form of the kernel's gradient
@pytest.mark.parametrize("size, side, stride, pads", CASES)
def test_both_gradients_equal_those_of_xla(rng, size, side, stride, pads, features):
    x = rng.normal(size=(2, *size, 3)).astype(np.float32)
    kernel = rng.normal(size=(side, side, 3, features)).astype(np.float32)
    strides = (stride, stride)

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, strides, pads, dimension_numbers=DIMENSIONS
        )

    expected, pull_expected = jax.vjp(plain, x, kernel)
    actual, pull = jax.vjp(lambda x, k: conv2d(x, k, strides, pads), x, kernel)
    grad = rng.normal(size=expected.shape).astype(np.float32)
    np.testing.assert_array_equal(actual, expected)
    for a, b in zip(pull(grad), pull_expected(grad), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_gradient_holds_inside_scan_under_vmap_and_in_bfloat16(rng):
    x = jnp.asarray(rng.normal(size=(3, 1, 8, 8, 8)), jnp.bfloat16)
    kernel = jnp.asarray(0.5 * rng.normal(size=(3, 3, 8, 8)), jnp.bfloat16)

    def loss(conv, kernel):
        def one(x):
            step = lambda c, _: (conv(c, kernel, (1, 1), ((1, 1), (1, 1))) * 0.1, None)  # noqa: E731
            return jnp.sum(lax.scan(step, x, None, length=2)[0].astype(jnp.float32))

        return jnp.sum(jax.vmap(one)(x))

    def plain(x, kernel, strides, pads):
        return lax.conv_general_dilated(
            x, kernel, strides, pads, dimension_numbers=DIMENSIONS
        )

    actual = jax.grad(lambda k: loss(conv2d, k))(kernel).astype(np.float32)
    expected = jax.grad(lambda k: loss(plain, k))(kernel).astype(np.float32)
    np.testing.assert_allclose(actual, expected, rtol=0.03, atol=0.3)


def test_a_dilated_convolution_is_refused(rng):
    x, kernel = jnp.zeros((1, 8, 8, 2)), jnp.zeros((3, 3, 2, 2))
    with pytest.raises(ValueError, match="dilated"):
        conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), rhs_dilation=(2, 2))


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5), (8, 4)])
def test_the_transposed_convolution_equals_a_naive_loop(rng, height, width):
    x = rng.normal(size=(1, height, width, 3)).astype(np.float32)
    kernel = rng.normal(size=(4, 4, 3, 2)).astype(np.float32)
    expected = np.zeros((1, 2 * height + 2, 2 * width + 2, 2))
    for i in range(height):
        for j in range(width):
            # PyTorch: input (i, j) adds its kernel at (2i - pad, 2j - pad), pad = 1.
            patch = np.einsum("c,klco->klo", x[0, i, j], kernel)
            expected[0, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += patch
    expected = expected[:, 1:-1, 1:-1]
    np.testing.assert_allclose(conv_transpose2d(x, kernel), expected, atol=1e-5)


def test_the_transposed_convolution_equals_pytorch(rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 5, 6, 4)).astype(np.float32)
    weight = rng.normal(size=(4, 3, 4, 4)).astype(np.float32)  # IOHW
    expected = torch.nn.functional.conv_transpose2d(
        torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(weight), stride=2, padding=1
    ).numpy()
    actual = conv_transpose2d(x, weight.transpose(2, 3, 0, 1))
    np.testing.assert_allclose(actual, expected.transpose(0, 2, 3, 1), atol=1e-5)
