"""Warping errors against a loop and against what a still and a flickering clip give."""

import numpy as np

from mtujax.data.flow import dis_flow, estimate_motion
from mtujax.metrics.motion import temporal_consistency, warping_error


def naive_error(previous, current, flow, counts):
    """Bilinear sampling pixel by pixel."""
    height, width = flow.shape[:2]
    errors = []
    for r, c in np.ndindex(height, width):
        x, y = (c, r) + flow[r, c].astype(np.float64)
        if not (counts[r, c] and 0 <= x <= width - 1 and 0 <= y <= height - 1):
            continue
        left, top = int(x), int(y)
        value = 0
        for row in (top, top + 1):
            for column in (left, left + 1):
                weight = (1 - abs(x - column)) * (1 - abs(y - row))
                if weight > 0:
                    value = value + weight * previous[row, column]
        errors.append(np.mean((value - current[r, c]) ** 2))
    return np.mean(errors)


def test_the_warping_error_equals_a_loop_over_pixels(rng):
    previous, current = rng.random((2, 2, 9, 12, 3)).astype(np.float32)
    flow = rng.normal(0, 3, (2, 9, 12, 2)).astype(np.float32)
    counts = rng.random((2, 9, 12)) < 0.7
    each = [naive_error(*v) for v in zip(previous, current, flow, counts, strict=True)]
    np.testing.assert_allclose(
        warping_error(previous, current, flow, counts), each, rtol=1e-5
    )
    flow[0, 0, 0] = np.nan
    counts[0, 0, 0] = False
    assert np.isfinite(warping_error(previous, current, flow, counts)).all()


def test_where_nothing_is_seen_there_is_no_error():
    frame = np.zeros((1, 4, 5, 3), np.uint8)
    away = np.full((1, 4, 5, 2), 50, np.float32)
    assert np.isnan(warping_error(frame, frame, away)).all()


def test_a_moving_clip_is_steady_and_a_flickering_one_is_not(rng):
    scene = rng.integers(0, 256, (80, 100, 3))
    for axis in (0, 1) * 3:
        scene = (scene + np.roll(scene, 1, axis)) // 2
    previous, current = (
        np.uint8(scene[8 - 2 * t : 72 - 2 * t, 3 * t : 3 * t + 80]) for t in (0, 1)
    )
    flow, counts = estimate_motion(current, previous, dis_flow)
    assert counts.mean() > 0.8
    sharp = previous[None], current[None]
    flicker = np.float32(sharp[0] / 255), np.float32(sharp[1] / 255 + 0.1)
    found = temporal_consistency(flicker, sharp, flow[None], counts[None])
    still = warping_error(*sharp, np.zeros_like(flow)[None])
    assert found["sharp"][0] < 0.05 * still[0]
    np.testing.assert_allclose(found["restored"] - found["sharp"], 0.01, rtol=0.1)
