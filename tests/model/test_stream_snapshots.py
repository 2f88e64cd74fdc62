"""Laws of interruption: a stream from a file equals one that never ended."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import TINY, lively_params, slow

from mtujax.model.network import MTUNet
from mtujax.model.stream import Stream
from mtujax.model.tiling import TiledStream


def stored(snapshot, path):
    """A snapshot's way through a file."""
    np.savez(path, **snapshot)
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def run(stream, frames):
    return [step for frame in frames for step in stream.advance(frame)]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert type(a.restored) is type(b.restored)
        np.testing.assert_array_equal(a.restored, b.restored)
        np.testing.assert_array_equal(a.displacement, b.displacement)


@pytest.fixture(params=["whole", "tiled"])
def make(request, params):
    def stream(model, params=params):
        if request.param == "whole":
            return Stream(model, params)
        return TiledStream(model, params, (16, 20), overlap=8)

    return stream


@pytest.mark.parametrize("restored", [0, 1, 2, 4])
def test_a_resumed_stream_goes_on_bit_for_bit(make, model, clip, tmp_path, restored):
    frames = np.rint(clip[0] * 255).astype(np.uint8)
    stream = make(model)
    expected = run(stream, frames) + stream.finish()
    before = run(stream, frames[: restored + 2])
    snapshot = stored(stream.snapshot(), tmp_path / "s.npz")
    assert len(before) == restored and bool(snapshot) == bool(restored)
    later = make(model)
    later.resume(snapshot)
    assert_same(run(later, frames[restored:]) + later.finish(), expected[restored:])


@pytest.mark.parametrize("make", ["whole", slow("tiled")], indirect=True)
@pytest.mark.parametrize("dtype", ["bfloat16", slow("float16")])
def test_half_precision_survives_the_file(make, clip, tmp_path, dtype):
    model = MTUNet(dataclasses.replace(TINY, dtype=dtype))
    params = lively_params(model)
    # Frames of half precision as well, of two videos at once.
    frames = jnp.asarray(clip[0, :, None], dtype).repeat(2, axis=1)
    stream = make(model, params)
    expected = run(stream, frames) + stream.finish()
    run(stream, frames[:5])
    later = make(model, params)
    later.resume(stored(stream.snapshot(), tmp_path / "s.npz"))
    found = run(later, frames[3:]) + later.finish()
    assert found[0].restored.dtype == dtype
    assert_same(found, expected[3:])


def test_float64_frames_go_on_as_well(model, params, clip):
    frames, stream = clip[0].astype(np.float64), Stream(model, params)
    expected = run(stream, frames) + stream.finish()
    run(stream, frames[:4])
    later = Stream(model, params)
    later.resume(stream.snapshot())
    assert_same(run(later, frames[2:]) + later.finish(), expected[2:])


def test_a_snapshot_does_not_change_with_what_follows(model, params, clip):
    stream = Stream(model, params)
    run(stream, clip[0, :4])
    snapshot = stream.snapshot()
    kept = {name: array.copy() for name, array in snapshot.items()}
    run(stream, clip[0, 4:])
    later = Stream(model, params)
    later.resume(snapshot)
    run(later, clip[0, 2:])
    for name, array in snapshot.items():
        np.testing.assert_array_equal(array, kept[name])


def test_whole_frames_go_on_where_tiles_stopped(model, params, clip):
    """Two compilations round differently, and this network is a lively one."""
    tiled = TiledStream(model, params, (24, 32))
    run(tiled, clip[0, :5])
    whole = Stream(model, params)
    expected = run(whole, clip[0]) + whole.finish()
    whole.resume(tiled.snapshot())
    found = run(whole, clip[0, 3:]) + whole.finish()
    for a, b in zip(found, expected[3:], strict=True):
        np.testing.assert_allclose(a.restored, b.restored, atol=1e-5)


def test_after_a_cut_there_is_nothing_to_remember(model, params, clip):
    stream = Stream(model, params)
    assert stream.snapshot() == {}
    run(stream, clip[0])
    stream.reset()
    assert stream.snapshot() == {}
    stream.push(clip[0, 0])  # still waits
    assert stream.snapshot() == {}


@pytest.fixture
def snapshot(model, params, clip):
    stream = Stream(model, params)
    run(stream, clip[0])
    return stream.snapshot()


def test_what_a_snapshot_lacks_or_has_too_much_of_is_named(model, params, snapshot):
    wrong = {
        "has no detail": {k: v for k, v in snapshot.items() if k != "detail"},
        "motion_1 is of another network": snapshot | {"motion_1": snapshot["motion_0"]},
        "has 0 past frames": {
            k: v for k, v in snapshot.items() if not k.startswith("past")
        },
        r"restored is float32 \(1, 24, 16, 3\), and .* \(1, 24, 32, 3\)": (
            snapshot | {"restored": snapshot["restored"][:, :, :16]}
        ),
        "detail is float16": snapshot | {"detail": np.float16(snapshot["detail"])},
        r"a past frame is float32 \(24, 32, 3\)": (
            snapshot | {"past_0": snapshot["past_0"][0]}
        ),
    }
    stream = Stream(model, params)
    for said, broken in wrong.items():
        with pytest.raises(ValueError, match=said):
            stream.resume(broken)
    stream.resume(snapshot)  # and it can still be used


def test_a_snapshot_of_another_network_is_refused(params, snapshot):
    wide = MTUNet(dataclasses.replace(TINY, channels=4))
    with pytest.raises(ValueError, match=r"motion_0 is .* with this network"):
        Stream(wide, params).resume(snapshot)


def test_a_snapshot_of_other_frames_is_refused(model, params, clip, snapshot):
    for frame in (
        clip[0, 0, :20],
        np.uint8(255 * clip[0, 0]),
        clip[:1, 0].repeat(2, 0),
    ):
        stream = Stream(model, params)
        stream.resume(snapshot)
        with pytest.raises(ValueError, match="the snapshot is of a video of float32"):
            stream.push(frame)


def test_a_stream_in_mid_video_is_not_resumed(model, params, clip, snapshot):
    stream = Stream(model, params)
    stream.push(clip[0, 0])
    with pytest.raises(ValueError, match="in mid-video"):
        stream.resume(snapshot)
    assert len(stream.flush()) == 1
    stream.resume(snapshot)
    with pytest.raises(ValueError, match="in mid-video"):
        stream.resume(snapshot)


def test_a_snapshot_is_made_of_numpy_arrays_alone(snapshot):
    assert not any(isinstance(array, jax.Array) for array in snapshot.values())
    assert {"motion_0", "detail", "restored", "is_first", "past_0", "past_1"} == set(
        snapshot
    )
