import itertools

import numpy as np
import pytest

from mtujax.data.pipeline import Augment, Noise, Symmetry
from mtujax.errors import UsageError

SYMMETRIES = [Symmetry(*s) for s in itertools.product(range(4), (0, 1), (0, 1))]


def warp(previous, flow):
    """warped[y, x] = previous[y + dy, x + dx], pixel by pixel."""
    warped = np.zeros_like(previous)
    for y, x in np.ndindex(*flow.shape[:2]):
        dx, dy = flow[y, x].astype(int)
        warped[y, x] = previous[y + dy, x + dx]
    return warped


@pytest.mark.parametrize("symmetry", SYMMETRIES, ids=str)
def test_a_turned_flow_takes_the_turned_previous_frame_to_the_turned_current_one(
    symmetry, rng
):
    previous = rng.integers(0, 256, (6, 9, 3), np.uint8)
    y, x = rng.integers(0, 6, (6, 9)), rng.integers(0, 9, (6, 9))
    to_there = np.stack([x - np.arange(9), y - np.arange(6)[:, None]], -1)
    flow = to_there.astype(np.float32)
    current = warp(previous, flow)
    turned = warp(symmetry.of(previous), symmetry.of_flow(flow))
    np.testing.assert_array_equal(turned, symmetry.of(current))
    assert symmetry.before(*turned.shape[:2]) == (6, 9)


def test_symmetries_turn_and_flip_as_they_say(rng):
    clip = rng.integers(0, 256, (2, 4, 5, 3), np.uint8)
    left = Symmetry(1).of(clip)
    # What was at the right is at the top after a quarter turn to the left.
    np.testing.assert_array_equal(left[:, 0], clip[:, :, -1])
    np.testing.assert_array_equal(Symmetry(3).of(left), clip)
    np.testing.assert_array_equal(Symmetry(0, True).of(clip), clip[:, ::-1])
    np.testing.assert_array_equal(Symmetry(0, False, True).of(clip), clip[:, :, ::-1])
    assert len({s.of(clip[:, :4, :4]).tobytes() for s in SYMMETRIES}) == 8


def test_turns_and_flips_are_as_frequent_as_in_the_release(rng):
    drawn = [Augment().draw(rng) for _ in range(20_000)]
    turns = np.bincount([s.turns for s in drawn]) / len(drawn)
    np.testing.assert_allclose(turns, [0.5, 0.15, 0.2, 0.15], atol=0.015)
    flips = np.bincount([2 * s.vertical + s.horizontal for s in drawn]) / len(drawn)
    np.testing.assert_allclose(flips, [0.5, 0.15, 0.15, 0.2], atol=0.015)
    assert {Augment(0, 0).draw(rng) for _ in range(50)} == {Symmetry()}


def test_noise_has_the_deviation_drawn_and_is_the_same_in_a_repeated_frame(rng):
    grey = np.full((5, 40, 40, 3), 100, np.uint8)
    noisy = Noise(0.02, 0.02, probability=1).add(grey, np.array([0, 0, 0, 1, 2]), rng)
    assert noisy.dtype == np.uint8 and (grey == 100).all()
    np.testing.assert_array_equal(noisy[0], noisy[2])
    assert (noisy[2] != noisy[3]).any() and (noisy[3] != noisy[4]).any()
    for frame in noisy:
        # Rounding adds 1/12 of a grey level squared.
        expected = np.sqrt((0.02 * 255) ** 2 + 1 / 12)
        np.testing.assert_allclose(frame.std(), expected, rtol=0.03)
        np.testing.assert_allclose(frame.mean(), 100, atol=0.3)


def test_noise_is_clipped_not_wrapped_around(rng):
    ends = np.stack([np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 255)])
    noisy = Noise(0.1, 0.1, probability=1).add(
        ends.astype(np.uint8), np.array([0, 1]), rng
    )
    assert noisy[0].max() < 160 and noisy[1].min() > 95


def test_half_of_the_frames_have_noise(rng):
    grey = np.full((200, 4, 4, 3), 100, np.uint8)
    noisy = Noise(0.1, 0.1).add(grey, np.arange(200), rng)
    assert 70 < (noisy != grey).any(axis=(1, 2, 3)).sum() < 130


def test_the_noise_of_the_release_is_below_a_grey_level(rng):
    grey = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    noisy = Noise(1e-4, 1e-4, probability=1).add(grey, np.arange(3), rng)
    np.testing.assert_array_equal(noisy, grey)


@pytest.mark.parametrize(
    "make, named",
    [
        (lambda: Augment(turn=1.5), "turn 1.5"),
        (lambda: Augment(flip=-0.1), "flip -0.1"),
        (lambda: Noise(probability=2), "probability 2"),
        (lambda: Noise(low=0.2, high=0.1), "noise from 0.2 to 0.1"),
    ],
)
def test_a_setting_that_cannot_be_is_named(make, named):
    with pytest.raises(UsageError, match=named):
        make()
