"""The benchmark of many videos, run small."""

import pytest
from measured import quick_run


@pytest.mark.slow
def test_many_videos_are_timed_and_their_memory_measured(tmp_path):
    found, _ = quick_run("pipelines.many", tmp_path, "--batches", "2")
    assert set(found["seconds"]) == {"one", "each"}
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert {k: len(v) for k, v in found["batches"].items()} == {"1": 3, "2": 3}
    assert [row["clips"] for row in found["memory"]] == [1, 3]
    assert all(row["peak_mb"] > 20 for row in found["memory"])
