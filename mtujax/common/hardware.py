"""The hardware that a program runs on, and the cache of compiled programs."""

import contextlib
import datetime
import glob
import importlib.metadata
import os
import platform
import re
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax

from mtujax.common.threads import cores

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
"""Folder of the compilation cache where XDG_CACHE_HOME names none."""


def default_cache(environment: Mapping[str, str] = os.environ) -> str:
    """Folder of the compilation cache: XDG_CACHE_HOME/mtujax/jax, or else `CACHE`."""
    caches = environment.get("XDG_CACHE_HOME", "")
    # As the specification has it, a path that is not absolute counts for nothing.
    return os.path.join(caches, "mtujax/jax") if os.path.isabs(caches) else CACHE


def use_cache(folder: str | None) -> None:
    """Sets JAX's compilation cache: "" sets none, None the environment's or our own."""
    # What is damaged there is deleted, and a folder that cannot be used is left out,
    # with one warning each.
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR") if folder is None else None
    if folder is None:
        folder = default_cache() if given is None else given
    folder = os.path.expanduser(folder) or None
    if folder and "://" not in folder and jax.config.jax_enable_compilation_cache:
        if why := _refusal(folder):
            how = "JAX_COMPILATION_CACHE_DIR names another folder"
            warnings.warn(
                f"{folder}: compiled programs are not kept ({why}); {how}", stacklevel=2
            )
            folder = None
        elif getattr(warnings.showwarning, "folder", None) != folder:
            warnings.showwarning = _mending(Path(folder), warnings.showwarning)
    jax.config.update("jax_compilation_cache_dir", folder)
    if given or folder is None:
        return
    # Small programs, too: a GPU's compiler takes long for each of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


_LEAST_FREE = 1 << 20  # bytes; the programs of a network take about as much


def _refusal(folder):
    """Why nothing can be written to a folder, which is made if need be; else None."""
    if folder.startswith("~"):
        return "there is no home folder"
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_LEAST_FREE))
    except OSError as error:
        return error.strerror
    return None


_CACHE_FAILED = re.compile(
    "Error (reading|writing) persistent compilation cache entry for '([^']*)': (.*)",
    re.S,
)


def _mending(folder, show):
    """A `warnings.showwarning` that says once what JAX says of each program."""
    # Entries that cannot be read, or were not written to their end, are deleted: JAX
    # would neither use nor replace them.
    said = set()

    def shown(message, category, *where):
        failed = _CACHE_FAILED.match(str(message))
        if failed is None:
            show(message, category, *where)
            return
        doing, program, why = failed.groups()
        for entry in folder.glob(f"{glob.escape(program)}-*"):
            with contextlib.suppress(OSError):
                entry.unlink()
        if doing not in said:
            said.add(doing)
            line = " ".join(why.split())
            text = {
                "reading": "is damaged; programs are compiled again",
                "writing": "compiled programs are not kept",
            }[doing]
            show(UserWarning(f"{folder}: {text} ({line})"), UserWarning, *where)

    shown.folder = str(folder)
    return shown
