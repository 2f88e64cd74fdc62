"""Progress without a terminal: a line now and then, whatever has been done."""

import pytest

from mtujax.common import progress


@pytest.fixture
def shown(monkeypatch, capsys):
    """Lines for calls at (seconds, done, total)."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0)

    def lines(*calls):
        times = iter([0.0, *(seconds for seconds, *_ in calls)])
        monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
        with progress.FrameProgress("at work", stderr=True, unit="MB") as show:
            for _, done, total in calls:
                show(done, total)
        return capsys.readouterr().err.splitlines()

    return lines


def test_a_line_comes_though_nothing_is_done_yet(shown):
    said = shown((1, 0, 9), (2, 0, None), (4, 9, None))
    assert said == ["at work: 0/9 MB", "at work: 0 MB", "at work: 9 MB, 3.0 MB/s"]


def test_time_before_the_first_call_and_what_was_done_by_then_are_no_speed(shown):
    said = shown((100, 1, 301), (110, 6, 301), (111, 300, 301), (112, 301, 301))
    assert said == [
        "at work: 1/301 MB",
        "at work: 6/301 MB, 0.500 MB/s, 0:10 h left",
        "at work: 300/301 MB, 27.2 MB/s, 1 s left",
        "at work: 301/301 MB, 25.0 MB/s",
    ]
