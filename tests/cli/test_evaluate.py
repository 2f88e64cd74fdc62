"""The command `eval.py`: its flags, its statuses, what it prints."""

import dataclasses
import re
import shlex
import signal
import subprocess
import sys

import pytest
import sets
from networks import SMALLEST
from places import ROOT
from ports import coordinator

from mtujax import parallel
from mtujax.cli import app
from mtujax.cli.configs import config_titles
from mtujax.common.hardware import CACHE
from mtujax.config import PRESETS
from mtujax.data.frames import VideoInfo
from mtujax.errors import UsageError, UserError
from mtujax.evaluation.results import (
    Evaluation,
    EvaluationFolder,
    Method,
    Scored,
    read_results,
)
from mtujax.evaluation.scores import (
    MotionSums,
    ProtocolScores,
    Sums,
    VideoScores,
)
from mtujax.metrics.protocols import DEFAULT, PROTOCOLS

CONFIG = "--config=configs/mtu2.py --config.data.path=there"

pytestmark = pytest.mark.usefixtures("in_the_clone")


@pytest.fixture
def options(command):
    """Gives the arguments that `evaluate` gets from a command line."""

    def options(line):
        seen = []

        def evaluate(on_frames, on_note, **given):
            seen.append(given)
            return found()

        status, _, said = command(f"{line} --cache=''", evaluate)
        assert (status, said) == (0, "")
        return seen[0]

    return options


def test_flags_alone_say_what_is_evaluated_on_what(options):
    line = "--weights a.safetensors --dataset=gopro --path 'my set' --motion --batch=3"
    given = options(line)
    assert {
        name: value for name, value in given.items() if value not in (None, False)
    } == {
        "weights": "a.safetensors",
        "dataset": "gopro",
        "path": "my set",
        "split": "test",
        "out": "results/a-gopro-my set",
        "motion": True,
        "batch": 3,
    }


def test_a_configuration_says_what_flags_do_not(options):
    found = options(f"--weights=mtu2 {CONFIG} --config.model.dtype=bfloat16")
    assert (found["dataset"], found["path"], found["split"]) == ("dvd", "there", "test")
    assert found["model"] == dataclasses.replace(PRESETS["mtu2"], dtype="bfloat16")
    line = f"{CONFIG} --config.validation.path=val --config.validation.split=train"
    found = options(f"--weights=mtu2 {line} --config.data.name=gopro")
    assert (found["dataset"], found["path"]) == ("gopro", "val")
    assert (found["split"], found["out"]) == ("train", "results/mtu2-gopro-val-train")
    found = options(f"--weights=mtu2 --dataset=bsd --variant=2ms16ms --path=b {line}")
    assert (found["dataset"], found["path"]) == ("bsd", "b")
    assert found["out"] == "results/mtu2-bsd-b-2ms16ms-train"


def test_results_made_elsewhere_need_no_model(options):
    found = options(f"--results=made/theirs {CONFIG} --name=DSTNet")
    assert found["results"] == "made/theirs" and "model" not in found
    assert found["out"] == "results/DSTNet-dvd-there"


def test_protocols_are_listed_or_given_one_by_one(options):
    given = "--weights=mtu2 --dataset=dvd --path=p"
    assert "protocols" not in options(given)
    found = options(f"{given} --protocol=kair,estrnn --protocol rt-paper")
    assert found["protocols"] == ["kair", "estrnn", "rt-paper"]


def test_processes_are_as_those_of_a_training(options, monkeypatch):
    calls = []
    monkeypatch.setattr(parallel, "start", lambda *given: calls.append(given))
    options(f"{GIVEN} --coordinator=h:1 --processes=2 --process=1")
    assert calls == [("h:1", 2, 1)]


def test_an_option_may_have_a_hyphen(options):
    assert options(f"{GIVEN} --save-frames")["save_frames"]
    assert options(f"{GIVEN} --save_frames")["save_frames"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--dataset=dvd --path=p", "give --weights=NAME|FILE|RUN, or --results=DIR"),
        ("--weights=a --results=b", "--weights and --results: give one"),
        ("--weights=a", "give --dataset=NAME and --path=DIR, or --config"),
        ("--weights=a --dataset=dvd", "give --path=DIR, the folder of dvd"),
        ("--weights=a --config=configs/smoke.py", "synthetic: has no pairs"),
        ("--wieghts=a", "--wieghts=a: no such flag; did you mean --weights?"),
        ("--weights=a --batch=two", "Invalid value for '--batch'"),
        ("--weights=a --motion=yes", "Option '--motion' does not take a value"),
        ("--weights", "Option '--weights' requires an argument"),
        ("--weights=a stray", "stray: unexpected; "),
        (
            f"--weights=a {CONFIG} --config.data.pth=p",
            "did you mean --config.data.path",
        ),
        ("--weights=a --config=gone.py", "--config=gone.py: no such file"),
        ("--weights=a --dataset=dvd --path=p --process=1", "need --coordinator"),
        ("--weights=a --process=-1", "Invalid value for '--process'"),
        ("--weights=a --processes=0", "Invalid value for '--processes'"),
        ("--weights=a --config.data.path=p", "give the configuration as --config="),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_it(command, line, words):
    status, out, said = command(line, raising(AssertionError()))
    assert (status, out, said.count("\n")) == (2, "", 1)
    assert said.startswith("eval.py: error: ") and words in said


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command with `evaluate` replaced; gives status, stdout and stderr."""

    def run(line, evaluate):
        monkeypatch.setattr("mtujax.evaluate", evaluate)
        with pytest.raises(SystemExit) as caught:
            app.main(shlex.split(line), script="eval")
        return caught.value.code, *capsys.readouterr()

    return run


GIVEN = "--weights=mtu2 --dataset=gopro --path=p --cache=''"


def found():
    videos = VideoInfo("GOPR1", 3, 48, 56), VideoInfo("GOPR2", 1, 48, 56)
    scored = Sums(2, 61.0, 1.8, unaligned=1, blurry_psnr=58.0, blurry=2)
    by_video = {
        "GOPR1": VideoScores((1, 3), scored),
        "GOPR2": VideoScores((0, 0), Sums()),
    }
    return Evaluation(
        Method("mtu2", "ab" * 32, 1234567, SMALLEST),
        Scored("gopro", "test", "blur_gamma", videos),
        {"koehler": ProtocolScores("frames", by_video)},
        motion={"GOPR1": MotionSums(2, 50.0, 1.5, 1.8)},
        machine={"device": "cpu"},
    )


def test_a_table_and_what_it_rests_on_are_printed(command):
    def evaluate(on_frames, on_note, **options):
        on_note("a note")
        on_frames(1, 4)
        return found()

    status, out, said = command(GIVEN, evaluate)
    assert (status, said) == (0, "")
    assert out.startswith("a note\n**mtu2 on gopro")
    assert "1,234,567 parameters, float32; weights abababababab; on cpu" in out
    assert "| GOPR1 | 3 | 29.000 | 30.500 | 0.9000 |" in out
    assert "| GOPR2 | 1 |  |  |  |" in out
    assert "| total | 4 | 29.000 | 30.500 | 0.9000 |" in out
    assert "koehler: 2 frames count (1 black" in out and "16 pixels cropped" in out
    assert "25.000 dB, SSIM 0.7500, over 2 of 2 pairs and 90.0 % of the cells" in out
    assert "in results/mtu2-gopro-p: results.json, videos.csv, frames.csv" in out


def raising(error):
    def evaluate(**_):
        raise error

    return evaluate


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UsageError("no protocol 'x'"), 2, "no protocol 'x'"),
        (UserError("gopro: no split"), 1, "gopro: no split"),
        (OSError(28, "No space left on device", "o.csv"), 1, "o.csv: No space left"),
        (MemoryError(), 1, "out of memory"),
    ],
)
def test_what_ends_it_is_one_line_and_a_status(command, error, status, words):
    code, out, said = command(GIVEN, raising(error))
    assert (code, out) == (status, "")
    assert said.startswith(f"eval.py: error: {words}") and said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_line(command, number):
    done = command(GIVEN, lambda **_: signal.raise_signal(number))
    assert done == (128 + number, "", "eval.py: error: interrupted\n")


def test_the_help_lists_flags_protocols_and_configurations(command):
    status, out, said = command("--help", raising(AssertionError()))
    assert (status, said) == (0, "")
    options, protocols, configs = re.split("Protocols:|Configurations:", out)
    for name in ("weights", "results", "path", "protocol", "config", "process"):
        assert f"  --{name} " in options
    assert re.findall(r"^  (\S+) ", protocols, re.M) == list(PROTOCOLS)
    assert re.findall(r"^  (\w+) ", configs, re.M) == list(config_titles())


def test_the_help_names_the_defaults(command):
    _, out, _ = command("--help", raising(AssertionError()))
    assert f"default: {','.join(DEFAULT)}." in " ".join(out.split())
    assert f"{CACHE}." in out


def test_a_missing_library_is_named_with_the_extra(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_collections", None)
    done = command("--weights=mtu2 --config=mtu2", raising(AssertionError()))
    said = "ml_collections is not installed; in a clone, pip install '.[train]'"
    assert done == (1, "", f"eval.py: error: {said}\n")


def run_eval(folder, *flags):
    command = [sys.executable, str(ROOT / "eval.py"), *flags]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_program_answers_a_typo_with_a_line_from_any_folder(tmp_path):
    done = run_eval(tmp_path, "--weigths=mtu2")
    assert (done.returncode, done.stdout) == (2, "")
    line = "--weigths=mtu2: no such flag; did you mean --weights?"
    assert done.stderr == f"eval.py: error: {line}\n"


def test_devices_that_cannot_be_are_bad_use_and_leave_nothing(tmp_path, weights_file):
    root = sets.make(tmp_path / "set", sets.FORMS["gopro"], size=(64, 80))
    given = [f"--weights={weights_file}", "--dataset=gopro", f"--path={root}"]
    done = run_eval(tmp_path, *given, "--devices=0", "--out=out", "--cache=")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "eval.py: error: devices 0: must be 1 or more\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["gopro", "dvd"])
def test_the_program_evaluates_each_layout(form, tmp_path, weights_file):
    made = sets.FORMS[form]
    root = sets.make(tmp_path / "set", made, size=(64, 80))
    out = tmp_path / "results" / "X"
    done = run_eval(
        tmp_path,
        f"--weights={weights_file}",
        f"--dataset={form}",
        f"--path={root}",
        f"--out={out}",
        "--cache=",
    )
    assert done.returncode == 0, done.stderr
    video = next(iter(made.lengths["test"]))
    assert video in done.stdout
    results = read_results(out / "results.json")
    assert list(results.protocols) == ["rt-paper", "koehler"]
    for scores in results.protocols.values():
        assert scores.total.frames == 3 and scores.total.invalid == 0
    command = [sys.executable, "-m", "mtujax", "report", "results", "--out=report"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report" / "tables.md").read_text()
    assert f"| {results.protocols['koehler'].means[0]:.2f} |" in text


def run_by_two(folder, *flags):
    """Statuses of two processes of one evaluation, and what they said."""
    hosts = [f"--coordinator={coordinator()}", "--processes=2", "--cache="]
    started = [
        subprocess.Popen(
            [sys.executable, ROOT / "eval.py", *flags, *hosts, f"--process={k}"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    said = [process.communicate(timeout=200) for process in started]
    return [process.returncode for process in started], said


@pytest.mark.slow
def test_two_processes_share_the_videos(tmp_path, weights_file):
    made = dataclasses.replace(
        sets.FORMS["gopro"], lengths={"test": {"A": 4, "B": 3, "C": 2}}
    )
    root = sets.make(tmp_path / "set", made, size=(64, 80))
    flags = [f"--weights={weights_file}", "--dataset=gopro", f"--path={root}"]
    alone = run_eval(tmp_path, *flags, "--out=alone", "--cache=")
    assert alone.returncode == 0, alone.stderr
    status, said = run_by_two(tmp_path, *flags, "--out=two")
    assert status == [0, 0], said
    assert "| total |" in said[0][0] and "| total |" not in said[1][0]
    one, two = (read_results(tmp_path / n / "results.json") for n in ("alone", "two"))
    assert two.machine["processes"] == 2
    for name, scores in one.protocols.items():
        psnr, ssim = two.protocols[name].means
        assert (psnr, ssim) == pytest.approx(scores.means, abs=1e-4)
    with EvaluationFolder(tmp_path / "two").locked():
        status, said = run_by_two(tmp_path, *flags, "--out=two")
    assert 0 not in status, said
    assert "another evaluation is writing here" in said[0][1]
    assert "another process has failed" in said[1][1]
