"""From datasets and photographs to training batches."""

import numpy as np
import pytest
import sets
from motions import ArrayFrames
from networks import slow

from mtujax.data.check import check_dataset
from mtujax.data.clips import Clips, ClipSpec, VideoSamples
from mtujax.data.flow_cache import compute_motion
from mtujax.data.locate import flow_folder, open_frames, open_motion
from mtujax.data.pipeline import (
    Augment,
    BatchSpec,
    MotionLabels,
    Noise,
    training_batches,
)
from mtujax.data.prepare import prepare_dataset
from mtujax.errors import UsageError, UserError

pytest.importorskip("grain")
SHORT = ClipSpec(frames=3, lookback=2, lookahead=1)
PLAIN = {"augment": None, "noise": None}


class KnownFrames(ArrayFrames):
    """Pixels that tell where they come from: (row, column, 16 video + frame)."""

    def __init__(self, lengths, size=(40, 56)):
        y, x = (g.astype(np.uint8) for g in np.indices(size))
        super().__init__(
            {
                f"video {v}": np.stack(
                    [np.dstack([y, x, np.full_like(x, 16 * v + n)]) for n in range(f)]
                )
                for v, f in enumerate(lengths)
            }
        )


class KnownMotion:
    """Four pixels to the right; unknown in the left half of the frame."""

    name = "known"

    def motion(self, video, frame, window):
        flow = np.zeros((window.height, window.width, 2), np.float32)
        flow[..., 0] = 4
        valid = np.arange(window.left, window.left + window.width) >= 28
        return flow, np.broadcast_to(valid, flow.shape[:2])


def take(batches, count):
    taken = [next(batches) for _ in range(count)]
    batches.close()
    return taken


def equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def clip_numbers(batches):
    """(video, first target) of each record."""
    targets = np.concatenate([b["sharp"][:, 0, 0, 0, 2] for b in batches])
    return [divmod(int(n), 16) for n in targets]


@pytest.mark.parametrize("name", ["gopro", "dvd", "reds", "bsd", "pairs"])
def test_every_dataset_goes_through_check_and_prepare_to_labelled_batches(
    name, tmp_path
):
    """Folders, records and arrays give the same batches."""
    pytest.importorskip("tensorflow_datasets")
    form = sets.FORMS[name]
    root, out = sets.make(tmp_path / "set", form), tmp_path / "out"
    where = {"split": "train", "config": form.config}
    check_dataset(form.name, root, config=form.config).refuse(partial=True)
    taken = []
    for path, raw in ((root, None), (out, False), (out, True)):
        if raw is not None:
            prepare_dataset(
                form.name, root, out, config=form.config, raw=raw, partial=True
            )
        source = open_frames(form.name, path, **where)
        if raw is None:
            place = flow_folder(form.name, root, config=form.config, output=out)
            compute_motion(source, place / "train")
        motion = open_motion(form.name, path, source, folder=place, **where)
        spec = BatchSpec(crop=16, batch=4)
        taken.append(take(training_batches(source, SHORT, spec=spec, motion=motion), 3))
    shapes = {key: (value.shape, value.dtype) for key, value in taken[0][0].items()}
    assert shapes == {
        "blurry": ((4, 6, 16, 16, 3), np.uint8),
        "sharp": ((4, 3, 16, 16, 3), np.uint8),
        "motion": ((4, 3, 4, 4), np.int32),
        "motion_valid": ((4, 3, 4, 4), bool),
        "record": ((4,), np.int32),
    }
    for others in taken[1:]:
        equal(taken[0], others)
    assert all((b["motion"] >= 0).all() and (b["motion"] < 441).all() for b in taken[0])


def test_a_record_is_one_crop_of_all_frames_clamped_as_in_the_release():
    source = KnownFrames([5, 4])
    spec = BatchSpec(crop=(16, 20), batch=5, **PLAIN)
    [batch] = take(training_batches(source, SHORT, spec=spec), 1)
    corners = set()
    for blurry, sharp in zip(batch["blurry"], batch["sharp"], strict=True):
        top, left, number = map(int, sharp[0, 0, 0])
        video, start = divmod(number, 16)
        length = (5, 4)[video]
        for frames, positions in (
            (sharp, [start, start + 1, start + 2]),
            (blurry, [start] * 3 + [start + 1, start + 2, min(start + 3, length - 1)]),
        ):
            assert list(frames[:, 0, 0, 2]) == [16 * video + n for n in positions]
            y, x = np.mgrid[top : top + 16, left : left + 20]
            for frame in frames:
                np.testing.assert_array_equal(frame[..., :2], np.dstack([y, x]))
        corners.add((top, left))
    assert len(corners) == 5 and "motion" not in batch


def test_turns_and_flips_take_frames_motion_and_mask_alike():
    """Columns of the original grow along (4, 0) turned as the image is."""
    source, labels = KnownFrames([3]), MotionLabels(2)
    spec = BatchSpec(crop=16, batch=96, augment=Augment(1, 0.5), labels=labels)
    batches = training_batches(source, SHORT, spec=spec, motion=KnownMotion())
    [batch] = take(batches, 1)
    seen = set()
    for n, sharp in enumerate(batch["sharp"].astype(int)):
        columns = sharp[0, ..., 1]
        dx, dy = columns[0, 1] - columns[0, 0], columns[1, 0] - columns[0, 0]
        rows = sharp[0, ..., 0]
        seen.add((dx, dy, rows[0, 1] - rows[0, 0], rows[1, 0] - rows[0, 0]))
        for frames in (batch["blurry"][n], batch["sharp"][n]):
            for frame in frames:
                np.testing.assert_array_equal(frame[..., :2], sharp[0, ..., :2])
        motion, valid = batch["motion"][n], batch["motion_valid"][n]
        assert (motion[1:] == (dy + 2) * 5 + dx + 2)[valid[1:]].all()
        assert not valid[0].any()  # the first frame has none before it
        known = (columns >= 28).reshape(4, 4, 4, 4).sum((1, 3)) >= 8
        last = columns.reshape(4, 4, 4, 4).max((1, 3)) == columns.max()
        np.testing.assert_array_equal(valid[1], known & ~last)
        np.testing.assert_array_equal(valid[2], valid[1])
    assert len(seen) == 8


def test_every_clip_comes_once_before_any_comes_again():
    source = KnownFrames([5, 4, 3])
    spec = BatchSpec(crop=16, batch=3, **PLAIN)
    batches = take(training_batches(source, SHORT, spec=spec, seed=5), 8)
    numbers = clip_numbers(batches)
    epochs = [numbers[n : n + 6] for n in range(0, 24, 6)]
    everything = {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)}
    assert all(set(epoch) == everything for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1  # shuffled anew


def test_hosts_together_see_what_one_host_would():
    source = KnownFrames([5, 4])

    def batches(size, shard):
        spec = BatchSpec(crop=16, batch=size, noise=Noise())
        return take(training_batches(source, SHORT, spec=spec, shard=shard), 3)

    whole = batches(6, (0, 1))
    hosts = [batches(2, (n, 3)) for n in range(3)]
    for one, *shares in zip(whole, *hosts, strict=True):
        for key, value in one.items():
            together = np.stack([share[key] for share in shares], axis=1)
            np.testing.assert_array_equal(together.reshape(value.shape), value)


@pytest.mark.parametrize("workers", [0, slow(2)])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(workers):
    source = KnownFrames([6, 4])
    spec = BatchSpec(crop=16, batch=2, noise=Noise())
    options = {"spec": spec, "motion": KnownMotion(), "seed": 7}
    plain = take(training_batches(source, SHORT, **options, threads=0), 6)
    options["workers"] = workers
    batches = training_batches(source, SHORT, **options)
    before = [next(batches) for _ in range(3)]
    state = batches.get_state()
    after = take(batches, 3)
    equal(before + after, plain)  # neither threads nor processes change anything
    resumed = training_batches(source, SHORT, **options)
    resumed.set_state(state)
    equal(take(resumed, 3), after)
    if not workers:
        equal(take(training_batches(source, SHORT, **options, start=3), 3), after)


def test_another_seed_gives_other_batches():
    source = KnownFrames([6, 4])
    one, other = (
        take(training_batches(source, SHORT, spec=BatchSpec(16, 4), seed=seed), 2)
        for seed in (0, 1)
    )
    assert (one[0]["sharp"] != other[0]["sharp"]).any()
    assert (one[0]["sharp"] != one[1]["sharp"]).any()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_frame_ends_training_and_is_named(workers, tmp_path):
    root = sets.make(tmp_path / "set", sets.FORMS["pairs"])
    frame = root / "train/kitchen/blur/00000001.png"
    frame.write_bytes(frame.read_bytes()[:90])
    source = open_frames("pairs", root, split="train")
    spec = BatchSpec(crop=16, batch=5)
    batches = training_batches(source, SHORT, spec=spec, workers=workers)
    with pytest.raises(UserError, match="kitchen/blur/00000001.png: cut short"):
        next(batches)
    batches.close()


def test_frames_smaller_than_the_crop_are_refused():
    source = KnownFrames([5, 4])
    with pytest.raises(UserError, match="video 0 is 56x40, smaller than the 64x64"):
        training_batches(source, SHORT, spec=BatchSpec(crop=64))
    wide = BatchSpec(crop=(40, 56), batch=1, **PLAIN)
    take(training_batches(source, SHORT, spec=wide), 1)
    with pytest.raises(UserError, match="smaller than the 40x56 crop"):
        spec = BatchSpec(crop=(40, 56))  # which may be turned
        training_batches(source, SHORT, spec=spec)


def test_videos_shorter_than_a_clip_are_counted_and_left_out():
    source = KnownFrames([2, 4, 1])
    samples = VideoSamples(Clips(source, SHORT))
    assert len(samples) == 2
    assert samples.note == (
        "2 of 3 videos are shorter than 3 frames and give no clip: video 0 (2), "
        "video 2 (1)"
    )
    batches = take(training_batches(samples, spec=BatchSpec(16, 2, **PLAIN)), 1)
    assert set(clip_numbers(batches)) == {(1, 0), (1, 1)}
    with pytest.raises(UserError, match="no clip of 3 frames, as the longest video"):
        training_batches(KnownFrames([2]), SHORT)


@pytest.mark.parametrize(
    "options, named",
    [
        ({"seed": -1}, "seed -1"),
        ({"shard": (2, 2)}, r"shard \(2, 2\)"),
        ({"threads": -1}, "threads -1"),
        ({"workers": -2}, "workers -2"),
        ({"start": -3}, "start -3"),
    ],
)
def test_a_setting_that_cannot_be_is_named(options, named):
    with pytest.raises(UsageError, match=named):
        training_batches(KnownFrames([5]), SHORT, spec=BatchSpec(16), **options)


@pytest.mark.parametrize("options", [{"crop": 18}, {"crop": (16, 0)}, {"batch": 0}])
def test_a_batch_that_cannot_be_is_refused(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        BatchSpec(**options)
