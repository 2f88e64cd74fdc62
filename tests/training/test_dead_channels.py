"""Dead channels: counted by layer, logged, and redrawn."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest
import sets
from flax.traverse_util import flatten_dict, unflatten_dict
from moving import panned
from networks import SMALLEST, TINY, lively_params
from stepping import train_step

from benchmarks.weights import activity
from mtujax.model.clip import restore_clip
from mtujax.model.network import MTUNet, init_params
from mtujax.ops.resampling import to_unit_range
from mtujax.training.config import TrainConfig
from mtujax.training.dead_channels import (
    SHARE,
    dead_counts,
    dead_lines,
    dead_masks,
    revived,
    worst_share,
)
from mtujax.training.optimizers import init_train_state
from mtujax.training.run import rescaled_params
from mtujax.weights.files import save_weights

LEAKY = dataclasses.replace(TINY, activation="leaky")


def with_channels(params, layer, kernel, bias, channels):
    """Parameters whose layer gives kernel * input + bias in these channels."""
    flat = {k: np.array(v) for k, v in flatten_dict(params, sep="/").items()}
    name = layer if f"{layer}/kernel" in flat else f"{layer}/conv"
    flat[f"{name}/kernel"][..., channels] = kernel
    flat[f"{name}/bias"][channels] = bias
    return unflatten_dict(flat, sep="/")


@pytest.fixture(scope="module")
def frames():
    return panned(2, 24, 32)


@pytest.mark.parametrize("above", [3, 4])
def test_a_channel_is_dead_below_a_thousandth_of_all_pixels_of_all_clips(tiny, above):
    model, params = tiny
    red = np.zeros((3, 3, 3))
    red[1, 1, 0] = 1
    params = with_channels(params, "structure", red, -0.5, 2)  # red - 0.5
    params = with_channels(params, "structure", 0.0, 1.0, [0, 1, 3])
    clips = np.zeros((2, 2, 20, 48, 3), np.uint8)  # 3840 pixels: 3.84 are needed
    clips[..., 1:] = 255
    clips[0, 0, 3, 7, 0] = clips[0, 1, 3, 7, 0] = 255
    clips[1, 1, 5, 9 : 7 + above, 0] = 255
    assert dead_counts(dead_masks(model, params, clips))["structure"] == (above == 3, 4)


def test_exactly_the_channels_that_were_switched_off_are_found(frames):
    model = MTUNet(TINY)
    alive = jax.device_get(lively_params(model, scale=0.1))
    alive = jax.tree.map(lambda x: x + (x.ndim == 1), alive)  # biases of 1
    names = set(dead_counts(dead_masks(model, alive, [frames])))
    switched_off = {
        "temporal": [0, 3],
        "unit_0/detail/encode_3": [1, 5, 15],
        "unit_0/detail/block_0/conv_1": [7],
        "unit_0/detail/decode_2": [2],
        "unit_0/motion/layer": list(range(16)),
        "unit_1/detail/block_end": [4],
    }
    for layer, channels in switched_off.items():
        alive = with_channels(alive, layer, 0.0, -1.0, channels)
    found = dead_counts(dead_masks(model, alive, [frames]))
    short = {
        name.replace("/detail", "").replace("/layer", ""): len(channels)
        for name, channels in switched_off.items()
    }
    assert {name: dead for name, (dead, _) in found.items()} == (
        dict.fromkeys(names, 0) | short
    )


def test_every_layer_with_an_activation_is_looked_at(frames):
    model = MTUNet(TINY)
    params = lively_params(model)  # the deblur layers have none
    biases = {
        name.removesuffix("/conv/bias").removesuffix("/bias"): len(bias)
        for name, bias in flatten_dict(params, sep="/").items()
        if name.endswith("bias") and "deblur" not in name
    }
    found = dead_counts(dead_masks(model, params, [frames]))
    expected = {
        name.replace("/detail", "").removesuffix("/layer"): count
        for name, count in biases.items()
    }
    assert {name: channels for name, (_, channels) in found.items()} == expected


def test_with_a_slope_below_zero_only_what_is_constant_is_dead(frames):
    model = MTUNet(LEAKY)
    params = lively_params(model)
    params = with_channels(params, "temporal", 0.0, 1.0, [1, 2])
    # Always negative, but still a picture of the frame.
    negative = np.full((3, 3, 1), -1.0)[..., None]
    params = with_channels(params, "structure", negative, -1.0, [0])
    found = dead_counts(dead_masks(model, params, [frames]))
    assert found["temporal"] == (2, 8) and found["structure"] == (0, 8)


def trained(config, updates):
    """What a short training at a high rate leaves dead, by layer."""
    model = MTUNet(config)
    train = TrainConfig(
        steps=updates, learning_rate=1e-2, schedule="constant", warmup=0
    )
    clip = panned(2, 24, 32)[None]
    batch = {
        "blurry": clip,
        "sharp": clip,
        "flow": np.full((1, 2, 24, 32, 2), -4, np.float32),
        "valid": np.arange(2)[None, :, None, None] * np.ones((1, 2, 24, 32)) > 0,
    }
    params = rescaled_params(init_params(model, jax.random.key(0)))
    state = init_train_state(train, params)
    for _ in range(updates):
        state, _ = train_step(state, batch, model=model, config=train)
    return dead_counts(dead_masks(model, state.params, clip))


@pytest.mark.slow
def test_a_network_with_a_slope_below_zero_stays_alive_in_training():
    small = dataclasses.replace(SMALLEST, activation="leaky")
    assert worst_share(trained(small, 300)) == 0


@pytest.mark.slow
def test_the_same_training_kills_most_of_a_network_of_relus():
    assert worst_share(trained(SMALLEST, 300)) > 0.8


# Redrawn.

KILLED = {
    "structure": [1, 2],
    "unit_0/detail/encode_1": [0, 3],
    "unit_0/detail/decode_2": [2],
    "unit_0/detail/block_0/conv_1": list(range(16)),  # the whole layer
    "unit_0/motion/layer": [5],
}


@pytest.fixture(scope="module")
def killed(frames):
    """(Network, state whose channels `KILLED` are dead, its dead channels)."""
    model = MTUNet(TINY)
    params = lively_params(model, scale=0.1)
    for layer, channels in KILLED.items():
        params = with_channels(params, layer, -0.01, -1.0, channels)
    state = init_train_state(TrainConfig(steps=1), params)
    return model, state, dead_masks(model, state.ema, [frames])


def test_what_is_dead_is_redrawn_and_nothing_else_changes(killed, frames):
    model, state, before = killed
    after = revived(state, before, (3, 0))
    jax.tree.map(np.testing.assert_array_equal, after.params, after.ema)
    params = jax.device_get((state.params, after.params))
    old, new = (flatten_dict(tree, sep="/") for tree in params)
    drawn = set()
    for path, value in old.items():
        layer = path.rsplit("/", 1)[0].removesuffix("/conv").removesuffix("/layer")
        layer = layer.replace("/detail", "")
        alive = ~before.get(layer, np.zeros(value.shape[-1], bool))
        np.testing.assert_array_equal(new[path][..., alive], value[..., alive])
        if alive.all():
            continue
        drawn.add(layer)
        if path.endswith("bias"):
            assert not new[path][~alive].any()
            continue
        size = np.linalg.norm(new[path].reshape(-1, len(alive)), axis=0)
        usual = size[alive].mean() if alive.any() else np.sqrt(2)
        np.testing.assert_allclose(size[~alive], SHARE * usual, rtol=1e-4)
        mean = new[path][..., ~alive].mean((0, 1, 2))
        np.testing.assert_allclose(mean, 0, atol=1e-6)
    assert drawn == {name for name, mask in before.items() if mask.any()}
    assert {k.replace("/detail", "").removesuffix("/layer") for k in KILLED} <= drawn
    # One may be below zero everywhere once more: that is for the next validation.
    left = dead_counts(dead_masks(model, after.ema, [frames]))
    lost = dead_counts(before)
    assert sum(n for n, _ in left.values()) < 0.3 * sum(n for n, _ in lost.values())


def test_frames_hardly_change_when_dead_channels_are_redrawn(killed, frames):
    model, state, dead = killed
    after = revived(state, dead, (3, 0))
    clip = to_unit_range(frames)[None]
    old, new = (restore_clip(model, s.ema, clip)[1] for s in (state, after))
    moved = np.abs(np.subtract(old, new)).mean()
    assert 0 < moved < 0.1 * np.abs(np.subtract(old, clip)).mean()


# The log.


def test_a_line_names_the_layers_with_dead_channels_and_all_of_them():
    dead = {
        "structure": (1, 26),
        "temporal": (0, 26),
        "unit_0/block_0/conv_0": (5, 52),
        "unit_0/encode_1": (0, 26),
        "unit_0/motion": (3, 52),
        "unit_1/encode_1": (2, 26),
    }
    assert dead_lines(500, dead) == [
        "dead channels at update 500: 11 of 208; structure 1/26; unit_0 block_0/conv_0 "
        "5/52, motion 3/52; unit_1 encode_1 2/26"
    ]
    none = dict.fromkeys(dead, (0, 26))
    assert dead_lines(5, none) == ["dead channels at update 5: 0 of 156"]
    assert dead_lines(5, {}) == []


def test_more_than_a_fifth_in_a_layer_is_warned_of_with_what_helps():
    dead = {"structure": (2, 10), "unit_0/motion": (2, 52)}
    assert worst_share(dead) == 0.2 and len(dead_lines(5000, dead)) == 1
    dead |= {"unit_0/motion": (43, 52)}
    (line,) = dead_lines(999, dead)  # a trial: that they are dead says little yet
    assert "motion 43/52" in line
    _, warning = dead_lines(1000, dead)
    assert warning.startswith("warning: 83% of the channels of unit_0/motion are dead")
    for remedy in ("learning_rate", "warmup", "revive_dead", "activation=leaky"):
        assert remedy in warning


# The benchmark.


def test_the_benchmark_prints_the_layers_with_dead_channels(
    tiny, frames, tmp_path, monkeypatch, capsys
):
    model, params = tiny
    params = with_channels(params, "temporal", 0.0, -1.0, [0, 2, 3])
    params = with_channels(params, "temporal", 0.0, 1.0, [1])
    save_weights(tmp_path / "mine.safetensors", model.config, params)
    (tmp_path / "clip").mkdir()
    for number, frame in enumerate(frames):
        sets.write(tmp_path / "clip" / f"{number}.png", frame[..., ::-1])
    words = [tmp_path / "clip", "--weights", tmp_path / "mine.safetensors"]
    words += ["--frames", 1, "--json", tmp_path / "out"]
    monkeypatch.setattr(sys, "argv", ["activity.py", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        activity.main()
    said = capsys.readouterr().out
    assert not ended.value.code
    assert "**mine, 1 frames**" in said and "| temporal | 3 of 4 | 75% |" in said
    [file] = (tmp_path / "out").iterdir()
    layers = json.loads(file.read_text())["layers"]
    assert layers == {
        name: list(found)
        for name, found in dead_counts(dead_masks(model, params, [frames[:1]])).items()
    }
