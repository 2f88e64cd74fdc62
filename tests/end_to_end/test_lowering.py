"""The network and its training compile for accelerators that are not here."""

import functools

import jax
import jax.numpy as jnp
import pytest
from networks import slow
from sharing import CONFIGS, MODEL, make_batch

from mtujax.model.clip import restore_clip
from mtujax.model.network import inference_params, init_params
from mtujax.training.optimizers import init_train_state
from mtujax.training.step import clip_step

PLATFORMS = ["tpu", "cuda"]


@pytest.fixture(scope="module")
def params():
    return jax.eval_shape(functools.partial(init_params, MODEL), jax.random.key(0))


def lowered(function, platform, *arguments):
    exported = jax.export.export(jax.jit(function), platforms=[platform])(*arguments)
    assert exported.platforms == (platform,)
    return exported


@pytest.mark.parametrize("platform", PLATFORMS)
def test_inference_lowers_without_the_device(platform, params):
    def restore(params, clip):
        return restore_clip(MODEL, params, clip)[1]

    clip = jax.ShapeDtypeStruct((2, 3, 32, 32, 3), jnp.float32)
    exported = lowered(restore, platform, inference_params(params), clip)
    assert exported.out_avals[0].shape == clip.shape


@pytest.mark.parametrize("scheme", [slow("release"), "paper"])
def test_a_training_step_lowers_without_the_device(scheme, params):
    config = CONFIGS[scheme]
    state = jax.eval_shape(functools.partial(init_train_state, config), params)
    step = functools.partial(clip_step, model=MODEL, config=config)
    barriers = {}
    for platform in [*PLATFORMS, "cpu"]:
        exported = lowered(step, platform, state, make_batch())
        after = jax.tree.leaves(state)
        assert exported.out_avals[: len(after)] == tuple(
            jax.core.ShapedArray(x.shape, x.dtype) for x in after
        )
        text = exported.mlir_module()
        barriers[platform] = text.count("stablehlo.optimization_barrier")
    # Gradients of convolutions are XLA's own, but where a CPU needs others.
    assert barriers["tpu"] == barriers["cuda"] < barriers["cpu"]
