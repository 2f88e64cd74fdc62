"""The promises of docs/reference/failures.md are held by tests that exist."""

import re

from places import ROOT


def test_every_promise_names_tests_that_exist():
    lines = (ROOT / "docs" / "reference" / "failures.md").read_text().splitlines()
    rows = [r for r in lines if r.startswith("| ") and not r.startswith("| fault |")]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
