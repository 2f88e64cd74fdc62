import os
import pathlib
import signal
import subprocess
import sys

import pytest
from ports import coordinator

from mtujax.errors import UserError
from mtujax.training.run_folder import RunFolder, open_run

CONFIG = {"train": {"steps": 20, "drops": [[3, 0.25]]}, "run": "a", "teacher": None}


def test_a_run_folder_is_created_and_keeps_its_configuration(tmp_path):
    with open_run(str(tmp_path / "runs" / "a")) as run:
        assert run.read_config() is None
        run.write_config(CONFIG)
        assert run.read_config() == CONFIG
        run.write_config(CONFIG | {"run": "b"})
    assert RunFolder(str(tmp_path / "runs" / "a")).read_config()["run"] == "b"
    names = sorted(path.name for path in (tmp_path / "runs" / "a").iterdir())
    assert names == [".lock", "config.json"]


def test_a_run_folder_belongs_to_one_process_at_a_time(tmp_path):
    folder = str(tmp_path / "run")
    with open_run(folder):
        with pytest.raises(UserError, match="run folder in use by another process"):
            with open_run(folder):
                pass
    with open_run(folder):  # given back
        pass


def test_a_killed_process_gives_its_run_folder_back(tmp_path):
    folder = str(tmp_path / "run")
    code = (
        "import sys, time; from mtujax.training.run_folder import open_run\n"
        "with open_run(sys.argv[1]): print('mine', flush=True); time.sleep(600)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, folder],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout.readline() == "mine\n"
        with pytest.raises(UserError, match="in use by another process"):
            with open_run(folder):
                pass
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    with open_run(folder):
        pass


def test_what_cannot_be_a_run_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=f"{folder}: cannot be a run folder"):
            with open_run(str(folder)):
                pass


@pytest.mark.parametrize("text", ["{", "\x00", "[1]"])
def test_a_damaged_configuration_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with open_run(str(tmp_path)) as run:
        with pytest.raises(UserError, match="config.json: .*delete it"):
            run.read_config()


def test_a_configuration_that_cannot_be_written_leaves_the_old_one(
    tmp_path, monkeypatch
):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with open_run(str(tmp_path)) as run:
        run.write_config(CONFIG)
        monkeypatch.setattr(pathlib.Path, "write_text", full)
        with pytest.raises(UserError, match=r"config.json: cannot be written \(No sp"):
            run.write_config({})
        assert run.read_config() == CONFIG


def test_only_the_first_process_of_a_run_takes_and_writes_its_folder(
    tmp_path, monkeypatch
):
    folder = str(tmp_path / "run")
    with open_run(folder) as first:
        first.write_config(CONFIG)
        monkeypatch.setattr("mtujax.parallel.is_first", lambda: False)
        with open_run(folder) as second:
            second.write_config({})
            assert second.read_config() == CONFIG


def test_all_processes_of_a_run_stop_where_the_first_gets_no_lock(
    tmp_path, monkeypatch
):
    folder, asked = str(tmp_path / "run"), []
    with open_run(folder):
        monkeypatch.setattr(
            "mtujax.parallel.any_process", lambda flag: asked.append(flag) or True
        )
        with pytest.raises(UserError, match="run folder in use by another process"):
            with open_run(folder):
                pass
        assert asked == [True]  # the others hear of it
        monkeypatch.setattr("mtujax.parallel.is_first", lambda: False)
        with pytest.raises(UserError, match="another process has failed"):
            with open_run(folder):
                pass
        assert asked == [True, False]


STARTS = """
import sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
from mtujax import parallel
from mtujax.training.run_folder import open_run
parallel.start(sys.argv[1], 2, int(sys.argv[2]))
with open_run(sys.argv[3]):
    print("went on")
"""


@pytest.mark.slow
def test_two_processes_neither_go_on_nor_hang_without_the_lock(tmp_path):
    address = coordinator()
    with open_run(str(tmp_path)):
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", STARTS, address, str(k), str(tmp_path)],
                env=os.environ | {"JAX_PLATFORMS": "cpu"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for k in range(2)
        ]
        said = [worker.communicate(timeout=120) for worker in workers]
    assert not any("went on" in out for out, _ in said)
    assert "run folder in use by another process" in said[0][1]
    assert "another process has failed" in said[1][1]


def test_a_remote_folder_is_neither_locked_nor_made_local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_run("gs://bucket/run/") as run, open_run("gs://bucket/run/"):
        assert run.path("checkpoints") == "gs://bucket/run/checkpoints"
    assert list(tmp_path.iterdir()) == []


def test_a_remote_configuration_goes_through_its_storage(monkeypatch):
    from etils import epath

    class Remote:
        def __init__(self, path):
            self.path = path

        def write_text(self, text):
            kept[self.path] = text

        def read_bytes(self):
            return kept[self.path].encode()

    kept = {}
    monkeypatch.setattr(epath, "Path", Remote)
    run = RunFolder("gs://bucket/run")
    run.write_config(CONFIG)
    assert list(kept) == ["gs://bucket/run/config.json"]
    assert run.read_config() == CONFIG


def test_a_folder_of_an_unknown_kind_is_one_line():
    with pytest.raises(UserError, match="foo://a/config.json: .*scheme is unknown"):
        RunFolder("foo://a").read_config()
