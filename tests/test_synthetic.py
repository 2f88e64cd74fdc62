"""Blur from photographs: exact flow, exact blur, and reproducible bytes."""

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from mtujax.data.camera import Shake
from mtujax.data.synthetic import (
    clip_batches,
    linear_from_srgb,
    read_photo,
    srgb_from_linear,
    synthesize,
)

STILL = Shake(speed=(1e-6, 1e-6), noise=(0.0, 0.0))


def waves(height=300, width=340, period=14):
    """A band-limited photograph: interpolation hardly errs on it."""
    y, x = np.mgrid[:height, :width] * (2 * np.pi / period)
    planes = [np.sin(x) + np.sin(y), np.sin(0.7 * x + y), np.cos(x - 0.6 * y)]
    return (0.5 + 0.12 * np.stack(planes, axis=-1)).astype(np.float32)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-12)


def make(seed=0, shake=None, photo=None, **changes):
    size = dict(frames=4, height=96, width=128) | changes
    photo = waves() if photo is None else photo
    return synthesize(photo, np.random.default_rng(seed), shake=shake, **size)


def warped(previous, flow):
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
    places = y + flow[..., 1], x + flow[..., 0]
    planes = [map_coordinates(previous[..., c], places, order=5) for c in range(3)]
    return np.stack(planes, axis=-1)


def far_from_border(flow, margin):
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]]
    x, y = x + flow[..., 0], y + flow[..., 1]
    height, width = flow.shape[:2]
    far = (x >= margin) & (x < width - margin) & (y >= margin) & (y < height - margin)
    return far


@pytest.mark.parametrize("seed", range(4))
def test_the_flow_takes_each_sharp_frame_to_the_next(seed):
    clip = make(seed, Shake(speed=(3.0, 8.0), noise=(0.0, 0.0)))
    sharp = clip.sharp.astype(np.float32) / 255
    for t in range(1, len(sharp)):
        inside = clip.valid[t].copy()
        # Cubic sampling reads two pixels beyond its place.
        inside &= far_from_border(clip.flow[t], 6)
        assert inside.mean() > 0.5
        right = psnr(warped(sharp[t - 1], clip.flow[t])[inside], sharp[t][inside])
        wrong = clip.flow[t] + 0.25
        wrong = psnr(warped(sharp[t - 1], wrong)[inside], sharp[t][inside])
        assert right > 45 > wrong


def test_the_mask_is_false_exactly_where_the_source_is_outside():
    clip = make(1, Shake(speed=(8.0, 8.0)))
    y, x = np.mgrid[:96, :128]
    for t in range(1, 4):
        sx, sy = x + clip.flow[t, ..., 0], y + clip.flow[t, ..., 1]
        inside = (sx >= 0) & (sx <= 127) & (sy >= 0) & (sy <= 95)
        np.testing.assert_array_equal(clip.valid[t], inside)
    assert not clip.valid[0].any() and not clip.flow[0].any()


def test_without_motion_the_blurry_frames_are_the_sharp_ones():
    clip = make(shake=STILL)
    np.testing.assert_allclose(clip.blurry.astype(int), clip.sharp.astype(int), atol=1)


@pytest.mark.parametrize("speed, duty", [(8.0, 0.5), (12.0, 1.0), (16.0, 0.25)])
def test_the_extent_of_the_blur_is_speed_times_duty(speed, duty):
    """A pan over a step smears it over as many pixels as the camera moved."""
    photo = np.zeros((400, 400, 3), np.float32)
    photo[200:] = 1.0
    shake = Shake(
        speed=(speed, speed),
        pan=(1.0, 1.0),
        roll=0.0,
        zoom=0.0,
        duty=(duty, duty),
        scale=(1.0, 1.0),
        noise=(0.0, 0.0),
    )
    for seed in range(20):
        clip = make(seed, shake, photo, frames=2)
        light = linear_from_srgb(clip.blurry[0])[..., 1]
        flow = clip.flow[1, 0, 0]
        grown = [np.abs(np.diff(light, axis=a)).max(initial=0) for a in (0, 1)]
        axis = int(np.argmax(grown))
        travelled = abs(flow[1 - axis]) * duty
        if grown[axis] > 0 and travelled > 2:
            # A step smeared evenly over n pixels climbs 1 / n a pixel.
            np.testing.assert_allclose(1 / grown[axis], travelled, rtol=0.3, atol=0.5)
            return
    pytest.fail("no clip showed the step")


def test_highlights_are_averaged_in_linear_light():
    """Half black, half white is bright (188 of 255), not middle grey, when averaged."""
    light = np.array([0.0, 1.0], np.float32).mean()
    assert round(float(srgb_from_linear(light)) * 255) == 188


def test_the_transfer_functions_are_inverse():
    levels = np.arange(256, dtype=np.uint8)
    there = srgb_from_linear(linear_from_srgb(levels)) * 255
    np.testing.assert_allclose(there, levels, atol=1e-3)


def test_without_turns_the_crop_stands_as_the_photograph_does():
    photo = np.zeros((300, 400, 3), np.float32)
    photo[:150] = 1.0  # sky above
    for seed in range(5):
        shake = Shake(speed=(1.0, 1.0), turn=False, scale=(1.2, 1.2))
        clip = make(seed, shake, photo, height=200, width=200)
        assert clip.sharp[0, 0].mean() > 250 and clip.sharp[0, -1].mean() < 5


def test_noise_is_on_the_blurry_side_only():
    noisy = make(shake=Shake(speed=(1e-6, 1e-6), noise=(0.02, 0.02)))
    clean = make(shake=STILL)
    np.testing.assert_array_equal(noisy.sharp, clean.sharp)
    spread = np.std(noisy.blurry.astype(float) - noisy.sharp) / 255
    assert spread == pytest.approx(0.02, rel=0.1)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    first, again, other = make(3), make(3), make(4)
    for name in ("blurry", "sharp", "flow", "valid"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.blurry != other.blurry).any()


def test_batches_stack_clips_and_skip_small_photographs():
    photos = [waves(), np.zeros((20, 20, 3), np.float32)]
    batch = next(
        clip_batches(photos, np.random.default_rng(0), batch=3, frames=2, size=32)
    )
    assert batch["blurry"].shape == batch["sharp"].shape == (3, 2, 32, 32, 3)
    assert batch["flow"].shape == (3, 2, 32, 32, 2) and batch["valid"].dtype == bool
    assert batch["sharp"].std() > 0


def test_a_large_photograph_is_averaged_down_and_a_small_one_kept(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    whole = read_photo(tmp_path / "a.png")
    half = read_photo(tmp_path / "a.png", longest=20)
    expected = whole.reshape(10, 2, 20, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(half, expected, atol=1e-5)
    same = read_photo(tmp_path / "a.png", longest=40)
    np.testing.assert_array_equal(same, whole)


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ValueError, match="photo of 340x300: smaller than the 400x96"):
        make(width=400)
    with pytest.raises(ValueError, match="linear light"):
        make(photo=np.zeros((200, 200, 3), np.uint8))
    with pytest.raises(ValueError, match="no photograph is as large as 999x999"):
        next(clip_batches([waves()], None, batch=1, frames=1, size=999))
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    with pytest.raises(ValueError, match="text.jpg: not an image"):
        read_photo(path)
