"""`mtujax data flow`: motion computed once, kept, and refused where it is stale."""

import json
import os
import shutil

import numpy as np
import pytest
import sets
from filelock import FileLock
from motions import ArrayFrames, panned, write_flo

from mtujax.cli import data as data_command
from mtujax.data.flow import ComputedMotion, dis_flow, write_npz
from mtujax.data.flow_cache import compute_motion
from mtujax.data.locate import flow_folder, open_frames, open_motion
from mtujax.data.prepare import prepare_dataset
from mtujax.errors import UsageError, UserError

OWN = sets.FORMS["pairs"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "home"))
    return sets.make(tmp_path / "set", OWN)


def run(*args):
    data_command.app([str(a) for a in args], standalone_mode=False)


def opened(path, **options):
    source = open_frames("pairs", path, split="train")
    return open_motion("pairs", path, source, split="train", **options), source


def test_motion_is_kept_as_it_was_computed(own, tmp_path, capsys):
    run("flow", "pairs", own)
    place = flow_folder("pairs", own) / "train"
    assert place.parent.parent == tmp_path / "home/pairs/default"
    assert flow_folder("pairs", tmp_path) != place.parent  # another set's
    assert f"{place}: motion of 2 videos\n" in capsys.readouterr().out
    motion, source = opened(own)
    fresh = ComputedMotion(source, dis_flow)
    for video, frame in ((0, 0), (0, 3), (1, 1)):
        (flow, valid), (flow_now, valid_now) = (
            m.motion(video, frame) for m in (motion, fresh)
        )
        # Halves have 11 bits.
        np.testing.assert_allclose(flow, flow_now, rtol=2**-11, atol=1e-6)
        np.testing.assert_array_equal(valid, valid_now)
    run("flow", "pairs", own)
    assert "2 of them kept" in capsys.readouterr().out


def test_motion_of_a_prepared_set_lies_beside_it(own, tmp_path):
    pytest.importorskip("tensorflow_datasets")
    out = tmp_path / "out"
    prepare_dataset("pairs", own, out)
    prepare_dataset("pairs", own, out, raw=True)
    raw = out / "pairs/default/raw"
    assert flow_folder("pairs", out) == flow_folder("pairs", raw) == raw.parent / "flow"
    run("flow", "pairs", out)
    one, other = opened(out)[0].motion(0, 1), opened(raw)[0].motion(0, 1)
    np.testing.assert_array_equal(one[0], other[0])
    shutil.rmtree(raw)  # the records alone
    np.testing.assert_array_equal(opened(out)[0].motion(0, 1)[0], one[0])


class Stopped(Exception):
    pass


def test_work_that_was_stopped_goes_on_with_the_next_video(tmp_path, rng):
    shifts = [(0, 0), (1, 0), (2, 1)]
    source = ArrayFrames({n: panned(shifts, (24, 32), rng) for n in "abc"})
    calls = []

    def estimate(current, previous):
        calls.append(0)
        if len(calls) == 7:  # each pair takes two: in the middle of the second video
            raise Stopped
        return dis_flow(current, previous)

    folder = tmp_path / "flow"
    options = {"method": "own", "threads": 1}
    with pytest.raises(Stopped):
        compute_motion(source, folder, estimate=estimate, **options)
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "a"}
    (folder / ".b.part/b").mkdir(parents=True)  # what a killed process leaves
    (folder / ".b.part/b/000001.npz").touch()
    shown = []
    there = compute_motion(
        source,
        folder,
        estimate=estimate,
        **options,
        progress=lambda *told: shown.append(told),
    )
    assert there == 1 and len(calls) == 7 + 8
    assert shown == [(n, 9) for n in range(4, 10)]
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "a", "b", "c"}
    assert {p.name for p in (folder / "b").iterdir()} == {"000001.npz", "000002.npz"}


def test_a_set_whose_motion_is_not_whole_is_refused(own):
    run("flow", "pairs", own)
    shutil.rmtree(flow_folder("pairs", own) / "train/kitchen")
    with pytest.raises(UserError, match=r"lacks 1 of 2 videos, as kitchen; .* flow"):
        opened(own)


def another_size(own):
    for path in (own / "train/kitchen").rglob("*.png"):
        sets.write(path, np.zeros((20, 32, 3), np.uint8))


def one_more(own):
    for path in (own / "train/kitchen").rglob("00000003.png"):
        shutil.copy(path, path.with_name("00000004.png"))


def one_video_less(own):
    shutil.rmtree(own / "train/my street")


@pytest.mark.parametrize(
    "change, told",
    [
        (
            another_size,
            r'videos.kitchen: "4 frames, 32x24" there, "4 frames, 32x20" here',
        ),
        (one_more, r'videos.kitchen: "4 frames, 32x24" there, "5 frames, '),
        (one_video_less, 'videos.my street: ".*" there, - here'),
    ],
)
def test_motion_of_other_frames_is_stale(change, told, own):
    run("flow", "pairs", own)
    change(own)
    with pytest.raises(UserError, match=f"other motion: {told}.*computes it again"):
        opened(own)
    with pytest.raises(UserError, match=f"{told}.*--overwrite computes it again"):
        run("flow", "pairs", own)
    (flow_folder("pairs", own) / "train/.my street.part").mkdir()
    run("flow", "pairs", own, "--overwrite")
    motion, source = opened(own)
    last = len(source.videos) - 1
    assert motion.motion(last, 1)[0].any()


@pytest.mark.parametrize(
    "changed, told",
    [
        ({"method": "teacher"}, 'method: "teacher" there, "dis" here'),
        ({"version": 0}, "version: 0 there, 1 here"),
        (None, "manifest.json: damaged, not JSON"),
    ],
)
def test_motion_made_otherwise_is_refused(changed, told, own):
    run("flow", "pairs", own)
    file = flow_folder("pairs", own) / "train/manifest.json"
    text = json.dumps(json.loads(file.read_text()) | changed) if changed else "{"
    file.write_text(text)
    with pytest.raises(UserError, match=f"{told}.*--overwrite computes it again"):
        run("flow", "pairs", own)
    if changed == {"method": "teacher"}:  # whoever trains takes what is there
        opened(own)
    else:
        with pytest.raises(UserError, match=told):
            opened(own)
    run("flow", "pairs", own, "--overwrite")
    opened(own)


def test_two_at_once_are_refused(own):
    place = flow_folder("pairs", own)
    place.mkdir(parents=True)
    with FileLock(place / ".train.lock"):
        with pytest.raises(UserError, match="being prepared by another process"):
            run("flow", "pairs", own)
    run("flow", "pairs", own)


def test_a_place_that_cannot_be_taken_is_named(own, tmp_path):
    place = tmp_path / "out/pairs/default/flow/train"
    args = ("flow", "pairs", own, "--output", tmp_path / "out")
    place.parent.mkdir(parents=True)
    place.touch()
    with pytest.raises(UserError, match="train: is a file; choose another --output"):
        run(*args)
    place.unlink()
    place.mkdir()
    (place / "photo.png").touch()
    with pytest.raises(UserError, match="train: holds something else"):
        run(*args)
    with pytest.raises(UsageError, match="lk: unknown method; known are dis"):
        run("flow", "pairs", own, "--method", "lk")
    with pytest.raises(UserError, match="no split 'val'; it has test, train"):
        run("flow", "pairs", own, "--split", "val")


def test_a_full_disk_is_told_before(own, monkeypatch):
    free = shutil.disk_usage(own)._replace(free=9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(UserError, match="needs 0 MB, but 0 MB are free"):
        run("flow", "pairs", own)


def test_a_set_without_motion_says_how_to_get_it(own):
    with pytest.raises(UserError, match="mtujax data flow pairs .* --split train`"):
        opened(own)


def test_a_damaged_frame_is_named_and_leaves_no_video(own):
    frame = own / "train/my street/sharp/00000002.png"
    frame.write_bytes(frame.read_bytes()[:90])
    with pytest.raises(UserError, match="my street/sharp/00000002.png: cut short"):
        run("flow", "pairs", own)
    place = flow_folder("pairs", own) / "train"
    assert {p.name for p in place.iterdir()} == {"manifest.json", "kitchen"}


def _flow(number):
    return np.full((24, 32, 2), number, np.float32), np.ones((24, 32), bool)


BESIDE = {
    "pairs": "train/{video}/flow",
    "gopro": "GOPRO_Large/train/{video}/flow",
    "dvd": "DeepVideoDeblurring_Dataset/quantitative_datasets/{video}/flow",
    "reds": "train/flow/{video}",
    "bsd": "BSD/BSD_3ms24ms/train/{video}/flow",
}


@pytest.mark.parametrize("name", BESIDE)
def test_files_beside_the_frames_have_their_names(name, tmp_path):
    form = sets.FORMS[name]
    root = sets.make(tmp_path / "set", form)
    for video, count in form.lengths["train"].items():
        folder = root / BESIDE[name].format(video=video)
        folder.mkdir(parents=True)
        for n, file in enumerate(form.files(count)[1:], 1):
            stem = os.path.splitext(file)[0]
            if n % 2:
                write_npz(folder / f"{stem}.npz", *_flow(n))
            else:
                write_flo(folder / f"{stem}.flo", *_flow(n))
    where = {"split": "train", "config": form.config}
    source = open_frames(name, root, **where)
    motion = open_motion(name, root, source, **where)
    for video, info in enumerate(source.videos):
        for n in range(1, info.frames):
            assert (motion.motion(video, n)[0] == n).all()
    (folder / f"{stem}.npz").unlink(missing_ok=True)
    (folder / f"{stem}.flo").unlink(missing_ok=True)
    with pytest.raises(UserError, match=rf"{stem}.npz \(or .flo\): missing"):
        open_motion(name, root, source, **where)


def test_files_in_a_folder_of_ones_own_are_taken_by_video(own, tmp_path):
    for video, count in OWN.lengths["train"].items():
        folder = tmp_path / "mine/train" / video
        folder.mkdir(parents=True)
        for n in range(1, count):
            write_flo(folder / f"flow{n}.flo", *_flow(n))
    motion, _ = opened(own, folder=tmp_path / "mine")
    assert (motion.motion(1, 4)[0] == 4).all()
    with pytest.raises(UserError, match="mine.*set/train: no such folder"):
        opened(own, folder=tmp_path / "mine/set")
