import itertools
from fractions import Fraction

import av
import cv2
import media
import numpy as np
import pytest

from mtujax.video.codecs import choose
from mtujax.video.info import Orientation, VideoInfo
from mtujax.video.reader import VideoReader
from mtujax.video.writer import Part, VideoWriter, join

ONE, FAR = 1 << 16, 1 << 30
# (a, b, c, d) of x' = a x + c y, y' = b x + d y: all ways to lay down a picture.
EIGHT = [(p, 0, 0, q) for p in (1, -1) for q in (1, -1)]
EIGHT += [(0, p, q, 0) for p in (1, -1) for q in (1, -1)]
CLOCKWISE = (0, 1, -1, 0)  # what phones write that were held upright


def matrix(a, b, c, d, x=0, y=0):
    return a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, x * ONE, y * ONE, FAR


def laid_down(frame, a, b, c, d):
    """The frame as the matrix says, pixel by pixel."""
    height, width = frame.shape[:2]
    moved = {
        (a * x + c * y, b * x + d * y): frame[y, x]
        for y in range(height)
        for x in range(width)
    }
    left, top = (min(place[k] for place in moved) for k in (0, 1))
    rows = height if a else width
    columns = width if a else height
    return np.array(
        [[moved[left + x, top + y] for x in range(columns)] for y in range(rows)]
    )


def arrow(direction, size=41):
    """A white arrow that points into one of four directions."""
    picture, (dx, dy) = np.zeros((size, size, 3), np.uint8), direction
    middle, length = size // 2, size // 3
    start = middle - length * dx, middle - length * dy
    end = middle + length * dx, middle + length * dy
    cv2.arrowedLine(picture, start, end, (255, 255, 255), 2, tipLength=0.5)
    return picture


@pytest.mark.parametrize("way", EIGHT)
def test_frames_are_laid_down_as_the_matrix_says(rng, way):
    frame = rng.integers(0, 256, (4, 6, 3), np.uint8)
    orientation = Orientation.of(matrix(*way))
    upright = orientation.upright(frame)
    np.testing.assert_array_equal(upright, laid_down(frame, *way))
    assert upright.flags.c_contiguous and upright.dtype == np.uint8
    assert orientation.swaps == (way[0] == 0)
    assert orientation.is_identity == (way == (1, 0, 0, 1))
    assert orientation.matrix == matrix(*way)


def test_the_eight_ways_are_eight():
    found = {(o.turns, o.mirrored) for o in (Orientation.of(matrix(*w)) for w in EIGHT)}
    assert found == set(itertools.product(range(4), (False, True)))


def test_a_phone_held_upright_is_turned_clockwise():
    orientation = Orientation.of(matrix(*CLOCKWISE, x=40))
    ways = [(0, -1), (1, 0), (0, 1), (-1, 0)]
    seen = orientation.upright(arrow((-1, 0))) > 0
    assert max(ways, key=lambda way: (seen & (arrow(way) > 0)).sum()) == (0, -1)
    assert orientation.turns == 3 and not orientation.mirrored


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_turns_are_those_of_libav(tmp_path, angle):
    path = media.clip(tmp_path / "a.mp4", media.scene(2), rotation=(angle,))
    with av.open(str(path)) as container:  # in degrees, counter-clockwise
        told = next(container.decode(video=0)).rotation
    with VideoReader(path) as reader:
        assert reader.info.orientation.turns * 90 == told % 360 == angle
        assert not reader.info.orientation.mirrored


@pytest.mark.parametrize("way", EIGHT)
def test_a_dot_moves_by_the_turned_vector(way):
    orientation, move = Orientation.of(matrix(*way)), (3, -2)
    frames = np.zeros((2, 9, 14, 1), np.uint8)
    frames[0, 5, 4] = frames[1, 5 + move[1], 4 + move[0]] = 255
    before, after = (np.argwhere(orientation.upright(f))[0] for f in frames)
    field = np.full((9, 14, 2), move, np.float32)
    turned = orientation.turn_vectors(field)
    assert turned.dtype == np.float32 and turned.shape == field.shape
    dy, dx, _ = after - before
    np.testing.assert_array_equal(turned, np.full((9, 14, 2), (dx, dy)))


def test_vectors_stay_at_their_places(rng):
    field = rng.normal(size=(3, 5, 2)).astype(np.float32)
    turned = Orientation.of(matrix(*CLOCKWISE)).turn_vectors(field)
    np.testing.assert_array_equal(turned, np.stack((-field[..., 1], field[..., 0]), -1))


def test_other_matrices_turn_nothing_but_are_kept():
    assert Orientation.of(None) == Orientation()
    slanted = (56756, 32768, 0, -32768, 56756, 0, 0, 0, FAR)  # by 30 degrees
    assert Orientation.of(slanted).is_identity
    assert Orientation.of(slanted).matrix == slanted
    doubled = (0, 2 * ONE, 0, -ONE, 0, 0, 0, 0, FAR)
    assert Orientation.of(doubled).turns == Orientation.of(matrix(*CLOCKWISE)).turns


def test_upright_size_and_pixel_aspect_change_with_the_turn():
    phone = Orientation.of(matrix(*CLOCKWISE))
    rate = Fraction(25)
    coded = VideoInfo(
        64, 48, 9, rate, 1 / rate, aspect=Fraction(4, 3), orientation=phone
    )
    upright = coded.upright
    assert (upright.width, upright.height, upright.aspect) == (48, 64, Fraction(3, 4))
    assert upright.orientation.is_identity and upright.frames == 9
    assert upright.upright == upright


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("way", EIGHT)
def test_containers_keep_the_orientation(tmp_path, suffix, way):
    orientation, rate = Orientation.of(matrix(*way)), Fraction(25)
    info = VideoInfo(64, 48, 2, rate, 1 / rate, orientation=orientation)
    encoding = choose(suffix, info)
    with VideoWriter(tmp_path / "a.nut", info, encoding, part=True) as writer:
        for i, frame in enumerate(media.scene(2)):
            writer.write(frame, i)
    part = Part(tmp_path / "a.nut", 0, 1, writer.reorder)
    join(tmp_path / f"a{suffix}", info, encoding, [part])
    found = media.probe(tmp_path / f"a{suffix}")
    assert found.size == (64, 48)  # as coded: only the player turns it
    assert (found.display or matrix(1, 0, 0, 1))[:5] == matrix(*way)[:5]
    with VideoReader(tmp_path / f"a{suffix}") as reader:
        again = reader.info.orientation
    assert (again.turns, again.mirrored) == (orientation.turns, orientation.mirrored)


def test_the_shift_in_a_phones_matrix_is_kept(tmp_path):
    phone, rate = Orientation.of(matrix(*CLOCKWISE, x=48)), Fraction(25)
    info = VideoInfo(64, 48, 2, rate, 1 / rate, orientation=phone)
    with VideoWriter(tmp_path / "a.mp4", info) as writer:
        writer.write(media.scene(1)[0], 0)
    assert media.probe(tmp_path / "a.mp4").display == phone.matrix
