"""Exported functions of arrays take NumPy arrays of either byte order."""

import jax
import numpy as np
import pytest

import mtujax
from mtujax import metrics, ops

_RNG = np.random.default_rng(0)
A, B = (_RNG.random((2, 48, 48, 3)).astype(np.float32) for _ in range(2))
FLOW = _RNG.normal(size=(2, 48, 48, 2)).astype(np.float32)
CELLS = _RNG.integers(-1, 2, (2, 12, 12, 2)).astype(np.int32)
LABELS = _RNG.integers(0, 9, (2, 12, 12)).astype(np.int32)
VOLUME = _RNG.normal(size=(2, 1, 12, 12, 9)).astype(np.float32)

CALLS = {
    "align": (metrics.align, A, B),
    "along_motion": (lambda *x: ops.along_motion(*x, [0.5]), A, FLOW),
    "alignment_accuracy": (metrics.alignment_accuracy, CELLS, A, B),
    "area_downsample": (ops.area_downsample, A),
    "area_resize": (lambda x: ops.area_resize(x, 24, 36), A),
    "backward_warp": (mtujax.backward_warp, A, FLOW),
    "cost_volume": (lambda *x: mtujax.cost_volume(*x, radius=2), A, B),
    "depth_to_space": (lambda x: ops.depth_to_space(x, 2), np.repeat(A, 4, -1)),
    "displace": (ops.displace, A, CELLS),
    "end_point_error": (metrics.end_point_error, CELLS, FLOW),
    "frame_motion": (ops.frame_motion, A, B, A),
    "match": (lambda *x: mtujax.match(*x, radius=2), A, B),
    "motion_loss": (mtujax.motion_loss, VOLUME, LABELS),
    "psnr": (mtujax.psnr, A, B),
    "restoration_loss": (mtujax.restoration_loss, A, B),
    "space_to_depth": (lambda x: ops.space_to_depth(x, 2), A),
    "ssim": (mtujax.ssim, A, B),
    "ssim_uniform": (metrics.ssim_uniform, A, B),
    "ssim_volumetric": (metrics.ssim_volumetric, A, B),
    "temporal_consistency": (metrics.temporal_consistency, (A, B), (B, A), FLOW),
    "warping_error": (metrics.warping_error, A, B, FLOW),
}


@pytest.mark.parametrize("name", CALLS)
def test_arrays_of_the_other_byte_order_give_the_same(name):
    function, *arrays = CALLS[name]
    swapped = jax.tree.map(lambda x: x.astype(x.dtype.newbyteorder("S")), arrays)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6),
        function(*swapped),
        function(*arrays),
    )


def test_a_compiled_function_stays_itself():
    assert mtujax.psnr.__doc__.startswith("Peak signal-to-noise ratio")
    with pytest.raises(ValueError, match="implementation='fast'"):
        mtujax.match(A, B, implementation="fast")
