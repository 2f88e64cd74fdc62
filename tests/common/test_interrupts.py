"""Signals are noted, obeyed at the next step, and never lost."""

import contextlib
import gc
import signal
import subprocess
import sys
import threading
import time

import handlers
import pytest

from mtujax.common import interrupts
from mtujax.common.interrupts import Interrupted, catching, check, tidied, undivided
from mtujax.common.threads import Ahead, Behind, in_order

NUMBERS = [signal.SIGINT, signal.SIGTERM]


def until(holds):
    for _ in range(500):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


@pytest.fixture
def left():
    return []


@pytest.fixture(autouse=True)
def slow(monkeypatch):
    """However busy the machine is, steps come in time."""
    for name in ("GRACE", "PATIENCE"):
        monkeypatch.setattr(interrupts, name, 60.0)


@pytest.fixture
def quick(slow, monkeypatch):
    """No step comes in time."""
    monkeypatch.setattr(interrupts, "GRACE", 0.05)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_raises_at_the_next_step_and_at_every_one_after(number, left):
    before = signal.getsignal(number)
    with catching(leave=left.append):
        check()
        signal.raise_signal(number)
        for _ in range(2):  # where a library swallows the first
            with pytest.raises(Interrupted) as caught:
                check()
        assert caught.value.status == 128 + number
    check()
    assert not left and signal.getsignal(number) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_signal_in_a_callback_whose_exceptions_are_dropped_is_not_lost(left):
    with catching(leave=left.append) as wish:

        def callback(*_):
            signal.raise_signal(signal.SIGTERM)

        gc.callbacks.append(callback)
        gc.collect()
        gc.callbacks.remove(callback)
        assert wish.number == signal.SIGTERM
        with pytest.raises(Interrupted):
            check()


def test_what_takes_no_step_is_left_with_a_line(left, quick, capfd):
    with catching("tool", leave=left.append):
        signal.raise_signal(signal.SIGTERM)
        until(lambda: left)
    assert left == [143] and capfd.readouterr().err == "tool: error: interrupted\n"


def test_it_is_tidied_up_for_what_takes_no_step(left, quick, capfd):
    done = []

    def tidy(number):
        done.append(number)
        return "the rest is kept" if number == 1 else None

    with catching("tool", leave=left.append):
        with tidied(lambda: tidy(0)):
            pass  # over before
        with tidied(lambda: tidy(1)), tidied(lambda: 1 / 0), tidied(lambda: tidy(2)):
            signal.raise_signal(signal.SIGINT)
            until(lambda: left)
    assert (left, done) == ([130], [2, 1])
    said = capfd.readouterr().err
    assert said == "tool: error: interrupted; the rest is kept\n"


def test_what_tidies_up_itself_is_waited_for(left, quick):
    with catching(leave=left.append), tidied(lambda: left.append("too early")):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            check()
        time.sleep(0.2)
    assert not left


def test_what_belongs_together_is_not_left_in_the_middle(left, quick):
    with catching(leave=left.append):
        with undivided():
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert not left
        until(lambda: left)
    assert left == [143]


def test_a_second_signal_leaves_at_once(left):
    with catching(leave=left.append):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        until(lambda: left)
    assert left == [143]


def test_other_signals_are_none_of_its_business(left):
    came = []
    before = signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
    with catching(leave=left.append):
        signal.raise_signal(signal.SIGUSR1)
        until(lambda: came)
        check()
    signal.signal(signal.SIGUSR1, before)
    assert not left


def test_what_a_shell_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with catching():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        check()
    signal.signal(signal.SIGINT, before)


def test_a_thread_takes_no_signals():
    within, outside = handlers.in_a_thread(catching)
    assert within == outside


def ahead(items):
    with Ahead(items, 1) as found:
        yield from found


def behind(items):
    with Behind(lambda item: time.sleep(0.01), 1) as worker:
        for item in items:
            yield worker.put(item)


def forever():
    while True:
        yield 0


STEPS = {
    "ahead": lambda: ahead(forever()),
    "behind": lambda: behind(forever()),
    "all in order": lambda: in_order(abs, range(10**4), threads=2),
    "in_order": lambda: in_order(abs, forever(), threads=2, ahead=2),
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_work_in_threads_is_left_at_its_next_step(steps, left):
    with catching(leave=left.append), contextlib.closing(steps()) as found:
        next(found)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted):
            for _ in found:
                pass
    assert not left


def test_waiting_for_a_thread_that_gives_nothing_is_left(left):
    given = threading.Event()

    def slow():
        yield 0
        given.wait()

    with catching(leave=left.append), pytest.raises(Interrupted):
        with Ahead(slow(), 1) as items:
            next(items)
            threading.Timer(0.05, signal.raise_signal, [signal.SIGTERM]).start()
            try:
                next(items)
            finally:
                given.set()


# In the middle of a start, of whatever kind, in a process of its own.
_START = """
import os, signal, sys, time
sys.argv = ["mtujax", {argument!r}]
from mtujax.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)

class Late:
    def find_spec(self, name, *_):
        if name == {module!r}:
            {act}

sys.meta_path.insert(0, Late())
main()
"""


@pytest.mark.parametrize(
    "module, act",
    [
        ("typer", "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"),
        pytest.param(
            "mtujax.weights.files",
            "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)",
            marks=pytest.mark.slow,
        ),
        ("mtujax.weights.files", "os.kill(os.getpid(), signal.SIGINT); raise OSError"),
    ],
)
def test_an_interrupted_start_is_a_line(module, act):
    code = _START.format(argument="weights", module=module, act=act)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "mtujax: error: interrupted\n"
