"""The hardware that a program runs on, and the cache of compiled programs."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import jax

_PACKAGES = ("mtujax", "jax", "jaxlib", "flax", "numpy", "torch")


def machine() -> dict[str, str | int]:
    """Describes the machine for a report: date (ISO), hardware, package versions."""
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


def device_name() -> str:
    """Name of the first device, for messages."""
    device = jax.devices()[0]
    kind = device.device_kind
    return device.platform if kind == device.platform else f"{device.platform} ({kind})"


def cpu_name(root: Path = Path("/")) -> str:
    """The processor's name from `root`'s proc/cpuinfo, or else its architecture."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()


def cores() -> int:
    """Number of CPU cores, or hardware threads, that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS or Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """Mean number of runnable processes in the last minute; None if unknown."""
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


CACHE = "~/.cache/mtujax/jax"
"""Default folder of the compilation cache."""


def use_cache(folder: str | None) -> None:
    """Sets JAX's compilation cache: "" sets none, None the environment's or `CACHE`."""
    if folder is None:
        given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
        if given:
            return
        folder = CACHE if given is None else ""
    path = os.path.expanduser(folder) or None
    jax.config.update("jax_compilation_cache_dir", path)
    if path is None:
        return
    # Small programs, too: a GPU's compiler takes long for each of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
