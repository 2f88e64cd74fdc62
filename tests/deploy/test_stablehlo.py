"""The exported step: alone in its folder it does what a stream does."""

import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import sets
from networks import SMALLEST, STEERED, lively_params, slow
from places import ROOT

from mtujax.cli.app import main
from mtujax.config import PAPER_TEXT
from mtujax.deploy import stablehlo
from mtujax.deploy.stablehlo import write_step
from mtujax.errors import UsageError, UserError
from mtujax.model.network import (
    MTUNet,
    inference_params,
    init_params,
    initial_state,
)
from mtujax.model.stream import Stream

pytest.importorskip("flatbuffers")

RUNNER = ROOT / "examples" / "run_stablehlo.py"
ALONE = f"""
import runpy, sys
sys.modules["mtujax"] = None  # as if it were not installed
sys.argv = ["run_stablehlo.py", *sys.argv[1:]]
runpy.run_path({str(RUNNER)!r}, run_name="__main__")
"""


def alone(*words):
    command = [sys.executable, "-c", ALONE, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def step(weights_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "step"
    with pytest.raises(SystemExit) as done:
        main(
            ["export", str(weights_file), str(folder), "--stablehlo", "--about", "a=b"]
        )
    assert done.value.code == 0
    return folder


@pytest.mark.parametrize("size", [(14, 30), slow((40, 150))])
def test_an_exported_step_does_what_a_stream_does_without_mtujax(
    step, tiny, tmp_path, size
):
    _same_as_a_stream(step, tiny, tmp_path, size)


def test_so_does_one_on_patches(tmp_path):
    model = MTUNet(dataclasses.replace(SMALLEST, **STEERED))
    network = model, inference_params(lively_params(model))
    write_step(*network, tmp_path / "step")
    _same_as_a_stream(tmp_path / "step", network, tmp_path, (40, 70))


def _same_as_a_stream(step, network, tmp_path, size):
    frames = np.random.default_rng(0).integers(0, 256, (4, *size, 3), np.uint8)
    (tmp_path / "in").mkdir()
    for number, frame in enumerate(frames):
        sets.write(tmp_path / "in" / f"{number}.png", frame[..., ::-1])
    done = alone(step, tmp_path / "in", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    stream = Stream(*network)
    expected = [f for frame in frames for f in stream.push(frame)] + stream.flush()
    for number, frame in enumerate(expected):
        found = sets.rgb(tmp_path / "out" / f"{number}.png").astype(int)
        # Another program may round a value between two levels the other way.
        assert np.abs(found - frame).max() <= 1 and (found != frame).mean() < 1e-3


def test_an_exported_step_recovers_from_a_state_that_is_not_finite(step):
    exported = jax.export.deserialize(bytearray((step / "step.jax").read_bytes()))
    call = jax.jit(exported.call)
    first = initial_state(MTUNet(SMALLEST), 1, 16, 16).as_arrays()
    del first["motion_0"]  # which reaches no image of this network
    bad = {name: np.full_like(array, np.nan) for name, array in first.items()}
    bad["is_first"][:] = False
    window = np.random.default_rng(0).integers(0, 256, (1, 5, 16, 16, 3), np.uint8)
    state, _ = call(bad, window)
    assert bool(state["is_first"][0])
    _, restored = call(state, window)
    np.testing.assert_array_equal(restored, call(first, window)[1])


def test_the_folder_says_how_to_call_it(step):
    told = json.loads((step / "manifest.json").read_text())
    assert (told["lookback"], told["lookahead"], told["a"]) == (2, 2, "b")
    assert told["state"]["detail"] == {
        "shape": f"b 4h 4w {SMALLEST.channels}",
        "dtype": "float32",
        "start": 0,
    }
    assert told["state"]["is_first"]["start"] == 1
    assert told["frames"] == dict(dtype="uint8", multiple=4, least=16, order="RGB")
    # Nothing that the matcher of one unit finds reaches an image.
    assert told["module"] == {
        "arguments": ["platform", "detail", "is_first", "restored", "window"],
        "results": ["detail", "is_first", "restored", "restored frame"],
    }
    assert told["platforms"] == ["cpu", "cuda", "tpu"]
    assert len(told["weights"]["sha256"]) == 64


def test_a_network_without_look_ahead_is_exported():
    model = MTUNet(PAPER_TEXT)
    params = inference_params(init_params(model, jax.random.key(0)))
    exported = stablehlo.export_step(model, params)
    assert [str(n) for n in exported.out_avals[-1].shape] == ["b", "4*h", "4*w", "3"]
    assert exported.platforms == stablehlo.PLATFORMS


def test_what_is_in_the_way_is_one_line_and_stays(tiny, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for place, message in (
        (tmp_path / "mine", "not replaced, as it holds more than a step: notes.txt"),
        (tmp_path / "no" / "step", "no such folder; create it"),
        (tmp_path / "mine" / "notes.txt", "is a file, but a folder"),
    ):
        with pytest.raises(UserError, match=message):
            write_step(*tiny, place, overwrite=True)

    # As if it were not installed: JAX imports it when it first writes a program.
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    monkeypatch.delitem(sys.modules, "jax._src.export.serialization", raising=False)
    with pytest.raises(
        UserError, match=r"flatbuffers is not installed; in a clone, pip install"
    ):
        write_step(*tiny, tmp_path / "step")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["format", "lookback", "notes"])
def test_what_callers_read_is_not_replaced(tiny, tmp_path, name):
    onnx_file = pytest.importorskip("mtujax.deploy.onnx_file")
    for write, place in (
        (write_step, tmp_path / "step"),
        (onnx_file.write_onnx, tmp_path / "step.onnx"),
    ):
        with pytest.raises(UsageError, match=f"about {name}: is what callers"):
            write(*tiny, place, about={name: "1"})
    assert not list(tmp_path.iterdir())


def test_bad_use_of_the_command_is_one_line(step, capsys):
    for words, status, message in (
        (["fast", step, "--stablehlo"], 1, "exists already; --overwrite"),
        (["mtu9", step, "--stablehlo"], 2, "unknown weights 'mtu9'"),
        (["fast", step, "--stablehlo", "--raw"], 2, "not with --state, --raw"),
        (["fast", step, "--dtype", "bfloat16"], 2, "--dtype bfloat16: is for"),
        (["fast", step, "--stablehlo", "--dtype", "int8"], 2, "int8"),
        (["fast", "no.onnx", "--size", ""], 2, "size"),
    ):
        with pytest.raises(SystemExit) as done:
            main(["export", *map(str, words)])
        error = capsys.readouterr().err
        assert done.value.code == status and message in error and "\n" not in error[:-1]


@pytest.mark.slow
def test_bad_use_of_the_runner_is_one_line(step, tmp_path):
    for name in ("empty", "twice", "sizes", "broken"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    for name in ("manifest.json", "step.jax"):
        (tmp_path / "broken" / name).write_text("{}")
    for name, rows in (("twice/a.jpg", 16), ("twice/a.png", 16), ("sizes/a.png", 16)):
        sets.write(tmp_path / name, np.zeros((rows, 30, 3), np.uint8))
    sets.write(tmp_path / "sizes" / "b.png", np.zeros((24, 30, 3), np.uint8))
    for words, message in (
        ((tmp_path, tmp_path, "out"), "not the folder of an exported step, which "),
        ((step / "step.jax", tmp_path, "out"), "step.jax: not the folder of an expor"),
        ((step, tmp_path / "empty", "out"), "has no PNG or JPEG frames"),
        ((tmp_path / "broken", tmp_path / "twice", "out"), "damaged, or too old"),
        ((step, tmp_path / "twice", "out"), "a.png has the same name; rename"),
        ((step, tmp_path / "sizes", tmp_path / "empty"), "exists already; name"),
        ((step, tmp_path / "sizes", tmp_path / "out"), "b.png: is 30x24, but the fir"),
        ((step, tmp_path / "sizes", tmp_path / "file" / "o"), "cannot be written"),
    ):
        done = alone(*words)
        assert done.returncode == 1 and message in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.part").exists()
