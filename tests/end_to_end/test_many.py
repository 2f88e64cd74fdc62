"""A folder of mixed videos by one command, through the real process."""

import os
import re
import signal
import subprocess
import sys
import time

import media
import media_probe
import numpy as np
import pytest
from killing import tree

_KINDS = (
    (".mp4", media.h264_mp4),
    (".mov", media.hevc_mov),
    (".webm", media.vp9_webm),
    (".mpg", media.mpeg2_mpg),
    (".ts", media.h264_ts),
    (".avi", media.mjpeg_avi),
)


@pytest.fixture
def mixed(tmp_path):
    """18 videos, one that is none and one that is encrypted."""
    (folder := tmp_path / "in").mkdir()
    for number in range(18):
        suffix, make = _KINDS[number % len(_KINDS)]
        make(folder / f"{number}{suffix}", media.scene(8, speed=1 + number % 3))
    (folder / "5x.mp4").write_bytes(b"no video")
    media.encrypted(folder / "11x.mp4", media.scene(8))
    return folder


def start(folder, *words):
    command = [sys.executable, "-m", "mtujax", "deblur", "in", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def videos(out):
    return {
        name: content
        for name, content in tree(out).items()
        if not name.startswith((".", "report"))
    }


@pytest.mark.slow
def test_mixed_videos_come_out_right_also_after_two_kills(
    tmp_path, mixed, weights_file
):
    words = "--weights", str(weights_file)
    process = start(tmp_path, "--to", "whole", *words)
    out, error = process.communicate()
    assert process.returncode == 1 and "20 videos to restore" in out
    assert error.splitlines()[-1].startswith("mtujax: error: whole: 2 of 20 videos fa")
    assert len(whole := videos(tmp_path / "whole")) == 18
    killed = tmp_path / "killed"
    for least in (4, 11):
        process = start(tmp_path, "--to", "killed", "--resume", *words)
        while len(list(killed.glob("[0-9]*.*"))) < least:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(tmp_path, "--to", "killed", "--resume", *words)
    out, error = process.communicate()
    # Of the 11 names seen, one may be of a job, and one not be noted yet.
    assert process.returncode == 1
    assert int(re.search(r", (\d+) done", out)[1]) >= 9
    assert videos(killed) == whole
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
        while len(list(out.glob("[0-9]*.*"))) < least:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        said = error.splitlines()[-1]
        assert said.startswith("mtujax: error: interrupted") and "Traceback" not in said
    process = start(tmp_path, *words)
    process.communicate()
    assert process.returncode == 1
    whole = videos(tmp_path / "whole")
    assert videos(out).keys() == whole.keys() and len(whole) == 18
    for name in whole:
        a, b = (media_probe.decode(tmp_path / at / name) for at in ("out", "whole"))
        assert np.shape(a) == np.shape(b)
        # Up to the encoder's own error on frames that differ by rounding.
        assert np.abs(np.float32(a) - np.float32(b)).mean() < 1, name
