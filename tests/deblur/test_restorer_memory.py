"""The restorer where memory is short: in tiles, and no frame is lost on the way."""

import jax
import numpy as np
import pytest
import restoring
from moving import decibels
from networks import slow
from restoring import CUT, assert_near, drive, streamed

from mtujax.deblur import restorer as module
from mtujax.deblur.restorer import Restorer
from mtujax.errors import UserError
from mtujax.model import stream, tiling as tiles
from mtujax.model.tiling import Plan

network = restoring.network
frames = restoring.frames
expected = restoring.expected


@pytest.fixture
def planned(monkeypatch):
    def plan(*arguments):
        assert arguments[2:] == (24, 320, np.uint8, 2e9)
        return Plan((24, 144), int(3.2e9))

    monkeypatch.setattr(module, "plan", plan)
    monkeypatch.setattr(module, "available_bytes", lambda: 2e9)


def test_frames_that_do_not_fit_are_restored_in_tiles(
    network, frames, expected, planned
):
    notes = []
    found = drive(Restorer(*network, on_note=notes.append), [*frames, CUT, frames[0]])
    assert_near(found[:-1], expected)
    assert notes == [
        "frames of 320x24 need about 3.2 GB of free memory, 2.0 GB are free: restored "
        "in tiles of 144x24"
    ]


def test_whole_frames_or_given_tiles_are_not_planned(network, frames, monkeypatch):
    monkeypatch.setattr(module, "plan", None)
    for tile in (None, (24, 144)):
        assert len(drive(Restorer(*network, tile=tile), frames[:3])) == 3


class Failing:
    """Steps of any stream, of which some run out of memory; counted from 1."""

    def __init__(self, monkeypatch):
        self.calls, self.at, self.late = 0, set(), set()
        self.error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        for owner, name in ((stream, "_step"), (tiles, "_close")):
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, step):
        def run(*arguments):
            self.calls += 1
            if self.calls in self.at:
                raise self.error
            state, restored, displacement = step(*arguments)
            if self.calls in self.late:
                restored = Poisoned(self.error)
            return state, restored, displacement

        return run


class Poisoned:
    """A result whose computation fails only when somebody wants to see it."""

    def __init__(self, error):
        self.shape, self.error = (1, 24, 320, 3), error

    def reshape(self, _):
        return self

    def __array__(self, dtype=None, copy=None):
        raise self.error


@pytest.fixture
def failing(monkeypatch):
    return Failing(monkeypatch)


@pytest.mark.parametrize(
    "call, late",
    [(1, False), (12, True), slow(1, True), slow(12, False)]
    + [slow(call, late) for call in (2, 8, 13, 14) for late in (False, True)],
)
def test_no_frame_is_lost_when_memory_runs_out(
    network, frames, expected, failing, call, late
):
    """In the first frame, in mid-run, and in the last ones, which `finish` restores."""
    (failing.late if late else failing.at).add(call)
    notes = []
    restorer = Restorer(*network, on_note=notes.append, snapshot_every=5, tile=None)
    found = drive(restorer, frames)
    assert_near(found, expected)
    assert notes == [
        "frames of 320x24: out of memory as a whole: continues in tiles of 144x24"
    ]
    due = [k + 1 for k, r in enumerate(found) if r.snapshot is not None]
    assert due == [5, 10]


def test_snapshots_taken_after_memory_ran_out_can_be_gone_on_from(
    network, frames, expected, failing
):
    failing.late.add(9)
    whole = drive(Restorer(*network, snapshot_every=5, tile=None), frames)
    later = Restorer(*network, tile=(24, 144))
    later.resume(whole[9].snapshot, 10)
    for a, b in zip(drive(later, frames[10:]), whole[10:], strict=True):
        np.testing.assert_array_equal(a.step.restored, b.step.restored)


@pytest.mark.parametrize("late", [slow(False), True], ids=["dispatched", "read"])
@pytest.mark.parametrize("second", [9, slow(10), slow(16)])
def test_no_frame_is_lost_when_memory_runs_out_twice(
    network, frames, expected, failing, second, late
):
    (failing.late if late else failing.at).update((6, second))
    notes = []
    found = drive(Restorer(*network, on_note=notes.append, tile=None), frames)
    assert_near(found, expected)
    assert notes[1:] == [
        "frames of 320x24: out of memory in tiles of 144x24: continues in tiles of "
        "112x24"
    ]


@pytest.mark.parametrize("late", [slow(False), True], ids=["dispatched", "read"])
@pytest.mark.parametrize("call", [3, *map(slow, range(4, 9))])
def test_cuts_among_the_frames_restored_anew_stay_cuts(
    network, frames, failing, call, late
):
    items = [*frames[:4], CUT, frames[9], CUT, *frames[3:8]]
    expected = streamed(network, items)
    failing.calls = 0
    (failing.late if late else failing.at).add(call)
    found = drive(Restorer(*network, tile=None), items)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert decibels(a.step.restored, b.restored) > 45


def test_a_shot_of_another_size_has_tiles_of_its_own(network, frames, failing):
    small = frames[:3, :24, :32]
    items = [*frames[:3], CUT, *small, CUT, *frames[3:6]]
    expected = streamed(network, items)
    failing.calls, failing.at = 0, {2}
    notes = []
    found = drive(Restorer(*network, on_note=notes.append, tile=None), items)
    assert len(notes) == 1 and len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert decibels(a.step.restored, b.restored) > 45


def test_memory_that_runs_out_after_resuming_goes_back_to_the_snapshot(
    network, frames, expected, failing
):
    whole = drive(Restorer(*network, snapshot_every=4, tile=None), frames)
    failing.calls, failing.at = 0, {2}
    later = Restorer(*network, tile=None)
    later.resume(whole[3].snapshot, 4)
    assert_near(drive(later, frames[4:]), expected[4:])


def test_python_out_of_memory_is_out_of_memory(network, frames, expected, failing):
    failing.error = MemoryError()
    failing.at.add(5)
    assert_near(drive(Restorer(*network, tile=None), frames), expected)


def test_without_smaller_tiles_it_gives_up_with_a_reason(network, frames, failing):
    failing.at.update(range(1, 99))
    with pytest.raises(UserError) as raised:
        drive(Restorer(*network, tile=None), frames)
    assert str(raised.value) == (
        "frames of 320x24: out of memory in tiles of 112x24: free some memory, or give "
        "smaller frames"
    )
    assert failing.calls == 3


def test_any_other_error_passes_through(network, frames, failing):
    failing.at, failing.error = {2}, jax.errors.JaxRuntimeError("INTERNAL: a defect")
    with pytest.raises(jax.errors.JaxRuntimeError, match="a defect"):
        drive(Restorer(*network, tile=None), frames)
