"""Samples along a frame's motion against loops, known motion and other libraries."""

import functools

import cv2
import einops
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import skimage.transform
from networks import slow

from mtujax.ops import motion_samples as steering
from mtujax.ops.blur import window_blur
from mtujax.ops.motion_samples import (
    along_motion,
    frame_motion,
    frame_motions,
    steered_samples,
)
from mtujax.ops.resampling import halved

found_samples = jax.jit(along_motion)


def texture(height, width, seed=0):
    """[H, W, 3] noise of all sizes, as in pictures: something to follow everywhere."""
    rng, total = np.random.default_rng(seed), 0.0
    for size in (1.5, 4, 10, 25):
        noise = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), size)
        total += size**0.3 * noise / noise.std()
    return np.float32((total - total.min()) / (total.max() - total.min()))


def moved(scene, transform, size):
    """[1, H, W, 3] of the middle of a scene that is moved by a 2x3 matrix."""
    height, width = size
    y, x = (a // 2 - b // 2 for a, b in zip(scene.shape[:2], size, strict=True))
    image = cv2.warpAffine(
        scene, transform, scene.shape[1::-1], flags=cv2.INTER_LANCZOS4
    )
    return image[None, y : y + height, x : x + width]


def shifts(velocity, size, times=(-1, 0, 1)):
    scene = texture(size[0] + 100, size[1] + 100)
    matrices = [
        np.float64([[1, 0, t * velocity[0]], [0, 1, t * velocity[1]]]) for t in times
    ]
    return [moved(scene, matrix, size) for matrix in matrices]


def at(image, y, x):
    """One bilinear sample of [H, W, C], plainly; its edge repeats."""
    height, width, _ = image.shape
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(np.floor(y)), int(np.floor(x))
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = image[top, left] * (left + 1 - x) + image[top, right] * (x - left)
    lower = image[bottom, left] * (left + 1 - x) + image[bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def assert_found(motion, wanted):
    """Within 0.3 pixels, but for the few that see what the frame does not show."""
    error = np.abs(motion - wanted)[48:-48, 48:-48]
    assert error.size and np.quantile(error, 0.98) < 0.3


@pytest.mark.parametrize("patch", [1, 2])
def test_samples_are_those_of_a_plain_loop_also_far_outside(rng, patch):
    image = rng.random((2, 6, 10, 3))
    motion = rng.normal(0, 12, (2, 6 // patch, 10 // patch, 2))
    motion[0, 0, 0], motion[1, -1, -1] = (-40, 2.5), (40, 40)
    steps = [-1.0, 0.25]
    found = found_samples(
        image.astype(np.float32), motion.astype(np.float32), jnp.asarray(steps)
    )
    found = np.asarray(found)
    assert found.shape == (2, 2, 6, 10, 3)
    for s, b, y, x in np.ndindex(found.shape[:-1]):
        dx, dy = steps[s] * motion[b, y // patch, x // patch]
        wanted = at(image[b], y + dy, x + dx)
        np.testing.assert_allclose(found[s, b, y, x], wanted, atol=2e-6)


@pytest.mark.slow
def test_places_of_a_frame_of_more_pixels_than_float32_counts_are_exact():
    height, width = 4100, 4104  # more than 2**24
    image = np.arange(height * width, dtype=np.int32).reshape(1, height, width, 1)
    image = (image % 251).astype(np.float32)
    motion = np.broadcast_to(np.float32([1, 1]), (1, height // 4, width // 4, 2))
    (found,) = along_motion(image, motion, jnp.asarray([1.0]))
    np.testing.assert_array_equal(found[:, :-1, :-1], image[:, 1:, 1:])


@pytest.mark.parametrize(
    "velocity",
    [(0.4, -0.3), (2.5, 1.25), (-6, 3.5), (11, -8), slow((20, 0)), (-14, 20)],
)
def test_a_known_shift_is_found_to_a_third_of_a_pixel(velocity):
    motion = np.asarray(frame_motion(*shifts(velocity, (160, 192)), patch=2))
    assert motion.shape == (1, 80, 96, 2) and motion.dtype == np.float32
    assert_found(motion[0].repeat(2, 0).repeat(2, 1), np.float32(velocity))


def test_a_small_turn_is_found():
    size, angle = (160, 192), 1.0
    scene = texture(260, 292)
    centre = (scene.shape[1] / 2, scene.shape[0] / 2)
    turned = [
        moved(scene, cv2.getRotationMatrix2D(centre, -angle * t, 1), size)
        for t in (-1, 0, 1)
    ]
    motion = np.asarray(frame_motion(*turned))[0]
    y, x = np.mgrid[: size[0], : size[1]] - np.float64(size)[:, None, None] / 2
    # With y downwards; half the way from the frame before to the one after.
    wanted = np.sin(np.deg2rad(angle)) * np.stack([-y, x], axis=-1)
    assert np.abs(wanted).max() > 1.5
    assert_found(motion, wanted)


@pytest.mark.parametrize("missing", [0, 2])
def test_at_the_ends_of_a_video_the_other_neighbour_tells_the_motion(missing):
    velocity = (11, -8)
    frames = shifts(velocity, (160, 192))
    frames[missing] = frames[1]
    assert_found(np.asarray(frame_motion(*frames))[0], np.float32(velocity))


@pytest.mark.parametrize(
    "before, after",
    [((-4, 1.5), (-7, 3)), ((9, 6), (3, 4)), slow((0.5, -0.25), (4, -4))],
)
def test_each_neighbour_has_a_motion_of_its_own(before, after):
    """Of a camera that changes its speed, as a hand does."""
    frames = shifts(before, (160, 192), (-1, 0))
    frames.append(shifts(after, (160, 192), (1,))[0])
    motion, both = (np.asarray(x)[0] for x in frame_motions(*frames, patch=2))
    np.testing.assert_array_equal(motion, frame_motion(*frames, patch=2)[0])
    assert both.shape == (80, 96, 4) and both.dtype == np.float32
    wanted = np.float32([*before, *after])
    assert_found(both.repeat(2, 0).repeat(2, 1), wanted)
    middle = np.abs(motion - np.add(before, after) / 2)[24:-24, 24:-24]
    assert np.median(middle) < 0.3


@pytest.mark.parametrize("missing", [0, 2])
def test_to_a_neighbour_that_is_missing_the_motion_is_that_to_the_other(missing):
    frames = shifts((11, -8), (64, 96))
    frames[missing] = frames[1]
    motion, both = frame_motions(*frames)
    gone = both[..., :2] if missing == 0 else both[..., 2:]
    np.testing.assert_array_equal(gone, motion)
    assert np.isfinite(both).all() and np.abs(both).max() <= 40


@pytest.mark.slow
def test_each_video_of_a_batch_has_its_own_ends():
    frames = shifts((5, -3), (64, 96))
    first = [frames[1], frames[1], frames[2]]
    together = frame_motion(*map(np.concatenate, zip(frames, first, strict=True)))
    apart = [frame_motion(*frames)[0], frame_motion(*first)[0]]
    np.testing.assert_allclose(together, apart, atol=1e-3)


@pytest.mark.parametrize(
    "size", [(8, 8), (24, 40), slow((8, 40)), slow((72, 16)), slow((104, 88))]
)
def test_any_size_has_a_motion_and_still_frames_none(size):
    frames = shifts((1.5, 0.5), size)
    motion = np.asarray(frame_motion(*frames))
    assert motion.shape == (1, *size, 2) and np.isfinite(motion).all()
    assert motion.any() and np.abs(motion).max() <= 40
    assert not np.asarray(frame_motion(frames[1], frames[1], frames[1])).any()
    assert not np.asarray(frame_motion(frames[0], frames[1], frames[0])).any()


def test_motion_beyond_40_pixels_is_cut_off():
    scene = cv2.GaussianBlur(texture(500, 600), (0, 0), 20)
    scene = (scene - scene.min()) / (scene.max() - scene.min())
    matrices = [np.float64([[1, 0, 44 * t], [0, 1, 0]]) for t in (-1, 0, 1)]
    frames = [moved(scene, matrix, (224, 320)) for matrix in matrices]
    middle = np.asarray(frame_motion(*frames))[0, 80:-80, 120:-120]
    assert (middle[..., 0] == 40).mean() > 0.9


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (2, 5)])
def test_averages_repeat_the_edge(rng, size):
    x = rng.random((2, *size, 3)).astype(np.float32)
    wanted = scipy.ndimage.uniform_filter(x, (0, 5, 5, 0), mode="nearest")
    np.testing.assert_allclose(steering._mean(x, 5), wanted, atol=1e-6)


def test_a_level_is_the_average_of_four_pixels(rng):
    image = rng.random((1, 7, 10, 1)).astype(np.float32)
    wanted = skimage.transform.downscale_local_mean(image[0, :6, :, 0], (2, 2))
    np.testing.assert_allclose(halved(image)[0, ..., 0], wanted, atol=1e-6)


@pytest.mark.parametrize("count, step", [(11, 0.5), (20, 0.25), (3, 2.0)])
def test_resampling_is_linear_between_centres(rng, count, step):
    x = rng.random((1, 5, 6, 2)).astype(np.float32)
    places = (np.arange(count) + 0.5) * step - 0.5
    wanted = scipy.ndimage.map_coordinates(
        x[0, ..., 1],
        np.meshgrid(places, places, indexing="ij"),
        order=1,
        mode="nearest",
    )
    resampled = jax.jit(steering._resampled, static_argnums=(1, 2))
    found = resampled(x, (count, count), step)[0, ..., 1]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("moving", ["both", "the other"])
def test_an_iteration_solves_each_windows_equations(rng, moving):
    before, after = (texture(20, 24, seed)[..., 0] for seed in (1, 2))
    motion = rng.normal(0, 1.5, (1, 20, 24, 2)).astype(np.float32)
    y, x = np.mgrid[:20, :24].astype(float)

    def places(sign):
        return y + sign * motion[0, ..., 1], x + sign * motion[0, ..., 0]

    def shifted(image, sign):
        return scipy.ndimage.map_coordinates(
            image, places(sign), order=1, mode="nearest"
        )

    def mean(values, side):
        return scipy.ndimage.uniform_filter(values, side, mode="nearest")

    first, second = shifted(before, -1), shifted(after, 1)
    if moving == "the other":
        first = before
    beyond = np.zeros((20, 24))
    for down, across in (places(-1), places(1)):
        for far in (-down, down - 19, -across, across - 23):
            beyond = np.maximum(beyond, far)
    assert 0.05 < (beyond > 0).mean() < 0.5
    wide = np.pad((first + second) / 2, 1, mode="edge")
    slopes = [wide[1:-1, 2:] - wide[1:-1, :-2], wide[2:, 1:-1] - wide[:-2, 1:-1]]
    slopes = [slope / 2 for slope in slopes]
    change = second - first
    step, weight = np.zeros((20, 24, 2)), np.zeros((20, 24))
    matrix = [[mean(a * b, 5) for b in slopes] for a in slopes]
    vector = [mean(a * change, 5) for a in slopes]
    unlike = mean(change**2 + np.minimum(beyond, 1), 5)
    for place in np.ndindex(20, 24):
        system = np.array([[m[place] for m in row] for row in matrix])
        texture_ = np.linalg.det(system) / (np.trace(system) + 1e-9)
        weight[place] = np.sqrt(max(texture_, 0) + 1e-5) / (1 + 3e4 * unlike[place])
        system += 1e-4 * np.eye(2)
        # Where both images move, the difference falls by twice a step along the slope.
        system *= 2 if moving == "both" else 1
        step[place] = np.linalg.solve(system, [-v[place] for v in vector])
    assert (np.abs(step) > 1).any() and (np.abs(step) < 1).any()
    wanted = weight[..., None] * (motion[0] + np.clip(step, -1, 1))
    wanted = np.stack([mean(wanted[..., k], 9) for k in (0, 1)], axis=-1)
    wanted /= mean(weight, 9)[..., None]
    corners = (steering._corners(image[None, ..., None]) for image in (before, after))
    if moving == "both":
        found = jax.jit(steering._refined)(motion, *corners)
    else:
        (_, after) = corners
        found = jax.jit(steering._followed)(motion, before[None], after)
    np.testing.assert_allclose(found[0], wanted, atol=1e-3)


def test_what_enters_the_frame_does_not_disturb_the_motion_around():
    """Something new beside each frame's edge, that no other frame shows."""
    size, velocity = (160, 192), (6, 0)
    before, current, after = shifts(velocity, size)
    for frame, seed in ((before, 3), (current, 4), (after, 5)):
        frame[:, :, -24:] = texture(size[0], 24, seed)
    motion = np.asarray(frame_motion(before, current, after))[0]
    error = np.linalg.norm(motion - velocity, axis=-1)
    assert np.median(error[:, :-32]) < 0.3 and error[:, :-64].max() < 2
    assert np.quantile(error[:, -24:], 0.9) < 8


def test_a_plain_surface_moves_as_what_is_around_it():
    size, velocity = (160, 192), (5, -4)
    scene = texture(260, 292)
    scene[100:150, 110:180] = 0.5  # a wall
    frames = [
        moved(scene, np.float64([[1, 0, t * 5], [0, 1, t * -4]]), size)
        for t in (-1, 0, 1)
    ]
    motion = np.asarray(frame_motion(*frames))[0]
    error = np.linalg.norm(motion - velocity, axis=-1)
    assert error[60:90, 70:120].max() < 1


@pytest.mark.parametrize("patch, lookahead", [(2, 1), (1, 0)])
def test_samples_are_laid_out_by_patch_and_scaled(patch, lookahead):
    frames = shifts((3, -2), (24, 32))
    window = np.stack(frames[: 2 + lookahead], axis=1)
    place = {"lookback": 1, "patch": patch}
    motion = jax.jit(functools.partial(window_blur, **place))(window).motion
    after = frames[2] if lookahead else frames[1]
    alone = frame_motion(frames[0], frames[1], after, patch=patch)
    np.testing.assert_array_equal(motion, alone)
    steered = functools.partial(steered_samples, samples=2, **place)
    along, features, _ = jax.jit(steered)(window, motion)
    grey = frames[1] @ np.float32([0.299, 0.587, 0.114])
    wanted = [
        found_samples(grey[..., None], motion, jnp.asarray([step]))[0, ..., 0] - grey
        for step in (-1, -0.5, 0.5, 1)
    ]
    of_patches = "b (h y) (w x) s -> b h w (y x) s"
    planes = np.stack(wanted, -1)
    planes = einops.rearrange(planes, of_patches, y=patch, x=patch)
    np.testing.assert_allclose(along, planes, atol=1e-5)
    assert np.abs(along).max() > 0.05
    for neighbour, step in ((frames[0], -1), (after, 1)):
        (aligned,) = found_samples(neighbour, motion, jnp.asarray([float(step)]))
        wanted += list(np.moveaxis(aligned - frames[1], -1, 0))
    count = len(wanted)
    values = count * patch**2
    pixels, rest = map(np.asarray, features)
    assert pixels.shape == (1, 24 // patch, 32 // patch, values)
    for y, x in np.ndindex(patch, patch):
        for k, plane in enumerate(wanted):
            place = pixels[..., (patch * y + x) * count + k]
            expected = 4 * np.asarray(plane)[:, y::patch, x::patch]
            np.testing.assert_allclose(place, expected, atol=2e-5)
    length = np.minimum(np.hypot(*np.moveaxis(motion, -1, 0))[..., None] / 4, 1)
    wanted = np.concatenate([motion / 10, length], axis=-1)
    np.testing.assert_allclose(rest, wanted, atol=1e-6)


@pytest.mark.parametrize("patch", [2, slow(1)])
def test_samples_of_neighbours_lie_around_where_the_motion_to_each_leads(rng, patch):
    frames = shifts((3, -2), (24, 32))
    window, restored = np.stack(frames, axis=1), rng.random((1, 24, 32, 3), np.float32)
    size = 1, 24 // patch, 32 // patch
    motion, ways = (rng.normal(0, 3, (*size, n)).astype(np.float32) for n in (2, 4))
    steered = functools.partial(steered_samples, lookback=1, samples=2, patch=patch)
    found = jax.jit(functools.partial(steered, neighbour_samples=1))
    along, features, before = found(window, motion, restored, ways)
    by_one, _, _ = jax.jit(steered)(window, motion)
    grey = [frame @ np.float32([0.299, 0.587, 0.114]) for frame in frames]
    planes, colours = [], []
    for frame, way, sign in ((0, ways[..., :2], -1), (2, ways[..., 2:], 1)):
        for step in (sign - 0.25, sign, sign + 0.25):
            (shade,) = found_samples(grey[frame][..., None], way, jnp.asarray([step]))
            planes.append(shade[..., 0] - grey[1])
    for image, way, sign in (
        (frames[0], ways[..., :2], -1.0),
        (frames[2], ways[..., 2:], 1.0),
        (restored, ways[..., :2], -1.0),
    ):
        (aligned,) = found_samples(image, way, jnp.asarray([sign]))
        colours += list(np.moveaxis(aligned - frames[1], -1, 0))
    np.testing.assert_allclose(before, aligned, atol=1e-6)

    def of_patches(planes):
        how = "b (h y) (w x) s -> b h w (y x) s"
        return einops.rearrange(np.stack(planes, -1), how, y=patch, x=patch)

    wanted = np.concatenate([by_one, of_patches(planes)], axis=-1)
    np.testing.assert_allclose(along, wanted, atol=1e-5)
    parts = [by_one, of_patches(planes), of_patches(colours)]
    wanted = 4 * np.concatenate(parts, axis=-1).reshape(*size, -1)
    np.testing.assert_allclose(features[0], wanted, atol=4e-5)


def test_no_gradient_passes():
    window = np.stack(shifts((3, -2), (16, 24)), axis=1)

    def total(window):
        place = {"lookback": 1, "patch": 2}
        motion, _, ways = window_blur(window, with_neighbours=True, **place)
        before = 0.5 * window[:, 0]
        along, features, moved = steered_samples(
            window, motion, before, ways, samples=1, neighbour_samples=1, **place
        )
        frame = jax.lax.stop_gradient(window[:, 1])
        return along.sum() + features[0].sum() + (moved - window[:, 1] + frame).sum()

    assert not np.asarray(jax.jit(jax.grad(total))(window)).any()
