"""The hardware that a program runs on, and the cache of compiled programs."""

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


CACHE = "~/.cache/mtujax/jax"
"""Where they are kept, unless something else is asked for."""


def use_cache(folder: str | None) -> None:
    """Keeps the programs that are compiled from now on, and takes those kept before.

    Args:
        folder: where; "" for nowhere, None for what the environment says, else `CACHE`.
    """
    import jax

    if folder is None:
        if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
            return
        folder = CACHE
    if not folder:
        return
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))
    # Small ones, too: a GPU's compiler takes its time for each of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory, the host's or the device's, was not enough.

    Args:
        error: any exception.

    Returns:
        True for Python's `MemoryError` and for what JAX raises.
    """
    if isinstance(error, MemoryError):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    of_xla = not names.isdisjoint(("XlaRuntimeError", "JaxRuntimeError"))
    # The status of a computation on a CPU is INTERNAL; making an array there raises a
    # ValueError.
    said = str(error)
    return "RESOURCE_EXHAUSTED" in said or (of_xla and "Out of memory" in said)
