"""Sets made of photographs and of quick video, through the real commands."""

import json
from fractions import Fraction

import cv2
import media
import numpy as np
import pytest
from scenery import waves
from typer.testing import CliRunner

from mtujax.cli.app import app
from mtujax.data.check import check_dataset
from mtujax.data.locate import open_frames, open_motion
from mtujax.errors import UsageError, UserError
from mtujax.synthesis import averaging
from mtujax.synthesis import sets as requests
from mtujax.synthesis import sets as synthesize
from mtujax.synthesis.averaging import averaged
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear

SMALL = dict(size=(64, 48), frames=3)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    image = np.rint(255 * waves(120, 160)).astype(np.uint8)
    for name, part in (("a", image), ("b", image[::-1]), ("tiny", image[:20])):
        cv2.imwrite(str(folder / f"{name}.png"), part)
    return folder


def frames_of(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*.png"))
    }


def run(*words):
    return CliRunner().invoke(app, ["data", *map(str, words)])


def test_photographs_become_a_set_that_is_whole_and_has_its_motion(photos, tmp_path):
    output = tmp_path / "set"
    words = ("--clips", 3, "--frames", 4, "--size", "64x48", "--flow")
    done = run("synthesize", photos, output, *words)
    assert done.exit_code == 0, done.output
    assert "1 photographs are smaller than 64x48 and left out: tiny.png" in done.output
    report = check_dataset("pairs", output)
    report.refuse()
    source = open_frames("pairs", output, split="train")
    assert [v.name for v in source.videos] == ["0000_a", "0001_b", "0002_a"]
    assert {(v.frames, v.height, v.width) for v in source.videos} == {(4, 48, 64)}
    flow, valid = open_motion("pairs", output, source, split="train").motion(0, 2)
    assert flow.shape == (48, 64, 2) and 0 < valid.mean() and np.abs(flow).max() > 0.1
    about = json.loads((output / "train/synthesis.json").read_text())
    assert about["frames"] == 12 and about["shake"]["speed"] == [2.0, 24.0]


def test_a_clip_does_not_depend_on_how_many_follow(photos, tmp_path):
    for name, count in (("one", 1), ("two", 2)):
        requests.FromPhotos(photos, clips=count, **SMALL).write(tmp_path / name)
    one, two = frames_of(tmp_path / "one"), frames_of(tmp_path / "two")
    assert one.items() < two.items()


def test_a_set_is_only_replaced_when_told_and_nothing_else_ever(photos, tmp_path):
    made, output = requests.FromPhotos(photos, clips=1, **SMALL), tmp_path / "set"
    made.write(output)
    with pytest.raises(
        UserError, match="exists already; --overwrite .*another --split"
    ):
        made.write(output)
    requests.FromPhotos(photos, clips=2, **SMALL).write(output, overwrite=True)
    assert len(list((output / "train").glob("*/"))) == 2
    # A split beside it: neither touches the other.
    made.write(output, split="test")
    made.write(output, split="test", overwrite=True)
    assert len(list((output / "train").glob("*/"))) == 2
    source = open_frames("pairs", output, split="test")
    assert [v.name for v in source.videos] == ["0000_a"]
    with pytest.raises(
        UserError, match="not replaced, as it holds more than synthesized sets"
    ):
        made.write(photos, overwrite=True)
    assert len(list(photos.iterdir())) == 3


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_write_that_fails_in_the_middle_leaves_nothing(
    photos, tmp_path, monkeypatch, error
):
    real, left = synthesize._write_frame, [4]

    def failing(*words):
        left[0] -= 1
        if not left[0]:
            raise error
        real(*words)

    monkeypatch.setattr(synthesize, "_write_frame", failing)
    with pytest.raises(type(error)):
        requests.FromPhotos(photos, clips=2, **SMALL).write(tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_what_cannot_be_filmed_is_one_line(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, reason in (
        (tmp_path / "none", "no such folder of photographs"),
        (tmp_path / "empty", "has no PNG or JPEG file"),
        (photos / "a.png", "is a file, give a folder"),
    ):
        with pytest.raises(UserError, match=reason):
            requests.FromPhotos(folder, **SMALL)
    with pytest.raises(UserError, match="no photograph is as large as 999x999"):
        requests.FromPhotos(photos, size=(999, 999))
    (photos / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="bad.png"):
        requests.FromPhotos(photos, **SMALL)
    (photos / "bad.png").unlink()
    with pytest.raises(UserError, match="no alpha channel"):
        requests.FromPhotos(photos, cutouts=photos, **SMALL)
    for wrong, name in (
        (dict(speed=(0.0, 1.0)), "speed 0"),
        (dict(speed=(2.0, float("inf"))), "speed 2:inf"),
        (dict(duty=(0.5, 1.5)), "duty 0.5:1.5"),
        (dict(compressed=2.0), "compressed 2"),
        (dict(clips=0), "clips 0"),
    ):
        with pytest.raises(UsageError, match=name):
            requests.FromPhotos(photos, **SMALL | wrong)
    with pytest.raises(UserError, match="no such folder; create it"):
        requests.FromPhotos(photos, **SMALL).write(tmp_path / "no" / "set")
    done = run("synthesize", photos, tmp_path / "set", "--speed", "fast")
    assert done.exit_code != 0 and not (tmp_path / "set").exists()


def test_frames_are_averaged_in_linear_light_around_the_sharp_one():
    frames = np.random.default_rng(0).integers(0, 256, (11, 4, 5, 3), np.uint8)
    found = list(averaged(iter(frames), 3, 5))
    assert len(found) == 2  # frames 0-2 and 5-7; the last one is not whole
    for (mean, middle), first in zip(found, (0, 5), strict=True):
        part = linear_from_srgb(frames[first : first + 3]).mean(axis=0)
        expected = 255 * srgb_from_linear(part)
        np.testing.assert_allclose(mean, expected, atol=0.51)
        np.testing.assert_array_equal(middle, frames[first + 1])


def test_a_quick_video_becomes_a_set_and_no_average_crosses_a_cut(tmp_path):
    """Two shots of 8 frames, dark and light: of each, two averages of 3."""
    rng = np.random.default_rng(2)
    shots = [
        cv2.resize(rng.integers(low, low + 90, (9, 12, 3), np.uint8), (64, 48))
        for low in (10, 150)
    ]
    path = tmp_path / "quick.mp4"
    frames = np.stack([shots[0]] * 8 + [shots[1]] * 8)
    media.clip(path, list(frames), rate=Fraction(240))
    output = tmp_path / "set"
    done = run("synthesize", path, output, "--average", 3, "--split", "test")
    assert done.exit_code == 0, done.output
    assert "note" not in done.output
    source = open_frames("pairs", output, split="test")
    assert [(v.name, v.frames) for v in source.videos] == [
        ("quick_0000", 2),
        ("quick_0001", 2),
    ]
    for video, level in ((0, shots[0].mean()), (1, shots[1].mean())):
        blurry = source.read(video, {"blurry": [0, 1]})["blurry"]
        assert np.abs(blurry.mean(axis=(1, 2, 3)) - level).max() < 4


def test_what_cannot_be_averaged_is_one_line(tmp_path):
    path = media.clip(tmp_path / "a.mp4", media.scene(5), rate=Fraction(30))
    slow = requests.FromVideo(path, average=3)
    assert "has 30 frames per second, where 240 are usual" in slow.notes[0]
    for wrong, name in (
        (dict(average=4), "average 4: 3 or more, and odd"),
        (dict(average=1), "average 1"),
        (dict(average=5, every=3), "every 3"),
        (dict(frames=0), "frames 0"),
    ):
        with pytest.raises(UsageError, match=name):
            requests.FromVideo(path, **wrong).write(tmp_path / "set")
    with pytest.raises(UsageError, match="motion in a video is not known"):
        slow.write(tmp_path / "set", flow=True)
    with pytest.raises(UserError, match="no shot has 11 frames"):
        requests.FromVideo(path).write(tmp_path / "set")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match="cannot be read as a video"):
        requests.FromVideo(tmp_path / "text.mp4")
    assert not (tmp_path / "set").exists()
    assert averaging.QUICK < 240


@pytest.mark.parametrize("split", ["../mine", "", "a/b", ".hidden"])
def test_a_split_is_a_plain_name_and_nothing_is_written_elsewhere(
    photos, tmp_path, split
):
    with pytest.raises(UsageError, match="split .*: use letters"):
        requests.FromPhotos(photos, clips=1, **SMALL).write(
            tmp_path / "set", split=split
        )
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_photographs_that_differ_in_their_suffix_alone_are_all_used(photos, tmp_path):
    (photos / "tiny.png").unlink()
    cv2.imwrite(str(photos / "a.jpg"), np.full((60, 80, 3), 90, np.uint8))
    requests.FromPhotos(photos, clips=3, **SMALL).write(tmp_path / "set")
    made = sorted(p.name for p in (tmp_path / "set" / "train").glob("*/"))
    assert made == ["0000_a.jpg", "0001_a.png", "0002_b"]
    check_dataset("pairs", tmp_path / "set").refuse()
