"""Times the network of one frame, the matcher and memory; prints tables, never asserts.

    python -m benchmarks.speed.core [--quick] [--json FOLDER]

Everything compared is run alternately in one process, so that a machine whose speed
drifts does not decide. The PyTorch twin (`mtujax[torch]`) is left out where torch is
not installed. Frames are random; weights are drawn: neither changes the work done.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.helpers import record
from benchmarks.helpers.runs import compare, peak_memory, torch_module
from mtujax import PRESETS, MTUNet, inference_params, init_params, initial_state, match
from mtujax.ops.matching import IMPLEMENTATIONS

SIZES = {"640x360": (360, 640), "1280x720": (720, 1280)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only 640x360, 3 rounds")
    record.add_json(parser)
    args = parser.parse_args()
    rounds = 3 if args.quick else 7
    sizes = dict(list(SIZES.items())[:1]) if args.quick else SIZES
    results = {
        "machine": record.machine_printed(),
        "steps": [],
        "matcher": [],
        "memory": [],
    }
    for size, (height, width) in sizes.items():
        for preset in ("mtu1", "mtu2"):
            row = compare(step_runners(preset, height, width), rounds)
            results["steps"].append({"preset": preset, "size": size, **row})
            show(f"{preset} {size}", row)
        row = compare(matcher_runners(height // 4, width // 4), rounds)
        results["matcher"].append({"size": size, **row})
        show(f"matcher {size}", row)
    for frames in (100, 1000):
        peak = streamed(frames)
        results["memory"].append({"frames": frames, "peak_mb": peak})
        print(f"peak memory, mtu1 320x180 stream of {frames} frames: {peak:.0f} MB")
    record.write(results, "core", args.json)


def step_runners(preset, height, width):
    """{name: function that restores one frame and waits for it}."""
    model = MTUNet(PRESETS[preset])
    params = inference_params(init_params(model, jax.random.key(0)))
    window = np.random.default_rng(0).random((1, 5, height, width, 3), np.float32)
    state = initial_state(model, 1, height, width)
    step = jax.jit(lambda p, s, w: model.apply({"params": p}, s, w))
    device_window = jnp.asarray(window)
    runners = {
        "mtujax": lambda: jax.block_until_ready(step(params, state, device_window))
    }
    torch = torch_module()
    if torch:
        for name, layout in (
            ("twin", torch.contiguous_format),
            ("twin channels_last", torch.channels_last),
        ):
            runners[name] = twin_runner(torch, model.config, params, window, layout)
    return runners


def twin_runner(torch, config, params, window, layout):
    from mtujax.torch_port.network import TorchMTUNet
    from mtujax.weights.convert import from_params

    twin = TorchMTUNet(config)
    tensors = from_params(params, config)
    twin.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in tensors.items()})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    twin = twin.to(device).to(memory_format=layout).eval()
    window = torch.from_numpy(window).to(device)
    with torch.no_grad():
        state = twin.initial_state(1, *window.shape[2:4])

    def run():
        with torch.no_grad():
            twin(state, window)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def matcher_runners(height, width, channels=52):
    features = np.random.default_rng(0).random(
        (2, 1, height, width, channels), np.float32
    )
    query, key = jnp.asarray(features)
    runners = {}
    for name in IMPLEMENTATIONS:
        usual = "mtujax" if name == IMPLEMENTATIONS[0] else f"mtujax {name}"
        find = functools.partial(match, radius=10, implementation=name)
        runners[usual] = lambda f=find: jax.block_until_ready(f(query, key))
    torch = torch_module()
    if torch:
        from mtujax.torch_port.layers import match_banded, match_loop

        device = "cuda" if torch.cuda.is_available() else "cpu"
        pair = torch.from_numpy(features).permute(0, 1, 4, 2, 3).contiguous().to(device)
        for name, function in (
            ("twin banded", match_banded),
            ("twin loop", match_loop),
        ):
            runners[name] = lambda f=function: run_matcher(torch, f, pair)
    return runners


def run_matcher(torch, function, pair):
    with torch.no_grad():
        function(pair[0], pair[1])
    if pair.is_cuda:
        torch.cuda.synchronize()


def show(title, row):
    parts = [
        f"{name} {r['ms']:.0f} ms (min {r['min_ms']:.0f}, x{r['ratio']:.2f})"
        for name, r in row.items()
    ]
    print(f"{title}: " + " | ".join(parts), flush=True)


def streamed(frames):
    """Peak resident memory in MB of a process that streams `frames`."""
    return peak_memory(
        "import numpy as np, jax\n"
        "from mtujax import *\n"
        "model = MTUNet(PRESETS['mtu1'])\n"
        "params = inference_params(init_params(model, jax.random.key(0)))\n"
        "stream, rng = Stream(model, params), np.random.default_rng(0)\n"
        f"for _ in range({frames}):\n"
        "    stream.push(rng.integers(0, 256, (180, 320, 3), np.uint8))\n"
        "stream.flush()\n"
    )


if __name__ == "__main__":
    main()
