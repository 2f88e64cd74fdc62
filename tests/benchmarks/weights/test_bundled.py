"""The figures of a model card: their goals, and one run from end to end."""

import dataclasses
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import sets
from places import ROOT

from benchmarks.weights import bundled_text as text
from mtujax.common.text import markdown
from mtujax.config import PRESETS
from mtujax.evaluation.results import Evaluation, Method, Scored
from mtujax.evaluation.scores import ConsistencySums, ProtocolScores, Sums, VideoScores

DEVICES = "a CPU alone", "half an hour of a GPU"


def evaluation(psnr, errors=(4.0, 4.0)):
    """Made-up: two clips of four frames with PSNR in dB, and warping errors."""
    clips = dict(zip(("one", "two"), psnr, strict=True))
    scores = {
        clip: VideoScores((0, 4), Sums(frames=4, psnr=4 * value, ssim=3.6))
        for clip, value in clips.items()
    }
    steady = {
        clip: ConsistencySums(pairs=3, restored=3e-4 * error, sharp=3e-4)
        for clip, error in zip(clips, errors, strict=True)
    }
    protocols = {p: ProtocolScores("frames", scores) for p in ("rt-paper", "koehler")}
    method = Method("mine", "ab" * 32, 1000, PRESETS["mtu1"])
    about = Scored("pairs", "test", "default", ())
    return Evaluation(method, about, protocols, consistency=steady)


@pytest.fixture
def found():
    return {
        "blurry": evaluation((25, 27)),
        "restored": evaluation((24.8, 31.0), errors=(4.0, 5.6)),
        "sharp": evaluation((37, 34)),
        "unsharp": evaluation((26, 30)),
    }


REST = {"one": {"largest": 0.002, "mean": 1e-5}, "two": {"largest": 0.02, "mean": 1e-4}}


def verdicts(found, rest=REST, real=None):
    scores = text.Scores(found, rest, real or {})
    return {row.what: row.verdict for row in text.limits(scores)}


CPU, GPU = (f"mean gain, after training on {device}" for device in DEVICES)


def test_each_limit_is_reached_or_missed_by_so_much(found):
    assert verdicts(found) == {
        f"fixed set: {CPU}": "reached",  # 1.9 dB
        f"fixed set: {GPU}": "falls short by 0.600 dB",
        "least gain of a clip": "falls short by 0.100 dB",
        "sharp input: mean PSNR": "falls short by 0.500 dB",
        "warping error, of the blurry frames'": "falls short by 0.200",
        "the same, most of a clip": "falls short by 0.400",
        "at rest: largest change": "falls short by 0.016",  # the goal is 1/255
        "PSNR beside unsharp": "falls short by 0.100 dB",
    }


def test_better_figures_reach_all(found):
    found["restored"] = evaluation((29.0, 30.0), errors=(3.2, 4.0))
    found["sharp"] = evaluation((39, 33.0))
    rest = {"one": {"largest": 0.002, "mean": 1e-5}}
    assert set(verdicts(found, rest).values()) == {"reached"}


def test_what_is_not_known_is_not_reached(found):
    found["sharp"] = evaluation((39, float("nan")))
    found["restored"] = evaluation((29.0, 30.0), errors=(1.0, float("nan")))
    told = verdicts(found)
    assert told["sharp input: mean PSNR"] == "not known"
    assert told["the same, most of a clip"] == "not known"
    assert told["warping error, of the blurry frames'"] == "not known"


def of_all_frames(psnr):
    """The same of real scenes."""
    whole = evaluation(psnr)
    scores = {"kair": whole.protocols["rt-paper"]}
    return dataclasses.replace(whole, protocols=scores, consistency={})


@pytest.fixture
def real():
    names = {"blurry": (22, 24), "restored": (23, 26), "deconvolved": (24, 24.6)}
    return {name: of_all_frames(psnr) for name, psnr in names.items()}


def test_real_scenes_are_asked_for_their_own_gain(found, real):
    alone = verdicts({}, {}, real)
    assert alone == {
        f"real scenes: {CPU}": "reached",  # 1.5 dB
        f"real scenes: {GPU}": "falls short by 1.000 dB",
        "least gain of a clip": "reached",
        "real scenes: PSNR beside deconvolved": "reached",
    }
    real["restored"] = of_all_frames((21.5, 26))
    both = verdicts(found, real=real)
    assert both["least gain of a clip"] == "falls short by 0.400 dB"
    assert {*alone} < {*both} and {*verdicts(found)} < {*both}


def test_the_table_of_gains_has_each_scene_and_both_means(found, real):
    table = text.gain_table(text.Scores(found, REST, real))
    assert table.rows == (
        ("one", "22.00", "24.00", "23.00", "+1.00"),
        ("two", "24.00", "24.60", "26.00", "+2.00"),
        ("real scenes, mean", "23.00", "24.30", "24.50", "+1.50"),
        ("fixed set, mean", "26.00", "", "27.90", "+1.90"),
        ("mean of both", "", "", "", "+1.70"),
    )
    alone = text.gain_table(text.Scores(real=real))
    assert alone.rows == table.rows[:3]


def test_the_table_has_a_row_for_each_clip_and_names_the_worst(found):
    table = text.clip_table(found, REST)
    assert [row[0] for row in table.rows] == ["one", "two", text.TOTAL]
    assert table.rows[2][1:4] == ("27.90", "+1.90", "0.9000")
    assert "The least gain: one (-0.20 dB), two (+4.00 dB)." in table.notes
    methods = text.method_table(found)
    assert [row[0] for row in methods.rows] == ["blurry", "unsharp", "restored"]
    assert "| one | 24.80 | -0.20 | 0.9000 |" in markdown([table])
    assert table.rows[1][8:10] == ("5.600", "1.400")  # of sharp ones, of blurry ones


@pytest.fixture(scope="module")
def own_set(tmp_path_factory):
    """Three clips of six frames: textures that pan, softly blurred."""
    root = tmp_path_factory.mktemp("set")
    for number, clip in enumerate(("first", "second", "third")):
        wide = np.random.default_rng(number).integers(0, 256, (80, 120, 3), np.uint8)
        wide = cv2.GaussianBlur(wide, (0, 0), 1)
        for kind in ("blur", "sharp"):
            (root / "test" / clip / kind).mkdir(parents=True)
        for frame in range(6):
            sharp = wide[4:68, 2 * frame : 96 + 2 * frame]
            folder = root / "test" / clip
            sets.write(folder / "sharp" / f"{frame:04d}.png", sharp)
            soft = cv2.GaussianBlur(sharp, (9, 1), 2)
            sets.write(folder / "blur" / f"{frame:04d}.png", soft)
    return root


def run(*words, name="bundled"):
    words = [sys.executable, "-m", f"benchmarks.weights.{name}", *map(str, words)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_a_quick_run_measures_all(own_set, weights_file, tmp_path):
    json_folder, frames = tmp_path / "json", tmp_path / "beside" / "copied"
    for clip in ("first", "second"):
        folder = frames / clip
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(own_set / "test" / clip / "sharp")
    words = "--quick", "--weights", weights_file, "--json", json_folder
    done = run(own_set, *words, "--beside", frames.parent)
    assert done.returncode == 0, done.stderr
    (file,) = json_folder.iterdir()
    told = json.loads(file.read_text())
    found = told["evaluations"]
    assert list(found) == ["restored", "sharp", "blurry", "copied"]
    sha256 = found["restored"]["method"]["sha256"]
    assert file.name.startswith(f"bundled-tiny-{sha256[:8]}-quick-")
    videos = [video["name"] for video in found["restored"]["dataset"]["videos"]]
    assert videos == ["first", "second"] == list(told["at_rest"])
    psnr = [
        cv2.PSNR(
            *(cv2.imread(own_set / "test" / v / k / f"{n:04d}.png") for k in kinds)
        )
        for kinds in [("blur", "sharp")]
        for v in videos
        for n in range(1, 5)
    ]
    scores = {name: one["protocols"]["rt-paper"]["psnr"] for name, one in found.items()}
    assert scores["blurry"] == pytest.approx(np.mean(psnr), abs=1e-3)
    assert scores["copied"] == 100 and scores["sharp"] < 100
    assert found["restored"]["motion"]["pairs"] == 8
    assert {"restored", "sharp"} <= found["blurry"]["consistency"].keys()
    assert "| PSNR beside copied | " in done.stdout
    verdicts = {row["what"]: row["verdict"] for row in told["limits"]}
    for what, verdict in verdicts.items():
        assert f"| {what} | " in done.stdout and f" | {verdict} |" in done.stdout


@pytest.mark.slow
def test_real_scenes_alone_are_scored_on_every_frame(own_set, weights_file, tmp_path):
    scenes = own_set / "test"  # videos without splits
    words = "--real", scenes, "--weights", weights_file, "--json", tmp_path
    done = run(*words)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("bundled-tiny-*-real-*.json")
    told = json.loads(file.read_text())
    assert told["evaluations"] == told["at_rest"] == {}
    psnr = [
        cv2.PSNR(*(cv2.imread(scenes / v / k / f"{n:04d}.png") for k in kinds))
        for kinds in [("blur", "sharp")]
        for v in ("first", "second", "third")
        for n in range(6)
    ]
    means = {n: one["protocols"]["kair"]["psnr"] for n, one in told["real"].items()}
    assert means["blurry"] == pytest.approx(np.mean(psnr), abs=1e-3)
    gain = means["restored"] - means["blurry"]
    assert f" | {gain:+.2f} |" in done.stdout


@pytest.mark.slow
def test_a_call_without_any_set_takes_one_line(own_set):
    done = run("--weights", "fast")
    assert done.returncode == 2 and "or --real FOLDER" in done.stderr
    done = run(own_set, "--real-beside", own_set)
    assert done.returncode == 2 and "--real-beside needs --real" in done.stderr


@pytest.mark.slow
def test_a_set_that_is_none_takes_one_line(tmp_path):
    done = run(tmp_path / "nowhere")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("bundled.py: error: ") and "nowhere: no such" in line


@pytest.mark.slow
def test_half_of_the_errors_is_six_decibels_less(own_set, weights_file, tmp_path):
    words = "--weights", weights_file, "--shares", 1, 0.5, 1, "--json", tmp_path
    done = run(own_set, *words, name="steadiness")
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("steadiness-*.json")
    whole, half = json.loads(file.read_text())["shares"]
    assert half["psnr"] - whole["psnr"] == pytest.approx(20 * np.log10(2), abs=0.05)
    assert list(whole["ratio_by_clip"]) == ["first", "second", "third"]
    assert whole["ratio_most"] == max(whole["ratio_by_clip"].values())
    assert 1 < half["ratio"] < whole["ratio"]
    assert f"| 0.5 | {half['psnr']:.2f} | {half['ratio']:.3f} | " in done.stdout


@pytest.mark.slow
def test_a_share_of_the_errors_must_be_one(tmp_path):
    for share in "0", "1.5", "half":
        done = run(tmp_path, "--shares", share, name="steadiness")
        assert done.returncode == 2
        assert f"{share}: must be above 0 and at most 1" in done.stderr
