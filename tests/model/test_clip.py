"""Laws of time: a clip, its chunks, its batch and its stream are the same network."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import TINY, apply, lively_params, slow

from mtujax.model.clip import restore_clip
from mtujax.model.network import MTUNet, initial_state
from mtujax.model.stream import Stream

VARIANTS = {
    "released form": {},
    "paper text": dict(
        lookback=1, lookahead=0, last_unit_reads_warped=True, initial_features="zero"
    ),
    "one ahead": dict(lookahead=1),
}


@pytest.fixture(
    params=["released form", *map(slow, ("paper text", "one ahead"))], scope="module"
)
def network(request):
    model = MTUNet(dataclasses.replace(TINY, **VARIANTS[request.param]))
    return model, lively_params(model)


def test_the_scan_equals_the_step_by_hand(network, clip):
    model, params = network
    cfg = model.config
    state = initial_state(model, 1, *clip.shape[2:4])
    expected, last = [], clip.shape[1] - 1
    for t in range(clip.shape[1]):
        reach = range(t - cfg.lookback, t + cfg.lookahead + 1)
        window = np.stack([clip[:, np.clip(k, 0, last)] for k in reach], axis=1)
        state, outputs = apply(model, params, state, window)
        expected.append(outputs["restored"])
    after, restored = restore_clip(model, params, clip)
    np.testing.assert_allclose(restored, np.stack(expected, axis=1), atol=1e-6)
    chex.assert_trees_all_close(after, state, atol=1e-6)


def test_the_stream_equals_the_scan(network, clip):
    model, params = network
    _, whole = restore_clip(model, params, clip)
    stream, restored, counts = Stream(model, params), [], []
    for frame in clip[0]:
        ready = stream.push(frame)
        counts.append(len(ready))
        restored += ready
    restored += stream.flush()
    latency = model.config.lookahead
    assert counts == [0] * latency + [1] * (clip.shape[1] - latency)
    np.testing.assert_allclose(restored, np.clip(whole[0], 0, 1), atol=1e-6)


@pytest.mark.parametrize("cut", [slow(1), 3, slow(5)])
def test_a_clip_in_chunks_with_its_neighbours_equals_the_whole(network, clip, cut):
    model, params = network
    whole_state, whole = restore_clip(model, params, clip)
    state, first = restore_clip(model, params, clip[:, :cut], after=clip[:, cut:])
    state, second = restore_clip(
        model, params, clip[:, cut:], state, before=clip[:, :cut]
    )
    joined = np.concatenate([first, second], axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-6)
    chex.assert_trees_all_close(state, whole_state, atol=1e-6)


def test_without_neighbours_a_chunk_clamps_its_window(model, params, clip):
    _, alone = restore_clip(model, params, clip[:, :3])
    repeated = np.repeat(clip[:, 2:3], 2, axis=1)
    _, given = restore_clip(model, params, clip[:, :3], after=repeated)
    np.testing.assert_array_equal(alone, given)


@pytest.mark.slow
def test_a_batch_of_videos_that_start_and_end_anywhere_equals_each_alone(network, rng):
    model, params = network
    videos = [rng.random((n, 12, 16, 3)).astype(np.float32) for n in (3, 4, 5, 1, 1)]
    # Two rows of seven frames: 3 + 4 and 5 + 1 + 1.
    rows = np.stack([np.concatenate(videos[:2]), np.concatenate(videos[2:])])
    starts = np.zeros((2, 7), bool)
    starts[0, [0, 3]] = starts[1, [0, 5, 6]] = True
    starts = starts.astype(int)  # zeros and ones do as well
    _, together = restore_clip(model, params, rows, starts=starts)
    alone = [restore_clip(model, params, v[None])[1][0] for v in videos]
    expected = np.stack([np.concatenate(alone[:2]), np.concatenate(alone[2:])])
    # A batch of two is rounded otherwise than one; lively weights reach far above 1.
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(together, expected, rtol=0, atol=atol)


def test_a_start_in_a_later_chunk_hides_everything_before_it(model, params, clip):
    state, _ = restore_clip(model, params, clip[:, :4])
    starts = np.array([[True, False, False]])
    _, restored = restore_clip(
        model, params, clip[:, 4:], state, before=clip[:, :4], starts=starts
    )
    _, alone = restore_clip(model, params, clip[:, 4:])
    np.testing.assert_allclose(restored, alone, atol=1e-6)


def test_the_state_matters(model, params, clip):
    """Guards the laws above against a network that ignores its state."""
    state, _ = restore_clip(model, params, clip[:, :4])
    _, carried = restore_clip(model, params, clip[:, 4:], state)
    _, fresh = restore_clip(model, params, clip[:, 4:])
    assert np.abs(carried - fresh).max() > 1e-3


def test_a_cut_is_two_clips_and_loses_no_frame(network, clip):
    model, params = network
    stream, restored = Stream(model, params), []
    for frame in clip[0, :3]:
        restored += stream.push(frame)
    restored += stream.reset()
    assert len(restored) == 3
    for frame in clip[0, 3:]:
        restored += stream.push(frame)
    restored += stream.flush()
    parts = [restore_clip(model, params, c)[1][0] for c in (clip[:, :3], clip[:, 3:])]
    expected = np.clip(np.concatenate(parts), 0, 1)
    np.testing.assert_allclose(restored, expected, atol=1e-6)


def test_a_stream_tells_the_displacement_of_each_frame(network, clip):
    model, params = network
    state = initial_state(model, 1, *clip.shape[2:4])
    reach = np.arange(-model.config.lookback, model.config.lookahead + 1)
    expected = []
    for t in range(clip.shape[1]):
        window = clip[:, np.clip(t + reach, 0, clip.shape[1] - 1)]
        state, outputs = apply(model, params, state, window)
        expected.append(outputs["displacement"][0])
    stream = Stream(model, params)
    steps = [step for frame in clip[0] for step in stream.advance(frame)]
    steps += stream.finish()
    np.testing.assert_array_equal([step.displacement for step in steps], expected)
    assert np.abs(expected).max() > 0  # and there was some
    again = [r for frame in clip[0] for r in stream.push(frame)] + stream.flush()
    np.testing.assert_array_equal([step.restored for step in steps], again)


def test_a_network_without_motion_compensation_tells_no_displacement(clip):
    model = MTUNet(dataclasses.replace(TINY, motion_compensation=False))
    stream = Stream(model, lively_params(model))
    for kind in (np.asarray, jnp.asarray):
        stream.advance(kind(clip[0, 0]))
        (step,) = stream.finish()
        assert step.displacement is None and step.restored.shape == (24, 32, 3)


def test_a_video_is_drained_a_frame_at_a_time(model, params, clip):
    stream = Stream(model, params)
    for frame in clip[0, :3]:
        stream.advance(frame)
    drained = stream.drain()
    next(drained)
    assert "past_1" in stream.snapshot()  # two frames restored, one waits
    assert len(list(drained)) == 1
    assert stream.snapshot() == {} and stream.finish() == []


@pytest.mark.parametrize("length", [1, 2])
def test_a_video_shorter_than_the_window_comes_back_whole(model, params, clip, length):
    stream = Stream(model, params)
    ready = [r for frame in clip[0, :length] for r in stream.push(frame)]
    assert len(ready + stream.flush()) == length
    assert stream.flush() == []


def test_a_stream_gives_back_dtype_shape_and_kind(model, params, clip):
    bytes_in = np.rint(clip[0] * 255).astype(np.uint8)
    _, expected = restore_clip(model, params, bytes_in[None] / np.float32(255))
    stream = Stream(model, params)
    out = [r for f in bytes_in for r in stream.push(f)] + stream.flush()
    assert all(isinstance(r, np.ndarray) and r.dtype == np.uint8 for r in out)
    # Another program may round a value between two levels the other way.
    np.testing.assert_allclose(out, 255 * np.clip(expected[0], 0, 1), atol=0.51)
    batched = jnp.asarray(np.stack([bytes_in, bytes_in[::-1]], axis=1))
    out = [r for f in batched for r in stream.push(f)] + stream.flush()
    assert all(isinstance(r, jax.Array) and r.shape == (2, 24, 32, 3) for r in out)


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_a_stream_gives_arrays_of_the_same_dtype_that_can_be_drawn_on(
    model, params, clip, dtype
):
    scale = 255 if dtype == np.uint8 else 1
    stream = Stream(model, params)
    stream.push((clip[0, 0] * scale).astype(dtype))
    (frame,) = stream.flush()
    assert frame.dtype == dtype and frame.flags.writeable
    assert 0.2 * scale < frame.mean() < 0.8 * scale


def test_a_buffer_that_is_filled_again_does_not_change_a_pending_frame(
    model, params, clip
):
    stream, buffer, out = Stream(model, params), np.empty_like(clip[0, 0]), []
    for frame in clip[0]:
        buffer[:] = frame
        out += stream.push(buffer)
    buffer[:] = 0
    out += stream.flush()
    _, expected = restore_clip(model, params, clip)
    np.testing.assert_allclose(out, np.clip(expected[0], 0, 1), atol=1e-6)


def test_one_compile_per_shape(model, params, clip):
    traced = chex.assert_max_traces(lambda p, c: restore_clip(model, p, c)[1], n=1)
    run = jax.jit(traced)
    for _ in range(3):
        run(params, clip)
    from mtujax.model import stream as module

    before = module._step._cache_size()
    small = clip[0, :, :20, :20]
    for _ in range(2):
        stream = Stream(model, params)
        for frame in small:
            stream.push(frame)
        stream.flush()
    assert module._step._cache_size() == before + 1


def test_a_clip_at_hand_is_a_constant_of_a_traced_function(model, params, clip):
    shape = jax.eval_shape(lambda p: restore_clip(model, p, clip)[1], params)
    assert shape.shape == clip.shape


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_float32(clip, dtype, record_property):
    """With weights of trained size; drift and agreement are printed by `pytest -s`."""
    full = MTUNet(TINY)
    params = lively_params(full, scale=2.0)
    half = MTUNet(dataclasses.replace(TINY, dtype=dtype))
    images, moves = [], []
    for model in (full, half):
        state, image, move = initial_state(model, 1, 24, 32), [], []
        for t in range(3):
            state, out = apply(model, params, state, clip[:, t : t + 5])
            image.append(out["restored"])
            move.append(out["displacement"])
        images.append(np.stack(image))
        moves.append(np.stack(move))
    drift = np.abs(images[0] - images[1]).max()
    agreement = (moves[0] == moves[1]).all(axis=-1).mean()
    print(f"\n{dtype}: largest drift {drift:.1e}, displacements equal {agreement:.1%}")
    assert drift < {"bfloat16": 0.03, "float16": 0.004}[dtype]
    assert agreement > 0.8


def test_integers_are_refused_where_a_range_would_be_guessed(model, params):
    with pytest.raises(ValueError, match="divide 8-bit frames by 255"):
        restore_clip(model, params, np.zeros((1, 2, 8, 8, 3), np.uint8))


@pytest.mark.parametrize("name", ["before", "after"])
def test_neighbours_are_checked_as_the_clip_is(model, params, clip, name):
    for wrong, why in (
        (np.zeros((1, 2, 24, 32, 3), np.uint8), "of uint8: divide 8-bit frames"),
        (np.zeros((24, 32, 3), np.float32), r"of shape \(24, 32, 3\): give"),
    ):
        with pytest.raises(ValueError, match=f"{name} {why}"):
            restore_clip(model, params, clip, **{name: wrong})


def test_a_clip_without_its_batch_axis_is_named(model, params, clip):
    with pytest.raises(ValueError, match=r"shape \(7, 24, 32, 3\): give"):
        restore_clip(model, params, clip[0])


@pytest.mark.parametrize(
    "given, said",
    [
        ({"clip": np.zeros((1, 2, 8, 8, 1))}, r"clip of shape \(1, 2, 8, 8, 1\): give"),
        (
            {"before": np.zeros((1, 2, 8, 9, 3))},
            r"before .* \(1, 2, 8, 9, 3\): does not",
        ),
        ({"after": np.zeros((2, 2, 8, 8, 3))}, "after of shape .* does not fit"),
        (
            {"starts": np.zeros((1, 3), bool)},
            r"starts of shape \(1, 3\): give \(1, 2\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_named(model, params, given, said):
    arguments = {"clip": np.zeros((1, 2, 8, 8, 3), np.float32)} | given
    with pytest.raises(ValueError, match=said):
        restore_clip(model, params, **arguments)


def test_a_state_of_another_size_is_named(model, params, clip):
    state = initial_state(model, 1, 8, 8)
    with pytest.raises(ValueError, match=r"state: motion_0 is .* for this network"):
        restore_clip(model, params, clip, state)


def test_values_that_are_not_finite_are_replaced_and_counted(model, params, clip):
    bad, mended = np.array(clip), np.array(clip)
    bad[0, 2, 3, 3:6, 1], mended[0, 2, 3, 3:6, 1] = (np.nan, np.inf, -np.inf), (0, 1, 0)
    with pytest.warns(UserWarning, match="clip: 3 values are NaN or infinite"):
        state, restored = restore_clip(model, params, bad)
    expected = restore_clip(model, params, mended)
    chex.assert_trees_all_equal((state, restored), expected)


def test_a_clip_of_the_other_byte_order_is_the_same_clip(model, params, clip):
    _, expected = restore_clip(model, params, clip)
    _, restored = restore_clip(model, params, clip.astype(">f4"))
    np.testing.assert_array_equal(restored, expected)


@pytest.mark.parametrize(
    "frame, said",
    [
        (np.zeros((8, 8), np.uint8), r"shape \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"shape \(8, 8, 4\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        (np.zeros((8, 8, 3), np.int32), "int32"),
        ([[[0.0, 0.0, 0.0]]], "None"),
    ],
)
def test_what_is_no_frame_is_refused(model, params, frame, said):
    with pytest.raises(ValueError, match=said):
        Stream(model, params).push(frame)


def test_another_size_in_mid_stream_is_refused_until_a_reset(model, params, clip):
    stream = Stream(model, params)
    stream.push(clip[0, 0])
    with pytest.raises(ValueError, match="call reset"):
        stream.push(clip[0, 0, :16])
    assert len(stream.reset()) == 1
    stream.push(clip[0, 0, :16])
