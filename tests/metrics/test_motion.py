"""Motion accuracy against loops over pixels and cells."""

import numpy as np
import pytest

from mtujax.metrics.motion import alignment_accuracy, end_point_error


def cells(image):
    height, width = (n // 4 for n in image.shape[:2])
    out = np.zeros((height, width, *image.shape[2:]))
    for r, c in np.ndindex(height, width):
        out[r, c] = image[4 * r : 4 * r + 4, 4 * c : 4 * c + 4].mean((0, 1))
    return out


def naive_accuracy(displacement, previous, current):
    """PSNR, share, warped frame and counted cells of one pair."""
    before, now = cells(previous), cells(current)
    height, width = now.shape[:2]
    warped, counts = np.zeros_like(now), np.zeros((height, width), bool)
    for r, c in np.ndindex(height, width):
        x, y = (c, r) + displacement[r, c]
        if 0 <= x < width and 0 <= y < height:
            warped[r, c], counts[r, c] = before[y, x], True
    error = ((warped - now) ** 2)[counts].mean()
    return -10 * np.log10(error), counts.mean(), warped, now, counts


def naive_ssim(x, y, counts):
    """Over windows of counted cells only, each for itself."""
    weights = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    values = []
    for r, c in np.ndindex(counts.shape[0] - 10, counts.shape[1] - 10):
        part = np.s_[r : r + 11, c : c + 11]
        if not counts[part].all():
            continue
        for k in range(3):
            a, b = x[part][..., k], y[part][..., k]
            ma, mb = np.sum(weights * a), np.sum(weights * b)
            va, vb = (np.sum(weights * (v - m) ** 2) for v, m in ((a, ma), (b, mb)))
            cov = np.sum(weights * (a - ma) * (b - mb))
            value = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
            values.append(value / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    return np.mean(values)


@pytest.fixture
def pair(rng):
    """uint8 [2, 66, 75, 3] twice: 16x18 cells, and pixels that fill none."""
    previous = rng.integers(0, 256, (2, 66, 75, 3))
    previous = previous + np.roll(previous, 1, 1) + np.roll(previous, 2, 2)
    current = np.roll(previous, (3, -5), (1, 2)) + rng.integers(0, 30, previous.shape)
    return (previous // 4).astype(np.uint8), (current // 4).astype(np.uint8)


def test_alignment_accuracy_equals_a_loop_over_cells(pair, rng):
    previous, current = pair
    displacement = rng.integers(-1, 2, (2, 17, 19, 2))  # of the padded frame
    displacement[1, 5, 3] = -9, 2
    found = alignment_accuracy(displacement, previous, current)
    for b in range(2):
        value, share, warped, now, counts = naive_accuracy(
            displacement[b], previous[b] / 255, current[b] / 255
        )
        np.testing.assert_allclose(found["psnr"][b], value, atol=1e-4)
        np.testing.assert_allclose(found["share"][b], share, atol=1e-6)
        similar = naive_ssim(warped, now, counts)
        np.testing.assert_allclose(found["ssim"][b], similar, atol=1e-5)
    assert 0.8 < float(found["share"][1]) < 1


def test_the_true_motion_aligns_perfectly_and_no_other(rng):
    scene = rng.integers(0, 256, (1, 80, 90, 3)).astype(np.uint8)
    previous, current = scene[:, 8:72, 4:72], scene[:, 4:68, 12:80]
    displacement = np.broadcast_to([2, -1], (1, 16, 17, 2))
    found = alignment_accuracy(displacement, previous, current)
    assert np.isposinf(found["psnr"][0])
    np.testing.assert_allclose(found["ssim"][0], 1, atol=1e-6)
    np.testing.assert_allclose(found["share"][0], 15 * 15 / (16 * 17), atol=1e-6)
    assert float(alignment_accuracy(-displacement, previous, current)["psnr"][0]) < 40


def test_larger_cells_are_measured_on_the_same_squares(pair, rng):
    displacement = rng.integers(-1, 2, (2, 9, 10, 2))  # cells of 8 pixels
    finer = 2 * displacement.repeat(2, 1).repeat(2, 2)
    flow = rng.normal(0, 8, (2, 66, 75, 2))
    found = alignment_accuracy(displacement, *pair, patch=2)
    for name, value in alignment_accuracy(finer, *pair).items():
        np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(
        end_point_error(displacement, flow, patch=2), end_point_error(finer, flow)
    )


def test_where_every_source_lies_outside_there_is_no_score(pair):
    displacement = np.full((2, 17, 19, 2), 40)
    found = alignment_accuracy(displacement, *pair)
    assert np.isnan(found["psnr"]).all() and np.isnan(found["ssim"]).all()
    np.testing.assert_array_equal(found["share"], 0)
    assert np.isnan(end_point_error(displacement, np.full((2, 66, 75, 2), 999.0))).all()


def test_frames_too_small_for_a_window_are_refused():
    frame = np.zeros((1, 43, 90, 3), np.uint8)
    with pytest.raises(ValueError, match="frames of 90x43: .* needs 44x44"):
        alignment_accuracy(np.zeros((1, 11, 23, 2), int), frame, frame)


def naive_error(displacement, flow, valid):
    height, width = (n // 4 for n in flow.shape[:2])
    errors = []
    for r, c in np.ndindex(height, width):
        part = np.s_[4 * r : 4 * r + 4, 4 * c : 4 * c + 4]
        known = valid[part] & np.isfinite(flow[part]).all(-1)
        if known.sum() < 8:
            continue
        dx, dy = flow[part][known].mean(0)
        if 0 <= c + dx / 4 <= width - 1 and 0 <= r + dy / 4 <= height - 1:
            errors.append(np.hypot(*(4 * displacement[r, c] - (dx, dy))))
    return np.mean(errors)


def test_end_point_error_equals_a_loop_over_cells(rng):
    flow = rng.normal(0, 6, (2, 22, 29, 2)).astype(np.float32)
    valid = rng.random((2, 22, 29)) < 0.6
    flow[0, 3, 4], flow[1, :4] = np.nan, np.inf
    displacement = rng.integers(-3, 4, (2, 6, 8, 2))
    each = [naive_error(*v) for v in zip(displacement, flow, valid, strict=True)]
    found = end_point_error(displacement, flow, valid)
    np.testing.assert_allclose(found, each, rtol=1e-5)


def test_the_true_displacement_has_no_end_point_error():
    displacement = np.broadcast_to([1, -2], (1, 6, 8, 2))
    flow = np.broadcast_to(np.float32([4, -8]), (1, 24, 32, 2))
    np.testing.assert_array_equal(end_point_error(displacement, flow), 0)
    off = np.broadcast_to(np.float32([7, -4]), (1, 24, 32, 2))
    np.testing.assert_allclose(end_point_error(displacement, off), 5, rtol=1e-6)
