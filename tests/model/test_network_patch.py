"""The patch form, and the slope below zero: what works for the presets works for it."""

import dataclasses
import functools

import flax.traverse_util
import jax
import numpy as np
import pytest
from moving import decibels, panned
from needs import step_bytes
from networks import TINY, apply, lively_params, slow
from restoring import restored_by, steps_of

from mtujax.config import LEAKY_SLOPE, PRESETS, ModelConfig
from mtujax.deploy.stablehlo import export_step
from mtujax.errors import UnknownWeightsError
from mtujax.model.clip import restore_clip
from mtujax.model.network import (
    MTUNet,
    inference_params,
    init_params,
    initial_state,
    parameter_count,
)
from mtujax.model.operations import network_operations
from mtujax.model.optimized_form import inference_form
from mtujax.model.stream import Stream
from mtujax.model.tiling import TiledStream, default_overlap, parts, tilings
from mtujax.ops.resampling import depth_to_space, space_to_depth
from mtujax.weights.convert import convert_checkpoint, find_preset, torch_names
from mtujax.weights.files import describe, load, save_weights
from mtujax.weights.safetensors_io import write_tensors

FORM = dataclasses.replace(TINY, patch=2, activation="leaky")


@functools.cache
def network(**fields):
    """Weights of about trained size, of the form with other fields."""
    model = MTUNet(dataclasses.replace(FORM, **fields))
    return model, inference_params(lively_params(model, scale=2.0))


def test_a_square_of_pixels_becomes_one_place_and_back(rng):
    x = rng.random((2, 6, 9, 2)).astype(np.float32)
    found = np.asarray(space_to_depth(x, 3))
    assert found.shape == (2, 2, 3, 18)
    for y, p, q, c in np.ndindex(2, 3, 3, 2):
        for column in range(3):
            pixel = x[:, 3 * y + p, 3 * column + q, c]
            place = found[:, y, column, (3 * p + q) * 2 + c]
            np.testing.assert_array_equal(place, pixel)
    np.testing.assert_array_equal(depth_to_space(found, 3), x)


@pytest.mark.parametrize("units, wanted", [(1, 831_500), (2, 1_587_468)])
def test_the_form_has_the_parameters_of_its_layers(units, wanted):
    config = ModelConfig(num_units=units, channels=32, patch=2, activation="leaky")
    # (taps, channels in, channels out); every layer has a bias.
    detail = [(25, 64, 32), (9, 32, 32), (9, 32, 64), *[(9, 64, 64)] * 17]
    detail += [(16, 64, 32), (16, 32, 32)]
    ends = [(9, 12, 32), (9, 60, 32), (25, 32, 64), (9, 32, 12)]
    count = sum((taps * c + 1) * out for taps, c, out in [*ends, *units * detail])
    model = MTUNet(config)
    drawn = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    assert parameter_count(inference_params(drawn)) == count == wanted


def test_the_form_has_the_multiply_adds_of_its_layers():
    model = MTUNet(ModelConfig(num_units=1, channels=32, patch=2))
    drawn = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    found = network_operations(model, inference_params(drawn), 1, 356, 637)
    # 640x360 pixels after reflection are 320x180 places.
    full, half, quarter = 320 * 180, 160 * 90, 80 * 45
    layers = [(full, 9, 12, 32), (full, 9, 60, 32), (full, 25, 64, 32)]
    layers += [(half, 9, 32, 32), (quarter, 9, 32, 64), *[(quarter, 9, 64, 64)] * 17]
    layers += [(81 * 46, 4, 64, 4 * 32), (161 * 91, 4, 32, 4 * 32)]
    layers += [(quarter, 25, 32, 64), (full, 9, 32, 12)]
    assert found.convolutions == sum(np.prod(layer) for layer in layers)
    assert found.matching_defined == quarter * 441 * 64


def test_the_slope_below_zero_is_that_of_its_name():
    fields = dict(num_units=1, num_blocks=0, motion_compensation=False)
    leaky, params = network(**fields)
    relu = MTUNet(dataclasses.replace(leaky.config, activation="relu"))
    window = np.random.default_rng(0).random((1, 5, 16, 16, 3), np.float32)
    state = initial_state(leaky, 1, 16, 16)

    def structure(model):
        run = functools.partial(model.apply, capture_intermediates=True)
        _, kept = jax.jit(run)({"params": params}, state, window)
        kept = kept["intermediates"]["structure"]
        return np.asarray(kept["conv"]["__call__"][0]), kept["__call__"][0]

    before, after = structure(leaky)
    assert (before < 0).any()
    wanted = np.where(before < 0, LEAKY_SLOPE * before, before)
    np.testing.assert_allclose(after, wanted, rtol=1e-6)
    np.testing.assert_array_equal(structure(relu)[1], np.maximum(before, 0))


@pytest.mark.parametrize("size", [(21, 35), slow((24, 32))])
@pytest.mark.parametrize("patch", [2, slow(3)])
def test_a_clip_is_its_stream_and_its_chunks(patch, size):
    model, params = network(patch=patch)
    clip = panned(6, *size)[None].astype(np.float32) / 255
    _, whole = restore_clip(model, params, clip)
    assert whole.shape == clip.shape and not np.allclose(whole, clip, atol=1e-4)
    steps = steps_of(Stream(model, params), clip[0])
    grid = tuple(-(-n // (4 * patch)) for n in size)
    assert {step.displacement.shape for step in steps} == {(*grid, 2)}
    found = [step.restored for step in steps]
    np.testing.assert_allclose(found, np.clip(whole[0], 0, 1), atol=1e-6)
    state, first = restore_clip(model, params, clip[:, :2], after=clip[:, 2:])
    _, rest = restore_clip(model, params, clip[:, 2:], state, before=clip[:, :2])
    joined = np.concatenate([first, rest], axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-6)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5)])
@pytest.mark.parametrize("patch", [2, 4])
def test_frames_smaller_than_a_cell_are_reflected(patch, height, width):
    model, params = network(patch=patch, num_units=1, num_blocks=0)
    window = panned(5, height, width)[None].astype(np.float32) / 255
    cell = 4 * patch
    pads = ((0, 0), (0, 0), (0, cell - height), (0, cell - width), (0, 0))
    found, wanted = (
        apply(model, params, initial_state(model, 1, *w.shape[2:4]), w)[1]
        for w in (window, np.pad(window, pads, mode="reflect"))
    )
    assert found["restored"].shape == (1, height, width, 3)
    cut = wanted["restored"][:, :height, :width]
    np.testing.assert_allclose(found["restored"], cut, atol=1e-6)


@pytest.mark.parametrize("cell", [8, 32])
@pytest.mark.parametrize("tiles", [(40, 5, 2), (13, 4, 2), (4, 9, 3)])
def test_tiles_share_out_larger_cells(cell, tiles):
    size, tile, overlap = (cell * n for n in tiles)
    weights, owners = np.zeros(size), np.zeros(size // cell, int)
    for part in parts(size, tile, overlap, cell):
        assert part.origin % cell == 0 and part.weights.min() >= 0
        inside = slice(part.origin, part.origin + min(tile, size))
        weights[inside] += part.weights
        owners[inside.start // cell : inside.stop // cell] += part.core
    np.testing.assert_allclose(weights, 1, atol=1e-6)
    np.testing.assert_array_equal(owners, 1)


@pytest.mark.parametrize("fields", [{}, slow({"patch": 3}), slow({"num_units": 1})])
def test_tiles_cannot_be_told_from_whole_frames(fields):
    model, params = network(**fields)
    cell = model.config.cell
    frames = panned(4, 12 * cell - 3, 36 * cell - 5)
    whole = steps_of(Stream(model, params), frames)
    tile = (12 * cell, 24 * cell)  # two, which share half a tile
    tiled = steps_of(TiledStream(model, params, tile), frames)
    found, expected = ([s.restored for s in steps] for steps in (tiled, whole))
    assert decibels(found, expected) > 55
    moves = [np.stack([s.displacement for s in steps]) for steps in (tiled, whole)]
    assert (moves[0] == moves[1]).all(axis=-1).mean() > 0.99


def test_tiles_are_multiples_of_the_cell_and_take_less_memory():
    model, params = network()
    overlap = default_overlap(model.config)
    found = list(tilings(200, 500, overlap, model.config.cell))
    assert found and all(n % 8 == 0 for tile in found for n in tile)
    with pytest.raises(ValueError, match="multiples of 8, at least 32"):
        TiledStream(model, params, (44, 64))
    with pytest.raises(ValueError, match="overlap 8: must be 16 or more"):
        TiledStream(model, params, (48, 64), overlap=8)
    whole, tiled = (
        step_bytes(model, params, 200, 500, np.uint8, tile)
        for tile in (None, found[-1])
    )
    assert tiled < whole


@pytest.mark.parametrize("tile", [None, slow((32, 32))])
def test_an_interrupted_stream_goes_on_bit_for_bit(tile, tmp_path):
    model, params = network()
    frames = panned(6, 21, 35)

    def make():
        if tile is None:
            return Stream(model, params)
        return TiledStream(model, params, tile, overlap=16)

    stream = make()
    before = [s for frame in frames[:4] for s in stream.advance(frame)]
    np.savez(tmp_path / "s.npz", **stream.snapshot())
    later = make()
    later.resume(dict(np.load(tmp_path / "s.npz")))
    rest = [s for frame in frames[len(before) :] for s in later.advance(frame)]
    found = before + rest[: len(frames)] + later.finish()
    for a, b in zip(found, steps_of(make(), frames), strict=True):
        np.testing.assert_array_equal(a.restored, b.restored)
        np.testing.assert_array_equal(a.displacement, b.displacement)


@pytest.mark.parametrize("dtype", ["bfloat16", slow("float16")])
def test_half_precision_is_near(dtype):
    model, params = network()
    frames = panned(4, 21, 35)
    whole = restored_by(Stream(model, params), frames)
    half = MTUNet(dataclasses.replace(model.config, dtype=dtype))
    assert initial_state(half, 1, 21, 35).detail.dtype == dtype
    assert decibels(restored_by(Stream(half, params), frames), whole) > 45


@pytest.mark.parametrize(
    "fields", [{}, slow({"last_unit_reads_warped": True, "num_blocks": 0})]
)
def test_channels_of_zeros_change_nothing(fields):
    model, params = network(**fields)
    form, wide = inference_form(model, params, multiple=12)
    assert (form.config.channels, form.config.patch) == (12, 2)
    frames = panned(4, 21, 35).astype(np.float32) / 255
    found = restored_by(Stream(form, wide), frames)
    wanted = restored_by(Stream(model, params), frames)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_exported_step_takes_frames_of_whole_cells():
    pytest.importorskip("flatbuffers")
    model, params = network()
    exported = export_step(model, params)
    assert [str(n) for n in exported.out_avals[-1].shape] == ["b", "8*h", "8*w", "3"]
    window = np.random.default_rng(0).integers(0, 256, (2, 5, 32, 40, 3), np.uint8)
    state = initial_state(model, 2, 32, 40)
    named = {f"motion_{n}": x for n, x in enumerate(state.motion)}
    named |= {n: getattr(state, n) for n in ("detail", "restored", "is_first")}
    _, found = exported.call(named, window)
    _, outputs = apply(model, params, state, window / np.float32(255))
    wanted = np.clip(np.rint(outputs["restored"] * 255), 0, 255)
    assert np.abs(np.asarray(found, int) - wanted).max() <= 1


def test_a_weights_file_keeps_the_form_and_older_ones_have_none(tmp_path):
    model, params = network()
    save_weights(tmp_path / "form.safetensors", model.config, params)
    loaded, tensors = load(tmp_path / "form.safetensors")
    assert loaded == model
    jax.tree.map(np.testing.assert_array_equal, tensors, params)
    fields = dataclasses.asdict(TINY)
    older = {k: v for k, v in fields.items() if k not in ("patch", "activation")}
    flat = flax.traverse_util.flatten_dict(
        network(patch=1, activation="relu")[1], sep="/"
    )
    shapes = {name: value.shape for name, value in flat.items()}
    path = tmp_path / "older.safetensors"
    write_tensors(path, flat, shapes, config=older, provenance={})
    assert describe(path).config == TINY


@pytest.mark.parametrize(
    "field, message",
    [
        ({"patch": 0}, "patch=0: must be >= 1"),
        ({"patch": 9}, "patch=9: must be <= 8"),
        ({"activation": "elu"}, "activation='elu': must be one of"),
    ],
)
def test_a_form_that_cannot_be_is_refused(field, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**field)


@pytest.mark.parametrize(
    "form",
    [{"patch": 2}, {"activation": "leaky"}, {"first_kernel": 3}, {"motion_samples": 2}]
    + [{"motion_samples": 2, "exposure_spectrum": True}],
)
def test_no_checkpoint_is_of_a_form_of_our_own(form, tmp_path, monkeypatch):
    target = tmp_path / "own.safetensors"
    own = dataclasses.replace(PRESETS["mtu2"], **form)
    monkeypatch.setitem(PRESETS, "own", own)
    given = ", ".join(f"{name}={value!r}" for name, value in form.items())
    own_form = f"'own': a form of our own .{given}.,"
    with pytest.raises(UnknownWeightsError, match=own_form):
        convert_checkpoint(tmp_path / "any.pytorch", target, preset="own")
    # Nor is one taken for it that has the names of its tensors.
    shapes = {name: (1,) for name in torch_names(own)}
    assert find_preset({n: np.zeros(s) for n, s in shapes.items()}) is None
    assert not target.exists()
