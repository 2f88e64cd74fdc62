"""What a training run shows: lines and a bar, with means, pace and rates."""

import io
import math
import re

import jax.numpy as jnp
import logged
import numpy as np
import pytest
from logged import Underway, lines, steps_of

from mtujax.training.config import TrainConfig
from mtujax.training.logbook import Logbook
from mtujax.training.optimizers import learning_rates

stream, clock, book = logged.stream, logged.clock, logged.book


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_has_the_means_since_the_line_before(book, stream):
    with book() as log:
        for step in range(1, 21):
            terms = {"grad_norm_total": 0.5, "deblur": step / 100, "motion": 2.0}
            log.update(step, {name: jnp.float32(v) for name, v in terms.items()})
    assert lines(stream) == [  # (1 + ... + 10) / 1000, (11 + ... + 20) / 1000
        "update  10/100: deblur 0.05500, motion 2.000 | gradient 0.5000",
        "update  20/100: deblur 0.1550, motion 2.000 | gradient 0.5000",
    ]


def test_a_batch_of_several_updates_ends_a_line_when_it_passes_its_end(book, stream):
    with book(total=39) as log:
        for step in (13, 26, 39):
            log.update(step, {"deblur": float(step)})
    assert lines(stream) == [f"update {n}/39: deblur {n}.00" for n in (13, 26, 39)]


def test_what_is_left_at_the_end_gets_a_line(book, stream):
    with book() as log:
        for step in range(1, 15):
            log.update(step, {"deblur": float(step)})
        assert len(lines(stream)) == 1
    assert lines(stream)[1] == "update  14/100: deblur 12.50"


def test_names_are_shown_where_there_are_several(book, stream):
    terms = {"deblur": 0.25, "grad_norm_deblur": 1.0, "grad_norm_motion": 12.0}
    rates = {
        "learning_rate_deblur": lambda n: 1e-4,
        "learning_rate_motion": lambda n: 0.0,
    }
    with book(every=1, rates=lambda: rates) as log:
        log.update(1, terms)
    assert lines(stream) == [
        "update   1/100: deblur 0.2500 | gradient deblur 1.000, motion 12.00 | "
        "rate deblur 1.00e-04, motion 0.00e+00"
    ]


def test_what_is_not_finite_is_left_out_of_the_means(book, stream):
    values = {1: 1.0, 2: math.nan, 3: 3.0, 4: math.inf, 5: math.nan, 6: math.nan}
    with book(total=6, every=2) as log:
        for step, value in values.items():
            log.update(step, {"deblur": jnp.float32(value), "motion": 1.0})
    figures = [re.search(r"deblur (\S+),", line)[1] for line in lines(stream)]
    assert figures == ["1.000", "3.000", "nan"]


def test_counters_are_shown_with_what_the_line_added(book, stream):
    with book(every=1) as log:
        for step, skipped in enumerate((0, 2, 2, 3), 1):
            log.update(step, {"deblur": 1.0}, {"skipped": jnp.int32(skipped)})
    ends = [line.partition("1.000")[2] for line in lines(stream)]
    assert ends == ["", " | skipped 2 (+2)", " | skipped 2", " | skipped 3 (+1)"]


def test_a_run_that_goes_on_does_not_count_the_old_ones_as_new(book, stream):
    with book(every=1, start=50) as log:
        log.update(51, {"deblur": 1.0}, {"skipped": 7})
        log.update(52, {"deblur": 1.0}, {"skipped": 8})
    ends = [line.partition("1.000")[2] for line in lines(stream)]
    assert ends == [" | skipped 7", " | skipped 8 (+1)"]


# Learning rates.


def test_a_rate_is_that_of_the_last_update_that_was_made(book, stream):
    """Update n had the rate after n - 1; one that was skipped moved no schedule."""
    rates = {"learning_rate": lambda made: made / 1000}
    with book(rates=lambda: rates) as log:
        log.update(10, {"deblur": 1.0}, {"skipped": 0})
        log.update(20, {"deblur": 1.0}, {"skipped": 4})
    assert re.findall(r"rate (\S+)", stream.getvalue()) == ["9.00e-03", "1.50e-02"]


def test_a_rate_is_that_of_its_update_however_late_its_line_is_written(book, stream):
    """The schedule may change while a line waits for the device."""
    peak, loss = 0.0, Underway(1.0)

    def rates():
        return {"learning_rate": lambda made, peak=peak: peak + made / 1000}

    with book(rates=rates) as log:
        peak = 0.5
        log.update(10, {"deblur": loss})
        peak = 0.75
        log.update(11, {"deblur": 1.0})
        loss.finished = True
        log.update(20, {"deblur": 1.0})
    assert re.findall(r"rate (\S+)", stream.getvalue()) == ["5.09e-01", "7.69e-01"]


def test_schedules_of_the_optimisers_are_taken_as_they_are(book, stream):
    config = TrainConfig(steps=100, scheme="release", schedule="drops", warmup=0)
    rates = {f"learning_rate_{n}": r for n, r in learning_rates(config).items()}
    with book(rates=lambda: rates) as log:
        log.update(10, {"deblur": jnp.float32(1.0)})
    assert lines(stream)[0].endswith("| rate deblur 1.00e-04, motion 1.00e-06")


# It never waits for the device.


def test_a_line_waits_until_the_device_is_done_and_nothing_waits_for_it(book, stream):
    values = [Underway(0.5) for _ in range(12)]
    with book() as log:
        for step, value in enumerate(values[:11], 1):
            log.update(step, {"deblur": value})
        assert stream.getvalue() == "" and not any(v.fetched for v in values)
        for value in values:
            value.finished = True
        log.update(12, {"deblur": values[11]})
        assert lines(stream) == ["update  10/100: deblur 0.5000"]


def test_an_error_does_not_wait_for_the_device_either(book, stream):
    value = Underway(0.5)
    with pytest.raises(ZeroDivisionError), book(every=1) as log:
        log.update(1, {"deblur": 1.0})
        log.update(2, {"deblur": value})
        raise ZeroDivisionError
    assert lines(stream) == ["update   1/100: deblur 1.000"] and not value.fetched


def test_an_error_leaves_nothing_unwritten_that_is_done(book, stream):
    with pytest.raises(ZeroDivisionError), book() as log:
        log.update(3, {"deblur": 1.0})
        raise ZeroDivisionError
    assert lines(stream) == ["update   3/100: deblur 1.000"]


# Validations, notes, bar.


def test_a_validation_says_what_is_gained_and_what_was_best(book, stream):
    with book() as log:
        for step, psnr in ((10, 29.0), (20, 31.5), (30, 31.0), (40, math.nan)):
            log.validation(step, {"psnr": psnr, "psnr_blurry": 30.0, "a": 1.0}, {})
    assert lines(stream) == [
        "validation at update 10: 29.00 dB, 1.00 dB below the blurry frames",
        "validation at update 20: 31.50 dB, 1.50 dB above the blurry frames; the best "
        "so far",
        "validation at update 30: 31.00 dB, 1.00 dB above the blurry frames; the best "
        "was 31.50 dB at update 20",
        "validation at update 40: nan dB; the best was 31.50 dB at update 20",
    ]


def test_the_best_is_remembered_by_a_run_that_goes_on(book, stream):
    with book() as log:
        log.validation(10, {"psnr": 31.0}, {})
        log.validation(20, {"psnr": 33.0}, {})
    with book(start=10) as log:  # the second one was lost
        log.validation(20, {"psnr": 30.0}, {})
    assert lines(stream)[-1].endswith("; the best was 31.00 dB at update 10")


def test_other_processes_say_and_write_nothing(stream, tmp_path, capsys):
    with Logbook(None, total=2, every=1, stream=stream) as log:
        log.update(1, {"deblur": jnp.float32(1.0)})
        log.validation(1, {"psnr": 30.0}, {"a": np.zeros((4, 4, 3), np.uint8)})
        log.note("note")
    assert stream.getvalue() == "" and capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())


def test_without_a_terminal_lines_are_plain_and_on_standard_output(book, capsys):
    with book(stream=None, every=1) as log:
        log.note("note: [bold] stays")
        log.update(1, {"deblur": 1.0})
    out = capsys.readouterr().out
    assert out == "note: [bold] stays\nupdate   1/100: deblur 1.000\n"


def test_in_a_terminal_lines_stand_above_a_bar(book, clock, monkeypatch):
    for name, value in {"TERM": "xterm", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    with book(stream=terminal) as log:
        shown = terminal.getvalue()
        assert "0/100" in shown and "compiling" in shown and "━" in shown
        log.note("note: [bold] stays " + "and is not broken, however long it is " * 5)
        steps_of(log, clock, 1, range(1, 21))
        log.update(25, {"deblur": 1.0})
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "note: [bold] stays " + "and is not broken, however long it is " * 5 in plain
    assert "update  20/100: deblur 1.000 | 1.0 updates/s, 0:02 h left\n" in plain
    assert " 25/100 " in plain.rstrip().splitlines()[-1]
