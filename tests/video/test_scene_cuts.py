"""Cuts: two shots spliced are told apart, and light, motion and fades are none."""

import importlib.resources

import cv2
import numpy as np
import pytest

from mtujax.config import SCENE_THRESHOLD
from mtujax.video.scene_cuts import MEMORY, PATIENCE, shots

HEIGHT, WIDTH = 90, 160


def photo():
    """A part of the bundled photograph, small, uint8 RGB."""
    path = importlib.resources.files("mtujax") / "assets" / "arches.jpg"
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (480, 320), interpolation=cv2.INTER_AREA)


def painting(seed):
    """Something like a photograph: hard edges and soft texture in a few colours."""
    rng = np.random.default_rng(seed)
    image = np.full((320, 480, 3), rng.uniform(0.1, 0.9, 3), np.float32)
    for _ in range(40):
        x, y, across, down = rng.uniform(0, 1, 4) * (480, 320, 80, 60)
        colour = rng.uniform(0, 1, 3)
        box = (int(x), int(y)), (int(across) + 5, int(down) + 5), rng.uniform(0, 180)
        cv2.ellipse(image, box, colour.tolist(), -1)
    for cells in (6, 12, 24, 48):
        noise = rng.normal(0, 0.05, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (480, 320))
    return (255 * np.clip(image, 0, 1)).astype(np.uint8)


def pan(picture, count, speed=2, first=(20, 20)):
    """Frames of a camera that pans `speed` pixels to the right at a time."""
    top, left = first
    starts = [left + speed * t for t in range(count)]
    return [picture[top : top + HEIGHT, x : x + WIDTH] for x in starts]


def cuts(frames, threshold=SCENE_THRESHOLD, **options):
    tagged = ((frame, number) for number, frame in enumerate(frames))
    return [number for _, number, cut in shots(tagged, threshold, **options) if cut]


def lit(frame, gain, added):
    """The frame in `gain` times its light and some more, in [0, 1] of white."""
    light = (frame / 255) ** 2.2 * gain + added
    return (255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def spot(frame):
    """A lamp in one corner, which saturates near it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    near = np.exp(-((x - 40) ** 2 + (y - 30) ** 2) / 60**2)[..., None]
    return lit(frame, 1 + 20 * near, 0.6 * near)


def band(frame):
    """A flash shorter than the time in which the sensor's rows are read."""
    rows = np.arange(HEIGHT)[:, None, None] < 60
    return np.where(rows, lit(frame, 25, 0.3), frame)


FLASHES = {
    "white": lambda frame: np.full_like(frame, 255),
    "nearly white": lambda frame: lit(frame, 1, 0.95),
    "overexposed": lambda frame: lit(frame, 15, 0.05),
    "veiled": lambda frame: lit(frame, 0.8, 0.6),
    "red": lambda frame: lit(frame, 0.4, np.array([0.8, 0.05, 0.0])),
    "spot": spot,
    "band": band,
    "black": lambda frame: np.full_like(frame, 16),
    "dark": lambda frame: lit(frame, 0.01, 0),
    "blue": lambda frame: np.full_like(frame, 1) * np.array([0, 0, 200], np.uint8),
}


@pytest.fixture(scope="module")
def shot():
    return pan(photo(), 16)


@pytest.mark.parametrize("seed", range(8))
def test_two_shots_spliced_are_one_cut(seed):
    one, other = pan(photo(), 6, speed=seed), pan(painting(seed), 6)
    assert cuts(one + other) == [6]
    assert cuts(other + one) == [6]
    assert cuts(other + pan(painting(100 + seed), 6)) == [6]


def test_fast_pans_are_no_cuts():
    for speed in (4, 8, 16):  # a tenth of the width at each frame
        assert cuts(pan(photo(), 300 // speed, speed=speed)) == []


@pytest.mark.parametrize("length", [8, 16, 30])
def test_cross_fades_are_no_cuts(length):
    one, other = pan(photo(), length), pan(painting(3), length)
    shares = np.linspace(0, 1, length)
    fade = [
        cv2.addWeighted(a, 1 - share, b, share, 0)
        for a, b, share in zip(one, other, shares, strict=True)
    ]
    assert cuts([one[0]] * 4 + fade + [other[-1]] * 4) == []


@pytest.mark.parametrize("kind", FLASHES)
@pytest.mark.parametrize("length", [1, 2, PATIENCE])
def test_a_flash_is_no_cut_and_neither_is_its_end(shot, kind, length):
    frames = list(shot)
    for number in range(5, 5 + length):
        frames[number] = FLASHES[kind](frames[number])
    assert cuts(frames) == []


@pytest.mark.parametrize("kind", ["white", "spot", "band", "black", "blue"])
def test_without_looking_ahead_a_flash_would_be_two_cuts(shot, kind):
    frames = [*shot[:5], FLASHES[kind](shot[5]), *shot[6:]]
    assert cuts(frames, patience=0) == [5, 6]


@pytest.mark.parametrize("kind", ["white", "overexposed", "spot", "black"])
@pytest.mark.parametrize("every", [2, 3])
def test_a_strobe_makes_no_cuts(shot, kind, every):
    frames = [FLASHES[kind](f) if i % every else f for i, f in enumerate(shot)]
    assert cuts([*frames, shot[-1]]) == []


def test_lightning_that_dies_down_is_no_cut(shot):
    frames = list(shot)
    frames[5] = FLASHES["white"](frames[5])
    frames[6], frames[7] = lit(frames[6], 15, 0.05), lit(frames[7], 2, 0)
    assert cuts(frames) == []


def test_what_is_longer_than_a_flash_is_a_shot(shot):
    white = [FLASHES["white"](f) for f in shot[5 : 6 + PATIENCE]]
    frames = shot[:5] + white + shot[5 + len(white) :]
    assert cuts(frames) == [5, 6 + PATIENCE]
    assert cuts(frames, patience=PATIENCE + 1) == []


@pytest.mark.parametrize("length", [1, 2, PATIENCE])
def test_a_picture_of_its_own_is_a_shot_however_short(shot, length):
    frames = shot[:6] + pan(painting(4), length) + shot[6:]
    assert cuts(frames) == [6, 6 + length]


def test_a_flash_does_not_hide_the_cut_to_another_shot(shot):
    flash = FLASHES["white"](shot[6])
    assert 7 in cuts([*shot[:6], flash, *pan(painting(5), 6)])


def test_a_cut_to_black_and_out_of_it_are_cuts(shot):
    black = [FLASHES["black"](shot[0])] * 8
    assert cuts(shot[:6] + black + pan(painting(6), 6)) == [6, 14]


def test_noise_in_the_dark_is_no_cut(rng):
    dark = [rng.integers(0, 2, (HEIGHT, WIDTH, 3), np.uint8) for _ in range(6)]
    assert cuts(dark) == []
    levels = [np.full((9, 16, 3), level, np.uint8) for level in (0, 1, 0)]
    assert cuts(levels) == []


def test_a_threshold_of_zero_finds_nothing_and_reads_nothing_ahead(shot):
    read = []

    def source():
        for number, frame in enumerate(shot[:3] + pan(painting(1), 3)):
            read.append(number)
            yield frame, number

    for _, number, cut in shots(source(), 0):
        assert not cut and read[-1] == number


def test_frames_and_tags_come_back_as_they_went_in(shot):
    frames = [*shot[:5], FLASHES["white"](shot[5]), *shot[6:]]
    tags = [object() for _ in frames]
    found = list(shots(zip(frames, tags, strict=True), SCENE_THRESHOLD))
    assert len(found) == len(frames)
    for frame, tag, (found_frame, found_tag, _) in zip(
        frames, tags, found, strict=True
    ):
        assert found_frame is frame and found_tag is tag
    assert list(shots([], SCENE_THRESHOLD)) == []


def mixture(rng, shot, count=30):
    """A random run of two shots, flashes of several kinds and black."""
    other, kinds, frames = pan(painting(7), 16), list(FLASHES), []
    for _ in range(count):
        here = (shot if rng.random() < 0.7 else other)[rng.integers(16)]
        light = FLASHES[rng.choice(kinds)] if rng.random() < 0.5 else None
        repeats = rng.integers(1, 5)
        frames += [light(here) if light else here] * repeats
    return frames


@pytest.mark.parametrize("patience", [0, 1, PATIENCE])
def test_no_more_than_patience_frames_are_read_ahead(rng, shot, patience):
    frames, read, given = mixture(rng, shot), 0, 0

    def source():
        nonlocal read
        for frame in frames:
            read += 1
            yield frame, None

    ahead = []
    for _ in shots(source(), SCENE_THRESHOLD, patience=patience):
        given += 1
        ahead.append(read - given)
    assert max(ahead) == patience


def test_within_a_shot_and_at_a_plain_cut_nothing_is_read_ahead(shot):
    """Live video waits only where there may be a flash."""
    frames, read = shot[:5] + pan(painting(2), 5), []

    def source():
        for number, frame in enumerate(frames):
            read.append(number)
            yield frame, number

    for _, number, cut in shots(source(), SCENE_THRESHOLD):
        assert read[-1] == number and cut == (number == 5)


@pytest.mark.parametrize("patience", [1, PATIENCE])
def test_a_run_from_the_middle_decides_as_the_first_after_memory(rng, shot, patience):
    frames, memory = mixture(rng, shot), patience + 1
    whole = cuts(frames, patience=patience)
    assert 5 < len(whole) < len(frames) / 2
    assert memory == MEMORY or patience != PATIENCE
    for start in range(memory, len(frames), 2):
        again = cuts(frames[start - memory : start + 20], patience=patience)
        late = [n + start - memory for n in again if n >= memory]
        sure = range(start, start + 20 - memory)  # the end is not that of the video
        assert set(late) & set(sure) == set(whole) & set(sure)


def test_float_frames_are_judged_as_their_bytes(rng, shot):
    frames = mixture(rng, shot, 10)
    assert cuts([f / np.float32(255) for f in frames]) == cuts(frames)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5), (2, 400), (500, 3)])
def test_frames_of_any_size_are_taken(height, width):
    dark, bright = (np.full((height, width, 3), v, np.uint8) for v in (10, 240))
    assert cuts([dark] * 3 + [bright] * 6) == [3]
    assert cuts([dark] * 3 + [bright] * 2 + [dark] * 3) == []


def test_a_negative_patience_is_refused(shot):
    with pytest.raises(ValueError, match="patience=-1"):
        cuts(shot, patience=-1)
