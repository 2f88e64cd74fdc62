"""What a measurement ran on: hardware and versions, for files of results."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import jax

_PACKAGES = ("mtujax", "jax", "jaxlib", "flax", "numpy", "torch")


def machine() -> dict[str, str | int]:
    """Names what this process computes on.

    Returns:
        `date` (ISO), `device` (kind of the first one), `devices` (number of local
        ones), `cpu`, `threads` that this process may use, `python`, and the version of
        each package that matters and is installed.
    """
    device = jax.local_devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "device": device.device_kind,
        "devices": jax.local_device_count(),
        "cpu": cpu_name(),
        "threads": cores(),
        "python": platform.python_version(),
        **_versions(),
    }


def cpu_name(root: Path = Path("/")) -> str:
    """Names the processor.

    Args:
        root: where the `proc` of a Linux system is.

    Returns:
        As "AMD EPYC 7B13"; elsewhere the architecture, as "arm64".
    """
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def cores() -> int:
    """Counts the processor's cores, or hardware threads, that this process may use.

    Returns:
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS or Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """How many processes have been waiting for a core during the last minute.

    Returns:
        Their average number, this process included; None where the system does not
        tell.
    """
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return None


def _versions():
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # torch is optional
    return found
