"""The benchmark of starts, run small."""

import pytest
from measured import quick_run


@pytest.mark.slow
def test_a_later_start_compiles_nothing_and_takes_all_from_disk(tmp_path):
    (row,) = quick_run("pipelines.start", tmp_path)[0]["rows"]
    first, later = row["first"], row["later"]
    assert first["from disk"] == later["compiled"] == 0
    assert later["from disk"] == first["compiled"] == row["kept"]["programs"] > 0
    for start in (first, later):
        moments = [start[k] for k in ("device ready, s", "first frame, s")]
        assert 0 < moments[0] < moments[1] < start["written, s"]
