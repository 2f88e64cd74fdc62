"""Whole batches made on the device: laws of blur and motion, places, keys, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenery import psnr, warped, waves
from scipy.ndimage import binary_erosion

from mtujax.errors import UsageError, UserError
from mtujax.synthesis.device import clip as synthesis
from mtujax.synthesis.device.clip import expose, most_subframes
from mtujax.synthesis.device.film import Shots, film
from mtujax.synthesis.device.scene import Background, Recipe, Scene, Things, draw_part
from mtujax.synthesis.device.textures import (
    Part,
    background_texture,
    pack_cutouts,
    pack_photos,
)
from mtujax.synthesis.host.camera import CameraPath, ObjectPath, Waves
from mtujax.synthesis.host.textures import photo_texture
from mtujax.synthesis.settings import BlurSettings, Exposure, Objects, Shake

SIZE = 48
BLUR = BlurSettings(Shake(speed=(1.0, 4.0)), Objects(count=(1, 1)))


def shown(light):
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def flower(side=60):
    y, x = np.mgrid[:side, :side] / (side / 2) - 1
    edge = 0.7 + 0.2 * np.cos(5 * np.arctan2(y, x))
    alpha = np.clip((edge - np.hypot(x, y)) * 20, 0, 1)
    colour = np.clip(waves(side, side, 9) + [0.2, 0, -0.2], 0, 1)
    return np.rint(255 * np.dstack([colour, alpha])).astype(np.uint8)


@pytest.fixture(scope="module")
def made():
    """A generator with everything in it, and a batch."""
    photos = [shown(waves(200, 260)), shown(waves(240, 180, 9))]
    resident, generate = synthesis.make_generator(
        photos, [flower()], batch=2, frames=3, size=SIZE, blur=BLUR
    )
    batch = jax.tree.map(np.asarray, generate(resident, jax.random.key(0)))
    return resident, generate, batch


@pytest.mark.slow
def test_a_batch_has_the_shapes_that_training_takes(made):
    batch = made[2]
    assert batch["blurry"].shape == batch["sharp"].shape == (2, 3, SIZE, SIZE, 3)
    assert batch["blurry"].dtype == batch["sharp"].dtype == np.uint8
    assert batch["flow"].shape == (2, 3, SIZE, SIZE, 2)
    assert batch["flow"].dtype == np.float32 and batch["valid"].dtype == bool
    assert not batch["flow"][:, 0].any() and not batch["valid"][:, 0].any()
    assert 0.3 < batch["valid"][:, 1:].mean() < 1 and batch["sharp"].std() > 5


@pytest.mark.slow
def test_the_same_key_gives_the_same_bytes_and_another_does_not(made):
    resident, generate, batch = made
    again, other = (generate(resident, jax.random.key(k)) for k in (0, 1))
    for name, value in batch.items():
        np.testing.assert_array_equal(again[name], value)
        assert (np.asarray(other[name]) != value).any()
    assert (batch["sharp"][0] != batch["sharp"][1]).any()
    assert generate._cache_size() == 1


@pytest.mark.slow
def test_a_clip_is_the_same_alone_as_in_a_batch(made):
    resident, generate, batch = made
    recipe = Recipe(3, SIZE, BLUR)
    key = jax.random.fold_in(jax.random.key(0), 1)[None]
    alone = jax.jit(synthesis.clips, static_argnums=(2, 3))
    alone = alone(resident, key, recipe, most_subframes(BLUR.exposure.longest))
    for name in ("flow", "valid"):
        same = np.isclose(alone[name][0], batch[name][1], atol=1e-4)
        assert same.mean() > 0.999
    for name in ("blurry", "sharp"):
        off = np.asarray(alone[name][0], int) - batch[name][1]
        assert np.abs(off).max() <= 1 and (off != 0).mean() < 0.01


def still():
    """A camera and an object that do not move."""
    rest = [Waves(*(jnp.zeros((c, 1)) for _ in range(3))) for c in (7, 4)]
    texture = jnp.zeros((1, 68, 68, 4)).at[:, 20:44, 20:48].set(1.0)
    path = ObjectPath(jnp.zeros(2), 1.0, jnp.zeros(2), rest[1])
    path = jax.tree.map(lambda x: jnp.asarray(x)[None], path)
    things = Things(
        texture, jnp.full((1, 2), 40.0), jnp.ones(1), path, jnp.ones(1, bool)
    )
    photo = waves(300, 300)
    same = np.array(photo.shape[1::-1])
    ground, texels = photo_texture(
        photo, np.zeros(2), same - 1, scale=1.0, light=lambda x: x
    )
    shift = np.eye(3)
    shift[:2, 2] = (same - 1) / 2
    texels = jnp.asarray(texels @ shift, jnp.float32)
    background = Background(jnp.asarray(ground), texels, jnp.zeros(2))
    camera = CameraPath(SIZE, SIZE, float(SIZE), 1.0, jnp.zeros(4), rest[0])
    return Scene(camera, background, things)


@functools.partial(jax.jit, static_argnames="longest")
def filmed(scene, duty, longest=6.0):
    """What three frames show, and the weights of their sub-frames."""
    objects = Objects(size=(0.2, 56 / (2 * SIZE)))
    blur = BlurSettings(objects=objects, exposure=Exposure(longest=longest))
    recipe = Recipe(3, SIZE, blur)
    duty = jnp.full(3, duty)
    poses, weights, middles = expose(scene, duty, recipe, most_subframes(longest))
    light = scene.background.texture, scene.things.texture
    shots = jax.tree.map(lambda x: x[None], Shots(*light, poses, weights, middles))
    taken = film(shots, height=SIZE, width=SIZE)
    return jax.tree.map(lambda x: x[0], taken._replace(labels=weights[None]))


@pytest.mark.slow
def test_without_motion_the_blurry_frames_are_the_sharp_ones():
    taken = filmed(still(), 1.0)
    np.testing.assert_allclose(taken.blurry, taken.sharp, atol=1e-6)
    assert ((taken.labels > 0).sum(axis=1) == 1).all()
    assert np.abs(taken.flow).max() < 1e-4


@pytest.mark.parametrize("speed, duty", [(4.0, 0.5), (5.0, 1.0), (12.0, 0.9)])
def test_the_extent_of_the_blur_is_speed_times_duty_up_to_the_longest(speed, duty):
    scene = still()
    step = jnp.zeros_like(scene.background.texture).at[:, 300:].set(0.9)
    pan = jnp.array([0, 0, speed, 0])
    scene = scene._replace(
        camera=scene.camera._replace(pan=pan),
        background=scene.background._replace(texture=step),
        things=scene.things._replace(there=jnp.zeros(1, bool)),
    )
    taken = filmed(scene, duty)
    variances = [spread(x[1, 24]) for x in (taken.blurry, taken.sharp)]
    # Variances add; a step sampled at whole pixels has one to a fraction of a pixel.
    extent = np.sqrt(12 * (variances[0] - variances[1]))
    np.testing.assert_allclose(extent, min(speed * duty, 6), rtol=0.03, atol=0.2)
    count = int((taken.labels[1] > 0).sum())
    assert count >= int(extent) and count % 2


def spread(row):
    step = np.diff(row[:, 1])
    place, step = np.arange(len(step)), step / step.sum()
    return (step * (place - (step * place).sum()) ** 2).sum()


@pytest.mark.slow
def test_warping_the_frame_before_gives_the_frame():
    scene = still()
    camera = scene.camera._replace(pan=jnp.array([1.0, 0.7, 2.3, -1.1]))
    path = scene.things.path._replace(velocity=jnp.array([[2.0, -1.5]]))
    texture = jnp.asarray(waves(34, 34, 11))
    texture = jnp.concatenate([texture, jnp.ones((34, 34, 1))], axis=-1)
    texture = jnp.pad(texture, ((17, 17), (17, 17), (0, 0)))
    things = scene.things._replace(path=path, near=jnp.full(1, 1.5))
    things = things._replace(texture=texture[None])
    taken = filmed(scene._replace(camera=camera, things=things), 0.0)
    assert 0.5 < taken.valid[1:].mean() < 0.98
    for t in (1, 2):
        safe = binary_erosion(taken.valid[t], iterations=4)
        for off, holds in ((0.0, True), (0.25, False)):
            flow = np.asarray(taken.flow[t]) + off
            moved = warped(np.asarray(taken.sharp[t - 1]), flow)
            assert (psnr(moved[safe], taken.sharp[t][safe]) > 45) == holds


@jax.jit
def unlit_texture(pixels, size, part):
    settings = dict(side=256, largest=1.25, light=lambda light: light)
    return background_texture(pixels, size, part, **settings)


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
def test_a_part_of_a_photograph_keeps_its_detail_and_place(scale):
    """Against the band-limited photograph itself, at every texel."""

    def pattern(x, y):
        return 0.5 + 0.2 * np.sin(x / 2.5) + 0.2 * np.cos((x + y) / 4)

    y, x = np.mgrid[:150, :200].astype(np.float64)
    levels = np.rint(255 * pattern(x, y)).astype(np.uint8)
    packed = pack_photos([np.dstack([levels] * 3), np.zeros((180, 90, 3), np.uint8)])
    part = Part(0, jnp.array([20.3, 31.7]), jnp.array([110.1, 95.2]), scale)
    texture, texels = unlit_texture(packed.pixels, packed.sizes[0], part)
    back = np.linalg.inv(np.asarray(texels, np.float64))
    height, width = (int(2 * n / scale) for n in (63.5, 89.8))
    row, column = np.mgrid[1 : height + 1, 1 : width + 1]
    expected = pattern(column * back[0, 0] + back[0, 2], row * back[1, 1] + back[1, 2])
    light = np.asarray(texture)[1 : height + 1, 1 : width + 1, 0]
    found = np.where(
        light < 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055
    )
    assert psnr(found, expected) > 37
    assert (np.asarray(texture)[..., 3] == 1).all()


def test_flat_places_are_rarely_chosen():
    photo = np.full((400, 400, 3), 200, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (400, 130, 3), np.uint8)
    photo[:, 270:] = noise  # a third is not sky
    packed = pack_photos([photo])
    recipe = Recipe(3, 64, BlurSettings(Shake(turn=True, scale=(1.0, 1.0))))
    low, high = jnp.array([-40.0, -40.0]), jnp.array([40.0, 40.0])
    draw = jax.jit(jax.vmap(lambda key: draw_part(key, packed, low, high, recipe)[0]))
    part = draw(jax.random.split(jax.random.key(0), 500))
    flat = np.asarray(part.high[:, 0]) < 271
    assert flat.mean() < 0.06  # of even draws: 60 %
    assert np.asarray(part.low).min() >= -1e-3
    assert np.asarray(part.high).max() <= 399.01
    assert len(np.unique(np.round(part.low[:, 1]))) > 50


def test_cut_outs_keep_their_colour_at_every_size():
    cutout = flower(100)
    cutout[..., :3] = (200, 90, 30)
    packed = pack_cutouts([cutout], largest=80, smallest=15)
    assert packed.pixels.shape[1] == 4
    images = np.asarray(packed.pixels)[0], np.asarray(packed.sizes)[0]
    for image, size in zip(*images, strict=True):
        seen = image[image[..., 3] > 60].astype(int)
        np.testing.assert_allclose(seen[:, :3], [[200, 90, 30]] * len(seen), atol=1)
        rows = np.flatnonzero(image[..., 3].any(axis=1))
        assert rows[0] >= 1 and rows[-1] < float(size[1]) + 3


def test_it_is_refused_in_one_line():
    photo = shown(waves(60, 80))
    cases = [
        (dict(photos=[]), UserError, "no photographs"),
        (dict(photos=[photo], size=64), UserError, "photograph 0 of 80x60: smaller"),
        (dict(photos=[waves()]), UserError, "photograph 0 is float32"),
        (dict(cutouts=[photo], blur=BLUR), UserError, "cut-out 0 is uint8"),
        (dict(batch=0), UsageError, "batch: 0 is not positive"),
        (dict(size=8), UsageError, "size: 8 is too small"),
    ]
    for changes, kind, text in cases:
        settings = dict(photos=[photo], batch=1, frames=2, size=32) | changes
        with pytest.raises(kind, match=text) as error:
            synthesis.make_generator(**settings)
        assert "\n" not in str(error.value)
