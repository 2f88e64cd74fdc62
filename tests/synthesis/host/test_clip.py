"""Blur from photographs: exact flow, exact blur, and reproducible bytes."""

import importlib.resources

import cv2
import numpy as np
import pytest
from networks import slow
from scenery import exposure, psnr, warped, waves

from mtujax.errors import UserError
from mtujax.synthesis.host.clip import synthesize
from mtujax.synthesis.host.sensor import srgb_from_linear
from mtujax.synthesis.photos import read_cutout, read_photo, scaled_down
from mtujax.synthesis.settings import BlurSettings, Objects, Shake

STILL = Shake(speed=(1e-6, 1e-6))
NAMES = ("blurry", "sharp", "flow", "valid", "duty")


def make(
    seed=0, shake=None, photo=None, settings=None, objects=None, cutouts=(), **changes
):
    size = dict(frames=4, height=96, width=128) | changes
    photo = waves() if photo is None else photo
    blur = BlurSettings(shake or Shake(), objects, settings or exposure())
    rng = np.random.default_rng(seed)
    return synthesize(photo, rng, **size, blur=blur, cutouts=cutouts)


def flower(side=120):
    """[side, side, 4]: a cut-out with a soft, winding border."""
    y, x = np.mgrid[:side, :side] / (side / 2) - 1
    edge = 0.7 + 0.2 * np.cos(5 * np.arctan2(y, x))
    alpha = np.clip((edge - np.hypot(x, y)) * 20, 0, 1)
    colour = np.clip(waves(side, side, 9) + [0.2, 0, -0.2], 0, 1)
    return np.rint(255 * np.dstack([colour, alpha])).astype(np.uint8)


@pytest.fixture(scope="module")
def arches():
    asset = importlib.resources.files("mtujax") / "assets" / "arches.jpg"
    return read_photo(str(asset))


def far_from_border(flow, margin):
    y, x = np.mgrid[: flow.shape[0], : flow.shape[1]]
    x, y = x + flow[..., 0], y + flow[..., 1]
    height, width = flow.shape[:2]
    far = (x >= margin) & (x < width - margin) & (y >= margin) & (y < height - margin)
    return far


@pytest.mark.parametrize("seed", range(4))
def test_the_flow_takes_each_sharp_frame_to_the_next(seed):
    clip = make(seed, Shake(speed=(3.0, 8.0)))
    sharp = clip.sharp.astype(np.float32) / 255
    for t in range(1, len(sharp)):
        inside = clip.valid[t].copy()
        # Splines read some pixels beyond their place.
        inside &= far_from_border(clip.flow[t], 6)
        assert inside.mean() > 0.5
        right = psnr(warped(sharp[t - 1], clip.flow[t])[inside], sharp[t][inside])
        wrong = clip.flow[t] + 0.25
        wrong = psnr(warped(sharp[t - 1], wrong)[inside], sharp[t][inside])
        assert right > 45 > wrong


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("cutouts", [(), (flower(),)], ids=["pieces", "cutouts"])
def test_on_a_photograph_the_flow_explains_what_the_mask_admits(arches, seed, cutouts):
    clip = make(
        seed,
        Shake(speed=(4.0, 10.0)),
        arches,
        height=240,
        width=320,
        objects=Objects(count=(2, 3)),
        cutouts=cutouts,
    )
    sharp = clip.sharp.astype(np.float32) / 255
    y, x = np.mgrid[:240, :320].astype(np.float32)
    for t in range(1, len(sharp)):
        places = x + clip.flow[t, ..., 0], y + clip.flow[t, ..., 1]
        moved = cv2.remap(sharp[t - 1], *places, cv2.INTER_CUBIC)
        valid = clip.valid[t]
        assert psnr(moved[valid], sharp[t][valid]) > 27
        assert 0.6 < valid.mean() < 1


def test_the_mask_is_false_exactly_where_the_source_is_outside():
    clip = make(1, Shake(speed=(8.0, 8.0)))
    y, x = np.mgrid[:96, :128]
    for t in range(1, 4):
        sx, sy = x + clip.flow[t, ..., 0], y + clip.flow[t, ..., 1]
        inside = (sx >= 0) & (sx <= 127) & (sy >= 0) & (sy <= 95)
        near = np.minimum(abs(sx), abs(sx - 127)) < 1e-3
        near |= np.minimum(abs(sy), abs(sy - 95)) < 1e-3
        np.testing.assert_array_equal(clip.valid[t][~near], inside[~near])
    assert not clip.valid[0].any() and not clip.flow[0].any()


@pytest.mark.parametrize("objects", [None, Objects(count=(3, 3), still=1.0)])
def test_without_motion_the_blurry_frames_are_the_sharp_ones(objects):
    clip = make(shake=STILL, objects=objects)
    np.testing.assert_allclose(clip.blurry.astype(int), clip.sharp.astype(int), atol=1)


@pytest.mark.parametrize("speed", [slow(1.0), 4.0, slow(12.0)])
def test_the_camera_moves_about_as_fast_as_asked(speed):
    shake = Shake(speed=(speed, speed), tilt=(0.0, 0.0), roll=0, zoom=0, forward=0)
    moved = [
        np.linalg.norm(make(seed, shake, waves(600, 800), frames=3).flow[1:], axis=-1)
        for seed in range(20)
    ]
    # The scale of the photograph does not enter: pixels are those of the frame.
    assert np.sqrt(np.mean(np.square(moved))) == pytest.approx(0.75 * speed, rel=0.25)


def test_a_short_exposure_is_nearly_sharp_and_a_long_one_is_not(arches):
    shake = Shake(speed=(6.0, 6.0))
    scores = [
        psnr(clip.blurry / 255, clip.sharp / 255)
        for clip in (
            make(2, shake, arches, exposure(duty=(duty, duty))) for duty in (0.02, 1.0)
        )
    ]
    assert scores[0] > 38 and scores[1] < 31


def test_no_seam_and_no_fringe_around_a_cut_out():
    """A cut-out of the colour of its background does not show, but for rounding."""
    photo = np.full((300, 300, 3), 0.25, np.float32)
    cutout = flower()
    cutout[..., :3] = 137  # 0.25 in sRGB
    clip = make(
        shake=Shake(speed=(9.0, 9.0)),
        photo=photo,
        objects=Objects(count=(3, 3)),
        cutouts=[cutout],
    )
    for frames in (clip.sharp, clip.blurry):
        assert int(frames.max()) - int(frames.min()) <= 1


def test_without_turns_the_crop_stands_as_the_photograph_does():
    photo = np.zeros((300, 400, 3), np.float32)
    photo[:150] = 1.0  # sky above
    for seed in range(5):
        shake = Shake(speed=(1.0, 1.0), turn=False, scale=(1.2, 1.2))
        clip = make(seed, shake, photo, height=200, width=200)
        assert clip.sharp[0, 0].mean() > 250 and clip.sharp[0, -1].mean() < 5


def test_no_border_of_a_photograph_comes_into_view():
    """However fast: a photograph too small for the path is magnified."""
    photo = np.full((130, 170, 3), 0.5, np.float32)
    photo[[0, -1]], photo[:, [0, -1]] = 0, 0
    for seed in range(10):
        clip = make(seed, Shake(speed=(16.0, 16.0)), photo, frames=12)
        assert clip.sharp[:, 2:-2, 2:-2].min() > 150


def test_noise_is_on_the_blurry_side_only():
    noisy = make(shake=STILL, settings=exposure(shot=(1e-3, 1e-3)))
    clean = make(shake=STILL)
    np.testing.assert_array_equal(noisy.sharp, clean.sharp)
    assert np.std(noisy.blurry.astype(float) - noisy.sharp) > 3


def test_compression_is_on_the_blurry_side_only():
    pressed = make(settings=exposure(compressed=1.0, crf=(35, 35)))
    clean = make()
    np.testing.assert_array_equal(pressed.sharp, clean.sharp)
    np.testing.assert_array_equal(pressed.flow, clean.flow)
    assert psnr(pressed.blurry / 255, clean.blurry / 255) < 50


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(arches):
    full = dict(
        photo=arches,
        objects=Objects(count=(1, 3)),
        settings=exposure(shot=(1e-4, 1e-3), compressed=1.0, highlights=(1, 4)),
    )
    first, again, other = make(3, **full), make(3, **full), make(4, **full)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.blurry != other.blurry).any()


def test_display_values_serve_as_well_as_light(arches):
    shown = np.rint(255 * np.clip(arches, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    for seed in range(2):
        a = make(seed, photo=shown)
        assert a.sharp.std() > 10
    with pytest.raises(ValueError, match="float32"):
        make(photo=arches.astype(np.float64))


def test_a_large_photograph_is_averaged_down_and_a_small_one_kept(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    whole = read_photo(tmp_path / "a.png")
    half = read_photo(tmp_path / "a.png", max_side=20)
    expected = whole.reshape(10, 2, 20, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(half, expected, atol=1e-5)
    same = read_photo(tmp_path / "a.png", max_side=40)
    np.testing.assert_array_equal(same, whole)
    shown = scaled_down(image[..., ::-1], 20)
    np.testing.assert_array_equal(shown, np.rint(255 * srgb_from_linear(half)))


def test_a_cut_out_comes_in_rgb_without_its_empty_border(tmp_path):
    image = np.zeros((30, 40, 4), np.uint8)
    image[5:15, 10:30] = (10, 20, 200, 255)  # blue, green, red
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cutout = read_cutout(tmp_path / "a.png")
    assert cutout.shape == (10, 20, 4) and cutout[0, 0].tolist() == [200, 20, 10, 255]


def test_a_cut_out_of_16_bits_is_rounded_to_8(tmp_path):
    image = np.full((8, 8, 4), 65535, np.uint16)
    image[..., :3] = 257 * 100 + 129, 257 * 100 + 128, 65534  # blue, green, red
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cutout = read_cutout(tmp_path / "a.png")
    assert cutout.dtype == np.uint8 and cutout[0, 0].tolist() == [255, 100, 101, 255]


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ValueError, match="photo of 340x300: smaller than the 400x96"):
        make(width=400)
    with pytest.raises(ValueError, match="linear light"):
        make(photo=np.zeros((200, 200), np.uint8))
    path = tmp_path / "text.jpg"
    path.write_text("no image")
    for read, error in ((read_photo, ValueError), (read_cutout, UserError)):
        with pytest.raises(error, match="text.jpg: not an image"):
            read(path)
    for name, channels, reason in (
        ("grey", 3, "no alpha"),
        ("empty", 4, "transparent"),
    ):
        path = tmp_path / f"{name}.png"
        cv2.imwrite(str(path), np.zeros((8, 8, channels), np.uint8))
        with pytest.raises(UserError, match=f"{name}.png: .*{reason}"):
            read_cutout(path)
