"""A look at data: what the sheet shows and what the histograms count."""

import dataclasses
import importlib.resources
import itertools
import shutil
import sys

import cv2
import matplotlib.figure
import numpy as np
import pytest
from typer.testing import CliRunner

from mtujax.cli import data as data_command
from mtujax.cli.app import app
from mtujax.data import contact_sheet as contact_sheet_module
from mtujax.data.contact_sheet import (
    SheetClip,
    clips_of_set,
    contact_sheet,
    statistics,
    warped_difference,
    write_sheet,
)
from mtujax.data.flow_cache import compute_motion
from mtujax.data.locate import flow_folder, open_frames
from mtujax.data.prepare import prepare_dataset
from mtujax.errors import UsageError, UserError
from mtujax.synthesis.sets import Filming, clips_of_photos
from mtujax.video.comparison import flow_colours


def shifted(step, frames=3, height=24, width=40, duty=None, title="clip"):
    """A texture that moves right by `step` whole pixels a frame; blurry = sharp + 5."""
    texture = np.random.default_rng(0).integers(0, 250, (height, 200, 3), np.uint8)
    sharp = np.stack([texture[:, 90 - t * step :][:, :width] for t in range(frames)])
    flow = np.zeros((frames, height, width, 2), np.float32)
    flow[..., 0] = -step
    valid = np.ones((frames, height, width), bool)
    valid[:, :, :step] = False
    duty = None if duty is None else np.full(frames, duty)
    return SheetClip(title, sharp + np.uint8(5), sharp, flow, valid, duty)


def test_the_warped_difference_is_grey_where_the_flow_is_right():
    sample = shifted(7)
    shown = warped_difference(*sample.sharp[:2], sample.flow[1], sample.valid[1])
    assert (shown[:, :7] == (96, 0, 0)).all()
    np.testing.assert_array_equal(shown[:, 7:], 128)
    wrong = warped_difference(*sample.sharp[:2], sample.flow[1] + 1, sample.valid[1])
    assert np.abs(wrong[:, 7:].astype(int) - 128).mean() > 50


def test_a_difference_is_four_times_as_strong():
    grey = np.full((4, 4, 3), 100, np.uint8)
    still, valid = np.zeros((4, 4, 2), np.float32), np.ones((4, 4), bool)
    assert (warped_difference(grey, grey + np.uint8(9), still, valid) == 128 + 36).all()


def test_lengths_count_the_exposure_where_it_is_known():
    known = statistics([shifted(6, duty=0.5), shifted(6, duty=0.5)])
    assert known.exposed and (known.lengths == 3).all()
    unknown = statistics([shifted(6, duty=0.5), shifted(6)])
    assert not unknown.exposed and (unknown.lengths == 6).all()
    assert "motion per frame: median 6.0 px" in unknown.lines[0]
    assert "blur length: median 3.0 px" in known.lines[0]


def test_clips_without_any_valid_motion_are_described_and_drawn(tmp_path):
    sample = shifted(6)
    nowhere = dataclasses.replace(sample, valid=np.zeros_like(sample.valid))
    found = write_sheet([nowhere, nowhere], tmp_path / "look.png")
    assert found.lines[0] == "motion per frame: unknown, as none is valid"
    assert found.lines[1].startswith("input PSNR: mean 34.15 dB")


def test_the_score_is_that_of_each_frame():
    found = statistics([shifted(2, frames=4)])
    expected = 10 * np.log10(255**2 / 5**2)
    np.testing.assert_allclose(found.psnr, [expected] * 4)
    assert "mean 34.15 dB" in found.lines[1]


def test_equal_frames_have_a_score_that_can_be_drawn():
    sample = shifted(2)
    same = SheetClip("same", sample.sharp, sample.sharp, sample.flow, sample.valid)
    assert (statistics([same]).psnr == 60).all()


def test_the_sheet_shows_the_middle_of_each_clip():
    first, second = shifted(3, frames=5), shifted(6, frames=5)
    sheet = contact_sheet([first, second])
    assert sheet.shape == (2 * (24 + 4), 4 * (40 + 4), 3)
    np.testing.assert_array_equal(sheet[2:26, 2:42], first.blurry[2])
    np.testing.assert_array_equal(sheet[2:26, 46:86], first.sharp[2])
    # One scale for all clips: the second moves twice as far.
    for row, share in ((2, 0.5), (30, 1.0)):
        colour = flow_colours(np.array([[[-share, 0.0]]]))[0, 0]
        assert np.abs(sheet[row, 92].astype(int) - colour).max() <= 1


def test_clips_of_other_sizes_share_a_sheet():
    sheet = contact_sheet([shifted(2), shifted(2, height=48, width=80)])
    assert sheet.shape[1] == 4 * (80 + 4)


def test_the_figure_is_written_and_holds_the_sheet(tmp_path):
    path = tmp_path / "look.png"
    found = write_sheet([shifted(3, title="a"), shifted(4, title="b")], path)
    image = cv2.imread(str(path))
    assert image.shape[1] == 1500 and image.std() > 20
    assert found.lengths.max() == 4


def test_labels_of_rows_keep_to_their_rows(tmp_path, monkeypatch):
    figures, save = [], matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda self, *given, **options: (
            figures.append(self) or save(self, *given, **options)
        ),
    )
    long = "0000_aitzgorri_by_aitzol_berasategi_in_the_basque_country 12"
    shown = [shifted(3, height=36, width=64, title=long) for _ in range(8)]
    write_sheet([*shown, shifted(3, height=36, width=64)], tmp_path / "look.png")
    axes = figures[0].axes[0]
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    tops = sorted((box.y0, box.y1) for box in boxes)
    assert len(tops) == 9 and all(box.x0 >= 0 for box in boxes)
    for (_, above), (below, _) in itertools.pairwise(tops):
        assert above <= below


def test_what_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="look.xyz: a picture, one of .png, .jpg"):
        write_sheet([shifted(3)], tmp_path / "look.xyz")
    with pytest.raises(UserError, match="none: no such folder"):
        write_sheet([shifted(3)], tmp_path / "none" / "look.png")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install '\.\[plots\]'"):
        write_sheet([shifted(3)], tmp_path / "look.png")


@pytest.fixture
def own(tmp_path):
    """A set of two videos, of 6 frames and of 4."""
    root = tmp_path / "set"
    for name, frames in (("long", 6), ("short", 4)):
        clip = shifted(2, frames=frames, height=64, width=96)
        for kind, images in (("blur", clip.blurry), ("sharp", clip.sharp)):
            folder = root / "train" / name / kind
            folder.mkdir(parents=True)
            for number, image in enumerate(images):
                cv2.imwrite(str(folder / f"{number:04d}.png"), image[..., ::-1])
    return root


def test_clips_of_a_set_come_with_dis_flow_or_with_flow_that_is_kept(own):
    clips, origin = clips_of_set("pairs", own, split="train", count=9)
    assert [clip.title for clip in clips] == ["long 2", "long 3"]
    assert origin == "DIS flow" and clips[0].duty is None
    assert clips[0].sharp.shape == (5, 64, 96, 3)
    shown = clips[0].flow[2][clips[0].valid[2]]
    assert np.abs(np.median(shown, axis=0) - [-2, 0]).max() < 0.3
    for name, frames in (("long", 6), ("short", 4)):
        folder = own / "train" / name / "flow"
        folder.mkdir()
        for number in range(1, frames):
            flow = np.full((64, 96, 2), 7, np.float32)
            valid = np.ones((64, 96), bool)
            np.savez(folder / f"{number:04d}.npz", flow=flow, valid=valid)
    clips, origin = clips_of_set("pairs", own, split="train", count=1)
    assert origin == "kept flow" and (clips[0].flow[1] == 7).all()


def test_no_motion_is_estimated_for_the_first_frame_of_a_clip(own, monkeypatch):
    pairs = []

    def estimate(current, previous):
        pairs.append((current, previous))
        return np.ones((64, 96, 2), np.float32)

    monkeypatch.setattr(contact_sheet_module, "dis_flow", estimate)
    [clip], _ = clips_of_set("pairs", own, split="train", count=1)
    assert len(pairs) == 2 * 4  # there and back, for all frames but the first
    assert not clip.valid[0].any() and (clip.flow[1:] == 1).all()


def test_kept_motion_that_is_stale_or_incomplete_is_not_passed_over(own, tmp_path):
    source = open_frames("pairs", own, split="train")
    kept = flow_folder("pairs", own, output=own.parent) / "train"
    compute_motion(source, kept)
    raw = prepare_dataset("pairs", own, own.parent, raw=True).folder
    assert clips_of_set("pairs", raw, split="train", count=1)[1] == "kept flow"
    shutil.move(kept / "long", tmp_path / "aside")
    with pytest.raises(UserError, match="lacks 1 of 2 videos, as long"):
        clips_of_set("pairs", raw, split="train", count=1)
    shutil.move(tmp_path / "aside", kept / "long")
    manifest = kept / "manifest.json"
    manifest.write_text(manifest.read_text().replace("6", "7"))
    with pytest.raises(UserError, match="holds other motion: videos.long"):
        clips_of_set("pairs", raw, split="train", count=1)
    shutil.rmtree(kept)
    assert clips_of_set("pairs", raw, split="train", count=1)[1] == "DIS flow"


def test_clips_of_photographs_are_those_of_the_synthesis(tmp_path):
    photo = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    for name, image in (("a", photo), ("b", photo[::-1]), ("tiny", photo[:20])):
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.blur(image, (5, 5)))
    clips, origin = clips_of_photos(tmp_path, size=(64, 48), count=3)
    assert origin == "exact flow" and clips[0].blurry.shape == (5, 48, 64, 3)
    assert {clip.title for clip in clips} == {"a", "b"}
    assert statistics(clips).exposed
    again, _ = clips_of_photos(tmp_path, size=(64, 48), count=3)
    np.testing.assert_array_equal(clips[2].blurry, again[2].blurry)


def test_blur_is_seen_where_nothing_else_is_asked_for():
    assert data_command._blur(data_command.SPEED, data_command.DUTY) == Filming().blur
    assets = importlib.resources.files("mtujax") / "assets" / "held_out"
    clips, _ = clips_of_photos(str(assets), size=(320, 180), count=4)
    found = statistics(clips)
    assert np.median(found.lengths) > 4 and found.psnr.mean() < 30


def test_what_cannot_be_shown_is_one_line(tmp_path, own):
    with pytest.raises(UsageError, match="clips 0: must be 1 or more"):
        clips_of_set("pairs", own, split="train", count=0)
    with pytest.raises(UserError, match="none: no such folder"):
        clips_of_photos(tmp_path / "none", size=(64, 48))
    with pytest.raises(UserError, match="set: has no PNG or JPEG file"):
        clips_of_photos(own, size=(64, 48))
    folder = own / "train" / "long" / "blur"
    with pytest.raises(UserError, match="no photograph is as large as 640x360"):
        clips_of_photos(folder, size=(640, 360))


def test_the_command_says_what_it_has_drawn(own, tmp_path):
    words = ["data", "show", "pairs", str(own), str(tmp_path / "a.png"), "--clips", "2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "motion per frame: median 2." in done.output
    assert "a.png: 2 clips, motion: DIS flow" in done.output
