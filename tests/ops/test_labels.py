"""Classes at a quarter of the resolution, against loops over cells and pixels."""

import jax
import numpy as np
import pytest

from mtujax.data.pipeline import MotionLabels
from mtujax.errors import UsageError
from mtujax.ops import labels

motion_labels = jax.jit(
    labels.motion_labels, static_argnames=("radius", "label_all_cells", "cell")
)


def on_device(flow, valid, radius, label_all_cells, cell=4):
    rule = dict(radius=radius, label_all_cells=label_all_cells, cell=cell)
    return tuple(map(np.asarray, motion_labels(flow, valid, **rule)))


def on_host(flow, valid, radius, label_all_cells, cell=4):
    return MotionLabels(radius, label_all_cells, cell).of(flow, valid)


BOTH = pytest.mark.parametrize("label", [on_host, on_device])


def naive(flow, valid, radius, label_all_cells, cell):
    frames, height, width, _ = flow.shape
    classes = np.zeros((frames, height // cell, width // cell), int)
    good = np.zeros(classes.shape, bool)
    for t, y, x in np.ndindex(classes.shape):
        total, count = np.zeros(2), 0
        for j, i in np.ndindex(cell, cell):
            if label_all_cells or valid[t, cell * y + j, cell * x + i]:
                total += flow[t, cell * y + j, cell * x + i]
                count += 1
        mean = total / max(count, 1)
        dx, dy = (round(float(v) / cell) for v in mean)  # Python rounds half to even
        near = [max(-radius, min(radius, v)) for v in (dx, dy)]
        inside = 0 <= x + dx < width // cell and 0 <= y + dy < height // cell
        classes[t, y, x] = (near[1] + radius) * (2 * radius + 1) + near[0] + radius
        enough = 2 * count >= cell**2
        good[t, y, x] = label_all_cells or (
            enough and near == [dx, dy] and bool(inside)
        )
    return classes, good


@BOTH
@pytest.mark.parametrize("label_all_cells", [False, True])
@pytest.mark.parametrize("cell", [4, 8, 16])  # 16: more pixels than a byte counts
def test_classes_equal_a_naive_loop(label, label_all_cells, cell, rng):
    def spread(x):
        return x.repeat(cell, 1).repeat(cell, 2)

    size = (3, 6 * cell, 8 * cell)
    flow = rng.normal(0, 9, (*size, 2)).round(2).astype(np.float32)
    flow += spread(rng.normal(0, 4 * cell, (3, 6, 8, 2))).round(2)
    valid = rng.random(size) < spread(rng.random((3, 6, 8)))
    valid[:, :cell, :cell] = True
    classes, good = label(flow, valid, 3, label_all_cells, cell)
    expected = naive(flow.astype(np.float64), valid, 3, label_all_cells, cell)
    np.testing.assert_array_equal(classes, expected[0])
    np.testing.assert_array_equal(good, expected[1])
    assert (classes.dtype, good.dtype) == (np.int32, bool)
    if not label_all_cells:  # the case is no empty one
        assert 0.1 < good.mean() < 0.6


@BOTH
@pytest.mark.parametrize(
    "pixels, cells", [(2, 0), (6, 2), (10, 2), (-2, 0), (-6, -2), (2.1, 1), (5.9, 1)]
)
def test_halves_are_rounded_to_the_even_cell(label, pixels, cells):
    flow = np.full((1, 32, 32, 2), pixels, np.float32)
    classes, _ = label(flow, np.ones((1, 32, 32), bool), 3, False)
    assert set(classes.ravel()) == {(cells + 3) * 7 + cells + 3}


@BOTH
def test_a_cell_counts_if_it_is_near_inside_and_half_known(label):
    flow, valid = np.zeros((1, 32, 32, 2), np.float32), np.ones((1, 32, 32), bool)
    flow[0, 0:4, 0:4] = 13.9, 0  # 3.475 cells: rounds to the radius
    flow[0, 0:4, 4:8] = 14.1, 0  # beyond it
    flow[0, 0:4, 28:32] = 4, 0  # to the right of the crop
    flow[0, 28:32, 0:4] = 0, 4  # below it
    flow[0, 4:8, 8:12] = 0, -4
    valid[0, 8:10, 0:4] = False  # half of the cell
    valid[0, 8:11, 4:8] = False  # more
    _, good = label(flow, valid, 3, False)
    expected = np.ones((8, 8), bool)
    expected[0, 1] = expected[0, 7] = expected[7, 0] = expected[2, 1] = False
    np.testing.assert_array_equal(good[0], expected)


@BOTH
def test_unknown_motion_does_not_spread(label):
    flow, valid = np.zeros((1, 8, 8, 2), np.float32), np.ones((1, 8, 8), bool)
    flow[0, 0, :3], flow[0, 1, 0], valid[0, 0] = np.nan, np.inf, False
    for label_all_cells in (False, True):
        classes, good = label(flow, valid, 1, label_all_cells)
        assert set(classes.ravel()) == {4} and good.all()


def test_a_negative_radius_is_refused():
    with pytest.raises(UsageError, match="radius -1"):
        MotionLabels(-1)


def test_a_flow_that_is_known_everywhere_needs_no_mask(rng):
    flow = rng.normal(0, 9, (2, 16, 16, 2)).astype(np.float32)
    everywhere = np.ones((2, 16, 16), bool)
    for a, b in zip(
        motion_labels(flow, radius=2),
        on_host(flow, everywhere, 2, False),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@BOTH
def test_flow_becomes_a_class_by_averaging_clamping_and_rounding_half_to_even(label):
    flow = np.zeros((1, 4, 24, 2), np.float32)
    cells = flow.reshape(1, 4, 6, 4, 2)
    # Pixels (dx, dy) of each cell; a quarter of it, rounded half to even:
    for k, pair in enumerate([(0, 0), (6, 10), (-6, 2), (400, -400), (4, -8), (7, 0)]):
        cells[0, :, k] = pair
    cells[0, :2, 4] *= 2  # averages to (6, -12): 1.5 -> 2, -3
    expected = [(0, 0), (2, 2), (-2, 0), (10, -10), (2, -3), (2, 0)]
    found = label(flow, np.zeros((1, 4, 24), bool), 10, True)[0][0, 0]
    np.testing.assert_array_equal(
        found, [(dy + 10) * 21 + dx + 10 for dx, dy in expected]
    )
