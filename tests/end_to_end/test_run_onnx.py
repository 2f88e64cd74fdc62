"""The deployment in one file: it writes what the command writes, without mtujax."""

import re
import subprocess
import sys
from fractions import Fraction

import media
import numpy as np
import pytest
import sets
from places import ROOT

import mtujax
from mtujax.cli.app import main

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

RUNNER = ROOT / "examples" / "run_onnx.py"
ALONE = f"""
import runpy, sys
sys.modules["mtujax"] = sys.modules["jax"] = None  # as if they were not installed
sys.argv = ["run_onnx.py", *sys.argv[1:]]
runpy.run_path({str(RUNNER)!r}, run_name="__main__")
"""


def alone(*words, before=""):
    command = [sys.executable, "-c", f"{before}\n{ALONE}", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def command(*words):
    with pytest.raises(SystemExit) as done:
        main([*map(str, words)])
    assert done.value.code == 0


@pytest.fixture(scope="module")
def step(weights_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "step.onnx"
    command("export", weights_file, path)
    return path


def test_the_loop_of_the_page_gives_the_frames_of_a_stream(
    weights_file, tmp_path, monkeypatch
):
    page = (ROOT / "docs" / "how-to" / "onnx.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    command("export", weights_file, "step.onnx", "--size", "64x48")
    frames, shown = media.scene(4, 64, 48), []
    exec(code, {"frames": [*frames], "show": shown.append})
    stream = mtujax.Stream(*mtujax.load(weights_file))
    wanted = [out for frame in frames for out in stream.push(frame)] + stream.flush()
    assert len(shown) == len(wanted) == 4
    for frame, like in zip(shown, wanted, strict=True):
        assert np.abs(frame.astype(int) - like).max() <= 1


def test_a_video_is_that_of_the_command(step, weights_file, tmp_path):
    clip = media.clip(tmp_path / "in.mp4", media.scene(6, 61, 46), pix_fmt="yuv444p")
    done = alone(step, clip, tmp_path / "out.mkv")
    assert done.returncode == 0, done.stderr
    assert "out.mkv: 6 frames" in done.stdout
    command("deblur", clip, tmp_path / "out", "--weights", weights_file)
    paths = sorted((tmp_path / "out").glob("*.png"))
    found = media.decode(tmp_path / "out.mkv")
    for frame, path in zip(found, paths, strict=True):
        expected = sets.rgb(path).astype(int)
        assert np.abs(frame - expected).max() <= 1 and (frame != expected).mean() < 0.01
    assert (np.array(found) != media.decode(clip)).any()
    there, here = (
        [pts * one.time_base for pts in one.pts]
        for one in (media.probe(path) for path in (clip, tmp_path / "out.mkv"))
    )
    np.testing.assert_allclose(np.float64(here), np.float64(there), atol=1e-3)


def test_an_mp4_looks_the_same(step, tmp_path):
    clip = media.clip(tmp_path / "in.mp4", media.scene(4))
    for name in ("out.mp4", "out.mkv"):
        assert alone(step, clip, tmp_path / name).returncode == 0
    lossy, lossless = (media.decode(tmp_path / f"out.{s}") for s in ("mp4", "mkv"))
    error = np.subtract(lossy, lossless, dtype=float)  # of coding: in no direction
    assert np.abs(error).mean() < 5 and np.abs(error.mean((0, 1, 2))).max() < 0.5


@pytest.mark.parametrize("turned, kind", [(False, {}), (True, {"rotation": (90,)})])
def test_a_video_is_shown_as_it_was(step, tmp_path, turned, kind):
    # The corners of a picture have levels of their own.
    corners = np.repeat(np.repeat([[20, 90], [160, 230]], 32, 0), 48, 1)
    frames = [np.uint8(corners)[..., None].repeat(3, -1)] * 2
    clip = media.clip(tmp_path / "in.mp4", frames, aspect=Fraction(4, 3), **kind)
    assert alone(step, clip, tmp_path / "out.mp4").returncode == 0
    found = media.probe(tmp_path / "out.mp4")
    assert (found.size, found.aspect) == (
        ((64, 96), Fraction(3, 4)) if turned else ((96, 64), Fraction(4, 3))
    )
    frame = media.decode(tmp_path / "out.mp4")[0][..., 0].astype(int)
    expected = [[90, 230], [20, 160]] if turned else [[20, 90], [160, 230]]
    levels = frame[[8, -9]][:, [8, -9]]
    assert np.abs(levels - expected).max() < 12, levels  # turned counter-clockwise


def test_a_provider_that_does_not_start_is_not_replaced_silently(step, tmp_path):
    clip = media.clip(tmp_path / "in.mp4", media.scene(2))
    # onnxruntime-gpu lists CUDA where its libraries are missing too, and takes the CPU.
    lists = "import onnxruntime as o; o.get_available_providers = lambda: ["
    lists += "'CUDAExecutionProvider']"
    words = step, clip, tmp_path / "new.mp4", "--provider", "cuda"
    done = alone(*words, before=lists)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("--provider cuda: does not start")
    assert not list(tmp_path.glob("new*"))


def test_bad_use_is_one_line(step, weights_file, tmp_path):
    clip = media.clip(tmp_path / "in.mp4", media.scene(2))
    odd = media.clip(tmp_path / "odd.mkv", media.scene(2, 61, 46), pix_fmt="yuv444p")
    command("export", weights_file, tmp_path / "fixed.onnx", "--size", "128x64")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "text.onnx").write_text("no step")
    new = tmp_path / "new.mp4"
    for words, message in (
        ((step, clip, clip), "in.mp4: exists already; name another"),
        ((tmp_path / "no.onnx", clip, new), "no such file; `mtujax export fast"),
        ((tmp_path / "text.onnx", clip, new), "no step of `mtujax export`, or damaged"),
        (
            (tmp_path / "fixed.onnx", odd, new),
            "takes frames of 128x64, and the video is 61x46; export the step without",
        ),
        ((step, tmp_path / "no.mp4", new), "no.mp4: No such file"),
        ((step, tmp_path / "text.mp4", new), "text.mp4: Invalid data"),
        ((step, clip, tmp_path / "no" / "new.mp4"), "no: no such folder; create it"),
        ((step, clip, tmp_path / "new.unknown"), ".unknown: no kind of video; name "),
        ((step, clip, tmp_path / "new.webm"), "codec; name the output .mp4 or .mkv"),
        ((step, clip, new, "--provider", "dml"), "--provider dml: not in this onnxrun"),
    ):
        done = alone(*words)
        assert done.returncode == 1 and message in done.stderr, done.stderr
        lines = done.stderr.splitlines()  # onnxruntime may warn of the machine
        lines = [line for line in lines if message in line or "[W:onnx" not in line]
        assert len(lines) == 1, done.stderr
    assert not list(tmp_path.glob("new*"))
