"""The benchmark of runtimes runs through, and says what is left out."""

import json

import pytest

pytest.importorskip("onnx")

from benchmarks.speed import runtimes  # noqa: E402


@pytest.mark.slow
def test_all_runtimes_take_turns(tmp_path, monkeypatch, in_the_clone):
    words = ["--sizes", "64x48", "--weights", "fast", "--rounds", "1"]
    monkeypatch.setattr("sys.argv", ["runtimes", *words, "--json", str(tmp_path)])
    runtimes.main()
    (file,) = tmp_path.iterdir()
    found = json.loads(file.read_text())
    (row,) = found["steps"]
    assert (row["weights"], row["size"]) == ("fast", "64x48")
    for title, name in runtimes.LIBRARIES.items():
        there = found["runtimes"][name] != "not installed"
        assert (title in row) == there
    assert row["JAX"]["ms"] > 0 and row["JAX"]["ratio"] == 1
