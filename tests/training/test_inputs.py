"""What a run trains on: the same batches whatever makes them, and on how many hosts."""

import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest
import sets
from motions import panned
from networks import slow

from mtujax.config import ModelConfig
from mtujax.data.flow_cache import compute_motion
from mtujax.data.locate import flow_folder, open_frames
from mtujax.errors import UsageError, UserError
from mtujax.training.config import DataConfig, RunConfig, TrainConfig
from mtujax.training.inputs import open_feed

pytest.importorskip("grain")

MODEL = ModelConfig(num_units=1, channels=4, num_blocks=0, search_radius=2)


@pytest.fixture
def photos(tmp_path, rng):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, photo in zip("ab", panned([(0, 0)] * 2, (96, 128), rng), strict=True):
        sets.write(folder / f"{name}.png", photo)
    return folder


def config(path, name="synthetic", **data):
    data = {"frames": 2, "crop": 32, "made_on": "host"} | data
    return RunConfig(
        MODEL, TrainConfig(steps=4), DataConfig(name, str(path), **data), batch=4
    )


def take(feed, count, start=0):
    batches = feed.start(start)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


@pytest.mark.parametrize("made_on", ["host", "device"])
def test_batches_go_on_where_they_were_left(photos, made_on):
    feed = open_feed(config(photos, made_on=made_on))
    whole = take(feed, 4)
    assert_equal(take(feed, 2, start=2), whole[2:])
    assert any((whole[0][key] != whole[1][key]).any() for key in whole[0])


def test_records_are_named_by_what_they_are_made_of(photos):
    feed = open_feed(config(photos))
    [batch] = take(feed, 1)
    assert {feed.describe(int(n)) for n in batch["record"]} == {"a.png", "b.png"}
    device = open_feed(config(photos, made_on="device"))
    assert device.describe(7) == "clip 7 of seed 0"


@pytest.mark.slow
def test_photographs_filmed_on_the_device_are_cut_as_those_of_the_host(photos):
    host = open_feed(config(photos))
    device = open_feed(config(photos, made_on="device"))
    [batch] = take(host, 1)
    made = jax.jit(device.prepare)(device.constants, take(device, 1)[0])
    assert made["blurry"].shape == batch["blurry"].shape == (4, 6, 32, 32, 3)
    assert made["sharp"].shape == batch["sharp"].shape == (4, 2, 32, 32, 3)
    for blurry in (np.asarray(made["blurry"]), batch["blurry"]):
        np.testing.assert_array_equal(blurry[:, 0], blurry[:, 2])
        np.testing.assert_array_equal(blurry[:, 1], blurry[:, 2])
        assert (blurry[:, 3] != blurry[:, 2]).any()
    for labels in (made, batch):
        assert labels["motion"].shape == labels["motion_valid"].shape == (4, 2, 8, 8)
        valid = np.asarray(labels["motion_valid"])
        assert valid[:, 1].any() and not valid[:, 0].any()


@pytest.mark.parametrize("made_on", ["host", "device"])
def test_hosts_share_what_one_host_would_read(photos, made_on, monkeypatch):
    feed = open_feed(config(photos, made_on=made_on))
    whole = take(feed, 2)
    parts = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda p=process: p)
        parts.append(take(open_feed(config(photos, made_on=made_on)), 2))
    for batch, *shares in zip(whole, *parts, strict=True):
        for key, expected in batch.items():
            together = np.concatenate([share[key] for share in shares])
            assert sorted(map(bytes, together)) == sorted(map(bytes, expected))


def test_own_frames_bring_labels_when_the_loss_needs_them(tmp_path):
    sets.make(tmp_path / "set", sets.FORMS["pairs"])
    own = config(tmp_path / "set", "pairs", motion="dis", crop=16)
    [batch] = take(open_feed(own), 1)
    assert batch["motion"].shape == batch["motion_valid"].shape == (4, 2, 4, 4)
    train = dataclasses.replace(own.train, motion_weight=0.0)
    without = dataclasses.replace(own, train=train)
    assert "motion" not in take(open_feed(without), 1)[0]
    with pytest.raises(UserError, match="mtujax data flow .* or give data.teacher"):
        open_feed(config(tmp_path / "set", "pairs", crop=16))
    with pytest.raises(UsageError, match="data.teacher is not given"):
        open_feed(config(tmp_path / "set", "pairs", crop=16, motion="teacher"))


def test_the_teacher_gives_motion_where_none_is_kept_and_says_so(tmp_path, monkeypatch):
    root = sets.make(tmp_path / "set", sets.FORMS["pairs"])
    monkeypatch.setattr(
        "mtujax.liteflownet.weights.load_teacher", lambda path: (None, {})
    )
    own = config(root, "pairs", crop=16, teacher="teacher.safetensors")
    feed = open_feed(own)
    assert feed.prepare is not None
    [note] = feed.notes
    assert note.startswith("no motion of pairs") and "data.teacher" in note
    source = open_frames("pairs", str(root), split="train")
    kept = flow_folder("pairs", str(root)) / "train"
    compute_motion(source, kept)
    feed = open_feed(own)
    assert feed.prepare is None and feed.notes == ()
    shutil.rmtree(next((root / "train").iterdir()))
    with pytest.raises(UserError, match="mtujax data flow pairs .* --overwrite"):
        open_feed(own)  # stale: the teacher does not take its place silently


def test_what_cannot_be_trained_on_is_named(tmp_path, photos):
    with pytest.raises(UsageError, match="data.path is not given"):
        open_feed(config(""))
    with pytest.raises(UserError, match="nowhere: no such folder"):
        open_feed(config(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="gone"):
        open_feed(config(tmp_path / "gone", "gopro"))
    with pytest.raises(UserError, match="a.png is 128x96, smaller than the 112x112"):
        open_feed(config(photos, crop=112))
    with pytest.raises(UserError, match="as large as 112x112"):
        open_feed(config(photos, crop=112, made_on="device"))
    with pytest.raises(UserError, match="a, .* data.max_side=40, is smaller than 32x3"):
        open_feed(config(photos, max_side=40, made_on="device"))
    cv2.imwrite(str(photos / "small.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(UserError, match="small.png is 20x20"):
        open_feed(config(photos))
    [note] = open_feed(config(photos, made_on="device")).notes
    assert "small.png" in note


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Grain's own, when its process is gone
def test_a_process_that_dies_is_said_in_one_line(photos):
    feed = open_feed(config(photos, workers=1))
    with contextlib.closing(feed.start(0)) as batches:
        next(batches)
        [worker] = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(UserError, match=r"died \(exit code -9\).*data.workers"):
            for _ in range(100):
                next(batches)


WITHOUT = """
import sys
for name in ("av", "grain", "tensorflow_datasets", "ml_collections"):
    sys.modules[name] = None  # as if it were not installed
import jax
from mtujax.training import run
from mtujax.config import ModelConfig
from mtujax.training.inputs import open_feed
from mtujax.training.config import TrainConfig
from mtujax.training.config import DataConfig, RunConfig
data = DataConfig(path=sys.argv[1], crop=32, frames=2, made_on="device")
feed = open_feed(RunConfig(ModelConfig(), TrainConfig(steps=1), data, batch=2))
batch = next(feed.start(0))
made = jax.eval_shape(feed.prepare, feed.constants, batch)
assert made["sharp"].shape == (2, 2, 32, 32, 3)
"""


@pytest.mark.slow
def test_blur_made_on_the_device_needs_no_input_pipeline(photos):
    words = [sys.executable, "-c", WITHOUT, str(photos)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("made_on", ["host", slow("device")])
def test_labels_are_of_the_cells_of_the_network(photos, made_on):
    run = config(photos, made_on=made_on)
    run = dataclasses.replace(run, model=dataclasses.replace(MODEL, patch=2))
    feed = open_feed(run)
    (batch,) = take(feed, 1)
    if feed.prepare:
        batch = jax.jit(feed.prepare)(feed.constants, batch)
    assert batch["motion"].shape == batch["motion_valid"].shape == (4, 2, 4, 4)
    assert np.any(batch["motion_valid"])
