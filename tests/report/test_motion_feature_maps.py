"""What figures are drawn from: features, the motion that they show, its alignment."""

import features
import jax
import numpy as np
import pytest
from features import HEIGHT, RADIUS, STEP, WIDTH, moving
from jax import lax
from networks import apply

from mtujax.config import ModelConfig
from mtujax.model.clip import restore_clip
from mtujax.model.network import MTUNet, inference_params, init_params, initial_state
from mtujax.report.motion import align, clip_features, motion_between

network, seen = features.network, features.seen


def test_features_are_those_that_the_network_computes_with(network, seen):
    model, params = network
    clip = moving()[None] / np.float32(255)
    _, restored = restore_clip(model, params, clip)
    before, now = seen
    for t, one in enumerate((before, now), 1):
        np.testing.assert_allclose(one.blurry, clip[0, t])
        wanted = np.clip(restored[0, t], 0, 1)
        np.testing.assert_allclose(one.restored, wanted, atol=1e-5)
    # The last convolution turns detail features into the residual.
    layer = params["unit_0"]["deblur"]["layer"]["conv"]
    residual = lax.conv_general_dilated(
        now.detail[None],
        layer["kernel"],
        (1, 1),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    residual = (np.asarray(residual) + np.asarray(layer["bias"]))[0, :, :WIDTH]
    np.testing.assert_allclose(restored[0, 2] - clip[0, 2], residual, atol=1e-5)


def test_injected_features_give_the_motion_of_the_network(network, seen):
    model, params = network
    clip = moving()[None] / np.float32(255)
    state = initial_state(model, 1, HEIGHT, WIDTH)
    for t in range(3):
        window = clip[:, np.clip(np.arange(t - 2, t + 3), 0, 3)]
        state, outputs = apply(model, params, state, window)
    found = motion_between(*seen, "injected", radius=RADIUS)
    np.testing.assert_array_equal(found, outputs["displacement"][0])


def test_structure_shows_the_motion_of_a_texture(seen):
    found = motion_between(*seen, "structure", radius=RADIUS)
    inner = found[3:-3, 5:-5]
    assert (inner == [-STEP // 4, 0]).all(axis=-1).mean() > 0.9


def test_averaged_features_are_those_of_4x4_pixels(seen):
    now = seen[1]
    assert now.to_match("injected") is now.motion
    cell = now.to_match("detail")[2, 3]
    np.testing.assert_allclose(
        cell, now.detail[8:12, 12:16].mean(axis=(0, 1)), atol=1e-6
    )


def test_features_of_patches_have_the_motion_of_their_cells():
    fields = dict(num_units=1, channels=4, num_blocks=1, search_radius=RADIUS)
    model = MTUNet(ModelConfig(**fields, patch=2))
    params = inference_params(init_params(model, jax.random.key(0)))
    clip = moving()
    before, now = clip_features(model, params, clip, 1)
    assert (now.patch, now.detail.shape) == (2, (24, 32, 4))
    found = motion_between(before, now, "structure", radius=1)
    assert found.shape == (6, 8, 2)
    # Left of it cells are pooled with those that have no source, or a border in it.
    assert (found[1:-1, 4:-2] == [-STEP // 8, 0]).all()
    moves = np.broadcast_to([-STEP // 8, 0], (6, 8, 2))
    coarse = align(moves, clip[0], clip[1], patch=2)
    fine = align(2 * moves.repeat(2, 0).repeat(2, 1), clip[0], clip[1])
    np.testing.assert_array_equal(coarse.aligned, fine.aligned)
    np.testing.assert_array_equal(coarse.error[:, :15], fine.error[:, :15])
    assert coarse.psnr == fine.psnr > 60


def test_the_right_motion_aligns_without_an_error():
    clip = moving()
    moves = np.zeros((12, 16, 2), np.int32)
    moves[..., 0] = -STEP // 4
    found = align(moves, clip[0], clip[1])
    assert np.isnan(found.error[:, :2]).all() and (found.aligned[:, :STEP] == 0).all()
    assert (found.error[:, 2:15] == 0).all()  # the last column reflects the border
    np.testing.assert_allclose(found.aligned[:, STEP:], clip[1][:, STEP:] / 255)
    assert found.psnr > 60


def test_an_error_is_the_mean_difference_of_cells():
    clip = moving()
    found = align(np.zeros((12, 16, 2), np.int32), clip[0], clip[1])
    cells = [f[8:12, 20:24].astype(float).mean(axis=(0, 1)) / 255 for f in clip[:2]]
    assert found.error[2, 5] == pytest.approx(np.abs(cells[0] - cells[1]).mean())
