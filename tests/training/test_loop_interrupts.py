"""A run saves at the first signal, leaves at the second, and ends with its time."""

import signal
import time

import handlers
import pytest

from mtujax.common.interrupts import Interrupted, catching, check
from mtujax.training.loop import Stopper


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
        check()  # raises nothing: the run looks for itself
        until(lambda: said)
        assert "stopping after this batch" in said[0] and not left
        signal.raise_signal(number)
        until(lambda: left)
    assert (left, len(said)) == ([128 + number], 1)
    assert signal.getsignal(number) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_within_a_command_a_signal_is_obeyed_once():
    said = []
    with catching(leave=said.append):
        with Stopper(say=said.append) as stopper:
            signal.raise_signal(signal.SIGTERM)
            until(lambda: said)
        assert stopper.number == signal.SIGTERM
        check()
    assert len(said) == 1


def test_a_signal_before_the_first_batch_ends_the_start():
    with catching(), pytest.raises(Interrupted):
        signal.raise_signal(signal.SIGTERM)
        with Stopper():
            raise AssertionError


def test_a_signal_in_another_process_counts():
    with Stopper() as stopper:
        stopper.found(signal.SIGINT)
        assert stopper.over and stopper.number == signal.SIGINT


def test_a_thread_takes_no_signals():
    within, outside = handlers.in_a_thread(Stopper)
    assert within == outside


def test_time_runs_out():
    assert Stopper(0.0).over and not Stopper(10.0).over
