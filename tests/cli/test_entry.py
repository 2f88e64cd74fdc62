import os
import subprocess
import sys

import media
import pytest
from networks import slow


def mtujax(*words, closed):
    """The command, started by a shell that closes some of its streams."""
    command = [sys.executable, "-m", "mtujax", *map(str, words)]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("closed", [slow(">&-"), "<&- >&- 2>&-"])
def test_closed_standard_streams_change_no_output(tmp_path, weights_file, closed):
    source = media.clip(tmp_path / "a.mp4", media.scene(2), audio="aac")
    output = tmp_path / "b.mp4"
    done = mtujax("deblur", source, output, "--weights", weights_file, closed=closed)
    assert done.returncode == 0 and done.stderr == ""
    assert ("2 frames" in done.stdout) == (">&-" not in closed.split())
    assert media.probe(output).frames == 2
    assert len(os.listdir(tmp_path)) == 2 + (weights_file.parent == tmp_path)
    assert b"device" not in output.read_bytes()


def test_a_pipe_that_is_closed_is_refused(tmp_path, weights_file):
    source = media.clip(tmp_path / "a.mp4", media.scene(2))
    chosen = "--weights", weights_file
    done = mtujax("deblur", source, "-", *chosen, closed=">&-")
    assert done.returncode == 1 and done.stdout == ""
    assert "standard output is closed" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    size = "--size", "64x48", "--rate", "25"
    done = mtujax("deblur", "-", tmp_path / "b.mp4", *size, *chosen, closed="<&-")
    assert done.returncode == 1
    assert done.stderr == (
        "mtujax: error: -: standard input is closed; give a file or a folder\n"
    )


def test_a_closed_stderr_keeps_the_status():
    done = mtujax("deblur", "no.mp4", "out.mp4", closed="2>&-")
    assert (done.returncode, done.stdout.count("error")) == (1, 0)
