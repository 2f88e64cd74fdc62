"""Runs that alternate, and the most memory that a process or device needed."""

import statistics
import subprocess
import sys
import time

import jax

# Not getrusage: a child's maximum starts at its parent's.
_PEAK = """
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if "VmHWM" in line))
"""


def torch_module():
    try:
        import torch
    except ImportError:
        return None
    return torch


def attempted(makers):
    """{name: what it makes}, and {name: why not} of those that fail."""
    made, refused = {}, {}
    for name, make in makers.items():
        try:
            made[name] = make()
        # Too little memory, no such kernel or option: the others are still timed.
        except Exception as error:
            refused[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return made, refused


def compare(runners, rounds):
    """Median milliseconds of each, and the median of its ratio to the first."""
    for run in runners.values():
        run()  # compiles, warms up
    times = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            started = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - started))
    first = next(iter(times.values()))
    return {
        name: {
            "ms": statistics.median(values),
            "min_ms": min(values),
            "ratio": statistics.median(
                a / b for a, b in zip(values, first, strict=True)
            ),
        }
        for name, values in times.items()
    }


def in_a_row():
    """The calls to time together: in between, an accelerator should not wait for us."""
    return range(1 if jax.default_backend() == "cpu" else 20)


def compare_calls(runners, rounds):
    """As `compare`, of a single call where each makes as many as `in_a_row`."""
    row = compare(runners, rounds)
    for found in row.values():
        for name in ("ms", "min_ms"):
            found[name] /= len(in_a_row())
    return row


def peak_memory(code: str, *words, python: str = sys.executable) -> float:
    """Peak resident memory in MB of a process of its own that runs `code`."""
    command = [python, "-c", code + _PEAK, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def device_peak():
    """Bytes of the first device's memory used at most; None where it does not say."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
