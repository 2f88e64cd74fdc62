"""Times the network of one frame, the matcher and memory; prints tables, never asserts.

    python -m benchmarks.speed.core [--quick] [--only matcher ...] [--json FOLDER]

Of the matcher all implementations are timed, in one table: one that does not run here
is named with its reason. Everything compared is run alternately in one process, so that
a machine whose speed drifts does not decide. The PyTorch twin (extra `torch`) is left
out where torch is not installed. Frames are random; weights are drawn: neither changes
the work done.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.helpers import record
from benchmarks.helpers.runs import (
    attempted,
    compare,
    compare_calls,
    in_a_row,
    peak_memory,
    torch_module,
)
from mtujax import PRESETS, MTUNet, inference_params, init_params, initial_state, match
from mtujax.common.text import Column, Table, markdown
from mtujax.ops.matching import IMPLEMENTATIONS

SIZES = {"640x360": (360, 640), "1280x720": (720, 1280)}
TINY = {"96x64": (64, 96)}
PARTS = "steps", "matcher", "memory"
USUAL = "mtujax"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny: only to see it run")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    record.add_json(parser)
    args = parser.parse_args()
    rounds = 3 if args.quick else 7
    sizes = TINY if args.quick else SIZES
    results = {"machine": record.machine_printed()} | {name: [] for name in PARTS}
    for size, (height, width) in sizes.items():
        for preset in ("mtu1", "mtu2") if "steps" in args.only else ():
            row = compare(step_runners(preset, height, width), rounds)
            results["steps"].append({"preset": preset, "size": size, **row})
            show(f"{preset} {size}", row)
        if "matcher" in args.only:
            runners = matcher_runners(height // 4, width // 4, names=IMPLEMENTATIONS)
            able, refused = attempted(runners)
            runners = {name: runners[name] for name in able}
            row = compare_calls(runners, rounds)
            results["matcher"].append({"size": size, "refused": refused, **row})
            print("\n" + matcher_table(size, row, refused), flush=True)
        record.keep(results, "core", args.json)
    for frames in (100, 1000) if "memory" in args.only else ():
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


def matcher_runners(height, width, channels=52, names=()):
    """{name: function that matches and waits}: the default, `names`, PyTorch's."""
    features = np.random.default_rng(0).random(
        (2, 1, height, width, channels), np.float32
    )
    pairs = {kind: jnp.asarray(features, kind) for kind in ("float32", "bfloat16")}

    def ours(name, kind="float32"):
        find = functools.partial(match, radius=10, implementation=name)
        query, key = pairs[kind]
        return lambda: jax.block_until_ready([find(query, key) for _ in in_a_row()])

    runners = {USUAL: ours(None)}
    runners |= {f"{USUAL} {name}": ours(name) for name in names}
    if names:
        runners |= {f"{USUAL}, bfloat16": ours(None, "bfloat16")}
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


def matcher_table(size, row, refused):
    """Milliseconds of each implementation, and why others have none."""
    columns = (
        Column("matcher", align="l"),
        Column("ms"),
        Column("least"),
        Column("ratio"),
    )
    cells = [
        (name, f"{r['ms']:.2f}", f"{r['min_ms']:.2f}", f"{r['ratio']:.2f}")
        for name, r in row.items()
    ]
    notes = tuple(f"{name}: {why}" for name, why in refused.items())
    return markdown([Table("matcher", f"Matcher, {size}", columns, cells, (), notes)])


def run_matcher(torch, function, pair):
    with torch.no_grad():
        for _ in in_a_row():
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
