"""Times a frame under several XLA_FLAGS, each in a process of its own.

    python -m benchmarks.gpu.flags [--quick] [--json FOLDER]

Command buffers (CUDA graphs) launch many kernels at once: XLA makes them of straight
code by itself; "loops" has whole loops launched so, as that over the matcher's rows of
displacements is. `benchmarks.gpu.predict` counts the kernels. The same flags in the
environment of `train.py` or `mtujax` choose for these.
"""

import argparse
import dataclasses
import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.helpers import record
from benchmarks.helpers.runs import compare_calls, in_a_row
from mtujax import PRESETS, MTUNet, init_params, initial_state
from mtujax.common.text import Column, Table, markdown
from mtujax.model.inference import inference_form

KINDS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION"
COMMAND_BUFFER = "--xla_gpu_enable_command_buffer="
FORMS = {
    "as it is": "",
    "no command buffers": COMMAND_BUFFER,
    "command buffers of loops": f"{COMMAND_BUFFER}{KINDS},WHILE,CONDITIONAL",
}
PROGRAMS = "mtu2", "fast"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="tiny: only to see it run")
    add("--here", action="store_true", help="time in this process, and print JSON")
    record.add_json(parser)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(timed(args.quick)))
        return
    results = {"forms": {}}
    rows, notes = [], []
    for name, flags in FORMS.items():
        found = elsewhere(flags, args.quick)
        results["forms"][name] = {"flags": flags} | found
        if why := found.get("refused"):
            notes.append(f"{name}: {why}")
            continue
        rows.append((name, *(f"{found[p]['ms']:.2f}" for p in PROGRAMS)))
        print(*rows[-1], sep=" | ", flush=True)
    columns = Column("XLA_FLAGS", align="l"), *(Column(f"{p}, ms") for p in PROGRAMS)
    print("\n" + markdown([Table("flags", "A frame", columns, rows, (), tuple(notes))]))
    # Last: this process has no device while others are timed.
    results["machine"] = record.machine_printed()
    record.write(results, "flags", args.json)


def elsewhere(flags, quick):
    """What a process with these flags has timed, or why it has not."""
    words = [sys.executable, "-m", "benchmarks.gpu.flags", "--here"]
    usual = os.environ.get("XLA_FLAGS", "")
    environment = os.environ | {"XLA_FLAGS": f"{usual} {flags}".strip()}
    done = subprocess.run(
        words + ["--quick"] * quick, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        return {"refused": (done.stderr.strip().splitlines() or ["no reason"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def timed(quick):
    """{preset: milliseconds of a frame in bfloat16, in the inference form}."""
    runners = {
        name: runner(name, (48, 64) if quick else (720, 1280)) for name in PROGRAMS
    }
    return compare_calls(runners, 1 if quick else 7)


def runner(name, size):
    """A function that restores frames one after the other, and waits."""
    model = MTUNet(dataclasses.replace(PRESETS[name], dtype="bfloat16"))
    model, params = inference_form(model, init_params(model, jax.random.key(0)))
    window = np.random.default_rng(0).random((1, model.config.window, *size, 3))
    window = jnp.asarray(window, jnp.float32)
    step = jax.jit(lambda p, s, w: model.apply({"params": p}, s, w))
    first = functools.partial(initial_state, model, 1, *size)

    def run():
        state = first()
        for _ in in_a_row():
            state, outputs = step(params, state, window)
        jax.block_until_ready(outputs)

    return run


if __name__ == "__main__":
    main()
