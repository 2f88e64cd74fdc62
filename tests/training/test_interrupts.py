"""Signals: the first is noted at once, the second leaves, and both are given back."""

import signal
import threading
import time

import pytest

from mtujax.training.interrupts import Stopper


def until(holds):
    for _ in range(500):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_said_and_the_second_leaves(number):
    said, left, before = [], [], signal.getsignal(number)
    with Stopper(say=said.append, leave=left.append) as stopper:
        assert not stopper.over
        signal.raise_signal(number)
        assert stopper.over and stopper.number == number
        until(lambda: said)
        assert "stops after this batch" in said[0] and not left
        signal.raise_signal(number)
        until(lambda: left)
    assert (left, len(said)) == ([128 + number], 1)
    assert signal.getsignal(number) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_other_signals_are_none_of_its_business():
    said, came = [], []
    before = signal.signal(signal.SIGUSR1, lambda *_: came.append(1))
    with Stopper(say=said.append) as stopper:
        signal.raise_signal(signal.SIGUSR1)
        until(lambda: came)
    signal.signal(signal.SIGUSR1, before)
    assert not said and not stopper.over


def test_what_a_shell_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Stopper() as stopper:
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    signal.signal(signal.SIGINT, before)
    assert stopper.number is None


def test_a_thread_takes_no_signals():
    def body():
        with Stopper():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen, before = [], signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]


def test_time_runs_out():
    assert Stopper(0.0).over and not Stopper(10.0).over
