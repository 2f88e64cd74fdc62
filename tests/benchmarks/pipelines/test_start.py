"""The benchmark of starts, run small."""

import json
import subprocess
import sys

import pytest
from places import ROOT


@pytest.mark.slow
def test_a_later_start_compiles_nothing_and_takes_all_from_disk(tmp_path):
    module = ["-m", "benchmarks.pipelines.start"]
    command = [sys.executable, *module, "--quick", "--json", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = tmp_path.iterdir()
    (row,) = json.loads(file.read_text())["rows"]
    first, later = row["first"], row["later"]
    assert first["from disk"] == later["compiled"] == 0
    assert later["from disk"] == first["compiled"] == row["kept"]["programs"] > 0
    for start in (first, later):
        moments = [start[k] for k in ("device ready, s", "first frame, s")]
        assert 0 < moments[0] < moments[1] < start["written, s"]
