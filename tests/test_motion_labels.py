"""Classes at a quarter of the resolution, against loops over cells and pixels."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtujax.data.labels import MotionLabels
from mtujax.errors import UsageError
from mtujax.losses import displacement_class


def naive(flow, valid, radius, every_cell):
    frames, height, width, _ = flow.shape
    classes = np.zeros((frames, height // 4, width // 4), int)
    good = np.zeros(classes.shape, bool)
    for t, y, x in np.ndindex(classes.shape):
        total, count = np.zeros(2), 0
        for j, i in np.ndindex(4, 4):
            if every_cell or valid[t, 4 * y + j, 4 * x + i]:
                total += flow[t, 4 * y + j, 4 * x + i]
                count += 1
        mean = total / max(count, 1)
        dx, dy = (round(float(v) / 4) for v in mean)  # Python rounds half to even
        near = [max(-radius, min(radius, v)) for v in (dx, dy)]
        inside = 0 <= x + dx < width // 4 and 0 <= y + dy < height // 4
        classes[t, y, x] = (near[1] + radius) * (2 * radius + 1) + near[0] + radius
        good[t, y, x] = every_cell or (count >= 8 and near == [dx, dy] and bool(inside))
    return classes, good


@pytest.mark.parametrize("every_cell", [False, True])
def test_classes_equal_a_naive_loop(every_cell, rng):
    flow = rng.normal(0, 9, (3, 24, 32, 2)).round(2).astype(np.float32)
    flow += rng.normal(0, 16, (3, 6, 8, 2)).repeat(4, 1).repeat(4, 2).round(2)
    valid = rng.random((3, 24, 32)) < rng.random((3, 6, 8)).repeat(4, 1).repeat(4, 2)
    classes, good = MotionLabels(3, every_cell=every_cell).of(flow, valid)
    expected = naive(flow.astype(np.float64), valid, 3, every_cell)
    np.testing.assert_array_equal(classes, expected[0])
    np.testing.assert_array_equal(good, expected[1])
    assert (classes.dtype, good.dtype) == (np.int32, bool)
    if not every_cell:  # the case is no empty one
        assert 0.1 < good.mean() < 0.6


def test_every_cell_gives_the_classes_of_the_loss_in_jax(rng):
    flow = rng.normal(0, 25, (2, 32, 32, 2)).astype(np.float32)
    classes, good = MotionLabels(every_cell=True).of(flow, np.zeros((2, 32, 32), bool))
    np.testing.assert_array_equal(classes, displacement_class(jnp.asarray(flow)))
    assert good.all()


@pytest.mark.parametrize(
    "pixels, cells", [(2, 0), (6, 2), (10, 2), (-2, 0), (-6, -2), (2.1, 1), (5.9, 1)]
)
def test_halves_are_rounded_to_the_even_cell(pixels, cells):
    flow = np.full((1, 32, 32, 2), pixels, np.float32)
    classes, _ = MotionLabels(3).of(flow, np.ones((1, 32, 32), bool))
    assert set(classes.ravel()) == {(cells + 3) * 7 + cells + 3}


def test_a_cell_counts_if_it_is_near_inside_and_half_known():
    flow, valid = np.zeros((1, 32, 32, 2), np.float32), np.ones((1, 32, 32), bool)
    flow[0, 0:4, 0:4] = 13.9, 0  # 3.475 cells: rounds to the radius
    flow[0, 0:4, 4:8] = 14.1, 0  # beyond it
    flow[0, 0:4, 28:32] = 4, 0  # to the right of the crop
    flow[0, 28:32, 0:4] = 0, 4  # below it
    flow[0, 4:8, 8:12] = 0, -4
    valid[0, 8:10, 0:4] = False  # half of the cell
    valid[0, 8:11, 4:8] = False  # more
    _, good = MotionLabels(3).of(flow, valid)
    expected = np.ones((8, 8), bool)
    expected[0, 1] = expected[0, 7] = expected[7, 0] = expected[2, 1] = False
    np.testing.assert_array_equal(good[0], expected)


def test_unknown_motion_does_not_spread():
    flow, valid = np.zeros((1, 8, 8, 2), np.float32), np.ones((1, 8, 8), bool)
    flow[0, 0, :3], flow[0, 1, 0], valid[0, 0] = np.nan, np.inf, False
    for every_cell in (False, True):
        classes, good = MotionLabels(1, every_cell=every_cell).of(flow, valid)
        assert set(classes.ravel()) == {4} and good.all()


def test_a_negative_radius_is_refused():
    with pytest.raises(UsageError, match="radius -1"):
        MotionLabels(-1)
