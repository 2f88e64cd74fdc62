"""Checkpoints and the storage below: full disks, folders far away or out of reach."""

import contextlib
import errno
import os
import shutil
import sys
import threading

import numpy as np
import orbax.checkpoint as ocp
import pytest
import saving
from disks import full_disk
from saving import EXTRA, save_all
from states import assert_same, like, make_state

from mtujax.errors import UserError
from mtujax.training import checkpoints as orbax_store
from mtujax.training.checkpoints import Checkpoints
from mtujax.training.state_files import read_state, write_state

two, copy = saving.two, saving.copy


@pytest.mark.parametrize(
    "error, why",
    [
        (PermissionError(13, "no"), "Permission denied"),
        (OSError(errno.EIO, "no"), "Input/output error"),
        (OSError(errno.EMFILE, "no"), "Too many open files"),
        (MemoryError("no room"), "MemoryError no room"),
    ],
    ids=str,
)
@pytest.mark.parametrize("part", ["_manager", "_reader"])
def test_a_storage_out_of_reach_is_no_damage(copy, monkeypatch, error, why, part):
    with Checkpoints(str(copy)) as checkpoints:

        def refuse(*args, **kwargs):
            raise error

        monkeypatch.setattr(getattr(checkpoints, part), "restore", refuse)
        with pytest.raises(UserError, match=rf"20: cannot be read \({why}\)"):
            checkpoints.restore(like())
        monkeypatch.undo()
        # It was not taken for damaged, so that nothing makes way for older ones.
        with pytest.raises(UserError, match="has a newer checkpoint, 20"):
            checkpoints.save(15, make_state(), EXTRA)


def test_a_rating_out_of_reach_does_not_cost_the_best(copy, monkeypatch):
    def refuse(*args):
        raise UserError("cannot be read")

    monkeypatch.setattr(Checkpoints, "_about", refuse)
    with pytest.raises(UserError, match="cannot be read"):
        Checkpoints(str(copy))
    Checkpoints(str(copy), read_only=True).close()


@pytest.fixture
def small_files():
    """No file may grow beyond 40 kB, as on a disk that is full."""
    with contextlib.ExitStack() as disk:
        disk.enter_context(full_disk(40_000))
        yield disk.close


LARGE = {"x": np.frombuffer(np.random.default_rng(0).bytes(400_000), np.uint8)}


NOTES = ["[" * 100_000, "1" * 9999, '"x"', '{"commit_timestamp_nsecs": [1]}']
NOTES += ['{"commit_timestamp_nsecs": 1e308}', '{"item_handlers": 0.5}', ""]


@pytest.mark.parametrize("step", ["10", "20"])
def test_what_orbax_notes_of_a_step_may_be_damaged(tmp_path, step):
    """It names no array: all steps are there, and the next one can be saved."""
    state, whole = {"x": np.arange(3.0)}, tmp_path / "whole"
    with Checkpoints(str(whole)) as checkpoints:
        for number in (10, 20):
            checkpoints.save(number, state, {})
    for number, text in enumerate(NOTES):
        folder = shutil.copytree(whole, tmp_path / str(number))
        (folder / step / "_CHECKPOINT_METADATA").write_text(text)
        with Checkpoints(str(folder), read_only=True) as checkpoints:
            assert checkpoints.steps() == [10, 20]
            assert checkpoints.restore(state).step == 20
        with Checkpoints(str(folder)) as checkpoints:
            checkpoints.save(30, state, {})
            checkpoints.wait()
            assert checkpoints.steps() == [20, 30]


@pytest.mark.parametrize("door", ["wait", "save", "close"])
def test_a_full_disk_is_told_at_the_next_occasion(copy, door, small_files, capfd):
    checkpoints = Checkpoints(str(copy))
    checkpoints.save(30, LARGE, EXTRA)
    with pytest.raises(UserError, match="File too large") as told:
        match door:
            case "wait":
                checkpoints.wait()
            case "save":
                checkpoints.save(40, LARGE, EXTRA)
            case "close":
                checkpoints.close()
    assert str(copy) in str(told.value) and "\n" not in str(told.value)
    small_files()
    assert checkpoints.steps() == [10, 20]
    if door != "close":
        checkpoints.save(50, make_state(50), EXTRA)
        checkpoints.close()
    with Checkpoints(str(copy)) as checkpoints:
        newest = 20 if door == "close" else 50
        assert_same(checkpoints.restore(like()).state, make_state(newest))
    assert capfd.readouterr().err == ""


def test_an_error_on_the_way_is_not_hidden_by_a_full_disk(copy, small_files):
    with pytest.raises(KeyError, match="ours") as told:
        with Checkpoints(str(copy)) as checkpoints:
            checkpoints.save(30, LARGE, EXTRA)
            raise KeyError("ours")
    assert "File too large" in told.value.__notes__[0]


def test_a_folder_that_cannot_be_is_told_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/run: cannot be used"):
        Checkpoints(str(tmp_path / "file" / "run"))


def test_a_folder_that_cannot_be_written_is_told(copy, monkeypatch):
    """As root, who runs many tests, may write anywhere: the system is asked to lie."""

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(copy))

    with Checkpoints(str(copy)) as checkpoints:
        monkeypatch.setattr(os, "makedirs", refuse)
        monkeypatch.setattr(os, "mkdir", refuse)
        before = set(threading.enumerate())
        with pytest.raises(UserError, match="cannot be saved .Permission denied"):
            checkpoints.save(30, make_state(), EXTRA)
        # None may wait for the folder, for minutes, before the process can end.
        left = {t for t in set(threading.enumerate()) - before if not t.daemon}
        for thread in left:
            thread.join(30)
        assert not any(thread.is_alive() for thread in left)
        monkeypatch.undo()
        assert_same(checkpoints.restore(like()).state, make_state(20))


@pytest.mark.parametrize("folder", ["gs://bucket/run/checkpoints", "s3://b//c"])
def test_remote_folders_reach_orbax_as_they_are(folder, monkeypatch):
    class Manager:
        def __init__(self, directory, **options):
            given.append(directory)

        def all_steps(self):
            return []

    given = []
    monkeypatch.setattr(ocp, "CheckpointManager", Manager)
    monkeypatch.setattr(orbax_store, "_unfinished", lambda folder: given.append(folder))
    Checkpoints(folder)
    assert given == [folder, folder]


def test_only_checkpoints_need_orbax(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(UserError, match="^orbax is not installed; in a clone, pip "):
        Checkpoints(str(tmp_path))
    write_state(make_state(1), {}, file := tmp_path / "state.safetensors")
    assert_same(read_state(file, like())[0], make_state(1))


def test_relative_folders_mean_where_one_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_all("runs/a", (1,))
    assert (tmp_path / "runs" / "a" / "1").is_dir()
