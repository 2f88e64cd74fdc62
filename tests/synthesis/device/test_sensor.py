"""Transform coding on the device, beside SciPy's transform and beside H.264 itself."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import slow
from scipy.fft import dctn, idctn

from mtujax.metrics.image import psnr
from mtujax.ops.resampling import to_unit_range
from mtujax.synthesis.device.clip import make_generator
from mtujax.synthesis.device.sensor import (
    Sensor,
    coded as code,
    develop,
    draw_sensor,
    quantiser_step,
    scene_light,
)
from mtujax.synthesis.host.sensor import (
    OFFSET,
    YCBCR,
    Sensor as HostSensor,
    through_h264,
)
from mtujax.synthesis.settings import BlurSettings, Exposure

STEP = 12.0
coded = jax.jit(code)


@functools.partial(jax.jit, static_argnums=(1, 2))
def draw(keys, frames, exposure):
    """A sensor per key."""
    return jax.vmap(lambda key: draw_sensor(key, frames, exposure))(keys)


def texture(count=3, height=32, width=48):
    """A smooth pattern that moves; no edge of a block is anywhere in it."""
    y, x = np.mgrid[:height, :width][:, None] + np.arange(count).reshape(1, -1, 1, 1)
    waves = [np.sin(x / a + y / b) for a, b in ((3, 7), (5, -2), (9, 8))]
    grey, blue, red = 128 + 80 * waves[0], 20 * waves[1], 20 * waves[2]
    return np.uint8(np.stack([grey + red, grey, grey + blue], axis=-1))


def rounded(plane):
    """A plane whose blocks are transformed by SciPy, one by one."""
    plane = plane.copy()
    for top in range(0, plane.shape[0], 8):
        for left in range(0, plane.shape[1], 8):
            block = np.s_[top : top + 8, left : left + 8]
            found = dctn(plane[block], norm="ortho")
            level = np.floor(np.abs(found) / STEP + 1 / 3)
            left_of_it = np.sign(found) * level * STEP
            left_of_it[0, 0] = found[0, 0]
            plane[block] = idctn(left_of_it, norm="ortho")
    return np.clip(np.round(plane), 0, 255)


def test_blocks_lose_what_scipys_transform_says():
    frame = texture(1)
    ycbcr = frame[0] @ YCBCR.T + OFFSET
    luma = rounded(ycbcr[..., 0])
    chroma = ycbcr[..., 1:].reshape(16, 2, 24, 2, 2).mean(axis=(1, 3))
    chroma = np.stack([rounded(chroma[..., k]) for k in range(2)], axis=-1)
    found = np.asarray(coded(jnp.asarray(frame), STEP)[0]) @ YCBCR.T + OFFSET
    assert np.abs(found[..., 0] - luma).max() < 2.5  # colours are rounded and clipped
    assert np.abs(found[..., 0] - luma).mean() < 0.4
    inner = found[..., 1:].reshape(16, 2, 24, 2, 2).mean(axis=(1, 3))[2:-2, 2:-2]
    assert np.abs(inner - chroma[2:-2, 2:-2]).mean() < 4


def test_light_and_colour_stay(rng):
    flat = rng.integers(0, 256, (60, 1, 1, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    found = np.asarray(coded(jnp.asarray(flat), quantiser_step(28.0)), int)
    assert np.abs(found - flat).max() <= 2  # YCbCr is rounded, as H.264's is
    assert np.abs((found - flat).mean(axis=(0, 1, 2))).max() < 0.3


def test_who_is_compressed_depends_on_nothing_else():
    exposure = Exposure(compressed=0.33, wander=(0.0, 0.4), duty=(0.5, 0.5))
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = draw(keys, 8, exposure)
    pressed = np.asarray(drawn.coding) > 0
    drift = np.log(drawn.duty.max(axis=1) / drawn.duty.min(axis=1))
    assert pressed.mean() == pytest.approx(0.33, abs=0.04)
    assert drift[pressed].mean() == pytest.approx(drift[~pressed].mean(), rel=0.1)
    assert abs(np.corrcoef(drawn.coding[pressed], drift[pressed])[0, 1]) < 0.1


def test_a_share_of_the_clips_is_sharp_and_nothing_else_changes():
    keys = jax.random.split(jax.random.key(0), 2000)

    def drawn(share):
        exposure = Exposure(sharp=share, compressed=0.33)
        return draw(keys, 8, exposure)

    plain, some = drawn(0.0), drawn(0.25)
    sharp = np.asarray(some.duty == np.float32(0.01)).all(axis=1)
    assert sharp.mean() == pytest.approx(0.25, abs=0.03)
    assert (plain.duty > 0.09).all()
    np.testing.assert_array_equal(plain.duty[~sharp], some.duty[~sharp])
    for name in ("gain", "highlights", "contrast", "shot", "read", "coding"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(some, name))
    assert abs(np.corrcoef(some.coding > 0, sharp)[0, 1]) < 0.07


def test_display_values_are_averaged_as_on_the_host(rng):
    photo = rng.random((9, 7, 3)).astype(np.float32)
    settings = dict(gain=0.9, highlights=3.0, contrast=0.2, shot=0.0, read=0.0)
    for averaged in (False, True):
        host = HostSensor(duty=np.ones(1), averaged=averaged, **settings)
        device = Sensor(duty=jnp.ones(1), averaged=averaged, **settings)
        expected = host.develop(host.light(photo.copy()))
        found = jax.jit(lambda s, x: develop(s, scene_light(s, x)))(device, photo)
        assert np.abs(np.asarray(found, int) - expected).max() <= 1
    keys = jax.random.split(jax.random.key(0), 2000)
    exposure = Exposure(averaged=0.25)
    drawn = draw(keys, 2, exposure)
    assert np.mean(drawn.averaged) == pytest.approx(0.25, abs=0.03)


def test_averages_are_drawn_as_on_the_host():
    keys = jax.random.split(jax.random.key(0), 500)
    plain, some = (
        draw(keys, 2, exposure)
        for exposure in (Exposure(sharp=0.2), Exposure(sharp=0.2, averaged=1.0))
    )
    np.testing.assert_allclose(some.shot, plain.shot / 8, rtol=1e-6)
    np.testing.assert_allclose(some.read**2, plain.read**2 / 8, rtol=1e-5)
    np.testing.assert_array_equal(some.gain, plain.gain)
    sharp = plain.duty[:, 0] <= 0.01
    np.testing.assert_array_equal(some.duty[sharp], plain.duty[sharp])
    blurred = np.asarray(some.duty)[~np.asarray(sharp)]
    np.testing.assert_array_equal(blurred[:, 0], blurred[:, 1])
    assert 0.7 <= blurred.min() < 0.72 and 0.98 < blurred.max() <= 1


@pytest.mark.parametrize("crf", [slow(18), 23, slow(28)])
def test_as_much_is_lost_as_by_h264(crf, rng):
    frames = texture(8, 96, 128)
    frames = np.uint8(np.clip(frames + rng.normal(0, 3, frames.shape), 0, 255))
    step = quantiser_step(jnp.float32(crf))
    ours = coded(jnp.asarray(frames), step)
    lost = [
        float(psnr(to_unit_range(x), to_unit_range(frames)).mean())
        for x in (np.asarray(ours), through_h264(frames, crf))
    ]
    assert lost[0] == pytest.approx(lost[1], abs=3)


def test_any_size_is_padded_and_cut():
    frames = jnp.asarray(texture(2, 36, 44))
    found = coded(frames, 1.0)
    assert found.shape == frames.shape and found.dtype == jnp.uint8
    error = np.abs(np.asarray(found, int) - np.asarray(frames, int))
    assert error[:, :, :, 1].mean() < 2  # green is mostly luma


@pytest.mark.slow
def test_a_share_of_the_clips_is_compressed_and_nothing_else_changes(rng):
    photo = rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    made = {}
    for share in (0.0, 0.5, 1.0):
        resident, generate = make_generator(
            [photo],
            batch=6,
            frames=2,
            size=32,
            subframes=3,
            blur=BlurSettings(exposure=Exposure(compressed=share)),
        )
        made[share] = generate(resident, jax.random.key(0))
    for other in (0.5, 1.0):
        for name in ("sharp", "flow"):  # another program rounds some otherwise
            found, expected = (np.float32(made[s][name]) for s in (other, 0.0))
            np.testing.assert_allclose(found, expected, atol=1.01)
    blurry = {share: np.float32(batch["blurry"]) for share, batch in made.items()}
    changed = [
        np.abs(blurry[share] - blurry[0.0]).mean(axis=(1, 2, 3, 4)) > 0.1
        for share in (0.5, 1.0)
    ]
    assert 0 < changed[0].sum() < 6 and changed[1].all()
