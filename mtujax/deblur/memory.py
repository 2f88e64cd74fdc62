"""Memory: what a frame needs, what there is, and the tiles that fit into it.

Letters: H W pixels.
"""

import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.common.text import readable
from mtujax.errors import UserError, out_of_memory
from mtujax.model.network import MTUNet
from mtujax.model.stream import Stream
from mtujax.model.tiling import TiledStream, default_overlap, tilings

# Share of the free memory that may be used: a CPU's kernels take a sixth more than the
# compiler says, and allocators leave gaps.
_SHARE = 0.75
_FRAMES = 8  # whole frames in queues or being passed on, besides those in the window


class CompiledMemory(NamedTuple):
    """Bytes of a compiled computation: `held` by arguments and results, `temporary`."""

    held: int
    temporary: int

    @property
    def total(self) -> int:
        """Both together, in bytes."""
        return self.held + self.temporary


def compiled_memory(compiled: jax.stages.Compiled) -> CompiledMemory | None:
    """Memory use by the compiler's own analysis, or None without one."""
    try:
        stats = compiled.memory_analysis()
        held = stats.argument_size_in_bytes + stats.output_size_in_bytes
        held -= stats.alias_size_in_bytes
        return CompiledMemory(held, stats.temp_size_in_bytes)
    except (AttributeError, NotImplementedError):
        return None


class Plan(NamedTuple):
    """How to restore frames of one size."""

    # (rows, columns) of a tile in pixels; None for whole frames
    tile: tuple[int, int] | None
    # bytes that should be free for whole frames, which would take three quarters of
    # them; None if unknown
    needed: int | None


def plan(
    model: MTUNet,
    params: dict,
    height: int,
    width: int,
    dtype,
    available: int | None,
) -> Plan:
    """Plans whole frames if they fit in the available bytes, else the largest tiles."""
    if available is None:  # unknown: every frame is taken to fit
        return Plan(None, None)
    shape = (1, height, width, 3)

    def need_of(stream):
        try:
            return _analysed(stream, shape, dtype)
        except Exception as error:
            if not out_of_memory(error):
                raise
            # A compiler that tries kernels out needs the memory at compile time.
            return CompiledMemory(0, 2 * available)

    whole = need_of(Stream(model, params))
    if whole is None or _free(whole) <= available:
        return Plan(None, whole and _free(whole))
    config = model.config
    tiles = list(tilings(height, width, default_overlap(config), config.cell))
    known, area = whole, height * width
    for tile in tiles:
        # Compiled only if it may fit: temporary memory grows with the area.
        guess = CompiledMemory(known.held, known.temporary * math.prod(tile) // area)
        if _free(guess) > available and tile != tiles[-1]:
            continue
        known, area = need_of(TiledStream(model, params, tile)), math.prod(tile)
        if known is None or _free(known) <= available:
            return Plan(tile, _free(whole))
    least = f" even in tiles of {tiles[-1][1]}x{tiles[-1][0]}" if tiles else ""
    wanted, there = readable(_free(known)), readable(available)
    raise UserError(
        f"frames of {width}x{height} need {wanted} of free memory{least}, and {there} "
        "are free: free some, or give smaller frames"
    )


def _free(need):
    """Bytes that should be free for a need."""
    return int(need.total / _SHARE)


def _analysed(stream, shape, dtype):
    """Memory that one step of a stream takes; None if the compiler does not say."""
    programs = stream.lowered(shape, dtype), *stream.lowered_ahead(shape, dtype)
    found = [compiled_memory(program.compile()) for program in programs]
    if None in found:
        return None
    frame = math.prod(shape) * jnp.dtype(dtype).itemsize
    temporary = max(part.temporary for part in found)
    return CompiledMemory(found[0].held + _FRAMES * frame, temporary)


def available_bytes() -> int | None:
    """Bytes that arrays on the default device may still take; None if unknown."""
    # Of an accelerator its limit minus what is in use; of a CPU what the system calls
    # available, or less where the process's control groups allow less.
    device = next(iter(jax.device_put(np.zeros(())).devices()))
    if device.platform == "cpu":
        return host_bytes()
    stats = device.memory_stats() or {}
    if not {"bytes_limit", "bytes_in_use"} <= stats.keys():
        return None
    return max(0, stats["bytes_limit"] - stats["bytes_in_use"])


def host_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take from Linux; None on other systems."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = [1024 * int(fields["MemAvailable"].split()[0])]
    except (OSError, KeyError, ValueError):
        return None
    return max(0, min(free + list(_group_bytes(root))))


# Per version of control groups: its limit, its use, and what of the use is files that
# the system drops when it needs the memory.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _group_bytes(root):
    """Yields the bytes that each control group above this process leaves it."""
    for folder in _groups(root):
        for limit, use, files in _GROUP_FILES:
            try:
                limit = int((folder / limit).read_text())  # "max" is no number
                use = int((folder / use).read_text())
                stat = (folder / "memory.stat").read_text().split()
            except (OSError, ValueError):
                continue
            dropped = dict(zip(stat[::2], stat[1::2], strict=True)).get(files, 0)
            yield limit - use + int(dropped)


def _groups(root):
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        # A container may not see its own group by name, but as the top one.
        group = top / path.lstrip("/")
        yield from (g for g in (group, *group.parents) if g.is_relative_to(top))
