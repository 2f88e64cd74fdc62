"""What `mtujax bench` found, laid out to be read."""

from mtujax.memory import readable
from mtujax.timing import STAGES

_GIGA = 1e9
BUSY = 0.25
"""Load per thread from which other processes show in the times."""


def as_text(results: dict) -> str:
    """Lays results out to be read.

    Args:
        results: from `run`.

    Returns:
        Lines.
    """
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
        busy += "; others are at work, so that times are too long and ratios uncertain"
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
        f"latency at {late['rate']:g} frames/s: {late['lookahead']:.1f} ms for {ahead} "
        f"frame{'s'[: ahead != 1]} of look-ahead, {late['with_step']:.1f} ms with the "
        f"step, {late['with_end_to_end']:.1f} ms end to end",
        f"multiply-adds: {count['without_matching'] / _GIGA:.2f} G without matching, "
        f"{count['with_matching'] / _GIGA:.2f} G with it; the compiler's analysis: "
        f"{compiler} (two per multiply-add; one row of the matching)",
        _rates(results["rates"]),
        f"peak memory: {'unknown' if size is None else readable(size)} "
        f"({memory['source']})",
    ]


def _rates(rates):
    moved = rates["gbytes_per_s"]
    moved = "bytes unknown" if moved is None else f"{moved:.2f} GB/s"
    return (
        f"rates by the median step: {rates['tflops_per_s']:.4g} TFLOP/s of the "
        f"{rates['needed_multiply_adds'] / _GIGA:.2f} G multiply-adds that an image "
        f"needs, {moved} of the bytes that the compiler counts"
    )
