"""Interrupted work goes on to the same output, whatever the output is."""

import jax
import media
import pytest
from networks import slow

from mtujax.deblur.api import deblur_video
from mtujax.errors import UserError

FRAMES = 26
SEGMENT = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """26 frames with sound; at frame 16, where a segment begins, a cut."""
    scene = media.scene(16)
    frames = scene + [255 - f[:, ::-1] // 3 for f in scene[:10]]
    path = tmp_path_factory.mktemp("source") / "in.mp4"
    return media.clip(path, frames, audio="aac")


def interrupted(at):
    def progress(done, _):
        if done == at:
            raise KeyboardInterrupt

    return progress


def restore(source, output, tiny, **options):
    options = {"segment_frames": SEGMENT, "weights": tiny} | options
    return deblur_video(source, output, **options)


def content(path):
    if path.is_dir():
        return {p.name: p.read_bytes() for p in sorted(path.iterdir())}
    return path.read_bytes()


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.webm", "out.mpg", "out"])
@pytest.mark.parametrize("at", [12, slow(19), slow(FRAMES)])
def test_a_resumed_run_gives_the_same_output(source, tmp_path, tiny, name, at):
    whole, output = tmp_path / f"whole{name[3:]}", tmp_path / name
    options = {} if name == "out" else {"codec": None}
    report = restore(source, whole, tiny, **options)
    with pytest.raises(KeyboardInterrupt):
        restore(source, output, tiny, progress=interrupted(at))
    assert not output.exists()
    assert (tmp_path / f"{name}.part").exists()
    resumed = restore(source, output, tiny, resume=True)
    assert content(output) == content(whole)
    assert 0 < resumed.resumed <= at and resumed.resumed % SEGMENT == 0
    assert (resumed.frames, resumed.cuts) == (report.frames, report.cuts)
    assert (resumed.frames, resumed.cuts) == (FRAMES, 1)
    assert not (tmp_path / f"{name}.part").exists()


def test_a_run_can_be_interrupted_again_and_again(source, tmp_path, tiny):
    whole, output = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    restore(source, whole, tiny)
    for at in (9, 17, 25):
        with pytest.raises(KeyboardInterrupt):
            restore(source, output, tiny, resume=True, progress=interrupted(at))
    restore(source, output, tiny, resume=True)
    assert output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "name, kept", [("out.mkv", "motion-00000.nut"), ("out", "frames/frame_000003.png")]
)
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_finished_work_that_is_damaged_is_named(
    source, tmp_path, tiny, name, kept, damage
):
    output, motion = tmp_path / name, tmp_path / "motion.mkv"
    with pytest.raises(KeyboardInterrupt):
        restore(source, output, tiny, save_motion=motion, progress=interrupted(12))
    path = tmp_path / f"{name}.part" / kept
    data = path.read_bytes()
    changed = data[:-30] + bytes([data[-30] ^ 1]) + data[-29:]
    path.write_bytes(data[:-9] if damage == "cut" else changed)
    if damage == "gone":
        path.unlink()
    with pytest.raises(UserError, match="damaged or missing; --overwrite") as caught:
        restore(source, output, tiny, save_motion=motion, resume=True)
    assert str(path.parent) in str(caught.value)
    assert not hasattr(caught.value, "__notes__")
    restore(source, output, tiny, save_motion=motion, overwrite=True)
    assert sorted(tmp_path.iterdir()) == sorted([motion, output])


def test_a_range_and_a_motion_video_are_resumed_too(source, tmp_path, tiny):
    done = {}
    for name in ("whole", "out"):
        motion, output = tmp_path / f"{name}-motion.mp4", tmp_path / f"{name}.mp4"
        options = {"start": 0.08, "end": 1.0, "compare": "wipe", "save_motion": motion}
        if name == "out":
            # Another motion file would be another job, so its name is the same.
            with pytest.raises(KeyboardInterrupt):
                restore(source, output, tiny, progress=interrupted(18), **options)
            options["resume"] = True
        restore(source, output, tiny, **options)
        done[name] = output.read_bytes(), motion.read_bytes()
    assert done["whole"] == done["out"]


def test_work_with_other_choices_is_not_gone_on_with(source, tmp_path, tiny):
    output = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        restore(source, output, tiny, progress=interrupted(12))
    with pytest.raises(UserError, match="--resume continues"):
        restore(source, output, tiny)
    with pytest.raises(UserError, match="crf: none there, .30. here"):
        restore(source, output, tiny, resume=True, crf=30)
    model, params = tiny
    other = model, jax.tree.map(lambda leaf: leaf + 1, params)
    with pytest.raises(UserError, match="other settings: weights"):
        restore(source, output, other, resume=True)
    report = restore(source, output, tiny, overwrite=True)
    assert (report.frames, report.resumed) == (FRAMES, 0)


def test_resuming_when_nothing_is_left_begins_and_says_so(source, tmp_path, tiny):
    report = restore(source, tmp_path / "out.mp4", tiny, resume=True)
    assert report.frames == FRAMES
    assert any("nothing is left" in note for note in report.notes)
    with pytest.raises(UserError, match="exists already"):
        restore(source, tmp_path / "out.mp4", tiny, resume=True)


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "я" * 127, "caf\udce9.mkv"])
def test_names_of_any_length_and_bytes_are_resumed(source, tmp_path, tiny, name):
    output = tmp_path / name
    with pytest.raises(KeyboardInterrupt) as caught:
        restore(source, output, tiny, progress=interrupted(12), end=0.8)
    (left,) = tmp_path.iterdir()
    assert left.name in caught.value.__notes__[0] and left.name.endswith(".part")
    report = restore(source, output, tiny, resume=True, end=0.8)
    assert (report.resumed, report.frames) == (SEGMENT, 20)
    assert list(tmp_path.iterdir()) == [output]
