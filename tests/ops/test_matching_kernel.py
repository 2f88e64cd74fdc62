"""The matcher's kernel, lowered for a GPU where there is none."""

import jax
import jax.numpy as jnp
from jax import export
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from mtujax.ops.matching_kernel import best_class


def test_it_is_one_kernel_of_a_gpu():
    features = jax.ShapeDtypeStruct((2, 45, 83, 52), jnp.float32)
    gpu = AbstractDevice(device_kind="NVIDIA H100", num_cores=132, platform="cuda")
    kernel = "__gpu$xla.gpu.triton"
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=gpu)):
        exported = export.export(
            jax.jit(lambda query, key: best_class(query, key, 10)),
            platforms=["cuda"],
            disabled_checks=[export.DisabledSafetyCheck.custom_call(kernel)],
        )(features, features)
    assert exported.out_avals[0].shape == (2, 45, 83)
    assert exported.mlir_module().count(f"stablehlo.custom_call @{kernel}") == 1
