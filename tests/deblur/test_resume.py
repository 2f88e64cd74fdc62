import os

import numpy as np
import pytest

from mtujax.deblur.resume import Job
from mtujax.errors import UserError

SETTINGS = {"input": "a.mp4", "crf": None}


def interrupt(output, segments=2, settings=SETTINGS, **how):
    """A job that is interrupted after some segments of 10 frames."""
    with pytest.raises(KeyboardInterrupt) as caught:
        with Job(output, settings, **how) as job:
            for number in range(segments):
                (job.folder / f"part-{number}").write_bytes(b"content")
                job.finish({"frames": 10, "cuts": 1}, {"x": np.full(3, number)})
            raise KeyboardInterrupt
    return caught.value


def test_a_job_that_ends_well_leaves_nothing(tmp_path):
    with Job(tmp_path / "out.mp4", SETTINGS) as job:
        job.finish({"frames": 10}, {"x": np.zeros(3)})
        assert job.folder.name == "out.mp4.part"
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_breaks_off_before_its_first_segment_leaves_nothing(tmp_path):
    interrupt(tmp_path / "out.mp4", segments=0)
    assert list(tmp_path.iterdir()) == []


def test_finished_segments_outlive_an_interruption_and_are_found_again(tmp_path):
    error = interrupt(tmp_path / "out.mp4")
    assert "20 finished frames" in error.__notes__[0]
    assert "--resume" in error.__notes__[0]
    with Job(tmp_path / "out.mp4", SETTINGS, resume=True) as job:
        assert job.frames == 20
        assert [s.cuts for s in job.segments] == [1, 1]
        np.testing.assert_array_equal(job.state()["x"], [1, 1, 1])
        assert (job.folder / "part-0").exists()
    assert list(tmp_path.iterdir()) == []


def test_what_went_through_a_pipe_is_not_kept(tmp_path):
    interrupt(tmp_path / "out.mp4", resumable=False)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_job_is_not_thrown_away_by_forgetting_a_word(tmp_path):
    interrupt(tmp_path / "out.mp4")
    with pytest.raises(UserError, match="--resume continues.*--overwrite starts over"):
        Job(tmp_path / "out.mp4", SETTINGS)
    with Job(tmp_path / "out.mp4", SETTINGS, start_over=True) as job:
        assert job.frames == 0
        assert not (job.folder / "part-0").exists()


def test_other_settings_are_refused_by_name(tmp_path):
    interrupt(tmp_path / "out.mp4")
    with pytest.raises(
        UserError,
        match="other settings: crf: none there, 20 here; .*--overwrite to start",
    ):
        Job(tmp_path / "out.mp4", SETTINGS | {"crf": 20}, resume=True)
    assert (tmp_path / "out.mp4.part").exists()


def test_resuming_without_anything_to_resume_begins(tmp_path):
    with Job(tmp_path / "out.mp4", SETTINGS, resume=True) as job:
        assert job.frames == 0


def test_two_jobs_do_not_write_the_same_output(tmp_path):
    with Job(tmp_path / "out.mp4", SETTINGS) as first:
        first.finish({"frames": 10}, {"x": np.zeros(3)})
        for how in ({"resume": True}, {"start_over": True}):
            with pytest.raises(UserError, match="another process is writing"):
                Job(tmp_path / "out.mp4", SETTINGS, **how)
        assert first.folder.exists()


def test_a_folder_that_is_no_job_is_never_touched(tmp_path):
    (tmp_path / "out.mp4.part").mkdir()
    (tmp_path / "out.mp4.part" / "thesis.txt").write_text("mine")
    for how in ({}, {"start_over": True}, {"resume": True}):
        with pytest.raises(UserError, match="move it away"):
            Job(tmp_path / "out.mp4", SETTINGS, **how)
    assert (tmp_path / "out.mp4.part" / "thesis.txt").read_text() == "mine"


def test_a_job_killed_in_any_moment_is_as_far_as_its_manifest_says(tmp_path):
    """Killed between the state and the manifest: the older state still counts."""
    interrupt(tmp_path / "out.mp4", segments=1)
    folder = tmp_path / "out.mp4.part"
    np.savez(folder / "state-2.npz", x=np.full(3, 9))
    (folder / "job.json.new").write_text('{"settings"')
    with Job(tmp_path / "out.mp4", SETTINGS, resume=True) as job:
        assert job.frames == 10
        np.testing.assert_array_equal(job.state()["x"], [0, 0, 0])


def test_a_damaged_state_is_said_with_the_one_remedy(tmp_path):
    interrupt(tmp_path / "out.mp4")
    (tmp_path / "out.mp4.part" / "state-2.npz").write_bytes(b"x")
    with pytest.raises(UserError, match="state-2.npz: .*--overwrite") as caught:
        with Job(tmp_path / "out.mp4", SETTINGS, resume=True) as job:
            with job.continuing():
                job.state()
    assert not hasattr(caught.value, "__notes__")
    assert (tmp_path / "out.mp4.part" / "part-0").exists()


def test_a_full_disk_keeps_the_segments_before(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as caught:
        with Job(tmp_path / "out.mp4", SETTINGS) as job:
            job.finish({"frames": 10}, {"x": np.zeros(3)})
            monkeypatch.setattr(os, "fsync", full)
            job.finish({"frames": 10}, {"x": np.zeros(3)})
    assert "10 finished frames" in caught.value.__notes__[0]
    monkeypatch.undo()
    with Job(tmp_path / "out.mp4", SETTINGS, resume=True) as job:
        assert job.frames == 10
