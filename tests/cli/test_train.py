"""The command `train.py`: statuses, signals, several processes, its last line."""

import re
import runpy
import shlex
import signal
import subprocess
import sys

import jax
import pytest
from places import ROOT

from mtujax import parallel
from mtujax.cli import app, entry as scripts
from mtujax.cli.configs import config_titles, read_config
from mtujax.common import hardware as compile_cache
from mtujax.common.dataclass_json import field_types
from mtujax.common.interrupts import Interrupted
from mtujax.errors import UsageError, UserError
from mtujax.training.config import RunConfig
from mtujax.training.loop import Finished

SMOKE = "--config=configs/smoke.py"
CACHING = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


pytestmark = pytest.mark.usefixtures("in_the_clone")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command with `mtujax.train` replaced; gives status, stdout and
    stderr."""

    def run(line, train=lambda config, command: Finished(3, 0, True)):
        monkeypatch.setattr("mtujax.train", train)
        monkeypatch.setattr(compile_cache, "CACHE", str(tmp_path / "cache"))
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as caught:
            app.main(shlex.split(line), script="train")
        after = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        assert after == before
        return caught.value.code, *capsys.readouterr()

    cached = {name: getattr(jax.config, name) for name in CACHING}
    yield run
    for name, value in cached.items():
        jax.config.update(name, value)


def test_the_configuration_and_the_command_that_goes_on_reach_the_run(command):
    seen = []

    def train(config, command):
        seen.append((config, command))
        return Finished(200, 0, True)

    line = f"{SMOKE} '--config.run=runs/a b'"
    wanted = read_config(["smoke"], ["--config.run=runs/a b"])
    assert command(line, train) == (0, "runs/a b: 200 updates\n", "")
    assert seen == [(wanted, f"python train.py {line}")]


@pytest.mark.parametrize(
    ("finished", "words"),
    [
        (Finished(200, 0, True), "200 updates"),
        (Finished(198, 2, True), "198 updates, 2 left out as not finite"),
        (
            Finished(200, 0, True, 27.123, 25.5),
            "200 updates, 27.12 dB (blurry 25.50 dB)",
        ),
        (
            Finished(50, 0, False),
            f"50 updates, time limit reached; resume with: python train.py {SMOKE}",
        ),
    ],
)
def test_a_last_line_says_what_became_of_the_run(command, finished, words):
    done = command(SMOKE, lambda config, command: finished)
    assert done == (0, f"runs/smoke: {words}\n", "")


def test_only_the_first_process_says_it(command, monkeypatch):
    monkeypatch.setattr(parallel, "is_first", lambda: False)
    assert command(SMOKE) == (0, "", "")


def raising(error, note=None):
    def train(config, command):
        if note:
            error.add_note(note)
        raise error

    return train


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UserError("no photographs"), 1, "no photographs; look there"),
        (UsageError("batch 3: 2 devices"), 2, "batch 3: 2 devices; look there"),
        (FileNotFoundError(2, "No such file", "a"), 1, "a: No such file; look there"),
        (Interrupted(signal.SIGINT, "saved"), 130, "saved; look there"),
        (Interrupted(signal.SIGTERM, "saved"), 143, "saved; look there"),
    ],
)
def test_what_ends_a_run_is_one_line_and_a_status(command, error, status, words):
    done = command(SMOKE, raising(error, "look there"))
    assert done == (status, "", f"train.py: error: {words}\n")


def test_a_mistake_of_the_program_keeps_its_traceback(command):
    with pytest.raises(ZeroDivisionError):
        command(SMOKE, raising(ZeroDivisionError()))


def test_a_wrong_flag_ends_the_command_before_anything_is_trained(command):
    status, out, said = command(f"{SMOKE} --config.batsh=3", raising(AssertionError()))
    assert (status, out) == (2, "")
    line = "--config.batsh: no such field; did you mean --config.batch?"
    assert said == f"train.py: error: {line}\n"


@pytest.mark.parametrize("flag", ["--help", "-h", f"{SMOKE} --help"])
def test_the_help_lists_options_fields_and_configurations(command, flag):
    status, out, said = command(flag)
    assert (status, said) == (0, "")
    options, fields, configs = re.split("Fields .*:|Configurations:", out)
    assert re.findall(r"^  (\w+) ", configs, re.M) == list(config_titles())
    for name in ("config", "coordinator", "processes", "process", "cache"):
        assert f"  --{name}" in options
    named = re.findall(r"^  --config\.(\S+)  ", fields, re.M)
    assert len(named) > 8
    assert set(named) <= set(field_types(RunConfig))
    assert "[int; default: 8]" in fields  # of the dataclass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_ends_it_with_a_line(command, number):
    done = command(SMOKE, lambda config, command: signal.raise_signal(number))
    assert done == (128 + number, "", "train.py: error: interrupted\n")


def test_a_background_job_of_a_shell_goes_on_at_ctrl_c(command):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:

        def train(config, command):
            signal.raise_signal(signal.SIGINT)
            return Finished(3, 0, True)

        assert command(SMOKE, train)[0] == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("line", "environment", "started"),
    [
        ("", {}, []),
        ("--coordinator=none", {"OMPI_COMM_WORLD_SIZE": "2"}, []),
        ("", {"OMPI_COMM_WORLD_SIZE": "2"}, [()]),
        ("--coordinator=auto", {}, [()]),
        ("--coordinator=h:1 --processes=3 --process=0", {}, [("h:1", 3, 0)]),
    ],
)
def test_other_processes_are_joined(command, monkeypatch, line, environment, started):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    calls = []
    monkeypatch.setattr(parallel, "start", lambda *given: calls.append(given))
    assert command(f"{SMOKE} {line}")[0] == 0
    assert calls == started


@pytest.mark.parametrize(
    ("environment", "among_others"),
    [
        ({}, False),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, False),  # a shell on the node
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_PROCESS_ADDRESSES": "a:1,b:1"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),  # a notebook in a cluster
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, True),
    ],
)
def test_a_cluster_is_known_by_its_environment(environment, among_others):
    assert scripts.in_cluster(environment) is among_others


@pytest.mark.parametrize("flag", ["", "--cache=''", "--cache=there"])
def test_compiled_programs_are_kept_where_it_is_said(
    command, monkeypatch, tmp_path, flag
):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    seen = []

    def train(config, command):
        seen.append(jax.config.jax_compilation_cache_dir)
        return Finished(3, 0, True)

    command(f"{SMOKE} {flag}", train)
    wanted = {"": str(tmp_path / "cache"), "--cache=''": None}
    assert seen == [wanted.get(flag, "there")]


@pytest.fixture
def script(monkeypatch, capsys):
    """Runs train.py, with words for arguments; gives status and stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        # Else the process of the tests would end with this status, too.
        monkeypatch.setattr("mtujax.__main__._failed_with", 0)
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        return caught.value.code, capsys.readouterr().err

    return run


def test_a_missing_library_is_named_with_the_extra(monkeypatch, script):
    monkeypatch.setitem(sys.modules, "ml_collections", None)
    said = "ml_collections is not installed; in a clone, pip install '.[train]'"
    assert script("--config=smoke") == (1, f"train.py: error: {said}\n")


def test_ctrl_c_while_libraries_are_imported_leaves_no_traceback(monkeypatch, script):
    def read(*_):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("mtujax.cli.configs._load", read)
    assert script("--config=smoke") == (130, "train.py: error: interrupted\n")


def test_memory_that_runs_out_is_a_line_with_what_takes_less(command):
    done = command(SMOKE, raising(MemoryError()))
    remedy = "try a smaller --config.batch or --config.data.crop"
    assert done == (1, "", f"train.py: error: out of memory; {remedy}\n")


def run_train(folder, *flags):
    command = [sys.executable, str(ROOT / "train.py"), *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_program_answers_a_typo_with_a_line_from_any_folder(tmp_path):
    flag = f"--config={ROOT / 'configs' / 'mtu2.py'}"
    done = run_train(tmp_path, flag, "--config.train.stps=3")
    assert (done.returncode, done.stdout) == (2, "")
    line = "--config.train.stps: no such field; did you mean --config.train.steps?"
    assert done.stderr == f"train.py: error: {line}\n"


def test_the_program_ends_at_ctrl_c_while_it_reads_its_configuration(tmp_path):
    waiting = "os.kill(os.getpid(), signal.SIGINT) or time.sleep(60)"
    text = f"import os, signal, time\ndef get_config(): {waiting}"
    (tmp_path / "mine.py").write_text(text)
    done = run_train(tmp_path, "--config=mine.py")
    assert done.returncode == 130
    assert done.stderr == "train.py: error: interrupted\n"
