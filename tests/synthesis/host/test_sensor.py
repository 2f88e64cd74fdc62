"""What a camera does with light: blur's extent, highlights, response, noise, H.264."""

import dataclasses
import sys

import av
import numpy as np
import pytest
from scenery import before, exposure, panning, psnr, waves

from mtujax.synthesis.host.clip import film
from mtujax.synthesis.host.sensor import (
    Sensor,
    linear_from_srgb,
    srgb_from_linear,
    subframe_times,
    through_h264,
)
from mtujax.synthesis.settings import Exposure


def filmed(scene, duty, **settings):
    sensor = Sensor(duty=np.array([duty]), **settings)
    return film(scene, sensor, np.random.default_rng(0), frames=1)


def spread(row):
    """Variance of where an edge climbs, in square pixels of light."""
    step = np.diff(linear_from_srgb(row)[:, 1])
    place, step = np.arange(len(step)), step / step.sum()
    return (step * (place - (step * place).sum()) ** 2).sum()


@pytest.mark.parametrize("speed", [4.0, 10.0, 30.0])
@pytest.mark.parametrize("duty", [0.25, 0.6, 1.0])
def test_the_extent_of_the_blur_is_speed_times_duty(speed, duty):
    """A pan over a step of light climbs evenly over as many pixels as it passed."""
    photo = np.zeros((200, 300, 3), np.float32)
    photo[:, 150:] = 0.9
    clip = filmed(before(panning(speed), photo), duty)
    wide, narrow = spread(clip.blurry[0, 48]), spread(clip.sharp[0, 48])
    # Variances add: that of a step of n pixels, n * n / 12, to that of the sharp edge.
    extent = np.sqrt(12 * (wide - narrow))
    np.testing.assert_allclose(extent, speed * duty, rtol=0.02, atol=0.1)
    assert clip.duty[0] == np.float32(duty)


def test_a_point_becomes_an_even_line_without_gaps():
    photo = np.full((200, 300, 3), 0.02, np.float32)
    photo[100, 150] = 1.0
    clip = filmed(before(panning(20.0, angle=0.5), photo), 1.0)
    line = linear_from_srgb(clip.blurry[0])[..., 1].max(axis=0)
    lit = np.flatnonzero(line > 0.03)
    assert lit[-1] - lit[0] == pytest.approx(20 * np.cos(0.5), abs=2)
    assert len(lit) == lit[-1] - lit[0] + 1


def test_a_frame_that_would_smear_too_far_is_exposed_for_less_time():
    sensor = Sensor(duty=np.array([1.0]))
    clip = film(
        before(panning(20.0), waves()),
        sensor,
        np.random.default_rng(0),
        frames=1,
        longest=5.0,
    )
    assert clip.duty[0] == pytest.approx(0.25, rel=0.03)


def test_a_share_of_the_clips_is_sharp_and_nothing_else_changes():
    made = {
        share: [
            Sensor.draw(np.random.default_rng(seed), 5, Exposure(sharp=share))
            for seed in range(400)
        ]
        for share in (0.0, 0.3, 1.0)
    }
    sharp = np.array([(sensor.duty == 0.01).all() for sensor in made[0.3]])
    assert sharp.mean() == pytest.approx(0.3, abs=0.07)
    for plain, some, every in zip(*made.values(), strict=True):
        assert (plain.duty >= 0.1).all() and (every.duty == 0.01).all()
        drawn = [dataclasses.replace(s, duty=None) for s in (plain, some, every)]
        assert drawn[0] == drawn[1] == drawn[2]
    for plain, some, short in zip(made[0.0], made[0.3], sharp, strict=True):
        assert short or (plain.duty == some.duty).all()


def test_what_is_exposed_for_the_shortest_time_moves_and_does_not_smear():
    clip = film(
        before(panning(20.0), waves()),
        Sensor(duty=np.full(2, 0.01)),
        np.random.default_rng(0),
        frames=2,
    )
    error = np.abs(np.float32(clip.blurry) - clip.sharp)
    assert error.max() <= 2
    assert abs(clip.flow[1, 48, 80, 0]) == pytest.approx(20, abs=1)


def test_the_middle_sub_frame_is_the_frame_s_own_moment():
    for count in (1, 3, 9):
        times = subframe_times(5.0, 0.6, count)
        assert times[count // 2] == pytest.approx(5.0)
        assert np.mean(times) == pytest.approx(5.0)
        np.testing.assert_allclose(np.diff(times), 0.6 / count)


def test_light_is_averaged_and_not_what_is_displayed():
    """Stripes of black and white, smeared over periods, are bright (188): not 127."""
    photo = np.zeros((200, 400, 3), np.float32)
    photo[:, np.arange(400) % 20 < 10] = 1.0
    blurry = filmed(before(panning(20.0), photo), 1.0).blurry[0, 20:-20, 30:-30]
    np.testing.assert_allclose(blurry, 188, atol=5)


def test_a_share_of_the_clips_averages_display_values_as_data_sets_do():
    """The same stripes come out as the mean of 0 and 255."""
    photo = np.zeros((200, 400, 3), np.float32)
    photo[:, np.arange(400) % 20 < 10] = 1.0
    blurry = filmed(before(panning(20.0), photo), 1.0, averaged=True).blurry
    np.testing.assert_allclose(blurry[0, 20:-20, 30:-30], 127, atol=5)
    made = [
        Sensor.draw(np.random.default_rng(seed), 2, Exposure(averaged=0.3))
        for seed in range(400)
    ]
    assert np.mean([s.averaged for s in made]) == pytest.approx(0.3, abs=0.07)


def test_averages_are_of_many_exposures_without_a_gap_and_have_little_noise():
    plain, some = (
        [
            Sensor.draw(np.random.default_rng(seed), 2, Exposure(sharp=0.2, averaged=a))
            for seed in range(200)
        ]
        for a in (0.0, 1.0)
    )
    for before_, after in zip(plain, some, strict=True):
        assert after.shot == pytest.approx(before_.shot / 8)
        assert after.read**2 == pytest.approx(before_.read**2 / 8)
        assert after.gain == before_.gain and after.crf == before_.crf
        if before_.duty[0] > 0.01:
            assert 0.7 <= after.duty[0] == after.duty[1] <= 1.0
        else:  # sharp ones stay sharp
            np.testing.assert_array_equal(after.duty, before_.duty)
    lengths = [s.duty[0] for s in some if s.duty[0] > 0.01]
    assert min(lengths) < 0.72 and max(lengths) > 0.98


def test_a_clip_of_display_values_shows_the_photograph_as_it_is(rng):
    photo = rng.integers(0, 256, (9, 7, 3), np.uint8)
    sensor = Sensor(duty=np.ones(1), highlights=4.0, averaged=True)
    shown = sensor.develop(sensor.light(linear_from_srgb(photo)))
    assert np.abs(shown.astype(int) - photo).max() <= 1


def test_highlights_are_brighter_than_white_and_clipped_after_averaging():
    photo = np.full((200, 300, 3), 0.1, np.float32)
    photo[:, 145:155] = 1.0
    brighten = Sensor(duty=np.ones(1), highlights=6.0).light
    light = brighten(photo.copy())
    assert light[0, 150, 0] == pytest.approx(6.0) and light[0, 0, 0] == photo[0, 0, 0]
    plain = filmed(before(panning(30.0), photo), 1.0)
    bright = filmed(before(panning(30.0), photo, light=brighten), 1.0)
    # A third of the exposure is white: 0.4 of full light, or all of it and more.
    assert plain.blurry[0, 48, 80, 0] == pytest.approx(
        255 * srgb_from_linear(np.float32(0.4)), abs=4
    )
    assert bright.blurry[0, 48, 80].min() == 255
    assert bright.sharp[0, 48, 80, 0] == plain.sharp[0, 48, 80, 0] == 255


def test_a_stronger_contrast_darkens_shadows_and_brightens_lights():
    light = np.array([0.02, 0.8], np.float32)
    plain, strong = (
        Sensor(duty=np.ones(1), contrast=c).develop(light).astype(int)
        for c in (0.0, 0.5)
    )
    assert strong[0] < plain[0] and strong[1] > plain[1]


@pytest.mark.parametrize("contrast", [-0.6, 0.0, 0.9])
def test_every_response_rises_from_black_to_white(contrast):
    levels = np.linspace(0, 1, 500, dtype=np.float32)
    shown = Sensor(duty=np.ones(1), contrast=contrast).develop(levels).astype(int)
    assert shown[0] == 0 and shown[-1] == 255 and (np.diff(shown) >= 0).all()


def test_the_plain_response_is_srgb():
    light = np.random.default_rng(0).random((50, 3), np.float32)
    shown = Sensor(duty=np.ones(1)).develop(light)
    np.testing.assert_allclose(shown, 255 * srgb_from_linear(light), atol=0.51)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.6, 4.0])
def test_the_noise_has_the_variance_of_its_light(level):
    sensor = Sensor(duty=np.ones(1), shot=4e-4, read=2e-3)
    light = np.full((200, 200, 3), level, np.float32)
    noise = sensor.noisy(light, np.random.default_rng(0)) - light
    expected = np.sqrt(4e-4 * min(level, 1.0) + 2e-3**2)
    assert noise.std() == pytest.approx(expected, rel=0.02)
    assert abs(noise.mean()) < 0.02 * expected


def test_duties_wander_slowly_and_stay_below_the_interval():
    rng = np.random.default_rng(0)
    settings = exposure(duty=(0.3, 0.9), wander=(0.5, 0.5))
    clips = np.stack([Sensor.draw(rng, 24, settings).duty for _ in range(50)])
    assert clips.max() <= 1 and clips.min() >= 0.3 * np.exp(-0.5)
    assert np.abs(np.diff(np.log(clips), axis=1)).max() < 0.5 * 2 * np.pi * 0.12
    assert clips.std(axis=1).mean() > 0.05


def test_h264_leaves_less_the_higher_its_factor():
    clip = np.rint(255 * np.stack([np.roll(waves(), t, 1) for t in range(5)]))
    noise = np.random.default_rng(0).normal(0, 8, clip.shape)
    clip = np.clip(clip + noise, 0, 255).astype(np.uint8)
    left = [psnr(through_h264(clip, crf) / 255, clip / 255) for crf in (5, 23, 35)]
    assert left[0] > left[1] > left[2] > 20


@pytest.mark.parametrize("height, width", [(48, 64), (50, 50), (33, 47)])
def test_h264_keeps_size_place_and_colour_of_any_frame(height, width):
    y, x = np.mgrid[:height, :width]
    clip = np.stack([np.stack([x * 3, y * 3, x + y], axis=-1)] * 3).clip(0, 255)
    clip = clip.astype(np.uint8)
    back = through_h264(clip, 0)
    assert back.shape == clip.shape and back.dtype == np.uint8
    np.testing.assert_allclose(back.astype(int), clip, atol=4)
    assert abs((back.astype(int) - clip).mean()) < 0.3


def test_h264_is_the_same_wherever_its_memory_is(rng):
    """Of sides that are no multiples of 16, by x264's fastest instructions as well."""
    clip = np.stack([np.roll(waves(), 2 * t, 1)[:72, :100] for t in range(5)])
    clip = np.rint(255 * clip + rng.normal(0, 4, clip.shape)).clip(0, 255)
    clip = clip.astype(np.uint8)
    first = through_h264(clip, 23)
    for _ in range(40):
        kept = [rng.random(rng.integers(1, 60_000)) for _ in range(3)]  # moves the rest
        assert (through_h264(clip, 23) == first).all()
        del kept


def test_pyav_is_only_needed_to_compress(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    filmed(before(panning(3.0), waves()), 0.5)
    with pytest.raises(ImportError):
        filmed(before(panning(3.0), waves()), 0.5, crf=23)


def test_without_x264_the_reason_is_said(monkeypatch):
    monkeypatch.setattr(av, "codecs_available", set())
    with pytest.raises(RuntimeError, match="without libx264"):
        through_h264(np.zeros((1, 16, 16, 3), np.uint8), 23)


def test_the_transfer_functions_are_inverse():
    levels = np.arange(256, dtype=np.uint8)
    there = srgb_from_linear(linear_from_srgb(levels)) * 255
    np.testing.assert_allclose(there, levels, atol=1e-3)
