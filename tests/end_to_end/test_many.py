"""A folder of mixed videos by one command, through the real process."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import clusters
import cv2
import media
import media_probe
import numpy as np
import pytest
from compared import assert_same_pictures
from killing import tree


def animation(path, frames):
    made = cv2.Animation()
    made.frames = [frame[..., ::-1].copy() for frame in frames]
    made.durations = np.full(len(frames), 40, np.int32)
    assert cv2.imwriteanimation(str(path), made)


def pictures(path, frames):
    path.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(path / f"f{number}.png"), frame[..., ::-1])


_KINDS = {
    ".mp4": media.h264_mp4,
    ".mov": media.hevc_mov,
    ".webm": media.vp9_webm,
    ".mpg": media.mpeg2_mpg,
    ".ts": media.h264_ts,
    ".avi": media.mjpeg_avi,
    ".mkv": media.av1_mkv,
    ".gif": animation,
    "": pictures,
}


@pytest.fixture
def mixed(tmp_path):
    """18 videos of nine kinds and two sizes, one that is none and an encrypted one."""
    (folder := tmp_path / "in").mkdir()
    for number, (suffix, make) in enumerate([*_KINDS.items()] * 2):
        size = (64, 48) if number % 2 else (80, 64)
        make(folder / f"{number}{suffix}", media.scene(8, *size, speed=1 + number % 3))
    (folder / "5x.mp4").write_bytes(b"no video")
    media.encrypted(folder / "11x.mp4", media.scene(8))
    return folder


def start(folder, *words, **more):
    command = [sys.executable, "-m", "mtujax", "deblur", "in", *words]
    given = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE) | more
    return subprocess.Popen(command, cwd=folder, text=True, **given)


def outputs(out):
    """What is made so far: of a file its content, of a folder all that it holds."""
    return {
        path.name: path.read_bytes() if path.is_file() else tree(path)
        for path in out.iterdir()
        if not path.name.startswith((".", "report"))
    }


def wait_for(out, least, process):
    while len(list(out.glob("[0-9]*"))) < least:
        assert process.poll() is None
        time.sleep(0.02)


@pytest.mark.slow
def test_mixed_videos_come_out_right_also_after_two_kills(
    tmp_path, mixed, weights_file
):
    words = "--weights", str(weights_file)
    process = start(tmp_path, "--to", "whole", *words)
    out, error = process.communicate()
    assert process.returncode == 1 and "20 videos to restore" in out
    assert error.splitlines()[-1].startswith("mtujax: error: whole: 2 of 20 videos fa")
    assert len(whole := outputs(tmp_path / "whole")) == 18
    killed = tmp_path / "killed"
    for least in (4, 11):
        process = start(tmp_path, "--to", "killed", "--resume", *words)
        wait_for(killed, least, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(tmp_path, "--to", "killed", "--resume", *words)
    out, error = process.communicate()
    # Of the 11 names seen, one may be of a job, and one not be noted yet.
    assert process.returncode == 1
    assert int(re.search(r", (\d+) done", out)[1]) >= 9
    assert outputs(killed) == whole
    assert sorted(os.listdir(killed)) == sorted([*whole, "report.json"])


@pytest.mark.slow
def test_side_by_side_they_come_out_right_after_two_signals(
    tmp_path, mixed, weights_file
):
    words = "--weights", str(weights_file)
    start(tmp_path, "--to", "whole", *words).communicate()
    words += "--to", "out", "--resume", "--batch", "3"
    out = tmp_path / "out"
    for number, least in ((signal.SIGINT, 3), (signal.SIGTERM, 9)):
        process = start(tmp_path, *words)
        wait_for(out, least, process)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        said = error.splitlines()[-1]
        assert said.startswith("mtujax: error: interrupted") and "Traceback" not in said
    process = start(tmp_path, *words)
    process.communicate()
    assert process.returncode == 1
    whole = outputs(tmp_path / "whole")
    assert outputs(out).keys() == whole.keys() and len(whole) == 18
    for name in ("8", "17"):
        assert_same_pictures(outputs(out)[name], whole[name])
    for name in {*whole} - {"8", "17"}:
        a, b = (media_probe.decode(tmp_path / at / name) for at in ("out", "whole"))
        assert np.shape(a) == np.shape(b)
        # Up to the encoder's own error on frames that differ by rounding.
        assert np.abs(np.float32(a) - np.float32(b)).mean() < 1, name


@pytest.mark.slow
def test_on_a_cluster_they_come_out_right_though_a_node_is_lost(
    tmp_path, mixed, weights_file
):
    words = "--weights", str(weights_file)
    with clusters.cluster() as made:
        start(tmp_path, "--to", "whole", *words).communicate()
        process = start(tmp_path, "--to", "out", "--ray", made.address, *words)
        wait_for(tmp_path / "out", 4, process)
        clusters.lose_a_node(made)
        out, error = process.communicate()
    assert process.returncode == 1 and "20 videos to restore" in out
    assert error.splitlines()[-1].startswith("mtujax: error: out: 2 of 20 videos fa")
    assert "Traceback" not in error
    whole = outputs(tmp_path / "whole")
    assert len(whole) == 18 and outputs(tmp_path / "out") == whole


MARK = "MTUJAX_TEST_OF"


def marked(mark):
    """Command lines of the processes whose environment has a mark."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found[process.name] = (process / "cmdline").read_bytes()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_a_local_cluster_ends_with_an_interruption_and_the_rest_resumes(
    tmp_path, weights_file, signals
):
    pytest.importorskip("ray")
    (tmp_path / "in").mkdir()
    for number in range(6):
        media.h264_mp4(tmp_path / f"in/{number}.mp4", media.scene(120, speed=number))
    words = "--weights", str(weights_file), "--to", "out", "--resume"
    environment = os.environ | {MARK: str(tmp_path)}
    process = start(tmp_path, "--ray", "local", *words, env=environment)
    out = tmp_path / "out"
    while len(finished := {path.name for path in out.glob("*.mp4")}) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    assert len(marked(tmp_path)) > 2
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error
    if signals == 1:
        assert error.endswith(" of 6 videos are finished; --resume continues\n")
    assert len(error.splitlines()) <= 1, error
    end = time.monotonic() + 120  # of busy cores
    while (left := marked(tmp_path)) and time.monotonic() < end:
        time.sleep(0.2)
    assert left == {}
    kept = {path: path.read_bytes() for path in out.glob("*.mp4")}
    assert finished <= {path.name for path in kept} and len(kept) < 6
    said, _ = start(tmp_path, *words).communicate()
    done = int(re.search(r", (\d+) done", said)[1])
    assert len(kept) - 1 <= done <= len(kept)  # one may not have been noted yet
    assert {path: path.read_bytes() for path in kept} == kept
    assert sorted(os.listdir(out)) == [*(f"{n}.mp4" for n in range(6)), "report.json"]
