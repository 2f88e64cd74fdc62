"""Candidates of which some fail: they are named, and the others are timed."""

from benchmarks.gpu.flags import table_rows
from benchmarks.helpers.runs import attempted


def test_a_candidate_that_fails_is_named():
    made, refused = attempted({"one": lambda: 1, "none": lambda: 1 // 0})
    assert made == {"one": 1}
    assert list(refused) == ["none"] and "ZeroDivisionError" in refused["none"]


def test_ratios_are_to_the_first_form_that_runs():
    times = {"a": [2.0, 4.0, 3.0], "b": [1.0, 2.0, 1.5]}
    rows = [*table_rows("fast", {"step_ms": times, "refused": {"c": "too large"}})]
    assert rows == [
        ("fast", "a", "3.00", "1.00"),
        ("fast", "b", "1.50", "0.50"),
        ("fast", "c: too large", "", ""),
    ]
