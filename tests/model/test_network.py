"""The network of one frame: sizes, switches, and where gradients flow."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import TINY, apply, lively_params, slow

from mtujax.config import PAPER_TEXT, PRESETS, ModelConfig
from mtujax.model.network import MTUNet, inference_params, init_params, initial_state

# The paper's Tables 3 and 4 give 0.54, 1.04, 2.04, 5.03 and 13.80 million.
COUNTS = {
    "mtu1": 538_073,
    "mtu2": 1_037_325,
    "mtu4": 2_035_829,
    "mtu10": 5_031_341,
    "mtu10_l": 13_802_547,
    "fast": 824_802,  # of our own, as the next
    "fast_live": 810_849,
}


def shapes_of(config):
    return jax.eval_shape(lambda k: init_params(MTUNet(config), k), jax.random.key(0))


def count(tree):
    return sum(int(np.prod(x.shape)) for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "name", [slow(n) if n.startswith("mtu10") else n for n in PRESETS]
)
def test_every_preset_has_its_number_of_parameters(name):
    assert count(inference_params(shapes_of(PRESETS[name]))) == COUNTS[name]


def test_every_preset_is_pinned():
    assert set(COUNTS) == set(PRESETS)


def test_the_paper_text_reads_six_channels_and_the_warped_features():
    params = shapes_of(PAPER_TEXT)
    assert params["temporal"]["conv"]["kernel"].shape == (3, 3, 6, 26)
    assert params["unit_1"]["deblur"]["layer"]["conv"]["kernel"].shape[2] == 52


VARIANTS = {
    "no residual": dict(residual_learning=False),
    "no motion compensation": dict(motion_compensation=False),
    "no structure injection": dict(structure_injection=False),
    "no motion layer": dict(structure_injection=False, motion_layer=False),
    "every unit matches": dict(matching_units=(0, 1)),
    "last reads warped": dict(last_unit_reads_warped=True),
    "zero start": dict(initial_features="zero"),
    "causal": dict(lookahead=0),
    "one ahead, one back": dict(lookahead=1, lookback=1),
    "radius 1": dict(search_radius=1),
    "one unit": dict(num_units=1),
}


def run(config, frames, train=False, params=None):
    """The outputs of the frames of a clip [1, T, H, W, 3], one after another."""
    model = MTUNet(config)
    params = params or lively_params(model)
    state = initial_state(model, 1, *frames.shape[2:4])
    results = []
    for t in range(frames.shape[1] - config.window + 1):
        window = frames[:, t : t + config.window]
        state, outputs = apply(model, params, state, window, train)
        results.append(outputs)
    return results


# Of the others test_torch_twin.py tells more.
QUICK = ("no residual", "zero start", "one ahead, one back", "radius 1")


@pytest.mark.parametrize("name", [n if n in QUICK else slow(n) for n in VARIANTS])
def test_every_switch_runs_and_changes_the_result(clip, name):
    changes = VARIANTS[name]
    config = dataclasses.replace(TINY, **changes)
    outputs = run(config, clip[:, : config.window + 1], train=True)[-1]
    assert outputs["restored"].shape == (1, 24, 32, 3)
    assert bool(jnp.all(jnp.isfinite(outputs["restored"])))
    assert outputs["intermediate"].shape == (1, config.num_units - 1, 24, 32, 3)
    assert ("displacement" in outputs) == config.motion_compensation
    if config.motion_compensation:
        side = 2 * config.search_radius + 1
        shape = (1, len(config.matching_units), 6, 8, side**2)
        assert outputs["cost_volume"].shape == shape
        assert np.abs(outputs["displacement"]).max() <= config.search_radius
    plain = run(TINY, clip[:, : TINY.window + 1])[-1]["restored"]
    assert np.abs(outputs["restored"] - plain).max() > 1e-4


def test_training_and_inference_agree_on_the_restored_frame(model, clip):
    params = lively_params(model)
    train = run(TINY, clip[:, :5], train=True, params=params)[0]
    plain = run(TINY, clip[:, :5], params=inference_params(params))[0]
    np.testing.assert_allclose(train["restored"], plain["restored"], atol=1e-6)
    np.testing.assert_array_equal(train["displacement"], plain["displacement"])


def test_zero_features_at_the_start_report_no_motion(clip):
    config = dataclasses.replace(TINY, initial_features="zero")
    np.testing.assert_array_equal(run(config, clip[:, :5])[0]["displacement"], 0)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 5), (10, 7)])
def test_any_frame_size_works_and_is_kept(rng, height, width):
    frames = rng.random((1, 6, height, width, 3)).astype(np.float32)
    outputs = run(TINY, frames)[-1]["restored"]
    assert outputs.shape == (1, height, width, 3)
    assert bool(jnp.all(jnp.isfinite(outputs)))


def test_padding_does_not_reach_the_frame_far_from_it(rng, model, params):
    """The reflected rows are those of the frame itself, so a flipped copy agrees."""
    frame = rng.random((1, 30, 32, 3)).astype(np.float32)
    grown = np.pad(frame, ((0, 0), (0, 2), (0, 0), (0, 0)), mode="reflect")
    results = []
    for x in (frame, grown):
        state = initial_state(model, 1, *x.shape[1:3])
        window = np.repeat(x[:, None], 5, axis=1)
        results.append(apply(model, params, state, window)[1]["restored"])
    np.testing.assert_array_equal(results[0], results[1][:, :30])


def test_the_restored_frame_is_fed_back_clamped_except_in_training(model, clip):
    params = jax.tree.map(lambda x: 3 * x, lively_params(model))
    state = initial_state(model, 1, 24, 32)
    ranges = []
    for train in (False, True):
        after, outputs = apply(model, params, state, clip[:, :5], train)
        assert outputs["restored"].max() > 1
        ranges.append(float(after.restored.max()))
    assert ranges[0] == 1 and ranges[1] > 1


def test_half_precision_computes_in_it_and_keeps_images_in_float32(clip):
    for dtype in ("bfloat16", "float16"):
        config = dataclasses.replace(TINY, dtype=dtype)
        model = MTUNet(config)
        params = lively_params(model)
        assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        state = initial_state(model, 1, 24, 32)
        state, outputs = apply(model, params, state, clip[:, :5])
        assert state.detail.dtype == dtype and outputs["restored"].dtype == "float32"


def test_the_motion_layer_learns_from_the_volume_alone(model, clip):
    params = lively_params(model)
    state = initial_state(model, 1, 24, 32)

    def grads(key):
        def total(params):
            outputs = model.apply({"params": params}, state, clip[:, :5], True)[1]
            return jnp.sum(outputs[key] ** 2)

        return jax.jit(jax.grad(total))(params)["unit_0"]["motion"]["layer"]["conv"][
            "kernel"
        ]

    assert float(jnp.abs(grads("restored")).max()) == 0
    assert float(jnp.abs(grads("cost_volume")).max()) > 0


def test_a_window_of_the_wrong_length_is_refused(model, params, clip):
    with pytest.raises(ValueError, match="window of 3 frames: this network reads 5"):
        model.apply({"params": params}, initial_state(model, 1, 24, 32), clip[:, :3])


@pytest.mark.parametrize(
    "changes, named",
    [
        (dict(num_units=0), "num_units=0"),
        (dict(lookahead=3), "lookahead=3"),
        (dict(lookback=0), "lookback=0"),
        (dict(search_radius=-1), "search_radius=-1"),
        (dict(dtype="float64"), "dtype='float64'"),
        (dict(initial_features="none"), "initial_features='none'"),
        (dict(matching_units=(1,)), "matching_units"),
        (dict(matching_units=(0, 2)), "matching_units"),
    ],
)
def test_a_setting_out_of_range_is_named(changes, named):
    with pytest.raises(ValueError, match=named.replace("(", r"\(")):
        ModelConfig(**changes)
