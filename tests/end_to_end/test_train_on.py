"""`make train-on`: how training continues, and the process that does it."""

import dataclasses
import importlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import sets
from motions import panned
from places import ROOT

pytest.importorskip("grain")
pytest.importorskip("orbax.checkpoint")

from mtujax.cli.configs import read_config
from mtujax.config import PRESETS
from mtujax.training.run import train
from mtujax.training.run_folder import export_weights, read_run
from mtujax.weights.files import bundled, load

SMALL = [
    "--config.model.num_units=1",
    "--config.model.channels=4",
    "--config.model.num_blocks=0",
    "--config.data.frames=2",
    "--config.data.crop=16",
    "--config.batch=2",
    "--config.validation.every=0",
    "--config.tensorboard=False",
]
FILE = "configs/smoke.py"

pytestmark = pytest.mark.usefixtures("in_the_clone")


@pytest.fixture(scope="module")
def scripts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        names = "train_on", "train_on_begin"
        yield [importlib.import_module(name) for name in names]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, photo in zip("ab", panned([(0, 0)] * 2, (64, 80), rng), strict=True):
        sets.write(folder / f"{name}.png", photo)
    return folder


@pytest.fixture(scope="module")
def argv(photos):
    return [*SMALL, f"--config.data.path={photos}"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, argv):
    """A recipe's folder whose run has made two updates."""
    folder = tmp_path_factory.mktemp("home") / "recipe"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        words = [*argv, "--config.train.steps=2", f"--config.run={folder}/run-001"]
        train(read_config([FILE], words))
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "home" / "recipe")


@pytest.fixture
def choose(scripts, folder, argv):
    def choose(*flags):
        return scripts[1].choose(folder, FILE, [*argv, *flags])

    return choose


def finish(start, argv, *flags):
    """Trains as chosen, to so many updates."""
    words = [*argv, *flags, f"--config.run={start.run}", *start.flags]
    return train(read_config([FILE], [*words, "--config.train.steps=4"]))


@pytest.mark.slow
def test_the_same_configuration_goes_on_with_the_run(choose, folder):
    start = choose("--config.max_minutes=5")
    assert (start.run, start.flags) == (folder / "run-001", ())


def test_a_run_without_a_checkpoint_counts_for_nothing(choose, folder):
    (folder / "run-002").mkdir()
    assert choose().run == folder / "run-001"


@pytest.mark.slow
def test_other_data_take_over_the_whole_state(choose, folder, argv):
    flag = "--config.train.learning_rate=1e-4"
    start = choose(flag)
    assert start.run == folder / "run-002"
    assert "learning_rate" in start.notes[0]
    assert finish(start, argv, flag).updates == 4  # two of them from before
    assert (folder / "run-001" / "checkpoints" / "2").exists()
    again = choose(flag)  # now the second one is the latest
    assert (again.run, again.flags) == (folder / "run-002", ())


def test_another_scheme_takes_over_the_averaged_weights(choose, folder, tmp_path):
    export_weights(str(folder / "run-001"), tmp_path / "mine.safetensors")
    flags = "--config.train.scheme=release", "--config.data.frames=4"
    start = choose(*flags)
    assert start.run == folder / "run-002"
    assert "scheme" in start.notes[1] and "takes over the weights" in start.notes[2]
    taken = pathlib.Path(start.flags[0].split("=")[1])
    same = (load(path)[1] for path in (taken, tmp_path / "mine.safetensors"))
    jax.tree.map(np.testing.assert_array_equal, *same)


def test_another_network_begins_anew_and_keeps_the_old_run(choose, folder):
    start = choose("--config.model.channels=6")
    assert start.run == folder / "run-002" and start.flags == ()
    assert "no bundled weights are of its network" in start.notes[-1]
    read_run(str(folder / "run-001"))


def installed_by(run, script):
    """As if what is run by this shell script had written to a run."""
    home = run.parent.parent / "installed" / "old"
    python = home / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    (home / "ready").touch()
    run.with_name(f"{run.name}.installed").write_text("old")


def test_a_run_of_another_version_is_exported_by_what_wrote_it(
    choose, folder, tmp_path
):
    run, weights = folder / "run-001", tmp_path / "mine.safetensors"
    export_weights(str(run), weights)
    values = json.loads((run / "config.json").read_text())
    values["model"]["flavour"] = "mild"
    (run / "config.json").write_text(json.dumps(values))
    # Its state is nothing that this version reads: $5 is the file that is asked for.
    installed_by(run, f'cp {weights} "$5"')
    start = choose()
    assert "flavour" in start.notes[0] and "holds no training state" in start.notes[1]
    assert start.flags[0] == f"--config.init_from={folder}/taken-over/" + (
        "weights.safetensors"
    )


def test_what_cannot_be_exported_is_told(choose, folder):
    installed_by(folder / "run-001", "echo out of order >&2; exit 3")
    start = choose("--config.data.crop=32")
    assert [note.split(": ")[-1] for note in start.notes[1:3]] == ["out of order"] * 2
    assert start.flags == ()


def test_without_a_run_the_bundled_weights_of_the_network_begin(scripts, tmp_path):
    for name in [w.name for w in bundled()]:  # which these are changes with time
        file = f"configs/bundled_{name}.py:gpu"  # bfloat16
        start = scripts[1].choose(tmp_path, file, [])
        assert start.run == tmp_path / "run-001"
        assert start.flags == (f"--config.init_from={name}",)
        named = ["--config.init_from=other.safetensors"]
        assert scripts[1].choose(tmp_path, file, named).flags == ()


def test_weights_of_no_other_network_are_taken(scripts):
    other = dataclasses.replace(PRESETS["mtu2"], channels=27)
    assert scripts[1].bundled_for(other) is None


def test_a_recipe_takes_the_form_of_the_machine_unless_it_is_named(scripts):
    with_form = scripts[1].with_form
    assert with_form("smoke") == "configs/smoke.py"  # has one form
    assert with_form("mtu2_photos:gpu") == "configs/mtu2_photos.py:gpu"
    assert with_form("mtu2_photos") == "configs/mtu2_photos.py:cpu"


def test_environments_of_the_latest_runs_stay(scripts, tmp_path):
    for name in ("one", "two", "three", "four", "five"):
        (tmp_path / "installed" / name).mkdir(parents=True)
    (tmp_path / "recipe").mkdir()
    for number, name in enumerate(("one", "two", "three"), 1):
        (tmp_path / "recipe" / f"run-00{number}.installed").write_text(name)
    (tmp_path / "recipe" / "installed").write_text("four\n")
    scripts[0].remove_unused(tmp_path)
    assert set(os.listdir(tmp_path / "installed")) == {"two", "three", "four"}


def test_training_yields_to_all_other_work(scripts):
    code = "import os, train_on; os.nice(train_on.NICE); print(os.nice(0))"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT / "scripts", capture_output=True, text=True)
    assert done.stdout == "19\n"


# Installing takes the network and minutes. Here the environment runs this Python.
DRIVER = f"""
import sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
import train_on
def wheel(folder):
    (folder / "mtujax.whl").write_text("wheel")
    return folder / "mtujax.whl"
def environment(folder, wheel, extras):
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text('#!/bin/sh\\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\\n')
    python.chmod(0o755)
train_on.NICE = 0  # or tests beside this one take its time
train_on.build_wheel, train_on.make_environment = wheel, environment
train_on.main()
"""


@pytest.fixture
def driven(tmp_path):
    def driven(action, *words):
        home = "--home", tmp_path / "home", "--recipe", "smoke"
        words = [sys.executable, "-c", DRIVER, action, *words, *home]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return subprocess.Popen([*map(str, words)], cwd=tmp_path, **pipes)

    return driven


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("start", "--photos", "nowhere"), "nowhere: no such folder"),
        (("start",), "--photos FOLDER is missing"),
        (("start", "--fotos=."), "--fotos=.: no such option"),
        (("stop",), "nothing is being trained"),
        (("export",), "has no run with a checkpoint yet"),
    ],
)
def test_a_mistake_takes_a_line(driven, words, line):
    out, err = driven(*words).communicate(timeout=60)
    assert out == "" and line in err.splitlines()[-1]


def wait_for(true, process):
    for _ in range(3000):
        if true():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError("waited in vain for five minutes")


@pytest.mark.slow
def test_training_is_stopped_refused_exported_and_gone_on_with(
    driven, photos, tmp_path
):
    more = "--config.train.steps=100000", "--config.save_every=2"
    words = ["start", "--photos", photos, *SMALL, *more, "--config.log_every=1"]
    recipe = tmp_path / "home" / "smoke"
    process = driven(*words)
    try:
        # Saved behind the updates' backs: the log is ahead of the checkpoints.
        saved = recipe / "run-001" / "checkpoints"
        wait_for(lambda: any(p.name.isdecimal() for p in saved.glob("*")), process)
        _, err = driven(*words).communicate(timeout=60)
        assert f"trained already, by process {process.pid}" in err
        out, err = driven("export", "--out", "mine.safetensors").communicate(
            timeout=120
        )
        assert "mine.safetensors: update " in out, err
        assert load(tmp_path / "mine.safetensors")[0].config.channels == 4
        out, err = driven("stop").communicate(timeout=120)
        assert out.splitlines()[-1] == "stopped", err
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
        log = (recipe / "log.txt").read_text()
        reached = int(re.search(r"update (\d+) of 100000 is saved", log)[1])
        process.communicate()
        process = driven(*words)
        resumed = f"resuming from update {reached}"
        wait_for(lambda: resumed in (recipe / "log.txt").read_text(), process)
        driven("stop").communicate(timeout=120)
        assert process.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        out, _ = process.communicate()
    assert "run-001: resumes" in out
