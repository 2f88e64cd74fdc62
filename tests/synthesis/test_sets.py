"""Sets made of photographs and of quick video, through the real commands."""

import dataclasses
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
from mtujax.synthesis import sets
from mtujax.synthesis.host.sensor import linear_from_srgb, srgb_from_linear
from mtujax.synthesis.sets import Filming, averaged, write_photos, write_video

SMALL = Filming(width=64, height=48, frames=3)
ONE, TWO = (dataclasses.replace(SMALL, clips=n) for n in (1, 2))


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
    assert about["frames"] == 12 and about["shake"]["speed"] == [8.0, 32.0]


def test_a_clip_does_not_depend_on_how_many_follow(photos, tmp_path):
    for name, filming in (("one", ONE), ("two", TWO)):
        write_photos(photos, tmp_path / name, filming)
    one, two = frames_of(tmp_path / "one"), frames_of(tmp_path / "two")
    assert one.items() < two.items()


def test_a_set_is_only_replaced_when_told_and_nothing_else_ever(photos, tmp_path):
    output = tmp_path / "set"
    write_photos(photos, output, ONE)
    with pytest.raises(
        UserError, match="exists already; --overwrite .*another --split"
    ):
        write_photos(photos, output, ONE)
    write_photos(photos, output, TWO, overwrite=True)
    assert len(list((output / "train").glob("*/"))) == 2
    # A split beside it: neither touches the other.
    write_photos(photos, output, ONE, split="test")
    write_photos(photos, output, ONE, split="test", overwrite=True)
    assert len(list((output / "train").glob("*/"))) == 2
    source = open_frames("pairs", output, split="test")
    assert [v.name for v in source.videos] == ["0000_a"]
    with pytest.raises(
        UserError, match="not replaced, as it holds more than synthesized sets"
    ):
        write_photos(photos, photos, ONE, overwrite=True)
    assert len(list(photos.iterdir())) == 3


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt()])
def test_a_write_that_fails_in_the_middle_leaves_nothing(
    photos, tmp_path, monkeypatch, error
):
    real, left = sets._write_frame, [4]

    def failing(*words):
        left[0] -= 1
        if not left[0]:
            raise error
        real(*words)

    monkeypatch.setattr(sets, "_write_frame", failing)
    with pytest.raises(type(error)):
        write_photos(photos, tmp_path / "set", TWO)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_what_cannot_be_filmed_is_one_line(photos, tmp_path):
    output = tmp_path / "set"
    (tmp_path / "empty").mkdir()
    for folder, reason in (
        (tmp_path / "none", "no such folder of photographs"),
        (tmp_path / "empty", "has no PNG or JPEG file"),
        (photos / "a.png", "is a file, give a folder"),
    ):
        with pytest.raises(UserError, match=reason):
            write_photos(folder, output, SMALL)
    with pytest.raises(UserError, match="none: no such folder of cut-outs"):
        write_photos(photos, output, SMALL, cutouts=tmp_path / "none")
    with pytest.raises(UserError, match="no photograph is as large as 999x999"):
        write_photos(photos, output, Filming(width=999, height=999))
    (photos / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="bad.png"):
        write_photos(photos, output, SMALL)
    (photos / "bad.png").unlink()
    with pytest.raises(UserError, match="no alpha channel"):
        write_photos(photos, output, SMALL, cutouts=photos)
    for option, value, name in (
        ("--speed", "0:1", "speed 0"),
        ("--speed", "2:inf", "speed 2:inf"),
        ("--duty", "0.5:1.5", "duty 0.5:1.5"),
        ("--compressed", "2", "compressed 2"),
        ("--clips", "0", "clips 0"),
    ):
        done = run("synthesize", photos, output, option, value)
        assert isinstance(done.exception, UsageError) and name in str(done.exception)
    with pytest.raises(UserError, match="no such folder; create it"):
        write_photos(photos, tmp_path / "no" / "set", SMALL)
    done = run("synthesize", photos, output, "--speed", "fast")
    assert done.exit_code != 0 and not output.exists()


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
    output = tmp_path / "set"
    for wrong, name in (
        (dict(average=4), "average 4: 3 or more, and odd"),
        (dict(average=1), "average 1"),
        (dict(average=5, every=3), "every 3"),
        (dict(frames=0), "frames 0"),
        (dict(flow=True), "motion in a video is not known"),
    ):
        with pytest.raises(UsageError, match=name):
            write_video(path, output, **wrong)
    with pytest.raises(UserError, match="no shot has 11 frames"):
        write_video(path, output)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match="cannot be read as a video"):
        write_video(tmp_path / "text.mp4", output)
    assert not output.exists()
    count, notes = write_video(path, output, average=3)
    assert count == 1 and "has 30 frames per second, where 240 are usual" in notes[0]
    assert sets.QUICK < 240


@pytest.mark.parametrize("split", ["../mine", "", "a/b", ".hidden"])
def test_a_split_is_a_plain_name_and_nothing_is_written_elsewhere(
    photos, tmp_path, split
):
    with pytest.raises(UsageError, match="split .*: use letters"):
        write_photos(photos, tmp_path / "set", ONE, split=split)
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]


def test_photographs_that_differ_in_their_suffix_alone_are_all_used(photos, tmp_path):
    (photos / "tiny.png").unlink()
    cv2.imwrite(str(photos / "a.jpg"), np.full((60, 80, 3), 90, np.uint8))
    write_photos(photos, tmp_path / "set", dataclasses.replace(SMALL, clips=3))
    made = sorted(p.name for p in (tmp_path / "set" / "train").glob("*/"))
    assert made == ["0000_a.jpg", "0001_a.png", "0002_b"]
    check_dataset("pairs", tmp_path / "set").refuse()


def test_a_set_whose_writing_was_killed_is_written_again(photos, tmp_path):
    left = tmp_path / "set/.train.part"
    (left / "train/0000_a").mkdir(parents=True)
    (left / ".lock").touch()
    write_photos(photos, tmp_path / "set", ONE)
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["train"]
