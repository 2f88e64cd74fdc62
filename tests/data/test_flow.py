"""Motion that is estimated: by OpenCV's DIS, or any function of two frames."""

import numpy as np
import pytest
from motions import ArrayFrames, panned

from mtujax.data.flow import ComputedMotion, consistent, dis_flow
from mtujax.data.frames import Window

SHIFTS = [(0, 0), (3.3, -1.7), (10.8, 6.5)]


@pytest.fixture(scope="module")
def source():
    video = panned(SHIFTS, (120, 160), np.random.default_rng(0))
    return ArrayFrames({"pan": video})


def test_dis_finds_a_pan_to_half_a_pixel(source):
    motion = ComputedMotion(source, dis_flow)
    for frame in (1, 2):
        (x, y), (x_before, y_before) = SHIFTS[frame], SHIFTS[frame - 1]
        flow, valid = motion.motion(0, frame)
        error = np.linalg.norm(flow - (x_before - x, y_before - y), axis=-1)
        assert error[valid].mean() < 0.25 and np.quantile(error[valid], 0.99) < 0.5
        # What came in from outside is known to be so.
        assert valid[20:-20, 20:-20].mean() > 0.97
        assert valid.mean() > 0.7
        dx = x - x_before
        assert not valid[:, : int(dx)].any()


def test_a_window_of_the_motion_is_cut_out_of_that_of_whole_frames(source):
    motion = ComputedMotion(source, dis_flow)
    whole = motion.motion(0, 1)
    part = motion.motion(0, 1, Window(top=8, left=20, height=12, width=16))
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[8:20, 20:36], b)


def test_the_first_frame_has_no_motion(source):
    flow, valid = ComputedMotion(source, dis_flow).motion(0, 0)
    assert flow.shape == (120, 160, 2) and not flow.any() and not valid.any()
    window = Window(top=8, left=20, height=12, width=16)
    flow, valid = ComputedMotion(source, dis_flow).motion(0, 0, window)
    assert flow.shape == (12, 16, 2) and valid.shape == (12, 16)


def test_any_function_of_current_and_previous_frame_may_estimate(source):
    """As a flow network: in its order, on whole frames in uint8."""
    asked = []

    def network(current, previous):
        asked.append((current, previous))
        return np.zeros((*current.shape[:2], 2), np.float64)

    flow, valid = ComputedMotion(source, network).motion(0, 2)
    frames = source.read(0, {"sharp": [2, 1]})["sharp"]
    np.testing.assert_array_equal(asked[0], frames)
    np.testing.assert_array_equal(asked[1], frames[::-1])
    assert flow.dtype == np.float32 and valid.all()


def test_motion_is_valid_where_going_back_and_forth_returns(rng):
    """Against a loop over pixels, with its own bilinear sampling."""
    back = rng.normal(0, 3, (12, 15, 2)).astype(np.float32)
    forth = (-3 + rng.normal(0, 1, (12, 15, 2))).astype(np.float32)
    back[:6] = 3 + rng.normal(0, 0.2, (6, 15, 2))
    expected, clear = np.zeros((12, 15), bool), np.ones((12, 15), bool)
    for y, x in np.ndindex(12, 15):
        dx, dy = back[y, x].astype(float)
        if not (0 <= x + dx <= 14 and 0 <= y + dy <= 11):
            continue
        left, top = min(int(x + dx), 13), min(int(y + dy), 10)
        u, v = x + dx - left, y + dy - top
        rows = forth[top : top + 2, left : left + 2].astype(float)
        there = np.einsum("j,i,jic->c", [1 - v, v], [1 - u, u], rows)
        error = ((back[y, x] + there) ** 2).sum()
        bound = 0.01 * ((back[y, x] ** 2).sum() + (there**2).sum()) + 0.5
        expected[y, x] = error < bound
        clear[y, x] = abs(error - bound) > 0.1  # OpenCV samples at 1/32 of a pixel
    found = consistent(back, forth)
    np.testing.assert_array_equal(found[clear], expected[clear])
    assert clear.mean() > 0.9 and 0.1 < expected.mean() < 0.9
