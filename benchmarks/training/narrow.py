"""Times convolutions of few channels in or out as they are, and widened by zeros.

    python -m benchmarks.training.narrow [--quick] [--json FOLDER]

They are those of the networks that are trained whose channels are no multiple of 8,
forward and with both gradients, in bfloat16, of a batch of training. On a GPU they took
a third of an update (docs/lab-notes/performance.md), which an algorithm for wide
channels may not. Widening changes no result. Operations and bytes are the compiler's
counts.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.helpers import record
from benchmarks.helpers.runs import attempted, compare_calls, in_a_row
from mtujax import PRESETS
from mtujax.common.text import Column, Table, markdown
from mtujax.model.network import expected_shapes
from mtujax.model.operations import compiled_bytes, compiled_flops
from mtujax.model.optimized_form import wider
from mtujax.ops.convolution import conv2d

MULTIPLES = 8, 16
USUAL = "as it is"
HEADS = "ms", "ratio", "GFLOP", "MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="tiny: only to see it run")
    add("--models", nargs="+", choices=PRESETS, default=["mtu2", "fast"])
    record.add_json(parser)
    args = parser.parse_args()
    results = {"machine": record.machine_printed(), "convolutions": []}
    batch, side, rounds = (1, 16, 1) if args.quick else (16, 192, 7)
    cells = []
    for preset in args.models:
        places = side // PRESETS[preset].patch
        for name, shape in narrow_kernels(preset).items():
            row, refused = measured((batch, places, places, shape[2]), shape, rounds)
            about = {"preset": preset, "layer": name, "kernel": shape}
            about |= {"forms": row, "refused": refused}
            results["convolutions"].append(about)
            cells += table_rows(preset, name, shape, row)
            cells += [("", f"{n}: {why}", "", "", "", "") for n, why in refused.items()]
            record.keep(results, "narrow", args.json)
    columns = Column("layer", align="l"), Column("form", align="l")
    columns += tuple(map(Column, HEADS))
    print("\n" + markdown([Table("narrow", "Few channels", columns, cells)]))
    record.write(results, "narrow", args.json)


def narrow_kernels(preset):
    """{layer: shape [kh, kw, C, O]} of those that the matrix units do not suit."""
    shapes = expected_shapes(wider(PRESETS[preset]))
    return {
        name.removesuffix("/conv/kernel"): shape
        for name, shape in shapes.items()
        if len(shape) == 4 and (shape[2] % 8 or shape[3] % 8)
    }


def plain(x, kernel):
    """A layer's convolution: [B, H, W, C] by [kh, kw, C, O] to [B, H, W, O]."""
    return conv2d(x, kernel, (1, 1), tuple((k // 2, k // 2) for k in kernel.shape[:2]))


def widened(multiple):
    """The same, on channels rounded up to a multiple by zeros."""

    def convolve(x, kernel):
        more = [(0, -n % multiple) for n in kernel.shape[2:]]
        wide = jnp.pad(kernel, ((0, 0), (0, 0), *more))
        found = plain(jnp.pad(x, ((0, 0), (0, 0), (0, 0), more[0])), wide)
        return found[..., : kernel.shape[-1]]

    return convolve


def with_gradients(convolve):
    """A function to the outcome and the gradients of both arguments."""

    def work(x, kernel, grad):
        found, backward = jax.vjp(convolve, x, kernel)
        return found, *backward(grad)

    return work


def measured(shape, kernel_shape, rounds):
    """{form: times, ratio and counts} of a convolution, and {form: why not}."""
    rng = np.random.default_rng(0)
    shapes = shape, kernel_shape, (*shape[:3], kernel_shape[-1])
    arrays = [jnp.asarray(rng.standard_normal(s), jnp.bfloat16) for s in shapes]
    forms = {USUAL: plain} | {f"{n} channels": widened(n) for n in MULTIPLES}

    def compiled(form):
        program = jax.jit(with_gradients(form)).lower(*arrays).compile()
        jax.block_until_ready(program(*arrays))
        return program

    programs, refused = attempted({n: partial(compiled, f) for n, f in forms.items()})
    runners = {
        name: lambda run=run: jax.block_until_ready([run(*arrays) for _ in in_a_row()])
        for name, run in programs.items()
    }
    row = compare_calls(runners, rounds) if runners else {}
    for name, program in programs.items():
        row[name]["flops"] = compiled_flops(program)
        row[name]["bytes"] = compiled_bytes(program)
    return row, refused


def table_rows(preset, name, shape, row):
    """Cells of each form; of a layer the name and the channels stand in the first."""
    for form, found in row.items():
        layer = f"{preset} {name}, {shape[2]} to {shape[3]}" if form == USUAL else ""
        counts = (found["flops"], 1e9), (found["bytes"], 1e6)
        scaled = ["" if n is None else f"{n / unit:.2f}" for n, unit in counts]
        yield layer, form, f"{found['ms']:.3f}", f"{found['ratio']:.2f}", *scaled


if __name__ == "__main__":
    main()
