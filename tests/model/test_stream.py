"""A stream whose results may still be computed when it returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtujax import Stream


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
