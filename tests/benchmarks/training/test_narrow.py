"""Convolutions that are widened by zeros have the same outcome and gradients."""

import jax
import numpy as np
import pytest

from benchmarks.training import narrow


@pytest.mark.parametrize("shape", [(3, 3, 15, 32), (3, 3, 32, 3), (1, 1, 103, 32)])
@pytest.mark.parametrize("multiple", narrow.MULTIPLES)
def test_zeros_change_no_result(rng, shape, multiple):
    shapes = (2, 9, 7, shape[2]), shape, (2, 9, 7, shape[3])
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    forms = narrow.plain, narrow.widened(multiple)
    usual, wide = (jax.jit(narrow.with_gradients(form))(*arrays) for form in forms)
    for found, expected in zip(wide, usual, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_they_are_the_first_and_the_last_of_a_network():
    names = [*narrow.narrow_kernels("mtu2")]
    assert names == ["structure", "temporal", "unit_1/deblur/layer"]
