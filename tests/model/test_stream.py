"""A stream whose results may still be computed when it returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtujax import Stream, restore_clip
from mtujax.model.tiling import TiledStream


def run(stream, frames):
    """All restored frames, and how many came with each push."""
    restored, counts = [], []
    for frame in frames:
        ready = stream.push(frame)
        counts.append(len(ready))
        restored += ready
    return restored + stream.flush(), counts


@pytest.mark.parametrize("in_flight", [1, 2, 9])
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_results_in_flight_come_later_and_are_the_same(
    model, params, clip, in_flight, kind
):
    frames = [kind(frame) for frame in np.tile(clip[0], (2, 1, 1, 1))]
    expected, _ = run(Stream(model, params), frames)
    stream = Stream(model, params, in_flight=in_flight)
    assert stream.latency == model.config.lookahead + in_flight
    restored, counts = run(stream, frames)
    late = min(stream.latency, len(frames))
    assert counts == [0] * late + [1] * (len(frames) - late)
    assert all(type(frame) is type(expected[0]) for frame in restored)
    np.testing.assert_array_equal(restored, expected)


def test_it_starts_anew_after_results_in_flight(model, params, clip):
    stream = Stream(model, params, in_flight=3)
    first, _ = run(stream, clip[0])
    again, _ = run(stream, clip[0])
    np.testing.assert_array_equal(again, first)
    assert stream.flush() == []


def test_a_frame_that_is_refused_costs_none_in_flight(model, params, clip):
    stream, restored = Stream(model, params, in_flight=2), []
    for frame in clip[0]:
        restored += stream.push(frame)
        with pytest.raises(ValueError, match="this video has"):
            stream.push(frame[:-4])
    restored += stream.flush()
    np.testing.assert_array_equal(restored, run(Stream(model, params), clip[0])[0])


def test_a_stream_whose_step_failed_can_be_reset(model, params, clip):
    frames = list(np.asarray(clip[0]))
    stream, failed = Stream(model, params), Stream(model, params)
    for frame in frames[:4]:
        failed.push(frame)
    jax.tree.map(lambda x: x.delete(), failed._state)  # as it is after such a step
    with pytest.raises(RuntimeError):
        failed.push(frames[4])
    with pytest.raises(RuntimeError):
        failed.reset()
    expected = [*stream.push(frames[0]), *stream.flush()]
    np.testing.assert_array_equal([*failed.push(frames[0]), *failed.flush()], expected)


@pytest.mark.parametrize("in_flight", [-1, 1.5])
def test_no_number_of_results_in_flight_is_refused(model, params, in_flight):
    with pytest.raises(ValueError, match=f"in_flight={in_flight}: must be a whole"):
        Stream(model, params, in_flight=in_flight)


def poisoned(frames, at, values=(np.nan, np.inf, -np.inf)):
    """Frames of which one has some values that are not finite."""
    frames = np.array(frames)
    frames[at, 3, 3:6, 1] = values
    return frames


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_a_value_that_is_not_finite_is_read_as_one_in_range(model, params, clip, kind):
    """The expected frames are those of a stream that was given the values instead."""
    frames = poisoned(clip[0], 2)
    expected, _ = run(Stream(model, params), poisoned(clip[0], 2, (0, 1, 0)))
    stream = Stream(model, params)
    with pytest.warns(UserWarning, match="3 values are NaN or infinite") as caught:
        restored, _ = run(stream, list(map(kind, frames)))
        again, _ = run(stream, list(map(kind, frames)))
    np.testing.assert_array_equal(restored, expected)
    np.testing.assert_array_equal(again, expected)
    assert len(caught) == 1 and stream.replaced == 6


@pytest.mark.parametrize("tile", [None, (16, 24)])
def test_it_recovers_from_frames_that_overflow_in_the_network(
    model, params, clip, tile
):
    frames = np.tile(clip[0], (2, 1, 1, 1))
    frames[3, 5, 5] = 3e38  # finite, but not what a convolution makes of it
    if tile:
        stream = TiledStream(model, params, tile, overlap=8)
    else:
        stream = Stream(model, params)
    restored, _ = run(stream, frames)
    # No window reaches it from there; nothing else may carry it further.
    later = 3 + model.config.lookback + 1
    assert np.isfinite(restored[later:]).all()
    before, rest = frames[None, :later], frames[None, later:]
    _, (expected,) = restore_clip(model, params, rest, before=before)
    if not tile:
        np.testing.assert_allclose(restored[later:], np.clip(expected, 0, 1), atol=1e-6)
    assert stream.replaced == 0


def test_a_stream_of_one_bad_video_leaves_its_neighbour_alone(model, params, clip):
    frames = np.stack([clip[0], clip[0]], axis=1)
    sound, _ = run(Stream(model, params), frames)
    frames[3, 1, 5, 5] = 3e38
    restored, _ = run(Stream(model, params), frames)
    # Beside a sound one: a batch of another size may be rounded otherwise.
    np.testing.assert_array_equal(np.stack(restored)[:, 0], np.stack(sound)[:, 0])
    assert not np.array_equal(restored[4][1], sound[4][1])


@pytest.mark.parametrize("dtype", [">f4", ">f2", ">f8"])
def test_arrays_of_the_other_byte_order_are_the_same_frames(model, params, clip, dtype):
    frames = clip[0].astype(dtype)
    restored, _ = run(Stream(model, params), frames)
    expected, _ = run(Stream(model, params), frames.astype(dtype.replace(">", "<")))
    assert {frame.dtype.str for frame in restored} == {dtype}
    np.testing.assert_array_equal(restored, expected)
