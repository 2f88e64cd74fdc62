import json
import os
import pickle
import shutil
import time

import cv2
import numpy as np
import pytest
import sets

from mtujax.data.array_cache import CachedFrames, verify_cache
from mtujax.data.clips import Clips, ClipSpec
from mtujax.data.frames import FolderFrames, Window
from mtujax.data.locate import open_frames
from mtujax.data.prepare import prepare_dataset
from mtujax.errors import UsageError, UserError

OWN = sets.FORMS["pairs"]
SHORT = ClipSpec(frames=3, lookback=2, lookahead=1)


@pytest.fixture
def own(tmp_path):
    return sets.make(tmp_path / "set", OWN)


@pytest.fixture
def folders(own):
    return FolderFrames("pairs", own, split="train", threads=2)


def equal(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("name", sets.FORMS)
def test_folders_records_and_arrays_give_the_same_batch_of_training_clips(
    name, tmp_path
):
    """Through the whole chain, for every layout; the frames as OpenCV reads them."""
    pytest.importorskip("tensorflow_datasets")
    form = sets.FORMS[name]
    root = sets.make(tmp_path / "set", form)
    options = {"config": form.config, "partial": True}
    prepare_dataset(form.name, root, tmp_path / "records", **options)
    prepare_dataset(form.name, root, tmp_path / "raw", raw=True, **options)
    where = {"split": "train", "config": form.config}
    clips = [
        Clips(open_frames(form.name, path, **where), SHORT)
        for path in (root, tmp_path / "records", tmp_path / "raw")
    ]
    assert [len(c) for c in clips] == [
        sum(n - 2 for n in form.lengths["train"].values())
    ] * 3
    window = Window(top=4, left=8, height=16, width=16)
    batches = [[c.read(n, window=window) for n in range(len(c))] for c in clips]
    for one, *others in zip(*batches, strict=True):
        for other in others:
            equal(one, other)
    blurry = np.stack([clip["blurry"] for clip in batches[0]])
    sharp = np.stack([clip["sharp"] for clip in batches[0]])
    assert (blurry.shape[1:], sharp.shape[1:]) == ((6, 16, 16, 3), (3, 16, 16, 3))
    assert blurry.dtype == sharp.dtype == np.uint8
    for number, clip in enumerate(batches[0]):
        video = clips[0].source.videos[clip["video"]].name
        for image, n in zip(clip["blurry"], clip["positions"], strict=True):
            file = sets.pair(root, form, "train", video, n)[0]
            np.testing.assert_array_equal(image, window.of(sets.rgb(file)))
        for image, n in zip(clip["sharp"], clip["positions"][2:5], strict=True):
            file = sets.pair(root, form, "train", video, n)[1]
            np.testing.assert_array_equal(image, window.of(sets.rgb(file)))
        equal(clip, clips[0].read(number, window=window))


def test_context_is_clamped_as_in_the_release():
    """17 frames: two repeat the first, 13 targets, two real ones of look-ahead."""
    release = ClipSpec()
    start = list(release.positions(20, 100))
    assert start == [20, 20, *range(20, 33), 33, 34]
    assert list(release.positions(87, 100))[-4:] == [98, 99, 99, 99]
    before = ClipSpec(use_preceding_frames=True)
    assert list(before.positions(20, 100))[:3] == [18, 19, 20]
    assert list(before.positions(1, 100))[:4] == [0, 0, 1, 2]
    assert list(ClipSpec(1, lookback=0, lookahead=0).positions(5, 9)) == [5]


def test_every_start_is_a_clip_or_every_stride_th(folders):
    clips = Clips(folders, SHORT)
    wanted = [(v, s) for v, n in enumerate([4, 5]) for s in range(n - 2)]
    assert [clips.place(n) for n in range(len(clips))] == wanted
    strided = Clips(folders, ClipSpec(frames=1, stride=3))
    places = [strided.place(n) for n in range(len(strided))]
    assert places == [(0, 0), (0, 3), (1, 0), (1, 3)]
    for outside in (-1, len(clips)):
        with pytest.raises(IndexError, match=f"clip {outside} of 5"):
            clips[outside]


def test_videos_shorter_than_a_clip_are_counted_and_said(folders):
    clips = Clips(folders, ClipSpec(frames=5))
    assert len(clips) == 1
    assert clips.note == (
        "1 of 2 videos are shorter than 5 frames and give no clip: kitchen (4)"
    )
    assert Clips(folders, SHORT).note is None
    with pytest.raises(UserError, match="no clip of 6 frames, .*longest video has 5"):
        Clips(folders, ClipSpec(frames=6))


def test_a_clip_that_cannot_be_is_bad_use():
    for wrong in ({"frames": 0}, {"stride": 0}, {"lookback": -1}, {"lookahead": -1}):
        ((name, value),) = wrong.items()
        with pytest.raises(UsageError, match=f"{name} {value}: must be "):
            ClipSpec(**wrong)


def test_a_window_is_the_same_part_of_whole_frames(folders):
    clips = Clips(folders, SHORT)
    whole = clips[4]
    assert clips.size(4) == whole["blurry"].shape[1:3] == (24, 32)
    window = Window(24 - 7, 32 - 5, 7, 5)
    part = clips.read(4, window=window)
    np.testing.assert_array_equal(part["blurry"], whole["blurry"][:, -7:, -5:])
    np.testing.assert_array_equal(part["sharp"], whole["sharp"][:, -7:, -5:])


def test_a_window_outside_the_frame_is_refused(folders):
    clips = Clips(folders, SHORT)
    with pytest.raises(
        UsageError, match="40x8 at .* outside the frames of kitchen, wh"
    ):
        clips.read(0, window=Window(0, 0, 8, 40))
    for wrong in (Window(-1, 0, 4, 4), Window(0, 0, 0, 4)):
        with pytest.raises(UsageError, match="not a part of a frame"):
            clips.read(0, window=wrong)


def test_frames_are_read_in_any_order_and_repeated_ones_once(folders, own):
    read = folders.read(1, {"blurry": [3, 0, 3], "sharp": []})
    assert read["sharp"].shape == (0, 24, 32, 3)
    files = [sets.pair(own, OWN, "train", "my street", n)[0] for n in (3, 0, 3)]
    np.testing.assert_array_equal(read["blurry"], [sets.rgb(file) for file in files])


def test_grey_opacity_and_depth_become_plain_frames(tmp_path):
    colour = np.full((4, 4, 3), (10, 100, 200), np.uint8)
    made = {
        "0.png": np.full((4, 4), 77, np.uint8),
        "1.png": np.dstack([colour, np.full((4, 4), 9, np.uint8)]),
        "2.png": colour.astype(np.uint16) * 257,
    }
    for kind in ("blur", "sharp"):
        (tmp_path / "v" / kind).mkdir(parents=True)
        for name, image in made.items():
            sets.write(tmp_path / "v" / kind / name, image)
    read = FolderFrames("pairs", tmp_path, split="train").read(0, {"sharp": range(3)})
    assert read["sharp"][:, 0, 0].tolist() == [[77] * 3, [200, 100, 10], [200, 100, 10]]


@pytest.mark.parametrize("form", ["folders", "records", "raw"])
def test_a_source_survives_pickling_and_feeds_grain(form, own, tmp_path):
    grain = pytest.importorskip("grain")
    pytest.importorskip("tensorflow_datasets")
    out = own
    if form != "folders":
        out = tmp_path / "out"
        prepare_dataset("pairs", own, out, raw=form == "raw")
    clips = Clips(open_frames("pairs", out, split="train"), SHORT)
    equal(clips[1], pickle.loads(pickle.dumps(clips))[1])
    data = grain.MapDataset.source(clips).seed(3).shuffle().batch(2).to_iter_dataset()
    batches = list(data)
    assert [b["blurry"].shape for b in batches][:2] == [(2, 6, 24, 32, 3)] * 2
    seen = sum((b["positions"][:, 2].tolist() for b in batches), [])
    assert sorted(seen) == [0, 0, 1, 1, 2]


def test_a_damaged_frame_stops_the_reading_and_is_named(folders, own):
    bad = sets.pair(own, OWN, "train", "kitchen", 2)[1]
    data = bad.read_bytes()
    bad.write_bytes(data[:-40])
    clips = Clips(folders, SHORT)
    with pytest.raises(UserError, match=f"{bad}: cut short"):
        clips[0]
    sets.write(bad, np.zeros((20, 32, 3), np.uint8))
    with pytest.raises(
        UserError, match=f"{bad}: is 32x20, but other frames of kitchen"
    ):
        clips[0]


def test_unpaired_frames_and_unknown_splits_are_refused(own, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    out = tmp_path / "out"
    for raw in (False, True):
        prepare_dataset("pairs", own, out, raw=raw)
        with pytest.raises(UserError, match="no split 'val'; it has test, train"):
            open_frames("pairs", out, split="val")
    with pytest.raises(UserError, match="no split 'val'; it has test, train"):
        open_frames("pairs", own, split="val")
    sets.pair(own, OWN, "train", "kitchen", 2)[1].unlink()
    with pytest.raises(UserError, match="frames without a partner: .*kitchen"):
        open_frames("pairs", own, split="train")
    assert open_frames("pairs", own, split="test").videos[0].name == "garden"


@pytest.fixture
def copy(own, tmp_path):
    return prepare_dataset("pairs", own, tmp_path / "out", raw=True).folder


def opened(copy, split="train"):
    return CachedFrames(copy, split=split)


def test_a_decoded_copy_notices_that_its_frames_have_changed(copy, own):
    file = sets.pair(own, OWN, "train", "kitchen", 1)[0]
    data, later = file.read_bytes(), time.time() + 100
    os.utime(file, (later, later))
    opened(copy)  # copied or touched, but the same
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(file, (later, later))
    with pytest.raises(UserError, match=f"stale, as {file} has changed since; `mtujax"):
        opened(copy)
    file.write_bytes(data + b" ")
    with pytest.raises(UserError, match="stale"):
        opened(copy)
    opened(copy, "test")
    file.unlink()
    with pytest.raises(UserError, match="stale"):
        opened(copy)
    shutil.rmtree(own)
    opened(copy)  # the copy stands alone


def test_a_decoded_copy_notices_frames_that_were_added_later(copy, own):
    for file in sets.pair(own, OWN, "train", "kitchen", 1):
        (file.parent / "notes.txt").write_text("no frame")
    opened(copy)
    added = [
        shutil.copy(file, file.with_stem("zz"))
        for file in sets.pair(own, OWN, "train", "kitchen", 1)
    ]
    with pytest.raises(UserError, match=f"stale, as {added[0]} is new; `mtujax"):
        opened(copy)
    opened(copy, "test")


def test_a_decoded_copy_that_is_damaged_is_noticed(copy):
    file = copy / "train" / "kitchen.sharp.npy"
    data = file.read_bytes()
    assert verify_cache(copy) == []
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert verify_cache(copy) == [f"{file}: damaged: its checksum does not fit"]
    file.write_bytes(data[:-1])
    assert verify_cache(copy) == [f"{file}: missing or cut short"]
    with pytest.raises(UserError, match="kitchen.sharp.npy: missing or cut short"):
        opened(copy)
    file.unlink()
    assert verify_cache(copy) == [f"{file}: missing or cut short"]
    with pytest.raises(UserError, match="no decoded copy, as it has no manifest.json"):
        opened(copy.parent)


@pytest.mark.parametrize(
    "old, new",
    [
        (b"NUMPY", b"DUMPY"),
        (b"'descr': '|u1'", b"'descr': |u1 '"),
        (b"'descr': '|u1'", b"'descr': '|i1'"),
        (b"(4, 24, 32, 3)", b"(4, 32, 24, 3)"),
        (b"(4, 24, 32, 3)", b"(9, 24, 32, 3)"),
        (b"'fortran_order': False", b"'fortran_order': True "),
    ],
)
def test_a_damaged_header_of_a_decoded_copy_is_noticed(copy, old, new):
    file = copy / "train" / "kitchen.sharp.npy"
    data = file.read_bytes()
    assert data.count(old) == 1 and len(old) == len(new)
    file.write_bytes(data.replace(old, new))
    assert verify_cache(copy) == [f"{file}: damaged: its header does not fit"]
    with pytest.raises(UserError, match="its header does not fit; `mtujax data prep"):
        opened(copy).read(0, {"sharp": [0]})


@pytest.mark.parametrize("lost", ["version", "set", "built", "splits", "crc32"])
def test_a_manifest_that_lacks_something_is_damaged(copy, lost):
    file = copy / "manifest.json"
    file.write_text(file.read_text().replace(f'"{lost}"', '"lost"'))
    with pytest.raises(UserError, match=r"manifest.json: damaged .*`mtujax data prep"):
        opened(copy)
    with pytest.raises(UserError, match=r"manifest.json: damaged"):
        verify_cache(copy)


@pytest.mark.parametrize("text", ["", "[1]", '{"version": 1, "splits": [2]}'])
def test_a_manifest_that_is_no_manifest_is_damaged(copy, text):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest.json: damaged"):
        opened(copy)


def test_a_decoded_copy_of_another_set_is_refused(copy):
    with pytest.raises(UserError, match="holds pairs/default, not gopro/blur_gamma"):
        open_frames("gopro", copy, split="train")
    assert json.loads((copy / "manifest.json").read_text())["set"] == "pairs/default"


def test_records_out_of_order_are_noticed(own, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    folder = prepare_dataset("pairs", own, tmp_path / "out").folder
    shards = sorted(folder.glob("*train*"))
    first = shards[0].rename(folder / "aside")
    shards[1].rename(shards[0])
    first.rename(shards[1])
    source = open_frames("pairs", tmp_path / "out", split="train")
    with pytest.raises(UserError, match=r"damaged \(kitchen, frame 0: out of order\)"):
        source.read(0, {"blurry": [0]})


def test_crops_of_a_decoded_copy_are_ten_times_faster_than_of_png(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (90, 160, 3), np.uint8)
    photo = cv2.resize(noise, (1280, 720), interpolation=cv2.INTER_CUBIC)
    for kind in ("blur", "sharp"):
        (tmp_path / "set" / "v" / kind).mkdir(parents=True)
        for n in range(3):
            sets.write(tmp_path / "set" / "v" / kind / f"{n}.png", np.roll(photo, n, 1))
    prepare_dataset("pairs", tmp_path / "set", tmp_path / "out", raw=True)
    seconds = []
    for path in (tmp_path / "set", tmp_path / "out"):
        clips = Clips(open_frames("pairs", path, split="train"), ClipSpec(frames=3))
        runs = []
        for top in (0, 100, 300):
            start = time.perf_counter()
            clips.read(0, window=Window(top, 640, 256, 256))
            runs.append(time.perf_counter() - start)
        seconds.append(min(runs))
    assert seconds[0] > 10 * seconds[1]
