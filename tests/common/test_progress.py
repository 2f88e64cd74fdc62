"""Progress without a terminal: a line now and then, whatever has been done."""

import io
import sys

import pytest

from mtujax.common import progress


@pytest.mark.parametrize(
    "done, total, said",
    [(0, 9, "0 MB, 0.0 MB/s"), (3, None, "3 MB, "), (3, 9, "3/9 MB, ")],
)
def test_a_line_comes_though_nothing_is_done_yet(monkeypatch, done, total, said):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with progress.FrameProgress("downloading", stderr=True, unit="MB") as shown:
        shown(done, total)
    assert sys.stderr.getvalue().startswith(f"downloading: {said}")
