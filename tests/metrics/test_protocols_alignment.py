"""Alignment against every shift tried in turn, and against NumPy's float64."""

import cv2
import numpy as np
import pytest
import recordings

from mtujax.metrics.protocols import align, best_shift


def photo():
    path = recordings.FOLDER / "metrics" / "p1_gt.png"
    return cv2.imread(str(path))[..., ::-1].astype(np.float64) / 255


def naive_shift(restored, sharp):
    """The circular shift of `restored` with the largest product, columns first."""
    x, z = sharp.mean(-1), restored.mean(-1)
    height, width = x.shape
    best, place = -np.inf, None
    for k in range(width):
        for r in range(height):
            product = np.sum(x * np.roll(z, (r, k), (0, 1)))
            if product > best + 1e-9:
                best, place = product, (r, k)
    return [k if k < n // 2 else k - n for k, n in zip(place, x.shape, strict=True)]


def naive_move(image, rows, columns):
    out, covered = np.zeros_like(image), np.zeros(image.shape[:2], bool)
    height, width = image.shape[:2]
    for r, c in np.ndindex(height, width):
        if 0 <= r - rows < height and 0 <= c - columns < width:
            out[r, c], covered[r, c] = image[r - rows, c - columns], True
    return out, covered


@pytest.mark.parametrize("size", [(7, 9), (8, 6)])
def test_the_shift_is_the_best_of_all_also_for_odd_sizes(rng, size):
    restored, sharp = rng.random((2, 24, *size, 3))
    each = [naive_shift(z, x) for z, x in zip(restored, sharp, strict=True)]
    np.testing.assert_array_equal(best_shift(restored, sharp), each)
    assert len({tuple(s) for s in each}) > 12


def test_half_an_odd_side_is_a_shift_upwards(rng):
    sharp = rng.random((1, 7, 9, 3))
    restored = np.roll(sharp, (-3, -4), (1, 2))
    np.testing.assert_array_equal(best_shift(restored, sharp), [[-4, -5]])


def test_float32_decides_as_float64_on_a_photograph_moved_by_fractions(rng):
    sharp = np.float32(photo())
    height, width = sharp.shape[:2]
    restored, each = [], []
    for sigma in np.linspace(0.3, 6, 16):
        move = np.float32(np.c_[np.eye(2), rng.uniform(-6, 6, 2)])
        z = cv2.GaussianBlur(sharp, (0, 0), sigma) * rng.uniform(0.6, 1)
        z = cv2.warpAffine(z, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        z = np.round(255 * z + rng.normal(0, 3, z.shape)).clip(0, 255) / 255
        spectra = [np.fft.fft2(v.mean(-1, dtype=np.float64)) for v in (sharp, z)]
        match = np.abs(np.fft.ifft2(spectra[0] * np.conj(spectra[1])))
        place = np.unravel_index(match.T.argmax(), (width, height))[::-1]
        each.append(
            [
                k if k < n // 2 else k - n
                for k, n in zip(place, match.shape, strict=True)
            ]
        )
        restored.append(z.astype(np.float32))
    many = np.broadcast_to(sharp, (16, height, width, 3))
    np.testing.assert_array_equal(best_shift(np.stack(restored), many), each)


def test_gain_shift_and_what_comes_to_lie_are_as_in_a_naive_loop(rng):
    sharp = rng.random((2, 8, 6, 3))
    restored = np.stack([np.roll(sharp[0], (2, -1), (0, 1)), 0.5 * sharp[1] + 0.1])
    aligned = align(restored, sharp)
    np.testing.assert_array_equal(aligned.shift, [[-2, 1], [0, 0]])
    for b in range(2):
        gain = np.sum(sharp[b] * restored[b]) / np.sum(restored[b] ** 2)
        moved, covered = naive_move(restored[b], *np.asarray(aligned.shift)[b])
        np.testing.assert_allclose(aligned.gain[b], gain, rtol=1e-6)
        np.testing.assert_allclose(aligned.restored[b], gain * moved, atol=1e-6)
        np.testing.assert_allclose(
            aligned.sharp[b], sharp[b] * covered[..., None], atol=1e-7
        )
    assert np.all(aligned.defined)


def test_equal_frames_need_no_gain_and_no_shift(rng):
    sharp = rng.random((2, 8, 6, 3)).astype(np.float32)
    aligned = align(sharp, sharp)
    np.testing.assert_array_equal(aligned.shift, 0)
    np.testing.assert_array_equal(aligned.gain, 1)
    np.testing.assert_array_equal(aligned.restored, sharp)


def test_a_dimmed_frame_gets_its_brightness_back(rng):
    sharp = rng.random((1, 8, 6, 3))
    aligned = align(0.9 * sharp, sharp)
    np.testing.assert_allclose(aligned.gain, 1 / 0.9, rtol=1e-6)
    np.testing.assert_allclose(aligned.restored, sharp, atol=1e-6)


def test_black_frames_are_left_alone_and_told(rng):
    image, black = rng.random((8, 6, 3)), np.zeros((8, 6, 3))
    restored = np.stack([black, image, black, image])
    sharp = np.stack([image, black, black, image])
    aligned = align(restored, sharp)
    assert aligned.defined.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(aligned.gain, 1)
    np.testing.assert_array_equal(aligned.shift, 0)
    np.testing.assert_allclose(aligned.restored, restored, atol=1e-7)


@pytest.mark.parametrize("level", [0.3, 0.7, 1.0])
def test_flat_frames_are_not_moved(rng, level):
    flat, image = np.full((8, 6, 3), level), rng.random((8, 6, 3))
    shift = best_shift(np.stack([flat, image, flat]), np.stack([image, flat, flat]))
    np.testing.assert_array_equal(shift, 0)


def test_of_equal_peaks_the_first_counts_column_by_column(rng):
    tile = rng.random((4, 3, 3))
    tiles = np.tile(tile, (2, 2, 1))[None]
    np.testing.assert_array_equal(best_shift(tiles, tiles), 0)
    moved = np.roll(tiles, (-1, -1), (1, 2))
    np.testing.assert_array_equal(best_shift(moved, tiles), [[1, 1]])


def test_a_turned_pair_has_its_shift_turned(rng):
    sharp = rng.random((2, 8, 6, 3))
    restored = np.roll(sharp, (1, -2), (1, 2))
    turned = [np.swapaxes(v, 1, 2) for v in (restored, sharp)]
    upright = best_shift(restored, sharp)
    np.testing.assert_array_equal(best_shift(*turned), upright[:, ::-1])
