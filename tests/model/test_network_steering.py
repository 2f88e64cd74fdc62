"""The form that reads samples along the motion: what works for the presets does too."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from moving import decibels, panned, worst_block
from needs import step_bytes
from networks import STEERED, TINY, apply, lively_params, slow
from restoring import restored_by

from mtujax.config import ModelConfig
from mtujax.deploy import stablehlo
from mtujax.deploy.stablehlo import export_step
from mtujax.model import tiling as tiles
from mtujax.model.clip import restore_clip
from mtujax.model.network import MTUNet, inference_params, initial_state
from mtujax.model.operations import network_operations
from mtujax.model.optimized_form import inference_form
from mtujax.model.stream import Stream
from mtujax.model.tiling import TiledStream, default_overlap
from mtujax.model.unit import Conv, Pointwise
from mtujax.ops.blur import Blur
from mtujax.ops.motion_samples import PYRAMID_SIDE
from mtujax.weights.files import load, save_weights

FORM = dataclasses.replace(TINY, **STEERED)
WHOLE = {"exposure_spectrum": True, "blend_previous": True, "neighbour_samples": 1}


@functools.cache
def network(**fields):
    """Weights of about trained size, of the form with other fields."""
    model = MTUNet(dataclasses.replace(FORM, **fields))
    params = inference_params(lively_params(model, scale=2.0))
    layer = params[f"unit_{model.config.num_units - 1}"]["deblur"]
    if "exposure" in layer:  # which starts at 0
        shape = layer["exposure"].shape
        layer["exposure"] = 0.05 * jax.random.normal(jax.random.key(2), shape)
    return model, params


def test_the_form_has_the_layers_and_multiply_adds_that_it_says():
    config = ModelConfig(
        num_units=1,
        channels=32,
        num_blocks=0,
        patch=2,
        first_kernel=3,
        motion_samples=8,
    )
    model = MTUNet(config)
    params = inference_params(lively_params(model))
    # (2 x 8 + 6) samples of each of 4 pixels, and motion; a filter for all four.
    first = params["temporal"]["conv"]["kernel"]
    last = params["unit_0"]["deblur"]["layer"]["conv"]["kernel"]
    steered = params["steered"]["conv"]["kernel"]
    assert first.shape == (3, 3, 4 * 15, 32)
    assert steered.shape == (1, 1, 4 * 22 + 3, 32)
    assert last.shape == (3, 3, 32, 4 * 3 + 16)
    assert params["unit_0"]["detail"]["encode_1"]["conv"]["kernel"].shape[:2] == (3, 3)
    found = network_operations(model, params, 1, 64, 96)
    full, half, quarter = 32 * 48, 16 * 24, 8 * 12
    layers = [(full, 9, 12, 32), (full, 9, 60, 32), (full, 1, 91, 32)]
    layers += [
        (full, 9, 64, 32),
        (half, 9, 32, 32),
        (quarter, 9, 32, 64),
        (quarter, 9, 64, 64),
    ]
    layers += [(9 * 13, 4, 64, 4 * 32), (17 * 25, 4, 32, 4 * 32)]
    layers += [(quarter, 25, 32, 64), (full, 9, 32, 28)]
    grey = 3 * 64 * 96 * 3  # of three frames
    assert found.convolutions == grey + sum(np.prod(layer) for layer in layers)


def test_a_layer_of_several_inputs_is_a_convolution_of_all_side_by_side(rng):
    sizes = (2, 5, 6, 7), (2, 5, 6, 3), (2, 1, 1, 4)
    inputs = [rng.normal(size=size).astype(np.float32) for size in sizes]
    layer = Pointwise(8)
    params = layer.init(jax.random.key(0), *inputs)
    params["params"]["conv"]["bias"] += 0.5
    joined = [np.broadcast_to(x, (2, 5, 6, x.shape[-1])) for x in inputs]
    wanted = Conv(8, kernel=1, padding=0, activation=None).apply(
        params, np.concatenate(joined, axis=-1)
    )
    np.testing.assert_allclose(layer.apply(params, *inputs), wanted, atol=1e-6)


def test_the_frame_before_adds_its_samples_and_a_share_for_each_pixel():
    (_, without), (model, params) = network(), network(blend_previous=True)
    shapes = [jax.tree.map(np.shape, tree) for tree in (without, params)]
    taken = [s["steered"]["conv"]["kernel"][2] for s in shapes]
    given = [s["unit_1"]["deblur"]["layer"]["conv"]["bias"][0] for s in shapes]
    assert taken[1] - taken[0] == 3 * 4 and given[1] - given[0] == 4
    assert model.config.blend_shares == 4 and ModelConfig().blend_shares == 0


@pytest.mark.parametrize("ahead, count", [({}, 10), ({"lookahead": 0}, 5)])
def test_neighbours_add_their_samples_and_weights_for_them(ahead, count):
    """Without look-ahead there is one: no next frame to sample."""
    _, without = network(**ahead)
    model, params = network(neighbour_samples=2, **ahead)
    shapes = [jax.tree.map(np.shape, tree) for tree in (without, params)]
    taken = [s["steered"]["conv"]["kernel"][2] for s in shapes]
    given = [s["unit_1"]["deblur"]["layer"]["conv"]["bias"][0] for s in shapes]
    assert taken[1] - taken[0] == 4 * count and given[1] - given[0] == count
    assert model.config.filter_taps == 2 * 2 + count


def test_a_share_of_one_repeats_the_frame_before_where_its_motion_leads():
    model, params = network(num_units=1, blend_previous=True)
    params = jax.tree.map(jnp.zeros_like, params)
    bias = jnp.zeros(12 + 4 + 4).at[-4:].set(40.0)  # whether they agree or not
    params["unit_0"]["deblur"]["layer"]["conv"]["bias"] = bias
    frames = panned(5, 24, 32)[None].astype(np.float32) / 255
    blur = Blur(jnp.full((1, 12, 16, 2), jnp.array([3.0, 0.0])), None)
    state = initial_state(model, 1, 24, 32)
    first, outputs = apply(model, params, state, frames, blur=blur)
    np.testing.assert_array_equal(outputs["restored"], frames[:, 2])
    before = jax.random.uniform(jax.random.key(0), (1, 24, 32, 3))
    state = first.replace(restored=before)
    _, outputs = apply(model, params, state, frames, blur=blur)
    np.testing.assert_allclose(
        outputs["restored"][:, :, 3:], before[:, :, :-3], atol=1e-5
    )


def test_each_pixel_weighs_its_own_samples():
    """With weights that are all one, what is added is the same sum in all colours."""
    model, params = network(num_units=1, patch=1)
    params = jax.tree.map(jnp.zeros_like, params)
    bias = jnp.zeros(3 + 4).at[3:].set(0.01)
    params["unit_0"]["deblur"]["layer"]["conv"]["bias"] = bias
    frames = panned(5, 24, 32)[None].astype(np.float32) / 255
    motion = jnp.full((1, 24, 32, 2), 2.0)
    state = initial_state(model, 1, 24, 32)
    blur = Blur(motion, None)
    _, outputs = apply(model, params, state, frames, blur=blur)
    grey = frames[0, 2] @ np.float32([0.299, 0.587, 0.114])
    total = sum(
        grey[8 + k : 16 + k, 8 + k : 16 + k] - grey[8:16, 8:16] for k in (-2, -1, 1, 2)
    )
    added = (outputs["restored"] - frames[:, 2])[0, 8:16, 8:16]
    wanted = np.broadcast_to(8 * 0.01 * total[..., None], added.shape)
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(added, wanted, atol=1e-6)


@pytest.mark.parametrize("patch", [2, slow(1), slow(3)])
def test_a_clip_is_its_stream_and_its_chunks(patch):
    model, params = network(patch=patch, num_units=1, blend_previous=True)
    clip = panned(6, 21, 35)[None].astype(np.float32) / 255
    _, whole = restore_clip(model, params, clip)
    found = restored_by(Stream(model, params), clip[0])
    # Other programs round otherwise, which the motion's iterations magnify.
    np.testing.assert_allclose(found, np.clip(whole[0], 0, 1), atol=1e-4)
    state, first = restore_clip(model, params, clip[:, :2], after=clip[:, 2:])
    _, rest = restore_clip(model, params, clip[:, 2:], state, before=clip[:, :2])
    joined = np.concatenate([first, rest], axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [WHOLE | {"num_units": 1}, slow(WHOLE)]
    + [slow(fields) for fields in ({}, {"patch": 1}, {"search_radius": 0})],
)
def test_tiles_cannot_be_told_from_whole_frames(fields):
    model, params = network(**fields)
    frames = panned(4, 93, 363)
    whole = restored_by(Stream(model, params), frames)
    overlap = default_overlap(model.config)
    reach = 1 + 0.25 * model.config.neighbour_samples
    assert overlap - 16 >= 2 * 40 * reach  # the largest motion, on either side
    tiled = restored_by(TiledStream(model, params, (96, 2 * overlap)), frames)
    assert decibels(whole, frames) < 40  # the network does something
    assert decibels(tiled, whole) > 60 and worst_block(tiled, whole) > 50


@pytest.mark.parametrize("tile, size", [(None, (21, 35)), slow((32, 48), (48, 64))])
def test_its_streams_bear_values_that_are_not_finite_and_frames_that_overflow(
    tile, size
):
    model, params = network(**WHOLE)
    clip = panned(10, *size).astype(np.float32) / 255
    bad, mended, huge = clip.copy(), clip.copy(), clip.copy()
    bad[2, 3, 3:6, 1], mended[2, 3, 3:6, 1] = (np.nan, np.inf, -np.inf), (0, 1, 0)
    huge[3, 5, 5] = 3e38
    stream = Stream(model, params) if tile is None else TiledStream(model, params, tile)
    expected = restored_by(stream, mended)
    with pytest.warns(UserWarning, match="3 values are NaN or infinite"):
        found = restored_by(stream, bad)
    np.testing.assert_array_equal(found, expected)
    restored = restored_by(stream, huge)
    reached = range(3 - model.config.lookahead, 3 + model.config.lookback + 1)
    finite = [n for n, frame in enumerate(restored) if np.isfinite(frame).all()]
    assert set(finite) >= set(range(10)) - set(reached)


def test_a_clip_bears_values_that_are_not_finite():
    model, params = network(**WHOLE, num_units=1)
    mended = panned(6, 21, 35)[None].astype(np.float32) / 255
    bad = mended.copy()
    bad[0, 2, 3, 3:6, 1], mended[0, 2, 3, 3:6, 1] = (np.nan, np.inf, -np.inf), (0, 1, 0)
    with pytest.warns(UserWarning, match="clip: 3 values are NaN or infinite"):
        _, found = restore_clip(model, params, bad)
    np.testing.assert_array_equal(found, restore_clip(model, params, mended)[1])


@pytest.mark.slow
def test_tiles_with_motion_of_their_own_could_be_told(monkeypatch):
    """Guards the law above: a tile alone misses what moves into it."""
    model, params = network()
    frames = panned(4, 93, 507, step=(25, 14))
    whole = restored_by(Stream(model, params), frames)
    monkeypatch.setattr(tiles, "_blur", lambda model, window: None)
    tile = (96, 2 * default_overlap(model.config))
    tiled = restored_by(TiledStream(model, params, tile), frames)
    assert worst_block(tiled, whole) < 45


def test_tiles_take_less_memory_and_samples_take_some():
    model, params = network(num_units=1)
    without, fewer = network(num_units=1, motion_samples=0)
    tile = (96, 2 * default_overlap(model.config))
    size = 200, 500, np.uint8
    whole = step_bytes(model, params, *size)
    assert step_bytes(model, params, *size, tile) < whole
    # At least the samples and the four corners of each pixel of what they are of.
    least = 200 * 500 * 4 * (4 + 12)
    assert step_bytes(without, fewer, *size) + least < whole


@pytest.mark.slow
def test_of_tiles_much_smaller_than_the_frame_finding_its_motion_takes_most():
    model, params = network()
    small = [step_bytes(model, params, 800, 1000, np.uint8, (n, n)) for n in (96, 104)]
    assert small[1] - small[0] < 4 * 1000


@pytest.mark.parametrize("tile, size", [(None, (21, 35)), slow((64, 64), (45, 75))])
def test_an_interrupted_stream_goes_on_bit_for_bit(tile, size):
    model, params = network()
    frames = panned(6, *size)

    def make():
        if tile is None:
            return Stream(model, params)
        return TiledStream(model, params, tile, overlap=24)

    stream = make()
    before = [s for frame in frames[:4] for s in stream.advance(frame)]
    later = make()
    later.resume(stream.snapshot())
    rest = [s for frame in frames[len(before) :] for s in later.advance(frame)]
    found = np.stack([s.restored for s in before + rest + later.finish()])
    np.testing.assert_array_equal(found, restored_by(make(), frames))


@pytest.mark.parametrize("dtype", ["bfloat16", slow("float16")])
def test_half_precision_is_near_and_its_samples_are_not_rounded(dtype, monkeypatch):
    from mtujax.model import network as module

    seen, steered = [], module.steered_samples

    def noted(*arrays, **place):
        found = steered(*arrays, **place)
        seen.extend(x.dtype for x in jax.tree.leaves((arrays, found)))
        return found

    monkeypatch.setattr(module, "steered_samples", noted)
    model, params = network(blend_previous=True, neighbour_samples=1)
    frames = panned(4, 21, 35)
    whole = restored_by(Stream(model, params), frames)
    half = MTUNet(dataclasses.replace(model.config, dtype=dtype))
    assert decibels(restored_by(Stream(half, params), frames), whole) > 45
    assert seen and set(seen) == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    "fields",
    [WHOLE] + [slow({"last_unit_reads_warped": True, "num_units": 1})],
)
def test_channels_of_zeros_change_nothing(fields):
    model, params = network(**fields)
    form, wide = inference_form(model, params, multiple=12)
    assert form.config.channels == 12
    frames = panned(4, 21, 35).astype(np.float32) / 255
    found = restored_by(Stream(form, wide), frames)
    wanted = restored_by(Stream(model, params), frames)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("patch, least", [slow(2, 4), slow(1, 8), slow(3, 4)])
def test_the_exported_step_does_the_same_from_the_least_size_on(patch, least):
    pytest.importorskip("flatbuffers")
    model, params = network(patch=patch, num_units=1, num_blocks=0)
    exported, cell = export_step(model, params), model.config.cell
    assert least * cell >= PYRAMID_SIDE  # of which each level is there in any case
    manifest = json.loads(stablehlo._manifest(model.config, {}))
    assert manifest["frames"]["least"] == least * cell
    for rows, columns in ((least, least), (least + 1, least + 3)):
        size = cell * rows, cell * columns
        window = panned(5, *size)[None].repeat(2, 0)
        state = initial_state(model, 2, *size)
        _, found = exported.call(state.as_arrays(), window)
        _, outputs = apply(model, params, state, window / np.float32(255))
        wanted = np.clip(np.rint(outputs["restored"] * 255), 0, 255)
        error = np.abs(np.asarray(found, int) - wanted)
        assert error.max() <= 1 and (error > 0).mean() < 0.01


def test_a_weights_file_keeps_the_form(tmp_path):
    model, params = network()
    save_weights(tmp_path / "form.safetensors", model.config, params)
    loaded, tensors = load(tmp_path / "form.safetensors")
    assert loaded == model
    jax.tree.map(np.testing.assert_array_equal, tensors, params)


@pytest.mark.parametrize(
    "field, message",
    [
        ({"motion_samples": -1}, "motion_samples=-1: must be >= 0"),
        ({"neighbour_samples": 17}, "neighbour_samples=17: must be <= 16"),
        ({"neighbour_samples": 1}, "neighbour_samples=1: must be 0 without"),
        ({"exposure_spectrum": True}, "exposure_spectrum=True: must be False without"),
        ({"blend_previous": True}, "blend_previous=True: must be False without"),
        ({"first_kernel": 4}, "first_kernel=4: must be odd"),
        ({"first_kernel": -1}, "first_kernel=-1: must be odd, and >= 1"),
    ],
)
def test_a_form_that_cannot_be_is_refused(field, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**field)
