"""Laws of tiles: nobody can tell them from whole frames."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from moving import decibels, panned, worst_block
from networks import TINY, lively_params, slow
from restoring import restored_by, steps_of

from mtujax.model import tiling as tiles
from mtujax.model.network import MTUNet, inference_params
from mtujax.model.stream import Stream
from mtujax.model.tiling import TiledStream, default_overlap, parts, tilings
from mtujax.weights.files import load


@pytest.fixture(scope="module")
def params():
    """Weights of about trained size: livelier ones make chaos of any difference."""
    return inference_params(lively_params(MTUNet(TINY), scale=2.0))


@pytest.mark.parametrize(
    "size, tile, overlap",
    [(64, 64, 16), (8, 64, 16), (100, 64, 16), (68, 64, 32), (1080, 512, 112)]
    + [(3840, 500, 110), (400, 20, 8), (404, 20, 10), (160, 64, 999), (1000, 16, 8)],
)
def test_every_pixel_is_shared_out_and_every_cell_has_one_owner(size, tile, overlap):
    weights, owners = np.zeros(size), np.zeros(size // 4, int)
    found = parts(size, tile, overlap)
    for part in found:
        assert part.origin % 4 == 0 and part.weights.min() >= 0
        inside = slice(part.origin, part.origin + min(tile, size))
        weights[inside] += part.weights
        owners[inside.start // 4 : inside.stop // 4] += part.core
    np.testing.assert_allclose(weights, 1, atol=1e-6)
    np.testing.assert_array_equal(owners, 1)
    assert found[0].weights[0] == found[-1].weights[-1] == 1  # the frame's own edges
    shared = np.diff([part.origin for part in found]) - min(tile, size)
    assert (-shared >= min(overlap, tile // 8 * 4)).all()


def test_what_is_near_a_tiles_border_is_discarded():
    reach = 4 * (10 + 2)  # pixels of motion that is searched for, and of the window
    left, middle, right = parts(960, 400, default_overlap(MTUNet(TINY).config) + 56)
    for part in (middle, right):
        assert not part.weights[:reach].any() and not part.core[: reach // 4].any()
    for part in (left, middle):
        assert not part.weights[-reach:].any() and not part.core[-reach // 4 :].any()
    assert left.core[: reach // 4].all() and right.core[-reach // 4 :].all()


@pytest.mark.slow
def test_tiles_of_a_moving_clip_cannot_be_told_from_whole_frames(model, params):
    frames = panned(12, 96, 200)
    whole = steps_of(Stream(model, params), frames)
    tiled = steps_of(TiledStream(model, params, (96, 128)), frames)
    found, expected = ([s.restored for s in steps] for steps in (tiled, whole))
    assert decibels(expected, frames) < 40  # the network does something
    assert worst_block(np.stack(found), np.stack(expected)) > 50
    moves = [np.stack([s.displacement for s in steps]) for steps in (tiled, whole)]
    assert moves[0].shape == (12, 24, 50, 2) and moves[0].dtype == np.int32
    assert (moves[0] == moves[1]).all(axis=-1).mean() > 0.999


@pytest.mark.slow
def test_with_the_bundled_weights_as_well():
    model, params = load("fast")
    frames = panned(5, 64, 440)
    whole = restored_by(Stream(model, params), frames)
    tile = 2 * default_overlap(model.config)  # the smallest that `tilings` gives
    tiled = restored_by(TiledStream(model, params, (64, tile)), frames)
    assert min(map(decibels, tiled, whole)) > 60
    assert worst_block(tiled, whole) > 50


@pytest.mark.slow
def test_a_smaller_overlap_is_worse(model, params):
    """Guards the laws above against tiles that are never cut."""
    frames = panned(5, 96, 200).astype(np.float32) / 255
    whole = restored_by(Stream(model, params), frames)
    errors = [
        np.abs(restored_by(TiledStream(model, params, tile, **more), frames) - whole)
        for tile, more in (((96, 128), {}), ((96, 108), dict(overlap=16)))
    ]
    assert errors[0].mean() < errors[1].mean() / 3


@pytest.mark.parametrize(
    "height, width", [(61, 150), slow(3, 5), slow(1, 1), slow(96, 130)]
)
def test_any_size_of_frame_can_be_cut(model, params, height, width):
    frames = panned(3, height, width)
    whole = restored_by(Stream(model, params), frames)
    tiled = restored_by(TiledStream(model, params, (64, 96), overlap=40), frames)
    assert tiled.shape == frames.shape and tiled.dtype == np.uint8
    assert min(map(decibels, tiled, whole)) > 50


def test_one_tile_as_large_as_the_frame_is_the_whole_frame(model, params, clip):
    whole = restored_by(Stream(model, params), clip[0])
    tiled = restored_by(TiledStream(model, params, (512, 512)), clip[0])
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


@pytest.mark.parametrize(
    "fields",
    [
        slow(dict(motion_compensation=False)),
        slow(dict(dtype="bfloat16")),
        slow(dict(lookback=1, lookahead=0, initial_features="zero")),
        slow(dict(num_units=3, matching_units=(0, 1), last_unit_reads_warped=True)),
    ],
    ids=str,
)
def test_every_kind_of_network_can_be_cut(fields):
    model = MTUNet(dataclasses.replace(TINY, **fields))
    params = inference_params(lively_params(model, scale=2.0))
    frames = np.stack([panned(4, 64, 120), panned(4, 64, 120, step=(-3, 2))], axis=1)
    whole = restored_by(Stream(model, params), frames)
    stream = TiledStream(model, params, (64, 80))
    assert stream.latency == model.config.lookahead
    tiled = restored_by(stream, frames)
    assert tiled.shape == (4, 2, 64, 120, 3)
    assert decibels(tiled, whole) > 45  # of random weights


def test_a_cut_hides_what_was_before_it_from_every_tile(model, params):
    frames = panned(6, 64, 120)
    stream = TiledStream(model, params, (64, 80))
    out = [r for f in frames[:3] for r in stream.push(f)] + stream.reset()
    out += [r for f in frames[3:] for r in stream.push(f)] + stream.flush()
    alone = [restored_by(TiledStream(model, params, (64, 80)), frames[:3])]
    alone += [restored_by(TiledStream(model, params, (64, 80)), frames[3:])]
    np.testing.assert_array_equal(out, np.concatenate(alone))


def test_all_tiles_of_all_frames_are_one_compilation(model, params):
    before = tiles._tile_step._cache_size()
    for _ in range(2):
        restored_by(TiledStream(model, params, (40, 44)), panned(3, 92, 116))
    assert tiles._tile_step._cache_size() == before + 1


def test_frames_on_the_device_stay_there(model, params):
    stream = TiledStream(model, params, (64, 80))
    (step,) = stream.advance(jnp.asarray(panned(1, 64, 120)[0])) or stream.finish()
    assert step.restored.devices() and step.displacement.devices()


@pytest.mark.parametrize("tile", [(64, 50), (12, 64), (0, 0), (-4, 64)])
def test_a_tile_that_cannot_be_is_refused(model, params, tile):
    with pytest.raises(ValueError, match=r"multiples of 4, at least 16"):
        TiledStream(model, params, tile)


def test_too_small_an_overlap_is_refused(model, params):
    with pytest.raises(ValueError, match="overlap 4: must be 8 or more"):
        TiledStream(model, params, (64, 64), overlap=4)


@pytest.mark.parametrize("size", [(2160, 3840), (1080, 1920), (719, 1281), (64, 320)])
def test_tilings_shrink_step_by_step_to_twice_the_overlap(size):
    found = list(tilings(*size, 56))
    assert all(p % 4 == 0 and q % 4 == 0 for p, q in found)
    areas = [p * q for p, q in found]
    assert areas == sorted(set(areas), reverse=True)
    assert areas[0] < 0.75 * size[0] * size[1]
    for side, whole in zip(found[-1], size, strict=True):
        assert side == (112 if whole > 168 else whole)
    for p, q in found:  # none is larger than its number of tiles asks for
        for tile, whole in ((p, size[0]), (q, size[1])):
            whole = -(-whole // 4) * 4
            count = len(parts(whole, tile, 56))
            assert count * tile < whole + 56 * (count - 1) + 4 * count


def test_a_frame_no_larger_than_the_least_tile_has_no_tilings():
    assert list(tilings(112, 100, 56)) == []
