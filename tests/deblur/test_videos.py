import errno
import hashlib
import json
import logging
import os
import shutil

import cv2
import jax
import media
import numpy as np
import pytest
from killing import tree

import mtujax.deblur.videos as videos
from mtujax import deblur_videos
from mtujax.deblur import task
from mtujax.deblur.api import deblur_video, restore_video
from mtujax.deblur.output import Options
from mtujax.errors import UsageError, UserError


def write_folder(path, count, size=(24, 32)):
    path.mkdir()
    for i in range(count):
        image = np.full((*size, 3), 25 * i + 9, np.uint8)
        cv2.imwrite(str(path / f"f{i}.png"), image)
    return path


@pytest.fixture
def sets(tmp_path):
    """Three folders of frames."""
    (tmp_path / "in").mkdir()
    for name in "abc":
        write_folder(tmp_path / "in" / name, 4)
    return tmp_path / "in"


def report(folder, name="report.json"):
    return json.loads((folder / name).read_text())


def by_output(folder):
    return {video["output"]: video for video in report(folder)["videos"]}


def test_each_video_is_what_it_is_made_alone_and_broken_ones_stop_none(tmp_path, tiny):
    (source := tmp_path / "in").mkdir()
    media.h264_mp4(source / "a.mp4", media.scene(6))
    media.mjpeg_avi(source / "b.avi", media.scene(6))
    media.encrypted(source / "locked.mp4")
    (source / "broken.mov").write_bytes(b"no video")
    (source / "empty.mkv").touch()
    write_folder(source / "frames", 3, (48, 64))
    seen, done, started = [], [], []
    out = tmp_path / "out"
    found = deblur_videos(
        source,
        out,
        weights=tiny,
        crf=20,
        progress=lambda *now: seen.append(now),
        on_video=done.append,
        on_start=lambda *now: started.append(now),
    )
    assert (*found,) == (*done,) and started == [(6, 6)]
    assert seen == [(n, None) for n in range(1, 16)]
    failed = {os.path.basename(v.input): v.error for v in found if v.error}
    assert set(failed) == {"locked.mp4", "broken.mov", "empty.mkv"}
    assert "is encrypted" in failed["locked.mp4"]
    deblur_video(source / "a.mp4", tmp_path / "a.mp4", weights=tiny, crf=20)
    deblur_video(source / "b.avi", tmp_path / "b.mkv", weights=tiny, crf=20)
    deblur_video(source / "frames", tmp_path / "frames", weights=tiny)
    for name in ("a.mp4", "b.mkv"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
    assert tree(out / "frames") == tree(tmp_path / "frames")
    names = {"a.mp4", "b.mkv", "frames", "report.json"}
    assert set(os.listdir(out)) == names


def test_the_report_says_what_became_of_each_and_of_which_weights(
    tmp_path, sets, weights_file
):
    (sets / "bad.mp4").write_bytes(b"no video")
    deblur_videos(sets, tmp_path / "out", weights=weights_file)
    found = report(tmp_path / "out")
    assert found["weights"] == {
        "name": str(weights_file),
        "sha256": hashlib.sha256(weights_file.read_bytes()).hexdigest(),
    }
    of = {video["output"]: video for video in found["videos"]}
    assert list(of) == ["a", "b", "bad.mp4", "c"]
    assert of["a"]["frames"] == 4 and of["a"]["error"] is None
    assert of["a"]["input"] == str(sets / "a") and of["a"]["seconds"] > 0
    assert of["bad.mp4"]["frames"] is None and "bad.mp4" in of["bad.mp4"]["error"]


def test_all_videos_of_one_size_share_what_is_compiled(tmp_path, sets, tiny, caplog):
    jax.clear_caches()
    with jax.log_compiles(), caplog.at_level(logging.DEBUG, logger="jax"):
        deblur_videos(sets, tmp_path / "out", weights=tiny)
    said = [record.getMessage() for record in caplog.records]
    assert sum("Compiling jit(_step)" in text for text in said) == 1


def test_the_same_command_again_does_nothing(tmp_path, sets, weights_file, monkeypatch):
    out = tmp_path / "out"
    deblur_videos(sets, out, weights=weights_file, resume=True)

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr(videos, "load", never)
    monkeypatch.setattr(task, "restore_video", never)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    found = deblur_videos(sets, out, weights=weights_file, resume=True)
    assert all(video.skipped and video.frames == 4 for video in found)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(UserError, match="out/a.*: exists already; --resume continues"):
        deblur_videos(sets, out, weights=weights_file)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_what_is_not_whole_is_made_again_and_what_failed_is_tried_again(
    tmp_path, sets, tiny
):
    (sets / "d.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    deblur_videos(sets, out, weights=tiny)
    whole = tree(out)
    (out / "a" / "f1.png").write_bytes(b"short")
    shutil.rmtree(out / "b")
    media.h264_mp4(sets / "d.mp4", media.scene(3))
    found = deblur_videos(sets, out, weights=tiny, resume=True)
    assert [video.skipped for video in found] == [False, False, True, False]
    assert [video.error for video in found] == [None] * 4
    again = tree(out)
    assert {k: again[k] for k in whole if "/" in k} == {
        k: whole[k] for k in whole if "/" in k
    }


def test_a_changed_input_is_named_each_time_and_its_output_stays(tmp_path, sets, tiny):
    out = tmp_path / "out"
    deblur_videos(sets, out, weights=tiny)
    os.utime(sets / "b" / "f2.png", ns=(1, 1))  # written in place
    for folder in (sets / "a", out / "a"):
        (folder / ".DS_Store").touch()
    for _ in range(2):
        found = deblur_videos(sets, out, weights=tiny, resume=True)
        assert "b: has changed since" in found[1].error
        assert found[0].skipped and found[2].skipped
    found = deblur_videos(sets, out, weights=tiny, resume=True, overwrite=True)
    assert [video.skipped for video in found] == [True, False, True]
    assert not any(video.error for video in found)


def test_an_input_that_is_gone_stops_no_other(tmp_path, sets, tiny):
    (sets / "d.mp4").symlink_to("nowhere.mp4")
    found = deblur_videos(sets, tmp_path / "out", weights=tiny)
    assert [video.frames for video in found] == [4, 4, 4, None]
    assert found[3].error == f"{sets}/d.mp4: no such file or folder"


def test_what_cannot_be_replaced_fails_alone_and_is_still_known(tmp_path, sets, tiny):
    out = tmp_path / "out"
    deblur_videos(sets, out, weights=tiny)
    (out / "b" / "f1.png").unlink()  # so that it is made again
    (notes := out / "b" / "notes").touch()
    for _ in range(2):
        found = deblur_videos(sets, out, weights=tiny, resume=True)
        assert "b: not replaced, as it holds more than frames" in found[1].error
    notes.unlink()
    found = deblur_videos(sets, out, weights=tiny, resume=True)
    assert [video.frames for video in found] == [4, 4, 4]


def test_what_appears_after_a_failure_is_kept_and_named_alone(tmp_path, sets, tiny):
    (sets / "d.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    deblur_videos([sets / "d.mp4", sets / "a"], out, weights=tiny)
    (out / "d.mp4").write_bytes(b"of somebody else")
    found = deblur_videos([sets / "d.mp4", sets / "a"], out, weights=tiny, resume=True)
    assert "d.mp4: exists, although" in found[0].error and found[1].skipped
    assert (out / "d.mp4").read_bytes() == b"of somebody else"


def test_numbers_are_compared_as_such_and_checked_for_every_output(sets, tiny):
    out = sets.parent / "out"
    deblur_videos(sets / "a", out, weights=tiny, crf=20)
    (video,) = deblur_videos(sets / "a", out, weights=tiny, crf=20.0, resume=True)
    assert video.skipped
    with pytest.raises(UsageError, match="crf 99"):
        deblur_videos(sets / "a", out, weights=tiny, crf=99, codec="h264", resume=True)


def test_other_settings_and_outputs_of_others_are_refused(tmp_path, sets, tiny):
    model, params = tiny
    out = tmp_path / "out"
    deblur_videos([sets / "a"], out, weights=tiny)
    other = model, jax.tree.map(lambda leaf: leaf + 1, params)
    before = tree(out)
    for how, said in (
        ({"weights": other}, "report.json: .*other settings: weights: .*; give the sa"),
        ({"weights": tiny, "scene_threshold": 0.1}, "scene_threshold: 0.4 there"),
    ):
        for resume in (False, True):
            with pytest.raises(UserError, match=said):
                deblur_videos(sets, out, resume=resume, **how)
    write_folder(out / "b", 1)
    with pytest.raises(UserError, match="out/b/: exists already, and no report"):
        deblur_videos(sets, out, weights=tiny, resume=True)
    shutil.rmtree(out / "b")
    assert tree(out) == before
    found = deblur_videos(sets, out, weights=tiny, resume=True)
    assert [video.skipped for video in found] == [True, False, False]
    found = deblur_videos(sets, out, weights=other, overwrite=True)
    assert not any(video.skipped or video.error for video in found)
    assert tree(out)["a/f1.png"] != before["a/f1.png"]


def test_more_videos_of_the_same_settings_join_the_report(tmp_path, sets, tiny):
    out = tmp_path / "out"
    deblur_videos(sets / "a", out, weights=tiny)
    deblur_videos([sets / "b"], out, weights=tiny)
    assert list(by_output(out)) == ["a", "b"]


def test_an_interruption_keeps_what_is_finished_and_resumes_the_rest(
    tmp_path, sets, tiny
):
    out, segments = tmp_path / "out", {"segment_frames": 5}
    shutil.rmtree(sets / "b")
    write_folder(sets / "b", 10)

    def interrupt(done, _):
        if done == 4 + 9:  # of b nine, of which four may wait to be written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        deblur_videos(sets, out, weights=tiny, **segments, progress=interrupt)
    notes = " ".join(caught.value.__notes__)
    assert "5 finished frames are kept in b.part" in notes
    assert "1 of 3 videos are finished; --resume continues" in notes
    with pytest.raises(UserError, match="scene_threshold: 0.4 there"):
        deblur_videos([sets / "b"], out, weights=tiny, scene_threshold=0.1, resume=True)
    assert set(os.listdir(out)) == {"a", "b.part", "report.json"}
    with pytest.raises(UserError, match="--resume continues"):
        deblur_videos(sets, out, weights=tiny, **segments)
    found = deblur_videos(sets, out, weights=tiny, **segments, resume=True)
    assert [video.skipped for video in found] == [True, False, False]
    assert any("resumes after 5 frames" in note for note in found[1].notes)
    whole = tmp_path / "whole"
    deblur_videos(sets, whole, weights=tiny)
    for name in "abc":
        assert tree(out / name) == tree(whole / name)


@pytest.mark.parametrize("changed", [False, True])
def test_a_video_whose_process_died_goes_on_from_its_segments(
    tmp_path, sets, tiny, changed
):
    def die(done, _):
        if done == 9:  # four may wait to be written
            raise KeyboardInterrupt

    source = write_folder(sets / "long", 10)
    work = task.Task(f"{source}", f"{tmp_path}/a/", Options(), True, False, 5)
    with pytest.raises(KeyboardInterrupt):
        task.restore(work, tiny, die)
    if changed:
        os.utime(source / "f0.png", ns=(1, 1))
    video = task.restore(task.again(work), tiny, lambda *_: None)
    assert video.error is None and video.frames == 10
    said = "starts over" if changed else "resumes after 5 frames"
    assert any(said in note for note in video.notes)


def test_a_full_disk_stops_the_rest_and_loses_nothing(
    tmp_path, sets, tiny, monkeypatch
):
    out, flush = tmp_path / "out", os.fsync

    def full(number):
        if (out / "a").exists() and by_output(out)["a"]["frames"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(number)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left.*out/(b|report.json)") as caught:
        deblur_videos(sets, out, weights=tiny, segment_frames=2)
    assert "1 of 3 videos are finished" in caught.value.__notes__[-1]
    monkeypatch.undo()
    assert set(os.listdir(out)) <= {"a", "b.part", "report.json"}
    assert by_output(out)["b"]["error"] is None
    found = deblur_videos(sets, out, weights=tiny, segment_frames=2, resume=True)
    assert [video.frames for video in found] == [4, 4, 4]


def test_a_bug_in_one_video_stops_no_other(tmp_path, sets, tiny, monkeypatch, capsys):
    def buggy(input, *given, **options):
        if input.endswith("b"):
            raise ZeroDivisionError("x\ny")
        return restore_video(input, *given, **options)

    monkeypatch.setattr(task, "restore_video", buggy)
    found = deblur_videos(sets, tmp_path / "out", weights=tiny)
    assert found[1].error == "a bug of this program: ZeroDivisionError: x y"
    assert [video.frames for video in found] == [4, None, 4]
    assert "Traceback" in capsys.readouterr().err


def test_shards_share_a_folder_and_the_whole_skips_what_they_made(tmp_path, sets, tiny):
    out = tmp_path / "out"
    for shard in ("1/2", "2/2"):
        found = deblur_videos(sets, out, weights=tiny, shard=shard)
        assert len(found) == {"1": 2, "2": 1}[shard[0]]
    names = {"report-1-of-2.json", "report-2-of-2.json"}
    assert set(os.listdir(out)) == {"a", "b", "c"} | names
    found = deblur_videos(sets, out, weights=tiny, resume=True)
    assert all(video.skipped for video in found)
    assert deblur_videos(sets, out, weights=tiny, shard="4/4", resume=True) == ()


def test_of_several_reports_the_latest_entry_counts(tmp_path, sets, tiny):
    model, params = tiny
    other = model, jax.tree.map(lambda leaf: leaf + 1, params)
    out = tmp_path / "out"
    for shard in ("1/2", "2/2"):
        deblur_videos(sets, out, weights=tiny, shard=shard)
    (out / "report_final.json").write_text("the user's own")

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        deblur_videos(sets, out, weights=other, overwrite=True, on_video=interrupt)
    assert caught.value.__notes__ == ["1 of 3 videos are finished; --resume continues"]
    found = deblur_videos(sets, out, weights=other, resume=True)
    assert [video.skipped for video in found] == [True, False, False]
    with pytest.raises(UserError, match="report.json: its videos were made with other"):
        deblur_videos(sets, out, weights=tiny, shard="1/2", resume=True)


def test_two_commands_do_not_write_one_report(tmp_path, sets, tiny):
    out, said = tmp_path / "out", []

    def again(video):
        said.append(video)
        if len(said) < 3:
            with pytest.raises(UserError, match="report.json: another process is wri"):
                deblur_videos(sets, out, weights=tiny, resume=True)

    deblur_videos(sets, out, weights=tiny, on_video=again)
    assert [video.error for video in said] == [None] * 3


def test_a_damaged_report_and_a_file_in_place_of_the_folder_are_named(
    tmp_path, sets, tiny
):
    (out := tmp_path / "out").mkdir()
    (out / "report.json").write_text("{")
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UserError, match="report.json: damaged.*move it away"):
            deblur_videos(sets, out, weights=tiny, **how)
    with pytest.raises(UserError, match="not a folder; choose another"):
        deblur_videos(sets, out / "report.json", weights=tiny)
    with pytest.raises(UsageError, match="no input"):
        deblur_videos([], out, weights=tiny)
