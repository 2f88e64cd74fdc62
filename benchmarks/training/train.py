"""Times training steps beside the PyTorch twin's; prints a table, never asserts.

    python -m benchmarks.training.train [--quick] [--json FOLDER] [--models mtu2 ...]

Ours and the twin's steps (extra `torch`; left out where torch is not installed) run
alternately in one process, on the same weights and clips, after a check that both have
the same losses. Clips and labels are random: neither changes the work done. Last, blur
and exact labels are made on the device within the step, as `train.py` does on a GPU.
"""

import argparse
import dataclasses
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

import mtujax
from benchmarks.helpers import record
from benchmarks.helpers.runs import device_peak, torch_module
from mtujax import PRESETS, MTUNet, init_params, parallel
from mtujax.model.tiling import compiled_memory
from mtujax.training.config import RELEASE, DataConfig, RunConfig
from mtujax.training.inputs import open_feed
from mtujax.training.optimizers import init_train_state
from mtujax.training.step import clip_step, make_step

PHOTOS = pathlib.Path(mtujax.__file__).parent / "assets"
SCHEMES = {
    "release": RELEASE,
    "paper": dataclasses.replace(RELEASE, scheme="paper", frames_per_update=None),
    "paper-frame": dataclasses.replace(RELEASE, scheme="paper"),
}
ALIKE = 1e-4  # largest relative difference of the losses in float32
WARM = 2  # steps more that PyTorch needs until it is as fast as it gets
HEAD = """
| model | precision | scheme | updates/s | frames/s | twin: updates/s | time \
| CPU time | memory, MB | compile, s | |
|---|---|---|---|---|---|---|---|---|---|---|"""


def main():
    args = arguments()
    results = {
        "machine": record.machine_printed(),
        "clips": {"batch": args.batch, "frames": args.frames, "size": args.size},
        "steps": [],
        "made": [],
        "devices": [],
    }
    print(f"batches of {args.batch} x {args.frames} frames of {args.size}x{args.size}")
    print("the twin: ratios are medians of PyTorch time / ours")
    print(HEAD, flush=True)
    cases = [
        (name, dtype, scheme)
        for name in args.models
        for dtype in args.dtypes
        for scheme in args.schemes
    ]
    parts = {"steps": beside_twin}
    if args.made:
        parts["made"] = with_blur
    if jax.device_count() > 1:
        parts["devices"] = on_all_devices
    for part, measure in parts.items():
        for case in cases:
            results[part].append(measure(case, args))
            record.keep(results, "train", args.json)
    if peak := device_peak():
        results["device_peak_mb"] = peak / 1e6
        print(f"\nmost device memory in use by JAX at any time: {peak:.0f} MB")
    record.write(results, "train", args.json)


def arguments():
    slow = jax.default_backend() == "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="mtu1 on tiny clips, one round")
    record.add_json(parser)
    models = ["mtu1", "mtu2"] if slow else ["mtu1", "mtu2", "mtu10"]
    add("--models", nargs="+", choices=PRESETS, default=models)
    dtypes = ["float32"] if slow else ["float32", "bfloat16"]
    add("--dtypes", nargs="+", choices=["float32", "bfloat16"], default=dtypes)
    add("--schemes", nargs="+", choices=SCHEMES, default=["release", "paper"])
    add("--batch", type=int, default=2 if slow else 8, help="clips")
    add("--frames", type=int, default=4 if slow else 13, help="of a clip")
    add("--size", type=int, default=64 if slow else 256, help="pixels, in fours")
    add("--rounds", type=int, default=5, help="timed steps of each")
    add("--photos", type=pathlib.Path, default=PHOTOS, help="folder for the blur")
    add("--subframes", type=int, help="the most per frame of the blur")
    add("--no-twin", dest="twin", action="store_false", help="without PyTorch")
    add("--no-made", dest="made", action="store_false", help="without the blur")
    args = parser.parse_args()
    if args.quick:
        quick = dict(models=["mtu1"], dtypes=["float32"], subframes=5)
        quick |= dict(batch=1, frames=2, size=32, rounds=1)
        vars(args).update(quick)
    args.twin = args.twin and torch_module() is not None
    return args


def beside_twin(case, args):
    """One row: our step, and the twin's on the same clips."""
    model, config = settings(case)
    params = init_params(model, jax.random.key(0))
    batch = random_batch(model.config, args)
    state = init_train_state(config, params)
    step = jax.jit(
        lambda state, batch: clip_step(state, batch, model=model, config=config),
        donate_argnums=0,
    ).lower(state, batch)
    step, row = compiled(step)
    runners = {"mtujax": ours(step, state, batch)}
    if args.twin:
        from benchmarks.training.torch_step import TorchStep

        for name, last in (("twin", False), ("twin channels_last", True)):
            twin = TorchStep(model.config, config, params, channels_last=last)
            runners[name] = theirs(twin, batch)
    row |= compare(runners, args, config)
    if row.get("loss_difference", 0) > ALIKE and model.config.dtype == "float32":
        raise SystemExit(f"{case}: other losses than the twin's: {row['losses']}")
    return show(case, row)


def with_blur(case, args):
    """One row: blur and labels made on the device within the step."""
    model, config = settings(case)
    data = DataConfig(
        path=str(args.photos),
        made_on="device",
        frames=args.frames,
        crop=args.size,
        subframes=args.subframes,
    )
    feed = open_feed(RunConfig(model.config, config, data, batch=args.batch))
    state = first_state(model, config)
    inputs = parallel.replicated(feed.constants), next(feed.start(0))
    step, row = make_step(model, config, feed.prepare), {}
    if jax.device_count() == 1:
        step, row = compiled(step.lower(state, *inputs))
    row |= compare({"mtujax": ours(step, state, *inputs)}, args, config)
    return show(case, row, "blur and labels made on the device")


def on_all_devices(case, args):
    """One row: as many clips on each device as one had before."""
    model, config = settings(case)
    count = jax.device_count()
    wide = argparse.Namespace(**vars(args) | {"batch": args.batch * count})
    state = first_state(model, config)
    inputs = None, random_batch(model.config, wide)
    step = make_step(model, config)
    row = compare({"mtujax": ours(step, state, *inputs)}, wide, config)
    return show(case, row, f"{count} devices, each with as many clips")


def first_state(model, config):
    """A state on all devices."""
    state = init_train_state(config, init_params(model, jax.random.key(0)))
    return parallel.replicated(state)


def settings(case):
    name, dtype, scheme = case
    model = MTUNet(dataclasses.replace(PRESETS[name], dtype=dtype))
    return model, SCHEMES[scheme]


def random_batch(config, args):
    """Clips with their neighbours, and labels, on the device."""
    rng, time, size = np.random.default_rng(0), args.frames, args.size
    length = config.lookback + time + config.lookahead
    grid = (args.batch, time, size // config.cell, size // config.cell)
    batch = {
        "blurry": rng.random((args.batch, length, size, size, 3), np.float32),
        "sharp": rng.random((args.batch, time, size, size, 3), np.float32),
        "motion": rng.integers(0, 441, grid).astype(np.int32),
        "motion_valid": rng.random(grid) < 0.9,
    }
    return jax.tree.map(jnp.asarray, batch)


def compiled(lowered):
    """The program, how long it took to compile, and the memory that it needs."""
    started = time.perf_counter()
    program = lowered.compile()
    took, memory = time.perf_counter() - started, compiled_memory(program)
    return program, {"compile_s": took, "memory_mb": memory.total / 1e6}


def ours(step, state, *inputs):
    """A function that makes all updates of a batch, from where it was, and waits."""

    def run():
        nonlocal state
        state, terms = step(state, *inputs)
        jax.block_until_ready((state, terms))
        return {name: float(terms[name]) for name in ("deblur", "motion")}

    return run


def theirs(step, batch):
    """The same of the twin."""
    batch = step.to_device(batch)
    return lambda: {name: value.item() for name, value in step(batch).items()}


def compare(runners, args, config):
    """The first losses; then medians of updates a second, and of the pairs' ratios."""
    losses = {name: run() for name, run in runners.items()}
    found = {"losses": losses}
    if len(runners) > 1:
        own, twin = losses["mtujax"], losses["twin"]
        found["loss_difference"] = max(abs(own[k] / twin[k] - 1) for k in own)
    for run in (*runners.values(),) * WARM:
        run()
    wall, cpu = ({name: [] for name in runners} for _ in range(2))
    for _ in range(args.rounds):
        for name, run in runners.items():
            started, worked = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(time.process_time() - worked)
    updates = args.frames // (config.frames_per_update or args.frames)
    for name in runners:
        middle = statistics.median(wall[name])
        pairs = [zip(x[name], x["mtujax"], strict=True) for x in (wall, cpu)]
        found[name] = {
            "updates_per_s": updates / middle,
            "frames_per_s": args.batch * args.frames / middle,
            "wall_s": middle,
            "least_s": min(wall[name]),
            "cpu_s": statistics.median(cpu[name]),
            "ratio": statistics.median(a / b for a, b in pairs[0]),
            "cpu_ratio": statistics.median(a / b for a, b in pairs[1]),
        }
    return found


def show(case, row, note=""):
    """Prints a row of the table, beside the faster twin; returns all there is to it."""
    twins = [row[name] for name in row if name.startswith("twin")]
    own, twin = row["mtujax"], min(twins, key=lambda x: x["wall_s"], default={})
    cells = [own["updates_per_s"], own["frames_per_s"], twin.get("updates_per_s")]
    cells += [twin.get("ratio"), twin.get("cpu_ratio")]
    cells += [row.get("memory_mb"), row.get("compile_s")]
    cells = ["" if x is None else f"{x:.{0 if x >= 100 else 2}f}" for x in cells]
    print("|", " | ".join([*case, *cells, note]), "|", flush=True)
    return dict(zip(("model", "dtype", "scheme"), case, strict=True)) | row


if __name__ == "__main__":
    main()
