"""Pictures to look at: what stands in which column, and what each colour says."""

import math

import numpy as np
import pytest

from mtujax.config import MOTION_STRIDE
from mtujax.video.comparison import (
    DIFF_GAIN,
    VIEWS,
    compare,
    motion_picture,
    view_size,
)


def pair(rng, height, width, dtype):
    """Two frames without a pixel as grey as the divider."""
    frames = rng.integers(0, 190, (2, height, width, 3), np.uint8)
    return frames if dtype == np.uint8 else (frames / 255).astype(dtype)


def divider_columns(picture):
    return np.flatnonzero((picture == picture.max()).all(axis=(0, 2)))


@pytest.mark.parametrize("kind", VIEWS)
@pytest.mark.parametrize("size", [(64, 36), (36, 64), (5, 3), (2, 1), (1, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_size_of_a_view_is_known_before(rng, kind, size, dtype):
    width, height = size
    picture = compare(*pair(rng, height, width, dtype), kind)
    assert picture.shape[1::-1] == view_size(kind, width, height)
    assert picture.shape[2] == 3 and picture.dtype == dtype
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("height, thickness", [(90, 2), (360, 2), (1080, 4), (2160, 8)])
def test_side_is_blurry_then_a_thin_divider_then_restored(rng, height, thickness):
    blurry, restored = pair(rng, height, 16, np.uint8)
    picture = compare(blurry, restored, "side")
    np.testing.assert_array_equal(picture[:, :16], blurry)
    np.testing.assert_array_equal(picture[:, -16:], restored)
    assert picture.shape[1] == 32 + thickness
    assert len(np.unique(picture[:, 16:-16])) == 1 and 150 < picture[0, 16, 0] < 230


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_wipe_hides_nothing_but_the_columns_of_its_divider(rng, dtype):
    blurry, restored = pair(rng, 36, 64, dtype)
    for number in range(0, 120, 7):
        picture = compare(blurry, restored, "wipe", number=number)
        left, right = divider_columns(picture)
        assert right == left + 1 and left % 2 == 0
        np.testing.assert_array_equal(picture[:, :left], blurry[:, :left])
        np.testing.assert_array_equal(picture[:, right + 1 :], restored[:, right + 1 :])


@pytest.mark.parametrize("rate", [24.0, 30.0])
def test_a_wipe_starts_in_the_middle_and_is_back_after_four_seconds(rng, rate):
    blurry, restored = pair(rng, 4, 200, np.uint8)
    period = int(4 * rate)
    places = [
        divider_columns(compare(blurry, restored, "wipe", number=n, rate=rate))[0]
        for n in range(period + 1)
    ]
    assert abs(places[0] + 1 - 100) <= 1 and abs(places[0] - places[-1]) <= 2
    assert min(places) <= 12 and max(places) >= 186
    assert np.argmax(places) < period / 2 < np.argmin(places)
    steps = np.abs(np.diff(places))  # of a sine, at most amplitude * frequency
    assert steps.max() <= math.ceil(90 * 2 * math.pi / period) + 2


def test_diff_amplifies_changes_around_mid_grey():
    blurry = np.full((2, 3, 3), 100, np.uint8)
    restored = blurry.copy()
    restored[0, 0], restored[0, 1], restored[0, 2] = (103, 100, 99), 255, 0
    picture = compare(blurry, restored, "diff")
    wanted = [128 + 3 * DIFF_GAIN, 128, 128 - DIFF_GAIN]
    np.testing.assert_array_equal(picture[0, 0], wanted)
    assert (picture[0, 1] == 255).all() and (picture[0, 2] == 0).all()
    assert (picture[1] == 128).all()
    exact = compare(blurry / np.float32(255), restored / np.float32(255), "diff")
    np.testing.assert_allclose(exact[0, 0], 0.5 + (np.array(wanted) - 128) / 255, 1e-5)
    assert (exact[1] == 0.5).all() and exact.min() == 0 and exact.max() == 1


def one_cell(dx, dy, radius=10):
    """The colour of one displacement, backward, in cells."""
    cell = np.array([[[dx, dy]]], np.int32)
    return tuple(int(c) for c in motion_picture(cell, (4, 4), radius=radius)[0, 0])


@pytest.mark.parametrize(
    "backward, colour",
    [
        ((0, 0), (255, 255, 255)),
        ((-10, 0), (255, 0, 0)),  # to the right: the first colour of the wheel
        ((0, -10), (255, 230, 0)),  # down: 13.5 fifteenths from red to yellow
        ((10, 0), (0, 209, 255)),  # to the left: 2 elevenths from cyan to blue
        ((0, 10), (88, 0, 255)),  # up: 4.5 thirteenths from blue to magenta
        ((-5, 0), (255, 128, 128)),
    ],
)
def test_colours_of_known_directions(backward, colour):
    assert one_cell(*backward) == colour


def test_what_moves_to_the_right_is_red():
    previous = np.random.default_rng(0).random((16, 24))
    current = np.roll(previous, MOTION_STRIDE, axis=1)
    dx = -1  # cells: current[y, x] = previous[y, x + 4 dx]
    np.testing.assert_array_equal(
        current[:, 4:], previous[:, 4 + MOTION_STRIDE * dx : MOTION_STRIDE * dx]
    )
    red, green, blue = one_cell(dx, 0, radius=1)
    assert (red, green, blue) == (255, 0, 0)


def middlebury(fx, fy):
    """The colour of motion (fx, fy), pixel by pixel as the evaluation's C code has it.

    `makecolorwheel` and `computeColor` of Baker et al.'s colorcode.cpp, rewritten;
    lengths over 1, which it darkens, are not given here.
    """
    wheel = []
    for i in range(15):
        wheel.append((255, 255 * i // 15, 0))
    for i in range(6):
        wheel.append((255 - 255 * i // 6, 255, 0))
    for i in range(4):
        wheel.append((0, 255, 255 * i // 4))
    for i in range(11):
        wheel.append((0, 255 - 255 * i // 11, 255))
    for i in range(13):
        wheel.append((255 * i // 13, 0, 255))
    for i in range(6):
        wheel.append((255, 0, 255 - 255 * i // 6))
    length = math.sqrt(fx * fx + fy * fy)
    place = (math.atan2(-fy, -fx) / math.pi + 1.0) / 2.0 * (len(wheel) - 1)
    k0 = int(place)
    share = place - k0
    colour = []
    for channel in range(3):
        one = wheel[k0][channel] / 255.0
        other = wheel[(k0 + 1) % len(wheel)][channel] / 255.0
        value = (1 - share) * one + share * other
        colour.append(int(255.0 * (1 - length * (1 - value))))
    return colour


def test_the_wheel_is_that_of_the_middlebury_evaluation():
    reach = np.arange(-6, 7)
    backward = np.stack(np.meshgrid(reach, reach), axis=-1)
    radius = 9.0  # the longest has 6 * sqrt(2)
    picture = motion_picture(backward, (52, 52), radius=radius)[::4, ::4]
    wanted = [
        [middlebury(0.0 - dx / radius, 0.0 - dy / radius) for dx, dy in row]
        for row in backward
    ]
    # The code of the evaluation cuts the fraction off where this one rounds.
    assert np.abs(picture.astype(int) - wanted).max() <= 1


def test_motion_is_drawn_in_squares_and_cropped_to_the_frame(rng):
    displacement = rng.integers(-3, 4, (3, 5, 2), np.int32)
    picture = motion_picture(displacement, (18, 9), radius=4)
    assert picture.shape == (9, 18, 3) and picture.dtype == np.uint8
    for y in range(9):
        for x in range(18):
            assert tuple(picture[y, x]) == one_cell(*displacement[y // 4, x // 4], 4)


def test_larger_cells_are_drawn_in_larger_squares(rng):
    displacement = rng.integers(-3, 4, (2, 3, 2), np.int32)
    picture = motion_picture(displacement, (18, 9), radius=2, cell=8)
    finer = motion_picture(displacement.repeat(2, 0).repeat(2, 1), (24, 16), radius=2)
    np.testing.assert_array_equal(picture, finer[:9, :18])


def test_longer_motion_than_the_radius_keeps_its_hue():
    assert one_cell(-9, 3, radius=2) == one_cell(-3, 1, radius=2)
    assert one_cell(-1, 0, radius=4) != one_cell(-1, 0, radius=2)
