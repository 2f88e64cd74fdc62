"""A day at an accelerator, rehearsed on the CPU, and what can go wrong with it."""

import argparse
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from disks import full_disk
from places import ROOT

import mtujax
from benchmarks.gpu.day import DONE, PARTS, identity, put_aside, words_of
from benchmarks.gpu.learn import beginning
from mtujax.training.state_files import read_extra

PHOTOS = ROOT / "mtujax" / "assets"
LARGEST = 16 * 2**20

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_the_clone")]


def command(folder, *words):
    words = "benchmarks.gpu.day", str(folder), *map(str, words)
    return [sys.executable, "-m", *words]


def day(folder, *words, **options):
    given = dict(cwd=ROOT, capture_output=True, text=True) | options
    return subprocess.run(command(folder, *words), **given)


def parts_of(folder):
    return json.loads((folder / "day.json").read_text())["parts"]


def write_set(root):
    import cv2

    rng = np.random.default_rng(0)
    for kind in ("blur", "sharp"):
        folder = root / "test" / "clip" / kind
        folder.mkdir(parents=True)
        for n in range(3):
            image = rng.integers(0, 256, (48, 64, 3), np.uint8)
            assert cv2.imwrite(str(folder / f"{n:04d}.png"), image)
    return root


def test_the_rehearsal_ends_with_weights_that_load(tmp_path):
    out, sets = tmp_path / "out", write_set(tmp_path / "set")
    words = "--quick", "--photos", PHOTOS, "--sets", sets, "--minutes", "4"
    day(out, *words)
    parts = parts_of(out)
    assert list(parts) == list(PARTS)
    for name, part in parts.items():  # on a busy machine
        assert part["status"] in (DONE, "not in time", "left out"), (name, part)
    if parts["train"]["status"] != DONE:
        pytest.skip("too slow a machine for the training")
    model, _ = mtujax.load(str(out / "weights.safetensors"))
    smaller = {"channels": 8, "num_blocks": 1}
    assert model.config == dataclasses.replace(mtujax.PRESETS["fast"], **smaller)
    files = [path for path in out.iterdir() if path.is_file()]
    assert max(path.stat().st_size for path in files) < LARGEST
    start = str(out / "state.safetensors")
    assert beginning(start) == {"resume_state_from": start}
    assert read_extra(start)["batches"] > 0


def finished(folder):
    """Writes that the tests are done, and returns what is written."""
    args = argparse.Namespace(out=folder, quick=True)
    part = {"status": DONE, "of": identity("tests", args)}
    (folder / "day.json").write_text(json.dumps({"parts": {"tests": part}}))
    return (folder / "day.json").read_text()


def test_what_is_done_is_not_done_again(tmp_path):
    finished(tmp_path)
    done = day(tmp_path, "--quick", "--only", "tests")
    assert done.returncode == 0 and "tests: is done already" in done.stdout


@pytest.mark.parametrize("what", ["code", "command"])
def test_what_was_done_with_something_else_is_done_again(tmp_path, what):
    record = json.loads(finished(tmp_path))
    record["parts"]["tests"]["of"][what] = "other"
    (tmp_path / "day.json").write_text(json.dumps(record))
    done = day(tmp_path, "--quick", "--only", "tests", "--minutes", "1e-6")
    assert done.returncode == 1
    assert "tests: was done with other code or arguments" in done.stdout
    assert parts_of(tmp_path)["tests"]["status"] == "left out"


def test_scores_are_of_the_weights_that_are_there(tmp_path):
    args = argparse.Namespace(out=tmp_path, quick=True, sets=[tmp_path], minutes=1)
    found = []
    for data in (b"one", b"two", b"two"):
        (tmp_path / "weights.safetensors").write_bytes(data)
        args.minutes += 1
        found.append(identity("scores", args))
    assert found[0] != found[1] == found[2]


def test_a_finished_run_makes_room_for_another(tmp_path):
    for number in range(3):
        put_aside(tmp_path / "run")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / str(number)).touch()
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("run*/*")}
    assert found == {"run-1/0", "run-2/1", "run/2"}


def test_a_state_to_start_from_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = argparse.Namespace(
        out=tmp_path, quick=True, photos=tmp_path, cutouts=None, recipe="smoke"
    )
    for start, found in (
        ("old/state.safetensors", str(tmp_path / "old" / "state.safetensors")),
        ("fast", "fast"),
    ):
        args.start = start
        assert words_of("train", args, 60)[-1] == found


def test_a_part_that_fails_is_named_and_the_rest_goes_on(tmp_path):
    (photos := tmp_path / "photos").mkdir()
    words = "--quick", "--photos", photos, "--minutes", "3"
    done = day(tmp_path / "out", *words, "--only", "train", "tests")
    assert done.returncode == 1
    parts = parts_of(tmp_path / "out")
    assert parts["train"]["status"] == "failed"
    assert f"learn.py: error: {photos}: " in parts["train"]["why"]
    assert list(parts) == ["tests", "train"]


@pytest.mark.parametrize(
    "words, line",
    [
        (["--recipe", "nix"], "--recipe nix: No module named 'configs.nix'"),
        (["--start", "nix"], "unknown weights 'nix'; bundled: fast, fast_live;"),
        (["--recipe", "smoke", "--start", "fast"], "init_from fast: not weights"),
    ],
)
def test_a_training_that_cannot_begin_is_refused_before_any_part(tmp_path, words, line):
    parts = "--only", "tests", "train"
    done = day(tmp_path, "--quick", "--photos", PHOTOS, *parts, *words)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert len(said) == 1 and f"error: train: learn.py: error: {line}" in said[0]
    assert [*tmp_path.iterdir()] == []


def test_a_part_without_enough_time_is_left_out(tmp_path):
    done = day(tmp_path, "--quick", "--only", "tests", "--minutes", "1e-6")
    assert done.returncode == 1
    assert done.stdout.endswith("left out, 0.0 of at least 0 minutes are left\n")


def test_what_is_interrupted_goes_on(tmp_path):
    words = "--quick", "--only", "tests", "matchers", "--minutes", "5"
    with subprocess.Popen(command(tmp_path, *words), cwd=ROOT) as process:
        while not (tmp_path / "tests.txt").exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
    assert parts_of(tmp_path) == {}


LASTING = """
import subprocess, sys, time
sys.stdout = open(sys.argv[1], "w")
subprocess.Popen(["sleep", "600"], pass_fds=[sys.stdout.fileno()])
print("started", flush=True)
time.sleep(600)
"""
STARTING = """
import pathlib, sys
from benchmarks.gpu.day import run
run([sys.executable, "-c", *sys.argv[1:]], pathlib.Path(sys.argv[2] + ".txt"), 600)
"""


def test_a_part_and_what_it_started_end_with_a_day_that_is_killed(tmp_path):
    os.mkfifo(held := tmp_path / "held")
    words = [sys.executable, "-c", STARTING, LASTING, str(held)]
    with subprocess.Popen(words, cwd=ROOT) as process, held.open() as read:
        assert read.readline() == "started\n"
        process.kill()
        ready, _, _ = select.select([read], [], [], 30)
        assert ready and read.read() == ""  # no process has it open any more


def test_a_full_disk_leaves_what_is_finished(tmp_path):
    kept = finished(tmp_path)
    with full_disk(10):
        done = day(tmp_path, "--quick", "--only", "tests", "matchers")
    assert done.returncode == 1
    assert done.stderr == f"day.py: error: {tmp_path}: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["day.json"]
    assert (tmp_path / "day.json").read_text() == kept


def test_a_file_is_no_folder_for_results(tmp_path):
    (tmp_path / "out").touch()
    done = day(tmp_path / "out", "--only", "tests")
    assert f"error: {tmp_path}/out: is a file; name a folder" in done.stderr


@pytest.mark.parametrize(
    "words, line",
    [
        (["--only", "speed"], "JAX finds no accelerator here; --quick rehearses"),
        (["--minutes", "0"], "--minutes 0: must be above 0"),
        ([], "train: --photos FOLDER is missing; --only names other parts"),
        (["--photos", "nix", "--only", "train"], "nix: no such folder"),
        (["--only", "scores"], "scores: --sets FOLDER is missing"),
    ],
)
def test_bad_input_is_one_line(tmp_path, words, line):
    done = day(tmp_path, *words)
    assert done.returncode and line in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
