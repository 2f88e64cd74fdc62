"""Blur by averaging the frames of a quick video, the field's own method."""

from fractions import Fraction

import numpy as np
import pytest
from media_clip import clip as write_clip

from mtujax.errors import UsageError, UserError
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear
from mtujax.synthesis.sets import averaged, clips_of_video, video_rate
from mtujax.video.reader import VideoReader


def frames(count, seed=0, height=32, width=48):
    """A bright bar that moves over a still, noisy wall."""
    rng = np.random.default_rng(seed)
    wall = rng.integers(30, 160, (height // 8, width // 8, 3), np.uint8)
    wall = wall.repeat(8, axis=0).repeat(8, axis=1)
    made = np.repeat(wall[None], count, axis=0)
    for t in range(count):
        made[t, :, t % (width - 6) : t % (width - 6) + 6] = 240
    return made


def naive(part):
    """Mean of light, pixel by pixel in double precision."""
    light = np.mean([linear_from_srgb(f).astype(np.float64) for f in part], axis=0)
    return 255 * srgb_from_linear(light)


@pytest.mark.parametrize("average, every", [(3, 3), (5, 8), (7, 7)])
def test_frames_are_averaged_as_light_and_the_middle_one_is_sharp(average, every):
    video = frames(30)
    pairs = list(averaged(video, average, every))
    starts = range(0, len(video) - average + 1, every)
    assert len(pairs) == len(starts)
    for first, (blurry, sharp) in zip(starts, pairs, strict=True):
        part = video[first : first + average]
        np.testing.assert_allclose(blurry, naive(part), atol=0.51)
        np.testing.assert_array_equal(sharp, part[average // 2])


def test_the_mean_is_not_that_of_the_values_displayed():
    video = np.zeros((3, 8, 8, 3), np.uint8)
    video[1] = 255
    ((blurry, _),) = averaged(video, 3, 3)
    assert 154 <= blurry.min() and blurry.max() <= 157  # a third of the light, not 85


def test_a_still_video_comes_out_as_it_was():
    video = np.repeat(frames(1), 9, axis=0)
    for blurry, sharp in averaged(video, 5, 5):
        np.testing.assert_array_equal(blurry, sharp)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two shots of 22 and 13 frames, 240 a second."""
    path = tmp_path_factory.mktemp("quick") / "street.mp4"
    cut = 255 - frames(13, seed=9)[:, ::-1]
    return write_clip(
        path, [*frames(22), *cut], rate=Fraction(240), options={"crf": "0"}
    )


def test_no_exposure_reaches_over_a_cut(video):
    clips = dict(clips_of_video(video, average=5, frames=100))
    assert [len(c.sharp) for c in clips.values()] == [4, 2]
    assert list(clips) == ["street_0000", "street_0001"]
    decoded = [c.sharp for c in clips.values()]
    expected = frames(22)[2::5][:4].astype(int)
    assert np.abs(decoded[0].astype(int) - expected).mean() < 12


def test_long_shots_give_several_clips_and_no_motion_is_claimed(video):
    clips = [clip for _, clip in clips_of_video(video, average=3, every=4, frames=3)]
    assert [len(c.sharp) for c in clips] == [3, 2, 3]
    for clip in clips:
        assert not clip.valid.any() and clip.flow.shape == (*clip.sharp.shape[:3], 2)
        np.testing.assert_allclose(clip.duty, 0.75)


@pytest.mark.parametrize("average", [-3, 0, 1, 2, 8])
def test_a_number_of_frames_without_a_middle_is_refused(video, average):
    with pytest.raises(UsageError, match=f"average {average}: .*odd"):
        next(clips_of_video(video, average=average))


def test_exposures_that_overlap_and_empty_clips_are_refused(video):
    with pytest.raises(UsageError, match="every 4: at least .* 5"):
        next(clips_of_video(video, average=5, every=4))
    with pytest.raises(UsageError, match="frames 0"):
        next(clips_of_video(video, average=5, frames=0))


def test_a_video_too_short_for_one_exposure_is_named(video):
    with pytest.raises(UserError, match="street.mp4: no shot has 31 frames"):
        list(clips_of_video(video, average=31))


def test_what_is_no_video_is_named(tmp_path):
    path = tmp_path / "letter.mp4"
    path.write_text("no video")
    for read in (video_rate, lambda p: next(clips_of_video(p))):
        with pytest.raises(UserError, match="letter.mp4"):
            read(path)


def test_the_rate_tells_whether_a_video_is_quick(video):
    assert video_rate(video) == pytest.approx(240, rel=0.01)


def test_a_phone_held_upright_gives_upright_frames(tmp_path):
    path, made = tmp_path / "phone.mp4", np.repeat(frames(1), 3, axis=0)
    made[:, :16, :24] = 250  # bright where the coded frame is top left
    options = dict(rate=Fraction(240), options={"crf": "0"})
    write_clip(path, list(made), rotation=(90,), **options)
    ((_, clip),) = clips_of_video(path, average=3)
    with VideoReader(path) as reader:
        turns = reader.info.orientation.turns
    assert turns % 2 and clip.sharp.shape[1:] == (48, 32, 3)
    expected = np.rot90(made[1], turns)
    assert np.abs(clip.sharp[0].astype(int) - expected).mean() < 12
