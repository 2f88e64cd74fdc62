"""Laws of the restorer: all frames, in order, whatever memory does meanwhile."""

import dataclasses

import jax
import numpy as np
import pytest
from conftest import TINY, lively_params, slow
from moving import decibels, panned

from mtujax import restorer as module
from mtujax import stream, tiles
from mtujax.errors import UserError
from mtujax.memory import Plan
from mtujax.network import MTUNet, inference_params
from mtujax.restorer import Restorer
from mtujax.stream import Stream

CUT = "cut"
FRAMES = 14


@pytest.fixture(scope="module")
def network():
    """Weights of about trained size: livelier ones make chaos of any difference."""
    model = MTUNet(TINY)
    return model, inference_params(lively_params(model, scale=2.0))


@pytest.fixture(scope="module")
def frames():
    return panned(FRAMES, 64, 320)


def drive(restorer, items):
    out = []
    for item in items:
        out += restorer.reset() if item is CUT else restorer.push(item)
    return out + restorer.finish()


def streamed(network, items):
    runner, out = Stream(*network), []
    for item in items:
        out += runner.finish() if item is CUT else runner.advance(item)
    return out + runner.finish()


@pytest.fixture(scope="module")
def expected(network, frames):
    return streamed(network, frames)


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.frame, b.restored)
        np.testing.assert_array_equal(a.displacement, b.displacement)


def assert_near(found, expected, least=45):
    """Every frame is there once, in order: each is the nearest to its own."""
    assert len(found) == len(expected)
    for k, a in enumerate(found):
        near = [decibels(a.frame, b.restored) for b in expected]
        assert np.argmax(near) == k and near[k] > least, (k, near)


def test_results_are_the_streams_a_few_frames_later(network, frames, expected):
    restorer = Restorer(*network)
    counts = [len(restorer.push(frame)) for frame in frames[:6]]
    assert counts == [0, 0, 0, 0, 1, 1]  # two look ahead, two are on the device
    found = drive(Restorer(*network), frames)
    assert_equal(found, expected)
    assert all(r.snapshot is None for r in found)
    assert all(isinstance(r.frame, np.ndarray) for r in found)
    assert found[0].frame.flags.writeable


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_frames_come_back_in_their_dtype(network, frames, dtype):
    (restored,) = drive(Restorer(*network), [(frames[0] / 255).astype(dtype)])
    assert restored.frame.dtype == dtype and restored.frame.shape == (64, 320, 3)


def test_without_motion_compensation_there_is_no_displacement(frames):
    model = MTUNet(dataclasses.replace(TINY, motion_compensation=False))
    params = inference_params(lively_params(model))
    (restored,) = drive(Restorer(model, params), frames[:1, :24, :32])
    assert restored.displacement is None


def test_a_buffer_that_is_filled_again_does_no_harm(network, frames, expected):
    restorer, buffer, found = Restorer(*network), np.empty_like(frames[0]), []
    for frame in frames:
        buffer[:] = frame
        found += restorer.push(buffer)
    buffer[:] = 0
    assert_equal(found + restorer.finish(), expected)


@pytest.mark.parametrize("cut", [0, 1, 2, 5])
def test_a_cut_is_two_videos(network, frames, cut):
    items = [*frames[:cut], CUT, *frames[cut:8]]
    assert_equal(drive(Restorer(*network), items), streamed(network, items))


def test_another_size_needs_a_cut(network, frames):
    restorer = Restorer(*network)
    found = restorer.push(frames[0])
    with pytest.raises(ValueError, match=r"call reset\(\) between videos"):
        restorer.push(frames[0, :24, :32])
    with pytest.raises(ValueError, match="give uint8"):
        restorer.push(frames[0].astype(int))
    found += restorer.push(frames[1])
    found += restorer.reset() + restorer.push(frames[0, :24, :32]) + restorer.finish()
    assert [r.frame.shape for r in found] == [(64, 320, 3)] * 2 + [(24, 32, 3)]


def test_an_end_twice_gives_nothing_twice(network, frames):
    restorer = Restorer(*network)
    assert restorer.finish() == restorer.reset() == []
    assert len(drive(restorer, frames[:1])) == 1
    assert restorer.finish() == []
    assert len(drive(restorer, frames[:2])) == 2


# Snapshots


@pytest.mark.parametrize("tile", [None, (64, 144)])
@pytest.mark.parametrize("done", [3, slow(6), 12])
def test_a_run_that_goes_on_from_a_file_is_the_same_run(
    network, frames, tmp_path, done, tile
):
    whole = drive(Restorer(*network, snapshot_every=3, tile=tile), frames)
    due = [k + 1 for k, r in enumerate(whole) if r.snapshot is not None]
    assert due == [3, 6, 9, 12]
    np.savez(tmp_path / "s.npz", **whole[done - 1].snapshot)
    later = Restorer(*network, snapshot_every=3, tile=tile)
    with np.load(tmp_path / "s.npz") as arrays:
        later.resume(dict(arrays), done)
    found = drive(later, frames[done:])
    assert len(found) == FRAMES - done
    for a, b in zip(found, whole[done:], strict=True):
        np.testing.assert_array_equal(a.frame, b.frame)
        assert (a.snapshot is None) == (b.snapshot is None)
        for name in b.snapshot or {}:
            np.testing.assert_array_equal(a.snapshot[name], b.snapshot[name])


def test_other_tiles_can_go_on(network, frames, expected):
    whole = drive(Restorer(*network, snapshot_every=4), frames)
    later = Restorer(*network, tile=(64, 144))
    later.resume(whole[3].snapshot, 4)
    assert_near(drive(later, frames[4:]), expected[4:])


@pytest.mark.parametrize("again", [True, False])
def test_a_snapshot_before_a_cut_carries_nothing_over(network, frames, again):
    """Whether or not whoever goes on marks the cut once more."""
    items = [*frames[:4], CUT, *frames[4:8]]
    whole = drive(Restorer(*network, snapshot_every=4), items)
    assert whole[3].snapshot == {} and whole[7].snapshot == {}
    later = Restorer(*network)
    later.resume(whole[3].snapshot, 4)
    found = drive(later, [CUT, *frames[4:8]] if again else frames[4:8])
    assert_equal(found, streamed(network, frames[4:8]))


def test_a_cut_right_after_resuming_drops_the_snapshot(network, frames):
    whole = drive(Restorer(*network, snapshot_every=4), frames)
    later = Restorer(*network)
    later.resume(whole[3].snapshot, 4)
    found = drive(later, [CUT, *frames[4:8]])
    assert_equal(found, streamed(network, frames[4:8]))


def test_a_wrong_moment_or_snapshot_to_resume_is_refused(network, frames):
    restorer = Restorer(*network)
    with pytest.raises(ValueError, match="has 0 past frames"):
        restorer.resume({"detail": np.zeros(3)}, 4)
    restorer.push(frames[0])
    with pytest.raises(ValueError, match="have been pushed"):
        restorer.resume({}, 0)


# Memory


@pytest.fixture
def planned(monkeypatch):
    def plan(*arguments):
        assert arguments[2:] == (64, 320, np.uint8, 2e9)
        return Plan((64, 144), int(3.2e9))

    monkeypatch.setattr(module, "plan", plan)
    monkeypatch.setattr(module, "available_bytes", lambda: 2e9)


def test_frames_that_do_not_fit_are_restored_in_tiles(
    network, frames, expected, planned
):
    notes = []
    found = drive(Restorer(*network, on_note=notes.append), [*frames, CUT, frames[0]])
    assert_near(found[:-1], expected)
    assert notes == [
        "frames of 320x64 need about 3.2 GB of free memory, 2.0 GB are free: restored "
        "in tiles of 144x64"
    ]


def test_whole_frames_or_given_tiles_are_not_planned(network, frames, monkeypatch):
    monkeypatch.setattr(module, "plan", None)
    for tile in (None, (64, 144)):
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
        self.shape, self.error = (1, 64, 320, 3), error

    def reshape(self, _):
        return self

    def __array__(self, dtype=None, copy=None):
        raise self.error


@pytest.fixture
def failing(monkeypatch):
    return Failing(monkeypatch)


@pytest.mark.parametrize("late", [False, True], ids=["dispatched", "read"])
@pytest.mark.parametrize("call", [1, slow(2), slow(8), 12, slow(13), slow(14)])
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
        "frames of 320x64: out of memory as a whole: goes on in tiles of 144x64"
    ]
    due = [k + 1 for k, r in enumerate(found) if r.snapshot is not None]
    assert due == [5, 10]


def test_snapshots_taken_after_memory_ran_out_can_be_gone_on_from(
    network, frames, expected, failing
):
    failing.late.add(9)
    whole = drive(Restorer(*network, snapshot_every=5, tile=None), frames)
    later = Restorer(*network, tile=(64, 144))
    later.resume(whole[9].snapshot, 10)
    for a, b in zip(drive(later, frames[10:]), whole[10:], strict=True):
        np.testing.assert_array_equal(a.frame, b.frame)


@pytest.mark.parametrize("late", [False, True], ids=["dispatched", "read"])
@pytest.mark.parametrize("second", [9, slow(10), slow(16)])
def test_no_frame_is_lost_when_memory_runs_out_twice(
    network, frames, expected, failing, second, late
):
    (failing.late if late else failing.at).update((6, second))
    notes = []
    found = drive(Restorer(*network, on_note=notes.append, tile=None), frames)
    assert_near(found, expected)
    assert notes[1:] == [
        "frames of 320x64: out of memory in tiles of 144x64: goes on in tiles of 112x64"
    ]


@pytest.mark.parametrize("late", [False, True], ids=["dispatched", "read"])
@pytest.mark.parametrize("call", [3, *map(slow, (4, 5, 6, 7)), 8])
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
        assert decibels(a.frame, b.restored) > 45


def test_a_shot_of_another_size_has_tiles_of_its_own(network, frames, failing):
    small = frames[:3, :24, :32]
    items = [*frames[:3], CUT, *small, CUT, *frames[3:6]]
    expected = streamed(network, items)
    failing.calls, failing.at = 0, {2}
    notes = []
    found = drive(Restorer(*network, on_note=notes.append, tile=None), items)
    assert len(notes) == 1 and len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert decibels(a.frame, b.restored) > 45


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
        "frames of 320x64: out of memory in tiles of 112x64: free some memory, or give "
        "smaller frames"
    )
    assert failing.calls == 3


def test_any_other_error_passes_through(network, frames, failing):
    failing.at, failing.error = {2}, jax.errors.JaxRuntimeError("INTERNAL: a defect")
    with pytest.raises(jax.errors.JaxRuntimeError, match="a defect"):
        drive(Restorer(*network, tile=None), frames)


def test_few_frames_are_held(network, frames):
    restorer = Restorer(*network)
    for frame in [*frames, *frames, *frames]:
        restorer.push(frame)
        assert len(restorer._held) <= 8 + 2 + 2
    restorer.finish()
    assert len(restorer._held) <= 8
