"""`mtujax bench` as it is used; times are not looked at, what they are of is."""

import dataclasses
import json
import math
import subprocess
import sys

import pytest

import mtujax.__main__ as command
from mtujax.bench.run import BenchOptions, as_text, run, write_timing
from mtujax.bench.timing import STAGES
from mtujax.common.files import digest
from mtujax.config import PRESETS
from mtujax.errors import UsageError
from mtujax.model.network import expected_shapes
from mtujax.report.inputs import read_measured

STATISTICS = {"p50", "p95", "p99", "mean", "min", "max", "count"}
KEYS = {
    "kind",
    "version",
    "device",
    "machine",
    "load_average",
    "method",
    "size",
    "batch",
    "frames",
    "warm_up",
    "percentiles",
    "form",
    "compile_s",
    "rates",
    *(f"{stage}_ms" for stage in STAGES),
    "frames_per_second",
    "latency_ms",
    "multiply_adds",
    "memory_bytes",
    "torch",
}


def call(*words):
    """Exit status of the command in this process."""
    with pytest.raises(SystemExit) as stop:
        command.main(["bench", *map(str, words)])
    return stop.value.code


def one_line(text):
    return text.startswith("mtujax: error: ") and text.count("\n") == 1


class Ticks:
    """A clock that says 1 s has passed whenever it is asked."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_a_file_of_weights_is_timed_and_told(capsys, tmp_path, weights_file):
    path = tmp_path / "results" / "bench.json"  # in no folder yet
    words = ("--weights", weights_file, "--size", "24x16", "--frames", 3)
    assert call(*words, "--batch", 2, "--rate", 25, "--json", path) == 0
    said = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert set(found) == KEYS
    for stage in STAGES:
        times = found[f"{stage}_ms"]
        assert set(times) == STATISTICS and times["count"] == 3
        assert 0 < times["min"] <= times["p50"] <= times["p99"] <= times["max"]
        assert stage.replace("_", " ") in said
    assert found["compile_s"].keys() == {"trace_s", "compile_s"}
    assert found["size"] == [24, 16] and found["batch"] == 2
    assert found["method"]["name"] == "tiny"
    assert found["method"]["sha256"] == digest(weights_file.read_bytes())
    assert found["method"]["config"]["dtype"] == "float32"
    late = found["latency_ms"]
    assert late["lookahead"] == 80.0  # 2 frames at 25 a second
    assert late["with_step"] == pytest.approx(80 + found["step_ms"]["p50"])
    assert late["with_end_to_end"] == pytest.approx(80 + found["end_to_end_ms"]["p50"])
    speed = found["frames_per_second"]
    assert speed["step"] == pytest.approx(2e3 / found["step_ms"]["p50"])
    assert speed["end_to_end"] == pytest.approx(2e3 / found["end_to_end_ms"]["mean"])
    assert found["torch"] is None and found["form"] == "inference"
    assert found["rates"]["tflops_per_s"] == pytest.approx(
        2e-9 * found["rates"]["needed_multiply_adds"] / found["step_ms"]["p50"]
    )
    count = found["multiply_adds"]
    assert count["with_matching"] == count["without_matching"] + count["matching"]
    for text in ("cpu", "jax 0.", "p95", "look-ahead", "multiply-adds", "peak memory"):
        assert text in said
    assert f"written to {path}" in said


def test_the_tables_read_what_was_timed(tmp_path, weights_file):
    path = tmp_path / "bench.json"
    options = BenchOptions(weights=str(weights_file), size=(24, 16), frames=1)
    write_timing(path, run(options, clock=Ticks()))
    measured = read_measured([path])
    assert {one.label for one in measured} == {"tiny"}
    assert all(one.milliseconds is None for one in measured)  # not of 1280x720
    assert "Timed at 24x16 on cpu" in measured[0].notes[-1]
    data = json.loads(path.read_text()) | {"size": [1280, 720]}
    path.write_text(json.dumps(data))
    assert read_measured([path])[0].milliseconds == 1000.0


def test_what_is_not_known_is_said_and_so_is_company(weights_file):
    options = BenchOptions(weights=str(weights_file), size=(24, 16), frames=1)
    found = run(options, clock=Ticks())
    found["load_average"] = 100.0
    assert "100.0, threads" in as_text(
        found
    ) and "other processes are running" in as_text(found)
    found["load_average"] = 0.0
    assert "others" not in as_text(found)
    found["load_average"] = None
    found["memory_bytes"] |= {"bytes": None, "source": "unknown"}
    found["multiply_adds"]["compiler_flops"] = None
    said = as_text(found)
    assert "load average before: unknown" in said
    assert "peak memory: unknown" in said and "analysis: none given" in said


def test_by_a_clock_that_ticks_when_asked_every_stage_takes_one_tick(weights_file):
    seen = []
    options = BenchOptions(weights=str(weights_file), size=(24, 16), frames=2)
    found = run(options, clock=Ticks(), on_round=lambda *done: seen.append(done))
    assert found["compile_s"] == {"trace_s": 1.0, "compile_s": 1.0}
    assert all(found[f"{stage}_ms"]["max"] == 1000.0 for stage in STAGES)
    assert found["frames_per_second"] == {"step": 1.0, "end_to_end": 1.0}
    assert seen[-1] == (found["warm_up"] + 2,) * 2
    assert all(math.isfinite(found[f"{stage}_ms"]["p99"]) for stage in STAGES)


def test_the_twin_takes_its_turns(capsys, tmp_path, weights_file, one_torch_thread):
    path = tmp_path / "bench.json"
    words = ("--weights", weights_file, "--size", "24x16", "--frames", 2, "--torch")
    assert call(*words, "--json", path) == 0
    said = capsys.readouterr().out
    found = json.loads(path.read_text())
    assert set(found["torch"]) == {"contiguous", "channels_last"}
    assert "torch" in found["machine"]
    for layout, times in found["torch"].items():
        assert set(times) == {
            *(f"{stage}_ms" for stage in STAGES),
            "frames_per_second",
            "step_ratio",
            "largest_difference",
        }
        assert times["step_ms"]["count"] == 2
        assert times["largest_difference"] <= 1  # the same work was done
        theirs, ours = times["step_ms"], found["step_ms"]
        # A round's ratio lies between those of the extremes.
        low, high = theirs["min"] / ours["max"], theirs["max"] / ours["min"]
        assert low <= times["step_ratio"] <= high
        assert f"torch, {layout}, ms" in said


def test_a_preset_has_drawn_weights_and_half_precision(monkeypatch, tiny):
    monkeypatch.setitem(PRESETS, "small", tiny[0].config)
    options = BenchOptions(
        weights=None, preset="small", size=(16, 16), dtype="float16", frames=1
    )
    found = run(options)
    assert found["method"]["name"] == "small" and found["method"]["sha256"] is None
    assert found["method"]["config"]["dtype"] == "float16"
    sizes = [math.prod(shape) for shape in expected_shapes(tiny[0].config).values()]
    assert found["method"]["parameters"] == sum(sizes)


def test_a_network_of_patches_is_timed_on_whole_cells(monkeypatch, tiny):
    config = dataclasses.replace(tiny[0].config, patch=2, activation="leaky")
    monkeypatch.setitem(PRESETS, "small", config)
    options = BenchOptions(weights=None, preset="small", size=(24, 16), frames=1)
    assert run(options)["method"]["config"]["patch"] == 2
    with pytest.raises(UsageError, match="20x16: .* multiples of 8, .* give 24x16"):
        run(dataclasses.replace(options, size=(20, 16)))


@pytest.mark.parametrize(
    "words, said",
    [
        ("--weights mtu2x", "mtu2x"),
        ("--preset mtu3", "unknown preset 'mtu3'; one of mtu1"),
        ("--preset mtu1 --weights fast", "--preset mtu1: not with --weights"),
        ("--size big", "size 'big'"),
        ("--size 854x480", "multiples of 8, to which frames are padded; give 856x480"),
        ("--size 8x16", "size 8x16: at least 16x16"),
        ("--dtype float8", "unknown dtype 'float8'; one of float32"),
        ("--frames 0", "frames 0: must be 1 or more"),
        ("--batch -1", "batch -1: must be 1 or more"),
        ("--rate 0", "rate 0: must be more than 0"),
        ("--frames many", "--frames"),
    ],
)
def test_bad_use_is_one_line_and_status_2(capsys, words, said):
    assert call(*words.split()) == 2
    error = capsys.readouterr().err
    assert one_line(error) and said in error


def test_what_is_missing_is_one_line_and_status_1(capsys, tmp_path, weights_file):
    (tmp_path / "file").touch()
    astray = tmp_path / "file" / "bench.json"
    for words, said in (
        (("--weights", "gone.safetensors"), "gone.safetensors: no such file"),
        (("--json", astray), "file: not a folder; name another file with --json"),
        (("--json", tmp_path), "is a folder"),
    ):
        assert call(*words) == 1
        error = capsys.readouterr().err
        assert one_line(error) and said in error


def test_without_torch_the_twin_is_refused_before_anything_runs(
    capsys, monkeypatch, tmp_path, weights_file
):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in (
        "mtujax.torch_port.timing",
        "mtujax.torch_port.network",
        "mtujax.torch_port.layers",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("mtujax.bench.run.Network", None)
    path = tmp_path / "bench.json"
    assert call("--weights", weights_file, "--torch", "--json", path) == 1
    error = capsys.readouterr().err
    assert one_line(error) and "in a clone, pip install '.[torch]'" in error
    assert list(tmp_path.iterdir()) == []


def test_options_in_python_want_one_network():
    for both in ({"preset": "mtu1"}, {"weights": None}):
        with pytest.raises(UsageError, match="either weights or a preset"):
            BenchOptions(**both)


def test_help_tells_every_option_and_needs_no_jax():
    code = (
        "import sys, mtujax.__main__ as m\n"
        "try: m.main(['bench', '--help'])\n"
        "finally: print({'jax', 'cv2', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "set()" in done.stdout, done.stderr
    for word in ("--weights", "--preset", "--size", "--torch", "--json", "--rate"):
        assert word in done.stdout
