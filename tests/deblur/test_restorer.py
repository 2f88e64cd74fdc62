"""Laws of the restorer: all frames, in order, whatever memory does meanwhile."""

import dataclasses

import numpy as np
import pytest
import restoring
from networks import TINY, lively_params, slow
from restoring import CUT, FRAMES, assert_near, decoded, drive, streamed

from mtujax.deblur.restorer import Restorer
from mtujax.model.network import MTUNet, inference_params
from mtujax.video.scene_cuts import Decoded

network = restoring.network
frames = restoring.frames
expected = restoring.expected


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.step.restored, b.restored)
        np.testing.assert_array_equal(a.step.displacement, b.displacement)


def test_results_are_the_streams_a_few_frames_later(network, frames, expected):
    restorer = Restorer(*network)
    counts = [len(restorer.push(item)) for item in decoded(frames[:6])]
    assert counts == [0, 0, 0, 0, 1, 1]  # two look ahead, two are on the device
    found = drive(Restorer(*network), frames)
    assert_equal(found, expected)
    assert all(r.snapshot is None for r in found)
    assert all(isinstance(r.step.restored, np.ndarray) for r in found)
    assert found[0].step.restored.flags.writeable


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_frames_come_back_in_their_dtype(network, frames, dtype):
    (found,) = drive(Restorer(*network), [(frames[0] / 255).astype(dtype)])
    restored = found.step.restored
    assert restored.dtype == dtype and restored.shape == (24, 320, 3)


def test_without_motion_compensation_there_is_no_displacement(frames):
    model = MTUNet(dataclasses.replace(TINY, motion_compensation=False))
    params = inference_params(lively_params(model))
    (restored,) = drive(Restorer(model, params), frames[:1, :24, :32])
    assert restored.step.displacement is None


def test_a_buffer_that_is_filled_again_does_no_harm(network, frames, expected):
    restorer, buffer, found = Restorer(*network), np.empty_like(frames[0]), []
    for frame in frames:
        buffer[:] = frame
        found += restorer.push(Decoded(buffer, None))
    buffer[:] = 0
    assert_equal(found + restorer.finish(), expected)


@pytest.mark.parametrize("cut", [slow(0), 1, slow(2), 5])
def test_a_cut_is_two_videos(network, frames, cut):
    items = [*frames[:cut], CUT, *frames[cut:8]]
    assert_equal(drive(Restorer(*network), items), streamed(network, items))


def test_another_size_needs_a_cut(network, frames):
    restorer, small = Restorer(*network), frames[0, :24, :32]
    found = restorer.push(Decoded(frames[0], None))
    with pytest.raises(ValueError, match=r"call reset\(\) between videos"):
        restorer.push(Decoded(small, None))
    with pytest.raises(ValueError, match="give uint8"):
        restorer.push(Decoded(frames[0].astype(int), None))
    found += drive(restorer, [frames[1], CUT, small])
    shapes = [r.step.restored.shape for r in found]
    assert shapes == [(24, 320, 3)] * 2 + [(24, 32, 3)]


def test_a_result_brings_its_frame_along(network, frames):
    items = [Decoded(frame, k, k == 3) for k, frame in enumerate(frames[:6])]
    found = list(Restorer(*network).restore(items))
    for number, (result, item) in enumerate(zip(found, items, strict=True)):
        assert (result.number, *result.source[1:]) == (number, *item[1:])
        np.testing.assert_array_equal(result.source.frame, item.frame)


def test_an_end_twice_gives_nothing_twice(network, frames):
    restorer = Restorer(*network)
    assert restorer.finish() == restorer.finish() == []
    assert len(drive(restorer, frames[:1])) == 1
    assert restorer.finish() == []
    assert len(drive(restorer, frames[:2])) == 2


# Snapshots


@pytest.mark.parametrize("tile", [None, slow((24, 144))])
@pytest.mark.parametrize("done", [3, slow(6), slow(12)])
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
        np.testing.assert_array_equal(a.step.restored, b.step.restored)
        assert (a.snapshot is None) == (b.snapshot is None)
        for name in b.snapshot or {}:
            np.testing.assert_array_equal(a.snapshot[name], b.snapshot[name])


def test_other_tiles_can_go_on(network, frames, expected):
    whole = drive(Restorer(*network, snapshot_every=4), frames)
    later = Restorer(*network, tile=(24, 144))
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
    restorer.push(Decoded(frames[0], None))
    with pytest.raises(ValueError, match="have been pushed"):
        restorer.resume({}, 0)


def test_few_frames_are_held(network, frames):
    restorer = Restorer(*network)
    for frame in decoded([*frames, *frames, *frames]):
        restorer.push(frame)
        assert len(restorer._held) <= 8 + 2 + 2
    restorer.finish()
    assert len(restorer._held) <= 8
