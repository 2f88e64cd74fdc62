"""Blur made on the device agrees with the NumPy form, which has its own oracles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scenery import exposure, waves

from mtujax.synthesis.device import camera as homographies, camera as motion, sensor
from mtujax.synthesis.device.film import Shots, bilinear, film
from mtujax.synthesis.host.camera import CameraPath, ObjectPath
from mtujax.synthesis.host.scene import backward_flow, draw_scene
from mtujax.synthesis.host.sensor import Sensor as HostSensor
from mtujax.synthesis.settings import BlurSettings, Objects, Shake

HEIGHT, WIDTH, FRAMES, SUBFRAMES, LAYERS = 40, 56, 3, 5, 3
SEEDS = range(4)


def photograph(seed=0, height=200, width=260):
    """[H, W, 3]: light with detail at every scale, and some of it white."""
    rng = np.random.default_rng(seed)
    photo = waves(height, width, 23)
    photo += 0.3 * np.repeat(rng.random((height, width, 1), np.float32), 3, axis=2)
    photo[60:80, 90:120] = 1.0
    return np.clip(photo, 0, 1)


def host_scene(seed):
    """A scene of the NumPy form, with its light, and duties of its frames."""
    rng = np.random.default_rng(seed)
    settings = HostSensor(duty=rng.uniform(0.2, 1.0, FRAMES), highlights=2.0)
    scene = draw_scene(
        photograph(seed),
        rng,
        frames=FRAMES,
        height=HEIGHT,
        width=WIDTH,
        blur=BlurSettings(
            Shake(speed=(2.0, 6.0)),
            Objects(count=(LAYERS - 1, LAYERS - 1), size=(0.4, 0.9)),
        ),
        sensor=settings,
    )
    return scene, settings.duty


def subframe_times(duty, count):
    return np.linspace(-0.5, 0.5, count + 2)[1:-1] * duty


@pytest.fixture(scope="module")
def agreement():
    """Scenes of the NumPy form as a batch, and how the device films them."""
    scenes = [host_scene(seed) for seed in SEEDS]
    count = len(SEEDS), FRAMES, SUBFRAMES
    poses = np.stack(
        [
            [scene.poses(t + subframe_times(d, SUBFRAMES)) for t, d in enumerate(duty)]
            for scene, duty in scenes
        ]
    )
    weights = np.random.default_rng(9).dirichlet(np.ones(SUBFRAMES), count[:2])
    weights[:, 1, 3:] = 0  # a shorter exposure
    middles = np.stack([s.poses(np.arange(FRAMES)) for s, _ in scenes])
    objects = [[layer.texture for layer in s.layers[1:]] for s, _ in scenes]
    grounds = [[s.layers[0].texture] for s, _ in scenes]
    shots = Shots(packed(grounds)[:, 0], packed(objects), poses, weights, middles)
    shots = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), shots)
    filmed = jax.jit(film, static_argnames=("height", "width"))
    taken = filmed(shots, height=HEIGHT, width=WIDTH)
    return scenes, (poses, weights, middles), jax.tree.map(np.asarray, taken)


def packed(pictures):
    """[B, N, h, w, 4] with each picture in its upper left corner."""
    sizes = np.array([[p.shape[:2] for p in several] for several in pictures])
    out = np.zeros((*sizes.shape[:2], *sizes.max(axis=(0, 1)), 4), np.float32)
    for several, places in zip(pictures, out, strict=True):
        for picture, place in zip(several, places, strict=True):
            place[: picture.shape[0], : picture.shape[1]] = picture
    return out


def exactly(scene, poses):
    """[H, W, 3] light: bilinear in float64, where OpenCV rounds to 1/32 texel."""
    row, column = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1).astype(float)
    frame = np.zeros((HEIGHT, WIDTH, 4))
    for layer, pose in zip(scene.layers, poses, strict=True):
        x, y, z = np.moveaxis(pixels @ pose.T, -1, 0)
        x, y = x / z, y / z
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        above = np.zeros_like(frame)
        for i in (0, 1):
            for j in (0, 1):
                share = (1 - abs(x - left - j)) * (1 - abs(y - top - i))
                above += share[..., None] * texel(layer, top + i, left + j)
        frame = frame * (1 - above[..., 3:]) + above
    return frame[..., :3]


def texel(layer, row, column):
    height, width = layer.texture.shape[:2]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    found = layer.texture[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return found * (inside[..., None] | (layer.path is None))


def test_light_agrees_with_exact_interpolation_of_the_same_path(agreement):
    scenes, (poses, weights, middles), taken = agreement
    for b, (scene, _) in enumerate(scenes):
        for t in range(FRAMES):
            frames = [exactly(scene, pose) for pose in poses[b, t]]
            blurry = np.tensordot(weights[b, t], frames, 1)
            np.testing.assert_allclose(taken.blurry[b, t], blurry, atol=1e-3)
            sharp = exactly(scene, middles[b, t])
            np.testing.assert_allclose(taken.sharp[b, t], sharp, atol=1e-3)


def test_light_agrees_with_the_numpy_form_within_opencv_s_rounding(agreement):
    """OpenCV rounds places to 1/32 texel: next to a step of light 1 by up to 1/64."""
    scenes, (poses, weights, middles), taken = agreement
    for b, (scene, _) in enumerate(scenes):
        for t in range(FRAMES):
            frames = [scene.render(pose)[..., :3] for pose in poses[b, t]]
            blurry = np.tensordot(weights[b, t], frames, 1)
            off = taken.blurry[b, t] - blurry
            assert abs(off.mean()) < 2e-4 and np.abs(off).mean() < 2e-3
            off = taken.sharp[b, t] - scene.render(middles[b, t])[..., :3]
            assert abs(off.mean()) < 2e-4 and np.abs(off).max() < 0.1


def test_motion_agrees_with_the_numpy_form(agreement):
    scenes, (_, _, middles), taken = agreement
    differing = []
    for b, (scene, _) in enumerate(scenes):
        labels = [scene.render_labelled(pose)[1] for pose in middles[b]]
        assert not taken.flow[b, 0].any() and not taken.valid[b, 0].any()
        for t in range(1, FRAMES):
            pairs = (middles[b, t - 1], middles[b, t]), (labels[t - 1], labels[t])
            flow, valid = backward_flow(*pairs)
            same = taken.labels[0, b, t] == labels[t][0]
            np.testing.assert_allclose(taken.flow[b, t][same], flow[same], atol=1e-3)
            differing += [(~same).mean(), (taken.valid[b, t] != valid).mean()]
            assert 0.2 < valid.mean() < 0.99
    # Where a surface covers 0.5 or 0.95 of a pixel, a 1/32 texel decides.
    assert max(differing) < 0.01


def test_a_pixel_without_a_place_is_no_harm():
    places = jnp.array([[[np.nan, np.inf, -np.inf, 1e30]]], jnp.float32)
    texels = jnp.arange(12.0).reshape(12, 1)
    sample = jax.jit(bilinear, static_argnums=2)
    found = sample(texels, jnp.zeros(1, jnp.int32), (3, 4), places, places)
    assert found.shape == (1, 1, 4, 1)
    assert found[0, 0, 1:, 0].tolist() == [11.0, 0.0, 11.0]


@pytest.mark.parametrize("seed", range(3))
def test_paths_in_float32_are_those_in_float64(seed):
    rng = np.random.default_rng(seed)
    size = dict(frames=5, height=96, width=160)
    camera = CameraPath.draw(
        rng, **size, shake=Shake(roll=1.0, zoom=0.01, forward=0.01)
    )
    path = ObjectPath.draw(
        rng, centre=np.array([30.0, -8.0]), middle=2.0, objects=Objects(still=0.0)
    )
    times, place = np.arange(-0.5, 4.6, 0.5), dict(near=1.7, tilt=(0.3, -0.2))
    expected = camera.planes(times, **place), path.places(times)
    on_device = jax.tree.map(jnp.float32, (camera, path, times, place))
    found = jax.jit(lambda c, p, t, at: (c.planes(t, **at), p.places(t)))(*on_device)
    assert found[0].dtype == found[1].dtype == np.float32
    np.testing.assert_allclose(scaled(found[0]), scaled(expected[0]), atol=2e-3)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-4)


def scaled(matrices):
    """Where they take the corners of a frame: pixels."""
    points = np.array([[-80, -48, 1], [80, -48, 1], [80, 48, 1], [-80, 48, 1.0]])
    moved = points @ np.swapaxes(np.asarray(matrices, np.float64), 1, 2)
    return moved[..., :2] / moved[..., 2:]


@pytest.mark.slow
def test_paths_are_drawn_as_the_numpy_form_draws_them():
    """The same spread of every parameter, over thousands of draws of each."""
    shake = Shake(speed=(2.0, 8.0))
    keys = jax.random.split(jax.random.key(0), 4000)
    size = dict(frames=5, height=96, width=160)
    draw = functools.partial(motion.draw_camera, **size, shake=shake)
    cameras = jax.vmap(draw)(keys)
    rng = np.random.default_rng(0)
    host = [CameraPath.draw(rng, **size, shake=shake) for _ in range(4000)]
    pairs = [
        (cameras.focal, [c.focal for c in host]),
        (cameras.pan, [c.pan for c in host]),
        (cameras.waves.amplitude, [c.waves.amplitude for c in host]),
        (cameras.waves.frequency, [c.waves.frequency for c in host]),
        (cameras.waves.phase, [c.waves.phase for c in host]),
    ]
    for device, numpy in pairs:
        assert_alike(device, numpy)
    objects = Objects(still=0.3)
    place = dict(centre=np.zeros(2), middle=0.0, objects=objects)
    paths = jax.vmap(functools.partial(motion.draw_path, **place))(keys)
    host = [ObjectPath.draw(rng, **place) for _ in range(4000)]
    assert_alike(paths.velocity, [p.velocity for p in host])
    assert_alike(paths.waves.amplitude, [p.waves.amplitude for p in host])
    still = (np.asarray(paths.velocity) == 0).all(axis=1).mean()
    assert still == pytest.approx(0.3, abs=0.05)


def assert_alike(device, host):
    """Quantiles, channel by channel, to within what thousands of draws tell."""
    device, host = np.asarray(device), np.asarray(host)
    spread = host.std(axis=0)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        off = np.quantile(device, share, axis=0) - np.quantile(host, share, axis=0)
        assert (np.abs(off) < 0.2 * spread + 1e-9).all()


def test_the_sensor_is_that_of_the_numpy_form():
    rng = np.random.default_rng(0)
    settings = dict(gain=1.1, highlights=3.0, contrast=0.2, shot=4e-4, read=2e-3)
    host = HostSensor(duty=np.ones(1), **settings)
    device = sensor.Sensor(duty=jnp.ones(1), **settings)
    image = rng.random((40, 50, 3), np.float32)
    light = jax.jit(sensor.scene_light)(device, image)
    np.testing.assert_allclose(light, host.light(image.copy()), rtol=1e-5, atol=1e-6)
    levels = np.linspace(-0.1, 1.2, 3000, dtype=np.float32).reshape(10, 100, 3)
    shown = np.asarray(jax.jit(sensor.develop)(device, levels)).astype(int)
    expected = host.develop(levels).astype(int)
    # The NumPy form rounds light to 16 bits first.
    assert np.abs(shown - expected).max() <= 1
    assert (shown != expected).mean() < 0.01


noisy = jax.jit(sensor.noisy)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.6, 4.0])
def test_the_noise_has_the_variance_of_its_light(level):
    device = sensor.Sensor(jnp.ones(1), 1.0, 1.0, 0.0, 4e-4, 2e-3)
    light = jnp.full((200, 200, 3), level)
    noise = np.asarray(noisy(device, light, jax.random.key(0)) - light)
    expected = np.sqrt(4e-4 * min(level, 1.0) + 2e-3**2)
    assert noise.std() == pytest.approx(expected, rel=0.02)
    assert abs(noise.mean()) < 0.02 * expected


def test_sensors_are_drawn_within_their_ranges():
    settings = exposure(duty=(0.3, 0.9), wander=(0.5, 0.5), gain=(0.8, 1.2))
    keys = jax.random.split(jax.random.key(0), 50)
    draw = jax.jit(jax.vmap(lambda key: sensor.draw_sensor(key, 24, settings)))
    drawn = jax.tree.map(np.asarray, draw(keys))
    assert drawn.duty.max() <= 1 and drawn.duty.min() >= 0.3 * np.exp(-0.5)
    assert np.abs(np.diff(np.log(drawn.duty), axis=1)).max() < 0.5 * 2 * np.pi * 0.12
    assert drawn.duty.std(axis=1).mean() > 0.05
    assert 0.8 <= drawn.gain.min() < 0.85 and 1.15 < drawn.gain.max() <= 1.2


def test_an_inverse_is_one_up_to_a_factor(rng):
    matrix = rng.normal(size=(5, 3, 3)).astype(np.float32)
    product = homographies.product(homographies.inverse(jnp.asarray(matrix)), matrix)
    factor = np.linalg.det(matrix)[:, None, None]
    np.testing.assert_allclose(product, factor * np.eye(3), atol=1e-4)
