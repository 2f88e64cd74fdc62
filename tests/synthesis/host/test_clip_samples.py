"""Clips made from photographs, through the same door as those of datasets."""

import dataclasses
import pickle

import numpy as np
import pytest
import sets
from motions import panned

from mtujax.data.clips import ClipSpec
from mtujax.data.pipeline import BatchSpec, training_batches
from mtujax.errors import UsageError, UserError
from mtujax.synthesis.host.clip import BlurredClip, PhotoSamples
from mtujax.synthesis.settings import BlurSettings, Objects

SHORT = ClipSpec(frames=3, lookback=2, lookahead=1)


def take(batches, count):
    taken = [next(batches) for _ in range(count)]
    batches.close()
    return taken


@pytest.fixture
def photos(tmp_path, rng):
    paths = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for path, photo in zip(paths, panned([(0, 0)] * 2, (120, 160), rng), strict=True):
        sets.write(path, photo)
    return paths


def test_photographs_go_the_same_way(photos):
    pytest.importorskip("grain")
    samples = PhotoSamples(photos, SHORT)
    spec = BatchSpec(crop=32, batch=2)
    one, two = take(training_batches(samples, spec=spec, seed=1), 2)
    assert one["blurry"].shape == (2, 6, 32, 32, 3)
    assert one["sharp"].shape == (2, 3, 32, 32, 3)
    assert one["motion"].shape == one["motion_valid"].shape == (2, 3, 8, 8)
    assert not one["motion_valid"][:, 0].any() and one["motion_valid"][:, 1:].any()
    assert (one["blurry"][:, 0] == one["blurry"][:, 2]).all()  # clamped
    assert (one["blurry"][:, 4] != one["blurry"][:, 5]).any()  # a frame ahead
    again = PhotoSamples(photos, SHORT)
    for batch, same in zip(
        [one, two], take(training_batches(again, spec=spec, seed=1), 2), strict=True
    ):
        for key, value in batch.items():
            np.testing.assert_array_equal(value, same[key])
    # Each time another clip of the same two photographs.
    assert (np.sort(one["sharp"], 0) != np.sort(two["sharp"], 0)).any()


@pytest.mark.parametrize("use_preceding_frames", [False, True])
def test_frames_of_a_photograph_lie_where_the_clip_says(
    use_preceding_frames, photos, rng, monkeypatch
):
    def numbered(photo, rng, *, frames, height, width, **ranges):
        values = np.arange(frames, dtype=np.uint8)[:, None, None, None]
        clip = np.broadcast_to(values, (frames, height, width, 3))
        flow, valid = clip[..., :2].astype(np.float32), np.ones(clip.shape[:-1], bool)
        return BlurredClip(clip, clip, flow, valid, np.ones(frames, np.float32))

    monkeypatch.setattr("mtujax.synthesis.host.clip.synthesize", numbered)
    spec = dataclasses.replace(SHORT, use_preceding_frames=use_preceding_frames)
    samples = pickle.loads(pickle.dumps(PhotoSamples(photos, spec)))
    sample = samples.draw(0, rng, 8, 12)
    assert sample.sharp.shape == (3, 8, 12, 3)
    blurry, sharp = ([*f[:, 0, 0, 0]] for f in (sample.blurry, sample.sharp))
    if use_preceding_frames:
        assert (blurry, sharp) == ([0, 1, 2, 3, 4, 5], [2, 3, 4])
    else:
        assert (blurry, sharp) == ([0, 0, 0, 1, 2, 3], [0, 1, 2])
    assert [*sample.positions] == blurry
    assert [*sample.flow[:, 0, 0, 0]] == [0, *sharp[1:]]
    assert [*sample.valid[:, 0, 0]] == [False, True, True]


def test_photographs_that_cannot_be_used_are_named(photos):
    samples = PhotoSamples(photos, SHORT)
    with pytest.raises(UserError, match="a.png is 160x120, smaller than the 128x128"):
        training_batches(samples, spec=BatchSpec(crop=128))
    with pytest.raises(UsageError, match="2 photographs: has clips and motion of its"):
        training_batches(samples, SHORT, spec=BatchSpec(crop=32))
    with pytest.raises(UserError, match="no photographs"):
        PhotoSamples([])
    photos[0].write_bytes(photos[0].read_bytes()[:100])
    with pytest.raises(UserError, match="a.png: cut short"):
        PhotoSamples(photos)


def test_objects_look_like_the_cutouts(photos, tmp_path, rng):
    cutout = tmp_path / "cutout.png"
    sets.write(cutout, np.full((60, 60, 4), 255, np.uint8))
    blur = BlurSettings(objects=Objects())
    samples = PhotoSamples(photos, SHORT, blur=blur, cutouts=[cutout])
    assert samples.draw(1, rng, 32, 32).sharp.shape == (3, 32, 32, 3)
    with pytest.raises(UserError, match="a.png: has no alpha channel"):
        PhotoSamples(photos, cutouts=photos[:1])
