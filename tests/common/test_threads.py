import threading
import time

import pytest

from mtujax.common.threads import Ahead, Behind


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
