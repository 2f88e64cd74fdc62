"""What `mtujax bench` does: times one network, with all that its times depend on.

`--json` writes these values (version 1; null where unknown or left out):

    kind, version       "mtujax bench", 1
    device, machine     as in results of an evaluation
    load_average        mean number of runnable processes before the timing
    method              name; sha256 of the weights, null if drawn; parameters, config
    size, batch         [width, height] in pixels; videos that advance together
    frames, warm_up     rounds that are timed, and those before
    percentiles         how they are computed
    form                "inference", which videos run in, or "plain", as trained
    compile_s           seconds to trace (trace_s) and to compile (compile_s) the step
    host_to_device_ms, step_ms, device_to_host_ms, end_to_end_ms
                        milliseconds of a stage: p50, p95, p99, mean, min, max, count
    frames_per_second   by the step's median (step), and end to end (end_to_end)
    latency_ms          of live frames at rate frames per second: wait for the
                        lookahead_frames (lookahead), and with the rest
    multiply_adds       of the network, counted layer by layer (with_matching,
                        without_matching, matching), and the compiler's count
    rates               multiply-adds that an image needs, TFLOP/s and GB/s of the step
    memory_bytes        peak, and where it is from
    torch               the PyTorch twin in each memory layout: the same times,
                        step_ratio to ours, largest_difference of a frame's levels

Letters: B batch size, H W pixels.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from mtujax.bench.timing import (
    METHOD,
    STAGES,
    Clock,
    Network,
    latency,
    measure,
    peak_memory,
    ratio,
    statistics,
)
from mtujax.common.dataclass_json import write_json
from mtujax.common.hardware import load_average, machine
from mtujax.common.text import counted, readable
from mtujax.config import DEFAULT_WEIGHTS, DTYPES, PRESETS, ModelConfig
from mtujax.errors import UsageError, check_least, extra
from mtujax.evaluation.results import BENCH, VERSION
from mtujax.evaluation.subject import open_subject
from mtujax.model.network import MTUNet, init_params
from mtujax.model.operations import (
    achieved,
    compiled_bytes,
    compiled_flops,
    needed_operations,
    network_operations,
)
from mtujax.model.optimized_form import inference_form
from mtujax.ops.resampling import padded_size
from mtujax.weights.convert import from_params

WARM_UP = 4
"""Rounds before those that count; more than any network's look-ahead."""


_OURS = "mtujax"
_LEAST = 16  # smallest side, in pixels
_DISTINCT = 4  # frames pushed in turn; their content does not matter


@dataclasses.dataclass(frozen=True)
class BenchOptions:
    """What to time."""

    weights: str | None = DEFAULT_WEIGHTS  # name, file or run; None with `preset`
    preset: str | None = None  # network with random weights
    size: tuple[int, int] = (1280, 720)  # (W, H), multiples of the network's cell
    dtype: str | None = None  # None keeps the network's own
    frames: int = 30  # timed
    batch: int = 1  # videos that advance together
    rate: float = 30.0  # frames per second, for latencies
    torch: bool = False  # also time the PyTorch twin, in turn
    plain: bool = False  # as trained, not in the inference form

    def __post_init__(self):
        """Raises a UsageError that names the first option that cannot be timed."""
        width, height = self.size
        if (self.weights is None) == (self.preset is None):
            raise UsageError("give either weights or a preset")
        if min(self.size) < _LEAST:
            raise UsageError(
                f"size {width}x{height}: at least {_LEAST}x{_LEAST} pixels"
            )
        if self.dtype is not None and self.dtype not in DTYPES:
            raise UsageError(
                f"unknown dtype {self.dtype!r}; one of {', '.join(DTYPES)}"
            )
        check_least(1, frames=self.frames, batch=self.batch)
        if not 0 < self.rate < float("inf"):
            raise UsageError(f"rate {self.rate:g}: must be more than 0")


def run(
    options: BenchOptions,
    *,
    clock: Clock = time.perf_counter,
    on_round: Callable[[int, int], None] | None = None,
) -> dict:
    """Times a network on this machine; returns JSON values."""
    others = load_average()
    subject = _subject(options)
    model, params = subject.model, subject.params
    _check_size(options.size, model.config.cell)
    width, height = options.size
    shape = (options.batch, height, width, 3)
    draw = np.random.default_rng(0).integers
    frames = [draw(0, 256, shape, np.uint8) for _ in range(_DISTINCT)]
    twins = _twins(model.config, params, shape) if options.torch else {}
    timed = (model, params) if options.plain else inference_form(model, params)
    network = Network(*timed, shape, clock)
    subjects = {_OURS: network, **twins}
    first = {n: s.get(s.step(s.put(frames[0]))) for n, s in subjects.items()}
    memory = peak_memory(network.compiled)
    measured = measure(
        subjects,
        frames,
        rounds=options.frames,
        warm_up=WARM_UP,
        clock=clock,
        on_round=on_round,
    )
    ours = _times(measured[_OURS], options.batch)
    return {
        "device": jax.local_devices()[0].device_kind,
        "machine": machine(),
        "load_average": others,
        "method": dataclasses.asdict(subject.method),
        "size": [width, height],
        "batch": options.batch,
        "frames": options.frames,
        "warm_up": WARM_UP,
        "percentiles": METHOD,
        "form": "plain" if options.plain else "inference",
        "compile_s": network.preparation._asdict(),
        **ours,
        "latency_ms": _latency(model.config, options.rate, ours),
        "multiply_adds": _operations(network, model, params, shape),
        "rates": _rates(network, model.config, shape, ours),
        "memory_bytes": memory._asdict(),
        "torch": _beside(measured, first, options.batch) if twins else None,
    }


def _check_size(size, cell):
    height, width = padded_size(*size[::-1], cell)
    if (width, height) != tuple(size):
        raise UsageError(
            f"size {size[0]}x{size[1]}: sides must be multiples of {cell}, to which "
            f"frames are padded; give {width}x{height}"
        )


def _twins(config, params, shape):
    """The PyTorch twin in each memory layout, by the layout's name."""
    with extra("torch"):
        from mtujax.torch_port.timing import LAYOUTS, Twin
    tensors = from_params(params, config)
    return {layout: Twin(config, tensors, shape, layout) for layout in LAYOUTS}


def _subject(options):
    """The network to time; random weights get no digest, as it would mean nothing."""
    if options.preset is None:
        return open_subject(options.weights, dtype=options.dtype)
    name = options.preset
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; one of {', '.join(PRESETS)}")
    model = MTUNet(PRESETS[name])
    params = init_params(model, jax.random.key(0))
    subject = open_subject((model, params), dtype=options.dtype, name=name)
    method = dataclasses.replace(subject.method, sha256=None)
    return dataclasses.replace(subject, method=method)


def _times(measured, batch):
    """Statistics of each stage in milliseconds, and frames per second."""
    of_stages = {stage: statistics(measured[stage]) for stage in STAGES}
    whole = measured["end_to_end"]
    return {
        **{f"{s}_ms": dataclasses.asdict(found) for s, found in of_stages.items()},
        "frames_per_second": {
            "step": 1e3 * batch / of_stages["step"].p50,
            "end_to_end": 1e3 * batch * len(whole) / sum(whole),
        },
    }


def _latency(config: ModelConfig, rate, ours):
    ahead, steps = config.lookahead, ours["step_ms"]["p50"]
    return {
        "lookahead_frames": ahead,
        "rate": rate,
        "lookahead": latency(ahead, rate, 0.0),
        "with_step": latency(ahead, rate, steps),
        "with_end_to_end": latency(ahead, rate, ours["end_to_end_ms"]["p50"]),
    }


def _operations(network, model, params, shape):
    counted = network_operations(model, params, *shape[:3])
    return {
        "without_matching": counted.convolutions,
        "with_matching": counted.total,
        "matching": counted.matching,
        "matching_defined": counted.matching_defined,
        "compiler_flops": compiled_flops(network.compiled),
    }


def _rates(network, config, shape, ours):
    """The rates that the step achieves at the work of an image, whatever its form."""
    needed = needed_operations(config, *shape[:3])
    moved = compiled_bytes(network.compiled)
    rates = achieved(needed, moved, ours["step_ms"]["p50"])
    return {"needed_multiply_adds": needed, **rates}


def _beside(measured, first, batch):
    """The twin's times, their ratio to ours, and how far its frames are from ours."""
    found = {}
    for name, samples in measured.items():
        if name == _OURS:
            continue
        apart = first[name].astype(int) - first[_OURS].astype(int)
        found[name] = {
            **_times(samples, batch),
            "step_ratio": ratio(samples["step"], measured[_OURS]["step"]),
            "largest_difference": int(np.abs(apart).max()),
        }
    return found


def write_timing(path: Path, found: dict) -> None:
    """Writes what `run` found as `report.inputs` reads it, all or nothing."""
    write_json(path, {"kind": BENCH, "version": VERSION, **found})


_GIGA = 1e9
BUSY = 0.25
"""Load per thread above which other processes distort the times."""


def as_text(results: dict) -> str:
    """Formats the results of `run` as lines to read."""
    method, (width, height) = results["method"], results["size"]
    origin = f"sha256 {method['sha256'][:12]}" if method["sha256"] else "drawn weights"
    lines = [
        " | ".join(f"{k} {v}" for k, v in results["machine"].items()),
        f"{method['name']} ({origin}), {method['parameters']:,} parameters, "
        f"{method['config']['dtype']}, {width}x{height}, batch {results['batch']}, "
        f"{results['form']} form",
        *_table("mtujax", results),
    ]
    for layout, times in (results["torch"] or {}).items():
        lines += _table(f"torch, {layout}", times)
        lines.append(
            f"  step: {times['step_ratio']:.2f} times that of mtujax, by rounds; first "
            f"frame {times['largest_difference']} of 255 levels apart at most"
        )
    return "\n".join([*lines, *_facts(results)])


def _table(title, times):
    columns = ("p50", "p95", "p99", "mean", "min", "max")
    lines = [f"{title + ', ms':24}" + "".join(f"{c:>10}" for c in columns)]
    for stage in STAGES:
        found = times[f"{stage}_ms"]
        cells = "".join(f"{found[column]:10.2f}" for column in columns)
        lines.append(f"  {stage.replace('_', ' '):22}{cells}")
    speed = times["frames_per_second"]
    lines.append(
        f"  frames per second: {speed['step']:.2f} by the median step, "
        f"{speed['end_to_end']:.2f} end to end"
    )
    return lines


def _facts(results):
    others, threads = results["load_average"], results["machine"]["threads"]
    busy = "unknown" if others is None else f"{others:.1f}, threads: {threads}"
    if others is not None and others > BUSY * threads:
        busy += (
            "; other processes are running, so times are too long and ratios uncertain"
        )
    late, count = results["latency_ms"], results["multiply_adds"]
    memory, ready = results["memory_bytes"], results["compile_s"]
    flops, size = count["compiler_flops"], memory["bytes"]
    compiler = "none given" if flops is None else f"{flops / _GIGA:.2f} G operations"
    ahead = late["lookahead_frames"]
    return [
        f"load average before: {busy}",
        f"timed: {results['frames']} rounds after {results['warm_up']} to warm up, "
        f"every stage waited for; percentiles by {results['percentiles']}",
        f"compile, once: {ready['trace_s']:.2f} s to trace, "
        f"{ready['compile_s']:.2f} s to compile",
        f"latency at {late['rate']:g} frames/s: {late['lookahead']:.1f} ms for "
        f"{counted(ahead, 'frame')} of look-ahead, {late['with_step']:.1f} ms with the "
        f"step, {late['with_end_to_end']:.1f} ms end to end",
        f"multiply-adds: {count['without_matching'] / _GIGA:.2f} G without matching, "
        f"{count['with_matching'] / _GIGA:.2f} G with it; the compiler's analysis: "
        f"{compiler} (two per multiply-add; one row of the matching)",
        _rate_lines(results["rates"]),
        f"peak memory: {'unknown' if size is None else readable(size)} "
        f"({memory['source']})",
    ]


def _rate_lines(rates):
    moved = rates["gbytes_per_s"]
    moved = "bytes unknown" if moved is None else f"{moved:.2f} GB/s"
    return (
        f"rates by the median step: {rates['tflops_per_s']:.4g} TFLOP/s of the "
        f"{rates['needed_multiply_adds'] / _GIGA:.2f} G multiply-adds that an image "
        f"needs, {moved} of the bytes that the compiler counts"
    )
