"""The promises of docs/reference/failures.md are held by tests that exist."""

import re

from places import ROOT


def test_every_promise_names_tests_that_exist():
    lines = (ROOT / "docs" / "reference" / "failures.md").read_text().splitlines()
    rows = [r for r in lines if r.startswith("| ") and not r.startswith("| fault |")]
    notes = re.findall(r"^\[\^(\d+)\]: (.+)$", "\n".join(lines), re.M)
    marks = re.findall(r"^\| .+ \| .+ \[\^(\d+)\] \|$", "\n".join(rows), re.M)
    assert len(rows) == len(marks) > 20
    assert len(set(marks)) == len(marks)
    assert sorted(marks) == sorted(mark for mark, _ in notes)
    for row, mark in zip(rows, marks, strict=True):
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", dict(notes)[mark])
        assert named, row
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
