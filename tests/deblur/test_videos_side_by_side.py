"""Videos side by side on one device: each comes out as it does alone."""

import errno
import os
import threading

import cv2
import jax
import numpy as np
import pytest
from compared import assert_same_pictures
from killing import tree
from networks import slow

import mtujax.deblur.videos as videos
from mtujax import deblur_videos
from mtujax.deblur import task
from mtujax.deblur.api import restore_video
from mtujax.errors import UsageError

LENGTHS = {"a": 7, "b": 12, "c": 3, "d": 9, "one": 1}
LARGE = {"large": 5}


def picture(rng, size):
    coarse = rng.integers(0, 255, (size[0] // 4, size[1] // 4, 3), np.uint8)
    return cv2.resize(coarse, size[::-1])


def write_folder(path, count, size=(24, 32), cut=None, seed=0):
    path.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    image = picture(rng, size)
    for number in range(count):
        image = picture(rng, size) if number == cut else np.roll(image, 1, axis=1)
        cv2.imwrite(str(path / f"f{number}.png"), image)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Videos of five lengths and two sizes, one of two shots, and one that is none."""
    tmp_path = tmp_path_factory.mktemp("side by side")
    for seed, (name, count) in enumerate({**LENGTHS, **LARGE}.items()):
        size, cut = (48, 64) if name in LARGE else (24, 32), 5 if name == "b" else None
        write_folder(tmp_path / "in" / name, count, size, cut, seed)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    return tmp_path / "in"


@pytest.fixture(scope="module")
def alone(sets, tiny):
    deblur_videos(sets, sets.parent / "alone", weights=tiny, batch=1)
    return tree(sets.parent / "alone")


@pytest.mark.parametrize("batch", [4, slow(2), slow(16)])
def test_each_comes_out_as_alone_whatever_its_length_shots_and_size(
    tmp_path, sets, tiny, alone, batch
):
    done, seen, threads = [], [], set()

    def progress(*now):
        seen.append(now)
        threads.add(threading.current_thread())

    def add(video):
        done.append(video)
        threads.add(threading.current_thread())

    out = tmp_path / "out"
    how = {"batch": batch, "progress": progress, "on_video": add}
    found = deblur_videos(sets, out, weights=tiny, **how)
    frames = {os.path.basename(v.output): v.frames for v in found}
    assert frames == {**LENGTHS, **LARGE, "broken.mp4": None}
    assert len(done) == len(found) and {*done} == {*found}
    assert seen == [(n + 1, None) for n in range(sum((LENGTHS | LARGE).values()))]
    assert threads == {threading.main_thread()}
    assert_same_pictures(tree(out), alone)
    assert "cannot be read" in next(v.error for v in found if v.error)
    found = deblur_videos(sets, out, weights=tiny, batch=batch, resume=True)
    assert [v.skipped for v in found] == [v.error is None for v in found]


def test_lanes_do_run_together(tmp_path, sets, tiny, monkeypatch):
    import mtujax.deblur.batcher as batcher

    sizes, run = [], batcher.run_together

    def counted(model, params, states, windows):
        sizes.append(len(states))
        return run(model, params, states, windows)

    monkeypatch.setattr(batcher, "run_together", counted)
    deblur_videos(sets, tmp_path / "out", weights=tiny, batch=4)
    assert sum(sizes) == sum((LENGTHS | LARGE).values())
    assert max(sizes) > 1 and {*sizes} <= {1, 2, 4}


@pytest.mark.parametrize("dtype", ["float16", slow("bfloat16")])
def test_of_half_precision_too(tmp_path, sets, tiny, dtype):
    for name, batch in (("alone", 1), ("out", 2)):
        how = {"weights": tiny, "dtype": dtype, "batch": batch}
        deblur_videos([sets / "a", sets / "c"], tmp_path / name, **how)
    assert_same_pictures(tree(tmp_path / "out"), tree(tmp_path / "alone"))


def test_an_interruption_keeps_all_segments_and_all_is_resumed(
    tmp_path, sets, tiny, alone
):
    out, how = tmp_path / "out", {"weights": tiny, "segment_frames": 2, "batch": 4}
    before = {*threading.enumerate()}

    def interrupt(*_):
        if any(out.glob("b.part/state-*.npz")):  # a segment is finished
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        deblur_videos(sets, out, **how, progress=interrupt)
    kept = [path for path in os.listdir(out) if path.endswith(".part")]
    notes = caught.value.__notes__
    assert len(kept) >= 1 and "--resume continues" in notes[-1]
    for path in kept:
        assert any(f"finished frames are kept in {path}: " in note for note in notes)
    assert {*threading.enumerate()} <= before
    found = deblur_videos(sets, out, **how, resume=True)
    resumed = [n for v in found for n in v.notes if "resumes after" in n]
    assert len(resumed) == len(kept)
    assert_same_pictures(tree(out), alone)


def test_a_full_disk_stops_all_and_loses_nothing(
    tmp_path, sets, tiny, alone, monkeypatch
):
    out, flush = tmp_path / "out", os.fsync
    how = {"weights": tiny, "segment_frames": 2, "batch": 3}

    def full(number):
        if (out / "c").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left.*out/"):
        deblur_videos(sets, out, **how)
    monkeypatch.undo()
    found = deblur_videos(sets, out, **how, resume=True)
    assert sum(video.error is None for video in found) == 6
    assert_same_pictures(tree(out), alone)


def test_a_bug_in_one_stops_no_other(tmp_path, sets, tiny, alone, monkeypatch, capsys):
    def buggy(input, *given, **options):
        if input.endswith("b"):
            options["progress"] = lambda done, _: 1 / (done < 4)
        return restore_video(input, *given, **options)

    monkeypatch.setattr(task, "restore_video", buggy)
    found = deblur_videos(sets, tmp_path / "out", weights=tiny, batch=4)
    errors = {os.path.basename(v.input): v.error for v in found if v.error}
    assert {*errors} == {"b", "broken.mp4"} and "ZeroDivisionError" in errors["b"]
    assert "Traceback" in capsys.readouterr().err
    rest = {n: x for n, x in alone.items() if not n.startswith("b/")}
    assert_same_pictures(tree(tmp_path / "out"), rest)


def test_shards_may_run_side_by_side_too(tmp_path, sets, tiny, alone):
    out = tmp_path / "out"
    for shard in ("1/2", "2/2"):
        deblur_videos(sets, out, weights=tiny, shard=shard, batch=3)
    found = deblur_videos(sets, out, weights=tiny, resume=True)
    assert sum(video.skipped for video in found) == 6
    assert_same_pictures(tree(out), alone)


@pytest.mark.parametrize("batch", [0, -1, "many", 1.5])
def test_what_is_no_number_of_videos_is_bad_use(tmp_path, sets, tiny, batch):
    with pytest.raises(UsageError, match="batch .*: (give|must be)"):
        deblur_videos(sets, tmp_path / "out", weights=tiny, batch=batch)
    assert not (tmp_path / "out").exists()


def test_on_a_cpu_one_at_a_time_is_the_default(tmp_path, sets, tiny, monkeypatch):
    assert jax.default_backend() == "cpu"
    monkeypatch.setattr(videos, "Batcher", None)
    found = deblur_videos(sets, tmp_path / "out", weights=tiny)
    assert sum(video.frames or 0 for video in found) == 37
