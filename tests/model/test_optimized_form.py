"""The inference form restores the same frames."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import TINY, lively_params, slow

from mtujax import load, restore_clip, save_weights
from mtujax.config import PRESETS
from mtujax.model.network import MTUNet, inference_params, parameter_count
from mtujax.model.operations import needed_operations, network_operations
from mtujax.model.optimized_form import WIDTH, inference_form

FORMS = {
    "released, one unit": dict(num_units=1),
    "released, two units": {},
    "every unit matches": dict(matching_units=(0, 1)),
    "paper's text": dict(
        lookback=1, lookahead=0, last_unit_reads_warped=True, initial_features="zero"
    ),
    "features matched directly": dict(motion_layer=False),
    "no motion compensation": dict(motion_compensation=False),
}


QUICK = ("released, two units", "paper's text")


@pytest.mark.parametrize("form", [n if n in QUICK else slow(n) for n in FORMS])
def test_it_restores_the_same_frames(form, clip):
    model = MTUNet(dataclasses.replace(TINY, channels=6, **FORMS[form]))
    params = lively_params(model)
    wider, padded = inference_form(model, params, multiple=8)
    assert wider.config.channels == 8
    expected = restore_clip(model, inference_params(params), clip)[1]
    assert np.abs(expected - clip).max() > 0.05
    found = restore_clip(wider, padded, clip)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("form", ["released, one unit", "every unit matches"])
def test_matching_that_no_image_needs_is_not_done(form):
    model = MTUNet(dataclasses.replace(TINY, **FORMS[form]))
    params = inference_params(lively_params(model))
    lighter, kept = inference_form(model, params, multiple=1)
    assert len(lighter.config.matching_units) == len(model.config.matching_units) - 1
    assert parameter_count(kept) < parameter_count(params)

    counts = [
        network_operations(*network, 1, 24, 32)
        for network in ((model, params), (lighter, kept))
    ]
    assert counts[1].matching < counts[0].matching
    assert counts[1].convolutions < counts[0].convolutions


@pytest.mark.parametrize("form", ["released, one unit", "released, two units"])
def test_the_work_that_is_needed_depends_on_no_form(form):
    model = MTUNet(dataclasses.replace(TINY, channels=6, **FORMS[form]))
    params = inference_params(lively_params(model))
    lighter, kept = inference_form(model, params, multiple=1)
    counted = network_operations(lighter, kept, 1, 24, 32)
    needed = needed_operations(model.config, 1, 24, 32)
    assert needed == counted.convolutions + counted.matching_defined
    assert (counted.matching_defined == 0) == (form == "released, one unit")


def test_channels_are_padded_where_that_pays():
    model = MTUNet(PRESETS["mtu2"])
    params = jax.tree.map(
        lambda x: np.zeros(x.shape, np.float32),
        jax.eval_shape(lambda: lively_params(model)),
    )
    wider, _ = inference_form(model, params)
    assert wider.config == dataclasses.replace(model.config, channels=32)
    assert PRESETS["mtu10_l"].channels % WIDTH == 0
    same, kept = inference_form(model, params, multiple=1)
    assert same == model
    shapes = jax.tree.map(lambda x: x.shape, (kept, inference_params(params)))
    assert shapes[0] == shapes[1]


def test_half_precision_weights_are_halved_once(tmp_path, clip):
    model = MTUNet(TINY)
    save_weights(tmp_path / "tiny.safetensors", TINY, lively_params(model))
    options = dict(dtype="bfloat16")
    plain = load(tmp_path / "tiny.safetensors", **options)
    form = inference_form(*plain, multiple=1)
    padded = load(tmp_path / "tiny.safetensors", optimized=True, **options)
    for network in (form, padded):
        dtypes = {x.dtype for x in jax.tree.leaves(network[1])}
        assert dtypes == {jnp.dtype("bfloat16")}
    np.testing.assert_array_equal(
        restore_clip(*form, clip)[1], restore_clip(*plain, clip)[1]
    )


def test_a_width_that_cannot_be_is_refused(model, params):
    with pytest.raises(ValueError, match="multiple=0: must be >= 1"):
        inference_form(model, params, multiple=0)
