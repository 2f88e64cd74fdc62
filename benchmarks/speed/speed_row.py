"""One row of the speed benchmark, in a process of its own: `speed.py` starts it.

So the peak of memory is that of the row, and a row that is killed takes no other with
it. Timed in turn, each round in another order: both forms of the network, the PyTorch
twin, and the same networks without matching.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys

import jax
import numpy as np

from benchmarks.helpers.runs import compare_calls, device_peak, torch_module
from benchmarks.speed import speed_trace
from benchmarks.speed.core import matcher_runners
from mtujax import PRESETS, MTUNet, inference_params, init_params
from mtujax.bench.timing import Network, measure, peak_memory, ratio, statistics, timed
from mtujax.common.files import whole_output
from mtujax.common.hardware import load_average
from mtujax.common.text import readable
from mtujax.deblur.restorer import available_bytes
from mtujax.errors import out_of_memory
from mtujax.model.operations import (
    compiled_bytes,
    compiled_flops,
    network_operations,
)
from mtujax.model.optimized_form import inference_form
from mtujax.model.stream import Stream
from mtujax.model.tiling import compiled_memory

OURS, PLAIN, ALONE, COMPILED = "optimized", "plain", "without matching", "compiled"
WARM_UP, LEAST = 2, 3  # rounds that do not count, and those that must
MATCHER_ROUNDS = 5
TRACED = 3  # steps


class TooLarge(Exception):
    """The row needs more memory than there is."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", type=json.loads, help="as JSON: see `measure_row`")
    parser.add_argument("out", type=pathlib.Path, help="file for what was found")
    args = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)  # its time is measured

    def save(found):
        with whole_output(args.out, folder=False) as part:
            part.write_text(json.dumps({"status": "measured", **found}))

    try:
        measure_row(**args.settings, save=save)
    except Exception as error:
        if not isinstance(error, TooLarge) and not out_of_memory(error):
            raise
        save({"status": "does not fit", "why": str(error).splitlines()[0]})


def measure_row(
    *,
    preset,
    dtype,
    size,
    batch,
    repeats,
    seconds,
    twin=True,
    trace=True,
    config=None,
    save=lambda found: None,
):
    """All that is known of one network at one size.

    Takes the preset's name, or `config` in its place; size (W, H) in pixels; the most
    rounds, and the seconds that they may take. Returns a dict for JSON, and saves it
    before what may take long: PyTorch's compiler.
    """
    config = dataclasses.replace(config or PRESETS[preset], dtype=dtype)
    others = load_average()
    shape = (batch, size[1], size[0], 3)
    draw = np.random.default_rng(0).integers
    frames = [draw(0, 256, shape, np.uint8) for _ in range(4)]
    forms = both_forms(config)
    # The optimized form first and alone: a device reports one peak for all that ran.
    subjects, found, firsts = {}, {}, {}
    for name, (model, params) in forms.items():
        before = device_peak()
        subjects[name], firsts[name] = ready(model, params, shape, frames[0])
        found[name] = about(subjects[name], model, params, shape, before)
    unmatched = dataclasses.replace(config, motion_compensation=False)
    alone = both_forms(unmatched)[OURS]
    subjects[ALONE], firsts[ALONE] = ready(*alone, shape, frames[0])
    twins, left_out = twins_of(config, unmatched, shape) if twin else ({}, {})
    row = {"forms": found, "others": {}, "left_out": left_out, "ratios": {}}
    row["load_average"] = others

    def run(makers, ours):
        """Adds the times of these twins, beside ours."""
        made = add_twins(makers, frames[0], firsts, left_out)
        measured = in_turn({**ours, **made}, frames, repeats, seconds)
        others = {name: times(measured[name], batch) for name in made}
        row["others"] = {ALONE: times(measured[ALONE], batch)} | row["others"] | others
        row["ratios"] |= ratios(measured)
        row["largest_difference"] = differences(firsts)
        return measured

    measured = run({n: m for n, m in twins.items() if COMPILED not in n}, subjects)
    for name in forms:
        found[name] |= times(measured[name], batch)
        found[name]["parts_ms"] = None
        if trace:
            found[name]["parts_ms"] = try_parts(subjects[name], forms[name], shape)
    row["matcher"] = matcher(shape, config) if config.matching_units else None
    save(row)
    if late := {n: m for n, m in twins.items() if COMPILED in n}:
        run(late, {n: subjects[n] for n in (OURS, ALONE)})
        save(row)
    return row


def add_twins(makers, frame, firsts, left_out):
    """Those twins that can be made, after their first frame."""
    made = {}
    for name, make in makers.items():
        try:
            twin = make()
            firsts[name] = first_frame(twin, frame)
            made[name] = twin
        except Exception as error:  # theirs, whatever it is: our row stands without it
            left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return made


def both_forms(config):
    """{form: (network, parameters)} of drawn weights."""
    model = MTUNet(config)
    params = inference_params(init_params(model, jax.random.key(0)))
    return {OURS: inference_form(model, params), PLAIN: (model, params)}


def ready(model, params, shape, frame):
    """The compiled network, if it fits into memory, and its first frame."""
    there = available_bytes()
    network = Network(model, params, shape)
    needed = compiled_memory(network.compiled)
    if needed and there is not None and needed.total > there:
        raise TooLarge(f"needs {readable(needed.total)}, {readable(there)} are free")
    return network, first_frame(network, frame)


def first_frame(subject, frame):
    restored = subject.step(subject.put(frame))
    subject.wait(restored)
    return subject.get(restored)


def about(network, model, params, shape, before):
    """What is known of a form without timing it."""
    memory = peak_memory(network.compiled)
    if memory.device is not None and memory.device == before:
        # Another form took more: what the device reports is not this one's.
        memory = memory._replace(
            bytes=memory.compiled, source="compiled.memory_analysis", device=None
        )
    return {
        "parameters_dtype": model.config.dtype,
        "channels": model.config.channels,
        "compile_s": network.preparation._asdict(),
        "memory_bytes": memory._asdict(),
        "multiply_adds": network_operations(model, params, *shape[:3])._asdict(),
        "compiler_flops": compiled_flops(network.compiled),
        "compiler_bytes": compiled_bytes(network.compiled),
    }


def twins_of(config, unmatched, shape):
    """{name: function that makes a twin}, and {name: why} of those left out."""
    if torch_module() is None:
        return {}, {"twin": "PyTorch is not installed"}
    import torch

    from benchmarks.speed.speed_twin import make_twin

    on_gpu = torch.cuda.is_available()
    if jax.default_backend() != "cpu" and not on_gpu:
        return {}, {"twin": "this PyTorch finds no GPU"}
    if on_gpu and config.dtype != "float32":
        config, unmatched = (
            dataclasses.replace(c, dtype="float16") for c in (config, unmatched)
        )
    made = {}
    for mode in ("", *([COMPILED] if on_gpu else [])):
        for end, one in (("", config), (f", {ALONE}", unmatched)):
            name = f"twin{' ' * bool(mode)}{mode}{end}"
            params = both_forms(dataclasses.replace(one, dtype="float32"))[PLAIN][1]
            made[name] = lambda c=one, p=params, m=bool(mode): make_twin(
                c, p, shape, compiled=m
            )
    return made, {}


def in_turn(subjects, frames, repeats, seconds):
    """Milliseconds of each subject's steps, as many rounds as there is time for."""

    def rounds(count, warm_up):
        return measure(
            subjects, frames, rounds=count, warm_up=warm_up, at_a_stretch=False
        )

    rounds(1, WARM_UP - 1)
    _, once = timed(lambda: rounds(1, 0))
    count = max(LEAST, min(repeats, math.floor(seconds / once)))
    return {name: of["step"] for name, of in rounds(count, 0).items()}


def times(samples, batch):
    found = statistics(samples)
    return {
        "step_ms": dataclasses.asdict(found),
        "frames_per_second": 1e3 * batch / found.p50,
    }


def ratios(samples):
    """Median by rounds of each subject's time over that of the optimized form.

    Networks without matching are beside ours without it.
    """
    return {
        name: ratio(own, samples[like(name, OURS)]) for name, own in samples.items()
    }


def try_parts(*of):
    """What `parts` finds, or why it cannot: times stand without a trace."""
    try:
        return parts(*of)
    except Exception as error:
        return {"why": f"{type(error).__name__}: {error}".splitlines()[0]}


def parts(network, form, shape):
    """Milliseconds of each part of a step; why not, if unknown."""
    if not hasattr(jax.profiler, "ProfileData"):
        return {"why": "this JAX cannot read its own traces"}
    frame, compiled = network.put(np.zeros(shape, np.uint8)), network.compiled
    if jax.default_backend() == "gpu":
        # Kernels in CUDA graphs do not say which operation they are of.
        options = {"xla_gpu_enable_command_buffer": ""}
        lowered = Stream(*form).lowered(shape, np.uint8)
        network.compiled = lowered.compile(compiler_options=options)
    names = speed_trace.parts_of(network.compiled.as_text())

    def step():
        network.wait(network.step(frame))

    try:
        found = speed_trace.breakdown(speed_trace.traced(step, TRACED), names)
    finally:
        network.compiled = compiled
    return found or {"why": "the trace names no operation of the step"}


def differences(firsts):
    """By how many of 255 levels first frames differ at most from ours, plain form."""
    return {
        name: int(np.abs(frame.astype(int) - firsts[like(name, PLAIN)]).max())
        for name, frame in firsts.items()
    }


def like(name, usual):
    """Which of our networks does the same work as a subject."""
    return ALONE if name.endswith(ALONE) else usual


def matcher(shape, config):
    """Milliseconds of the matchers alone, at this size and in float32."""
    rows, columns = (n // config.cell for n in shape[1:3])
    runners = matcher_runners(rows, columns, 2 * config.channels)
    runners.pop("twin loop", None)  # plainly right, and much slower
    return compare_calls(runners, MATCHER_ROUNDS)


if __name__ == "__main__":
    sys.exit(main())
