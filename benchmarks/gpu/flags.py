"""Times a frame of 1280x720 in bfloat16 with and without XLA's command buffers.

    python -m benchmarks.gpu.flags [--quick] [--json FOLDER]

Command buffers (CUDA graphs) launch many kernels at once: XLA makes them of straight
code by itself; "of loops" has whole loops launched so, as that over the matcher's rows
of displacements is. `benchmarks.gpu.predict` counts the kernels. For `train.py` and
`mtujax`, XLA_FLAGS=--xla_gpu_enable_command_buffer=KINDS in the environment chooses.
"""

import argparse
import dataclasses
from functools import partial

import jax
import numpy as np

from benchmarks.helpers import record
from benchmarks.helpers.runs import attempted
from mtujax import PRESETS, MTUNet, init_params
from mtujax.bench.timing import Network, measure, ratio, statistics
from mtujax.common.text import Column, Table, markdown
from mtujax.model.optimized_form import inference_form

OPTION = "xla_gpu_enable_command_buffer"
KINDS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION"
FORMS = {
    "as it is": {},
    "no command buffers": {OPTION: ""},
    "command buffers of loops": {OPTION: f"{KINDS},WHILE,CONDITIONAL"},
}
PROGRAMS = "fast", "mtu2"
WARM_UP = 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny: only to see it run")
    record.add_json(parser)
    args = parser.parse_args()
    shape, rounds = ((1, 48, 64, 3), 1) if args.quick else ((1, 720, 1280, 3), 50)
    programs = PROGRAMS[:1] if args.quick else PROGRAMS
    results = {"machine": record.machine_printed(), "forms": FORMS, "programs": {}}
    rows = []
    for preset in programs:
        networks, refused = compiled(preset, shape)
        frames = [np.random.default_rng(0).integers(0, 256, shape, np.uint8)]
        given = dict(rounds=rounds, warm_up=WARM_UP, at_a_stretch=False)
        times = measure(networks, frames, **given) if networks else {}
        steps = {name: of["step"] for name, of in times.items()}
        found = results["programs"][preset] = {"refused": refused, "step_ms": steps}
        rows += table_rows(preset, found)
        record.keep(results, "flags", args.json)
    names = Column("network", align="l"), Column("form", align="l")
    columns = *names, Column("ms"), Column("ratio")
    print(markdown([Table("flags", "A frame", columns, rows)]))
    record.write(results, "flags", args.json)


def compiled(preset, shape):
    """{form: network that has made a frame}, and {form: why not} of the others."""
    model = MTUNet(dataclasses.replace(PRESETS[preset], dtype="bfloat16"))
    model, params = inference_form(model, init_params(model, jax.random.key(0)))

    def make(options):
        network = Network(model, params, shape, options=options)
        network.wait(network.step(network.put(np.zeros(shape, np.uint8))))
        return network

    return attempted({name: partial(make, form) for name, form in FORMS.items()})


def table_rows(preset, found):
    """Cells of each form: the median, and its ratio by rounds to the first."""
    for name, samples in found["step_ms"].items():
        first = next(iter(found["step_ms"].values()))
        median = f"{statistics(samples).p50:.2f}"
        yield preset, name, median, f"{ratio(samples, first):.2f}"
    for name, why in found["refused"].items():
        yield preset, f"{name}: {why}", "", ""


if __name__ == "__main__":
    main()
