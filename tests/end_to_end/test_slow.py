"""Minutes long: memory over time, Python 3.12."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import media
import numpy as np
import pytest
from places import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STREAM = """
import numpy as np, jax
from mtujax import *
model = MTUNet(ModelConfig(num_units=2, channels=8, num_blocks=1))
params = inference_params(init_params(model, jax.random.key(0)))
stream, rng = Stream(model, params), np.random.default_rng(0)
for k in range(1000):
    stream.push(rng.integers(0, 256, (180, 320, 3), np.uint8))
    if k in (99, 999):
        # Not getrusage: a child's maximum starts at its parent's.
        print(next(x.split()[1] for x in open("/proc/self/status") if "VmHWM" in x))
"""


def run(*words, **options):
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, cwd=ROOT, **options
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_memory_does_not_grow_from_100_to_1000_frames():
    early, late = map(int, run(sys.executable, "-c", STREAM).split())
    assert late < early + 20 * 1024  # kB: the allocator's own slack


def python312():
    """An interpreter of Python 3.12 that runs, or None."""
    names = [os.environ.get("MTUJAX_PYTHON312"), shutil.which("python3.12")]
    names += sorted(pathlib.Path.home().glob(".pyenv/versions/3.12*/bin/python"))
    for name in filter(None, names):
        ask = [str(name), "-c", "import sys; print(sys.version_info[:2])"]
        if "(3, 12)" in subprocess.run(ask, capture_output=True, text=True).stdout:
            return name
    return None


def test_the_core_holds_under_python_312_with_the_newest_jax(tmp_path):
    python = python312()
    if python is None:
        pytest.skip("no Python 3.12; name one in MTUJAX_PYTHON312")
    run(python, "-m", "venv", tmp_path / "venv")
    inside = tmp_path / "venv" / "bin" / "python"
    run(inside, "-m", "pip", "install", "--quiet", "--editable", ".[test]")
    tests = """
        end_to_end/test_parity end_to_end/test_through model/test_clip
        model/test_network training/test_step cli/test_app cli/test_demo
    """.split()
    # Compiled as quick tests are.
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    files = (f"tests/{name}.py" for name in tests)
    run(inside, "-m", "pytest", *files, env=environment)


DEBLUR = """
import sys
from mtujax.__main__ import main
try: main(sys.argv[1:])
finally:
    # Not getrusage: a child's maximum starts at its parent's.
    print(next(x.split()[1] for x in open("/proc/self/status") if "VmHWM" in x))
"""


def long_clip(path, count):
    """A picture that pans to and fro, with a tick of sound every 0.2 s."""
    pan = media.scene(24, 128, 96)
    frames = (pan + pan[::-1]) * (count // len(pan) + 1)
    return media.clip(path, frames[:count], audio="aac")


def test_3000_frames_need_no_more_memory_than_100_and_stay_in_time(tmp_path):
    peaks = []
    for count in (100, 3000):
        source = long_clip(tmp_path / f"in{count}.mp4", count)
        out = tmp_path / f"out{count}.mp4"
        text = run(sys.executable, "-c", DEBLUR, "deblur", source, out)
        assert f"{count} frames of 128x96" in text
        peaks.append(int(text.split()[-1]))
        before, after = media.probe(source), media.probe(out)
        assert before.pts == after.pts
        np.testing.assert_allclose(media.ticks(out), media.ticks(source), atol=0.001)
    assert peaks[1] < peaks[0] + 60 * 1024  # kB: the allocators' own slack


def finished(manifest):
    """Number of segments that are noted."""
    if not manifest.exists():
        return 0
    return len(json.loads(manifest.read_text())["segments"])


def test_a_killed_run_goes_on_to_the_same_file(tmp_path):
    source = long_clip(tmp_path / "in.mp4", 1200)
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    run(sys.executable, "-m", "mtujax", "deblur", source, whole)
    words = [sys.executable, "-m", "mtujax", "deblur", str(source), str(out)]
    for count in (1, 3):
        process = subprocess.Popen([*words, "--resume"], stdout=subprocess.DEVNULL)
        # A state whose segment the manifest does not yet name counts for nothing.
        while finished(tmp_path / "out.mp4.part" / "job.json") < count:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
        assert not out.exists()
    assert "resumes after 750 frames" in run(*words, "--resume")
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / "out.mp4.part").exists()
