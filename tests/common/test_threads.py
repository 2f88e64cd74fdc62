import threading
import time

import pytest

from mtujax.common.interrupts import Interrupted, check, stopped_by
from mtujax.common.threads import Ahead, Behind, side_by_side


def counting(total, log=None):
    try:
        yield from range(total)
    finally:
        if log is not None:
            log.append(threading.current_thread().name)


def test_items_made_ahead_come_in_order_and_end():
    with Ahead(counting(100), 3) as items:
        assert list(items) == list(range(100))
        assert list(items) == []  # and stay ended


def test_no_more_items_are_made_ahead_than_may_wait():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    with Ahead(items(), 3) as ahead:
        assert next(ahead) == 0
        time.sleep(0.3)
        assert len(made) <= 1 + 3 + 1  # taken, waiting, and one at the door


def test_an_error_of_the_maker_comes_after_its_items():
    def broken():
        yield 1
        raise ValueError("bad frame")

    with Ahead(broken(), 2) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="bad frame"):
            next(items)


def test_leaving_early_closes_the_maker_in_its_own_thread():
    log = []
    with Ahead(counting(10**9, log), 2) as items:
        next(items)
    assert log and log[0] != threading.current_thread().name


def test_work_behind_is_done_in_order_before_the_block_ends():
    done = []
    with Behind(lambda x: (time.sleep(0.001), done.append(x)), 3) as behind:
        for i in range(50):
            behind.put(i)
    assert done == list(range(50))


def test_an_error_of_the_work_reaches_who_puts_and_nothing_more_is_done():
    done = []

    def work(item):
        if item == 3:
            raise OSError("disk full")
        done.append(item)

    with pytest.raises(OSError, match="disk full"):
        with Behind(work, 2) as behind:
            for i in range(100):
                behind.put(i)
    assert done == [0, 1, 2]


def test_an_error_of_the_last_item_is_not_lost():
    def work(item):
        time.sleep(0.05)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        with Behind(work, 2) as behind:
            behind.put(0)


def test_after_an_error_elsewhere_waiting_work_is_dropped():
    done, put = [], threading.Event()

    def slow(item):
        put.wait()
        done.append(item)

    with pytest.raises(KeyboardInterrupt):
        with Behind(slow, 8) as behind:
            for i in range(8):
                behind.put(i)
            put.set()
            raise KeyboardInterrupt
    assert len(done) < 8


def test_no_thread_is_left():
    before = set(threading.enumerate())
    with Ahead(counting(10**9), 2) as items, Behind(lambda x: None, 2) as behind:
        for _ in range(5):
            behind.put(next(items))
    assert set(threading.enumerate()) <= before


def test_tasks_side_by_side_give_results_and_have_calls_made_by_who_takes_them():
    together, called = threading.Barrier(3), []

    def work(task, post):
        together.wait(10)  # three at a time, or never
        post(lambda: called.append((task, threading.current_thread())))
        return task * 10

    with side_by_side(work, range(6), 3) as results:
        assert sorted(results) == [0, 10, 20, 30, 40, 50]
    assert sorted(task for task, _ in called) == [*range(6)]
    assert {thread for _, thread in called} == {threading.current_thread()}


@pytest.mark.parametrize("by", ["a task", "the block"])
def test_an_error_stops_all_tasks_and_gets_their_notes(by):
    started, before = [], {*threading.enumerate()}

    def work(task, post):
        started.append(task)
        if task == 0 and by == "a task":
            while len(started) < 3:
                time.sleep(0.01)
            raise OSError("full")
        try:
            while True:
                check()
                time.sleep(0.01)
        except Interrupted as error:
            error.add_note(f"{task} is kept")
            raise

    with pytest.raises(OSError, match="full") as caught:
        with side_by_side(work, range(9), 3) as results:
            while by == "the block":
                if len(started) == 3:
                    raise OSError("full")
                time.sleep(0.01)
            list(results)
    # A thread whose task failed may have begun the next one before all are stopped.
    stopped = {*started} - ({0} if by == "a task" else set())
    assert {*caught.value.__notes__} == {f"{task} is kept" for task in stopped}
    assert {1, 2} <= stopped <= {0, 1, 2, 3}
    assert {*threading.enumerate()} <= before


def test_a_check_is_stopped_in_its_own_thread_alone():
    (stop := threading.Event()).set()
    with stopped_by(stop), pytest.raises(Interrupted):
        check()
    check()
