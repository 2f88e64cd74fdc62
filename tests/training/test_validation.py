"""Validation clips, and what a run's weights make of them."""

import dataclasses

import numpy as np
import pytest
import sets
from motions import panned
from networks import SMALLEST
from skimage.metrics import peak_signal_noise_ratio

from mtujax.data.clips import Clips, ClipSpec
from mtujax.data.locate import open_frames
from mtujax.errors import UserError
from mtujax.model.clip import restore_clip
from mtujax.model.network import inference_params
from mtujax.training.config import DataConfig, RunConfig, TrainConfig, ValidationConfig
from mtujax.training.dead_channels import dead_counts, dead_masks
from mtujax.training.validation import Clip, Validator, open_clips


def config(data, **validation):
    validation = {"clips": 3, "frames": 2, "size": (16, 24), "every": 5} | validation
    return RunConfig(
        SMALLEST, TrainConfig(steps=2), data, ValidationConfig(**validation)
    )


@pytest.fixture
def photos(tmp_path, rng):
    folder = tmp_path / "photos"
    folder.mkdir()
    [photo] = panned([(0, 0)], (64, 80), rng)
    sets.write(folder / "a.png", photo)
    return folder


def test_photographs_are_filmed_the_same_way_each_time(photos):
    data = DataConfig(path="elsewhere")
    clips = open_clips(config(data, path=str(photos)))
    assert [clip.name for clip in clips] == ["a-0", "a-1", "a-2"]
    again = open_clips(dataclasses.replace(config(data, path=str(photos)), seed=9))
    for one, other in zip(clips, again, strict=True):
        assert one.blurry.shape == one.sharp.shape == (2, 16, 24, 3)
        np.testing.assert_array_equal(one.blurry, other.blurry)
    assert (clips[0].sharp != clips[1].sharp).any()


def test_clips_of_a_set_are_spread_over_it_and_cut_to_the_middle(tmp_path):
    root = sets.make(tmp_path / "set", sets.FORMS["gopro"])
    clips = open_clips(config(DataConfig("gopro", str(root)), size=(16, 16)))
    source = open_frames("gopro", root, split="test")
    whole = Clips(source, ClipSpec(frames=2, lookback=0, lookahead=0))
    assert [clip.name for clip in clips] == [f"GOPR0862_11_00-{n}" for n in range(3)]
    for number, clip in enumerate(clips):
        expected = whole.read(number)["sharp"][:, 4:20, 8:24]
        np.testing.assert_array_equal(clip.sharp, expected)


def test_a_run_without_validation_has_no_clips(photos):
    assert open_clips(config(DataConfig(path=str(photos)))) == []
    assert open_clips(config(DataConfig("gopro", "nowhere"), every=0)) == []


def test_clips_that_cannot_be_had_are_named(tmp_path, photos):
    root = sets.make(tmp_path / "set", sets.FORMS["pairs without splits"])
    with pytest.raises(UserError, match="validation.every=0 disables it"):
        open_clips(config(DataConfig("pairs", str(root))))
    with pytest.raises(UserError, match="large as 96x96"):
        open_clips(config(DataConfig(), path=str(photos), size=(96, 96)))
    with pytest.raises(UserError, match="a, .* data.max_side=40, is smaller than"):
        open_clips(config(DataConfig(max_side=40), path=str(photos), size=(48, 48)))
    root = sets.make(tmp_path / "gopro", sets.FORMS["gopro"])
    with pytest.raises(
        UserError, match="32x24, smaller than the 48x48 .*size=.\\(24, 32"
    ):
        open_clips(config(DataConfig("gopro", str(root)), size=(48, 48)))
    coarse = config(DataConfig("gopro", str(root)), size=(48, 48))
    coarse = dataclasses.replace(coarse, model=dataclasses.replace(SMALLEST, patch=4))
    with pytest.raises(UserError, match="size=.\\(16, 32"):
        open_clips(coarse)


def test_the_scores_are_those_of_eight_bit_frames(tiny, rng):
    model, params = tiny
    sharp = rng.integers(0, 256, (3, 16, 24, 3), np.uint8)
    blurry = np.clip(sharp + rng.normal(0, 9, sharp.shape), 0, 255).astype(np.uint8)
    clips = [Clip("noise", blurry, sharp), Clip("same", sharp, sharp)]
    found = Validator(model, clips, images=1)(params)
    restored = restore_clip(model, inference_params(params), blurry[None] / 255.0)[1]
    restored = np.rint(255 * np.clip(restored[0], 0, 1)).astype(np.uint8)
    expected = [
        peak_signal_noise_ratio(a, b) for a, b in zip(sharp, restored, strict=True)
    ]
    np.testing.assert_allclose(found.by_clip["noise"], np.mean(expected), atol=1e-3)
    expected = dead_counts(dead_masks(model, params, [blurry[:2], sharp[:2]]))
    assert dead_counts(found.dead) == expected
    assert found.psnr == pytest.approx(np.mean(list(found.by_clip.values())))
    noisy = [peak_signal_noise_ratio(a, b) for a, b in zip(sharp, blurry, strict=True)]
    # Equal frames count 100 dB.
    assert found.blurry == pytest.approx((np.mean(noisy) + 100) / 2, abs=1e-3)
    [picture] = found.images.values()
    np.testing.assert_array_equal(
        picture, np.concatenate([blurry[1], restored[1], sharp[1]], axis=1)
    )
