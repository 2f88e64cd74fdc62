r"""Compiles for an NVIDIA H100 that is not here, and counts what it would have to do.

    python -m pip install --no-deps --target PLUGIN nvidia-cuda-nvcc-cu12 \
        jax-cuda12-pjrt==VERSION        # that of the jax here
    python -m benchmarks.gpu.predict PLUGIN [--only loss matcher frame update film]
        [--json FOLDER]

XLA's compiler for GPUs needs none. Of the program that it makes these are counted: the
kernels that are launched, loops unrolled, and the bytes that these read and write.
Neither is a time: what caches hold is not distinguished, and without a device no
algorithm is chosen by trial. Two bounds are given beside them, the bytes at the H100's
bandwidth and so many launches at 2 microseconds; a program takes about the larger one
if its kernels do nothing but move bytes, and up to their sum if they are short.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import sys
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import SingleDeviceSharding

from benchmarks.gpu.learn import read_recipe
from benchmarks.helpers import record
from benchmarks.helpers.compiled_counts import counted
from mtujax import PRESETS, MTUNet, init_params, initial_state, match
from mtujax.common.text import Column, Table, markdown
from mtujax.model.network import inference_params
from mtujax.model.optimized_form import inference_form, wider
from mtujax.ops.matching import IMPLEMENTATIONS, best_displacement, cost_volume
from mtujax.synthesis.device.clip import draw_shots, make_clips, most_subframes
from mtujax.synthesis.device.film import TOGETHER
from mtujax.synthesis.device.scene import Recipe
from mtujax.training.config import RELEASE, blur_settings
from mtujax.training.losses import motion_loss
from mtujax.training.optimizers import init_train_state
from mtujax.training.step import clip_step

BANDWIDTH = 3.35e12  # bytes a second of an H100 SXM, by its data sheet
LAUNCH = 2e-6  # seconds, of a short kernel after another: an assumption
DEVICE = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 10 }
gpu_device_info {
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000 device_memory_size: 84942979072
  l2_cache_size: 52428800 shared_memory_per_core: 233472
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}
"""
# Without a device to try on, no tiles are found for the chroma's change of size.
OPTIONS = {"film": {"xla_gpu_enable_triton_gemm": False}}
CLIPS, FRAME = 16, (720, 1280)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("plugin", type=pathlib.Path, help="folder that pip has installed it to")
    add("--only", nargs="+", choices=PARTS, default=list(PARTS))
    record.add_json(parser)
    args = parser.parse_args()
    results = {"machine": record.machine_printed(), "programs": {}}
    device = absent_gpu(args.plugin)
    rows = []
    with mock.patch.object(jax, "default_backend", lambda: "gpu"):
        for part in args.only:
            for name, share, lowered, *turns in PARTS[part](device):
                compiled = lowered.compile(OPTIONS.get(part))
                found = counted(compiled.as_text(), *turns)
                results["programs"][name] = found | {"of": share}
                rows.append(table_row(name, found, share))
                print(*rows[-1], sep=" | ", flush=True)
                record.keep(results, "predict", args.json)
    columns = Column("program", align="l"), *map(Column, HEADS)
    print("\n" + markdown([Table("predict", "Compiled for an H100", columns, rows)]))
    record.write(results, "predict", args.json)


HEADS = "kernels", "MB", "ms of bytes", "ms of launches"


def table_row(name, found, share):
    """Cells of a program, each for one of so many equal shares of it."""
    kernels, moved = found["kernels"] / share, found["bytes"] / share
    bounds = moved / BANDWIDTH, kernels * LAUNCH
    return (
        name,
        f"{kernels:.0f}",
        f"{moved / 1e6:.0f}",
        *(f"{1e3 * t:.2f}" for t in bounds),
    )


def absent_gpu(folder):
    """A device that can be compiled for; one line if the plugin is not there."""
    from jax._src.lib import xla_client  # what `jax.experimental.topologies` calls

    library = folder / "jax_plugins" / "xla_cuda12" / "xla_cuda_plugin.so"
    tools = (folder / "nvidia" / "cuda_nvcc" / "bin").resolve()
    for path in (library, tools):
        if not path.exists():
            sys.exit(f"predict.py: error: {path}: is missing; see --help")
    os.environ["PATH"] = os.pathsep.join([str(tools), os.environ["PATH"]])
    plugin = xla_client.load_pjrt_plugin_dynamically("cuda", str(library.resolve()))
    xla_client.initialize_pjrt_plugin("cuda")
    about = dict(target_config=DEVICE, topology="1x1x1")
    topology = xla_client.make_c_api_device_topology(plugin, "", **about)
    return topology._make_compile_only_devices()[0]


def lowered(device, function, *args):
    """A function of arrays, or of their shapes, as that device's compiler gets it."""
    place = SingleDeviceSharding(device)
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), args
    )
    return jax.jit(function).trace(*shapes).lower(lowering_platforms=("cuda",))


def losses(device):
    """The motion loss, the displacement and both gradients, of a batch of training."""

    def work(query, key, target, valid):
        def loss(query, key):
            volume = cost_volume(query, key)
            value = motion_loss(volume[:, None], target, valid)
            return value, best_displacement(volume)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(query, key)

    for name, side, channels in (("fast", 32, 64), ("mtu2", 48, 64)):
        for dtype in ("bfloat16", "float32"):
            grid = CLIPS, side, side
            features = [jax.ShapeDtypeStruct((*grid, channels), dtype)] * 2
            labels = [jax.ShapeDtypeStruct(grid, t) for t in ("int32", "bool")]
            found = lowered(device, work, *features, *labels)
            yield f"motion loss of {name}, {dtype}", 1, found


def matchers(device):
    """Every implementation of the matcher, of a frame of MTU2."""
    grid = (1, FRAME[0] // 4, FRAME[1] // 4, 64)
    for name in IMPLEMENTATIONS:
        for dtype in ("bfloat16", "float32"):
            find = functools.partial(match, implementation=name)
            pair = [jax.ShapeDtypeStruct(grid, dtype)] * 2
            yield f"match {name}, {dtype}", 1, lowered(device, find, *pair)


def frames(device):
    """The inference step of a frame in bfloat16."""
    for name in ("mtu2", "fast"):
        model = MTUNet(dataclasses.replace(PRESETS[name], dtype="bfloat16"))
        params = inference_params(init_params(model, jax.random.key(0)))
        model, params = inference_form(model, params)
        state = jax.eval_shape(functools.partial(initial_state, model, 1, *FRAME))
        shape = (1, model.config.window, *FRAME, 3)
        window = jax.ShapeDtypeStruct(shape, jnp.float32)

        def step(params, state, window, model=model):
            return model.apply({"params": params}, state, window)

        yield f"frame of {name}", 1, lowered(device, step, params, state, window)


def updates(device):
    """An update of `bundled_fast` as it is, and with Adam; then of MTU2's release."""
    recipe = read_recipe("bundled_fast")
    half = dataclasses.replace(PRESETS["mtu2"], dtype="bfloat16")
    for name, config, train, side in (
        ("fast, Muon", recipe.model, recipe.train, recipe.data.crop),
        (
            "fast, Adam",
            recipe.model,
            dataclasses.replace(recipe.train, optimizer="adam"),
            recipe.data.crop,
        ),
        ("mtu2, two Adams", half, RELEASE, 192),
    ):
        step = functools.partial(clip_step, model=MTUNet(config), config=train)
        found = lowered(device, step, *state_and_batch(config, train, 2, side))
        yield f"update of {name}", 2, found


def filming(device):
    """The clips of a batch, a share for each update; sub-frames as many as it has."""
    photos = [np.zeros((848, 1280, 3), np.uint8)] * 2
    for name, file in (("fast", "bundled_fast"), ("mtu2", "mtu2_photos")):
        config = read_recipe(file)
        data, blur = config.data, blur_settings(config.data)
        frames = data.frames + config.model.lookahead
        recipe = Recipe(frames, data.crop, blur)
        given = dict(frames=frames, size=data.crop, blur=blur)
        resident, film = make_clips(photos, **given)
        most = most_subframes(blur.exposure.longest)

        def numbered(resident, clips, make=film):
            keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), clips)
            return make(resident, keys)

        def used(resident, keys, recipe=recipe, most=most):
            def weights(key):
                return draw_shots(resident, key, recipe, most)[0].weights

            return (jax.vmap(weights)(keys) != 0).sum(axis=-1)

        clips = np.arange(config.batch, dtype=np.uint32)
        counts = jax.jit(functools.partial(numbered, make=used))(resident, clips)
        # As `film` has them: of a group of frames the longest exposure counts.
        groups = np.sort(counts, axis=None)[::-1][:: TOGETHER[True]]
        found = lowered(device, numbered, resident, clips)
        yield f"film for {name}", data.frames, found, float(groups.mean())


def state_and_batch(config, train, time, side):
    """Shapes of what a training step takes."""

    def first():
        params = init_params(MTUNet(wider(config, 1)), jax.random.key(0))
        return init_train_state(train, params)

    length = config.lookback + time + config.lookahead
    grid = (CLIPS, time, side // config.cell, side // config.cell)
    shape = jax.ShapeDtypeStruct
    return jax.eval_shape(first), {
        "blurry": shape((CLIPS, length, side, side, 3), jnp.float32),
        "sharp": shape((CLIPS, time, side, side, 3), jnp.float32),
        "motion": shape(grid, jnp.int32),
        "motion_valid": shape(grid, bool),
    }


PARTS = {
    "loss": losses,
    "matcher": matchers,
    "frame": frames,
    "update": updates,
    "film": filming,
}


if __name__ == "__main__":
    main()
