"""OpenVINO restores what the network restores, and either takes over from the other."""

import dataclasses
import itertools
import sys

import cv2
import numpy as np
import pytest
from media_clip import ARCHES
from moving import panned
from networks import SMALLEST, STEERED, lively_params, slow
from restoring import CUT, decoded, drive, streamed

from mtujax.cli.app import main
from mtujax.deblur.api import deblur_video
from mtujax.deblur.restorer import Restorer, stream_class
from mtujax.model.network import MTUNet, inference_params
from mtujax.model.optimized_form import inference_form
from mtujax.model.stream import Stream

pytest.importorskip("openvino")
pytest.importorskip("onnx")


@pytest.fixture
def openvino_stream():
    return stream_class("openvino")


def images(steps):
    return np.int16([step.step.restored for step in steps])


def assert_near(found, expected):
    """Only values between two levels may be rounded otherwise."""
    error = np.abs(np.int16(found) - np.int16(expected))
    assert error.max() <= 1 and (error > 0).mean() < 0.01


@pytest.mark.parametrize("height, width", [(33, 46), slow(32, 32)])
@pytest.mark.parametrize("fields", [{}, slow(STEERED)], ids=["released", "steered"])
def test_a_video_with_a_cut_is_that_of_the_network(
    openvino_stream, fields, height, width
):
    model = MTUNet(dataclasses.replace(SMALLEST, num_units=2, **fields))
    network = inference_form(model, inference_params(lively_params(model)))
    frames = panned(5, height, width)
    items = [*frames, CUT, *frames[3:]]
    notes = []
    restorer = Restorer(*network, whole=openvino_stream, on_note=notes.append)
    found = drive(restorer, items)
    assert_near(images(found), [s.restored for s in streamed(network, items)])
    assert np.abs(images(found)[:5] - frames).mean() > 1 and not notes
    assert found[0].step.restored.flags.writeable


@pytest.mark.parametrize("first, then", [("jax", "openvino"), ("openvino", "jax")])
def test_a_snapshot_of_either_is_resumed_by_the_other(tiny, first, then):
    network, frames = inference_form(*tiny), panned(6, 33, 46)
    options = {"snapshot_every": 3, "tile": None}
    whole = drive(Restorer(*network, whole=stream_class(first), **options), frames)
    later = Restorer(*network, whole=stream_class(then), **options)
    later.resume(whole[2].snapshot, 3)
    assert_near(images(drive(later, frames[3:])), images(whole[3:]))


@pytest.mark.parametrize(
    "frame", [np.full((32, 48, 3), 0.5, np.float32), np.full((15, 48, 3), 7, np.uint8)]
)
def test_frames_that_it_does_not_take_are_restored_in_jax(tiny, openvino_stream, frame):
    notes = []
    restorer = Restorer(*tiny, whole=openvino_stream, on_note=notes.append)
    (found,) = drive(restorer, [frame])
    (expected,) = streamed(tiny, [frame])
    np.testing.assert_array_equal(found.step.restored, expected.restored)
    height = len(frame)
    assert notes == [
        f"frames of 48x{height} are restored in JAX: OpenVINO takes 8-bit frames "
        "here, of 16x16 or more"
    ]


def test_where_memory_runs_out_tiles_of_jax_follow(tiny, openvino_stream, monkeypatch):
    network, frames, notes = inference_form(*tiny), panned(4, 64, 320), []
    calls = itertools.count()
    run = openvino_stream._run

    def failing(self, window):
        if next(calls) == 2:
            raise MemoryError
        return run(self, window)

    monkeypatch.setattr(openvino_stream, "_run", failing)
    restorer = Restorer(*network, whole=openvino_stream, on_note=notes.append)
    found = list(restorer.restore(decoded(frames)))
    assert_near(images(found), [s.restored for s in streamed(network, frames)])
    (note,) = notes
    assert "out of memory as a whole: continues in tiles of" in note


def test_the_command_writes_the_same_frames(tmp_path, weights_file, capsys):
    (tmp_path / "in").mkdir()
    for k, frame in enumerate(panned(4, 33, 46)):
        cv2.imwrite(str(tmp_path / "in" / f"{k}.png"), frame[..., ::-1])
    words = ["--weights", str(weights_file), "--runtime", "openvino"]
    with pytest.raises(SystemExit) as done:
        main(["deblur", str(tmp_path / "in"), str(tmp_path / "out"), *words])
    assert done.value.code == 0
    assert "(OpenVINO), weights:" in capsys.readouterr().out
    deblur_video(tmp_path / "in", tmp_path / "jax", weights=weights_file)
    found, expected = (
        [cv2.imread(str(tmp_path / name / f"{k}.png")) for k in range(4)]
        for name in ("out", "jax")
    )
    assert_near(found, expected)


def test_bad_use_is_one_line(tmp_path, capsys, monkeypatch):
    out = str(tmp_path / "out.mp4")
    refused = "needs the runtime jax, not openvino; leave one out"
    for words, status, message in (
        (["--runtime", "onnx"], 2, "runtime 'onnx': "),
        (["--dtype", "bfloat16"], 2, f"dtype: {refused}"),
        (["--tile", "64x64"], 2, f"tile: {refused}"),
        (["--tile", "none"], 1, "no.mp4: no such file or folder"),
        (["--save-motion", "m.mp4"], 2, f"save_motion: {refused}"),
    ):
        words = ["--runtime", "openvino", *words]
        with pytest.raises(SystemExit) as done:
            main(["deblur", str(tmp_path / "no.mp4"), out, *words])
        error = capsys.readouterr().err
        assert message in error and "\n" not in error[:-1], error
        assert done.value.code == status
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "mtujax.deploy.openvino_stream", raising=False)
    monkeypatch.delattr("mtujax.deploy.openvino_stream", raising=False)
    for many in ([out], ["--to", str(tmp_path / "out")]):
        with pytest.raises(SystemExit) as done:
            main(["deblur", str(ARCHES.parent), *many, "--runtime", "openvino"])
        assert done.value.code == 1
        said = "openvino is not installed; in a clone, pip install '.[openvino]'"
        assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_jax_is_the_default_and_needs_nothing_more():
    assert stream_class("jax") is Stream
