"""What a training run says of its speed and of the time that is left."""

import math

import logged
from logged import Underway, lines, steps_of

stream, clock, book = logged.stream, logged.clock, logged.book


def paces(stream):
    return [line.partition("1.000")[2].strip(" |") for line in lines(stream)]


def test_speed_and_time_left_do_not_count_the_first_update(book, stream, clock):
    with book() as log:
        clock.now += 500  # to compile
        steps_of(log, clock, 0, [1])
        steps_of(log, clock, 2, range(2, 11))
        steps_of(log, clock, 4, range(11, 21))
    # 90 updates of 2 s; 80 of the (9 x 2 + 10 x 4) / 19 s that it took until then.
    first, second = 90 * 2 / 60, 80 * 58 / 19 / 60
    assert paces(stream) == [
        f"0.500 updates/s, 0:{math.ceil(first):02d} h left",
        f"0.250 updates/s, 0:{math.ceil(second):02d} h left",
    ]


def test_lines_written_at_once_share_their_time(book, stream, clock):
    with book(total=30) as log:
        steps_of(log, clock, 2, [1])
        steps_of(log, clock, 20, [10])
        steps_of(log, clock, 0, [20])
        steps_of(log, clock, 20, [30])
    assert paces(stream) == ["0.450 updates/s, 45 s left", "11 s left", "1.0 updates/s"]


def test_an_end_that_is_not_known_yet_is_not_named(book, stream, clock):
    with book(total=None) as log:
        steps_of(log, clock, 2, range(1, 11))
        log.expect(100)
        steps_of(log, clock, 2, range(11, 21))
    assert [line.partition(":")[0] for line in lines(stream)] == [
        "update 10",
        "update  20/100",
    ]
    assert paces(stream) == ["0.500 updates/s", "0.500 updates/s, 0:03 h left"]


def test_hours_are_shown_and_nothing_at_the_end(book, stream, clock):
    with book(total=20_000, every=10_000) as log:
        steps_of(log, clock, 1, [1])
        steps_of(log, clock, 9999 * 0.5, [10_000])
        steps_of(log, clock, 10_000 * 0.5, [20_000])
    assert paces(stream) == ["2.0 updates/s, 1:24 h left", "2.0 updates/s"]


def test_a_validation_counts_as_time_but_not_as_slow_updates(book, stream, clock):
    with book() as log:
        steps_of(log, clock, 1, range(1, 11))
        clock.now += 38
        log.validation(10, {"psnr": 30.0}, {})
        steps_of(log, clock, 1, range(11, 21))
    line = [line for line in lines(stream) if line.startswith("update  20")][0]
    # 80 updates of (19 + 38) / 19 = 3 s.
    assert line.endswith("| 1.0 updates/s, 0:04 h left")


def test_a_line_that_had_to_wait_for_a_validation_does_not_count_it(
    book, stream, clock
):
    value = Underway(1.0)
    with book() as log:
        steps_of(log, clock, 1, range(1, 10))
        clock.now += 1
        log.update(10, {"deblur": value})
        clock.now += 38
        log.validation(10, {"psnr": 30.0}, {})
    # 90 updates of (9 + 38) / 9 s.
    assert lines(stream)[0].endswith("| 1.0 updates/s, 0:08 h left")


def test_a_run_that_goes_on_has_the_pace_of_now(book, stream, clock):
    with book(total=1000, start=500) as log:
        steps_of(log, clock, 2, range(501, 511))
    assert paces(stream) == [f"0.500 updates/s, 0:{math.ceil(490 * 2 / 60)} h left"]
