"""Several devices and hosts: the only module that knows pmap and processes.

The state keeps its natural shape (no stacked axis); batches are split over devices, and
gradients are averaged over all of them at each update.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtujax.common.threads import cores
from mtujax.errors import UserError, check_least

AXIS = "devices"
"""Name of the axis over which gradients are averaged."""


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> None:
    """Joins the processes of a run on several hosts; call it before any other JAX."""
    # SLURM, Kubernetes, Open MPI and TPU pods provide all that is None: "host:port" of
    # the first process, the number of processes, the index of this one from 0.
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"several hosts: {reason}; give --coordinator HOST:PORT, --processes and "
            "--process to each, or none of them for one host"
        ) from None


def use_cores(batch: int) -> int:
    """Makes CPU cores count as devices that share a batch; call it before any JAX."""
    check_least(1, batch=batch)
    if os.environ.get("JAX_NUM_CPU_DEVICES") or jax.config.jax_num_cpu_devices > 0:
        return jax.config.jax_num_cpu_devices
    # One clip after the other keeps even two cores no more than half busy. Not for use
    # among several processes.
    count = max(n for n in range(1, min(batch, cores()) + 1) if batch % n == 0)
    jax.config.update("jax_num_cpu_devices", count)
    return count


def is_first() -> bool:
    """Whether this process is the one that writes files and prints."""
    return jax.process_index() == 0


def local_batch(batch: int) -> int:
    """Clips of the global batch that this process reads; UserError if uneven."""
    devices = jax.device_count()
    if batch % devices:
        near = batch // devices * devices, -(-batch // devices) * devices
        fitting = " or ".join(str(n) for n in near if n)
        said = f"batch {batch}: {devices} devices cannot share it evenly"
        raise UserError(f"{said}; give {fitting}")
    return batch // devices * jax.local_device_count()


def split(batch: dict) -> dict:
    """Splits [b, ...] as [devices, b / devices, ...]; UserError if that is uneven."""
    devices = jax.local_device_count()
    for name, value in batch.items():
        if value.shape[0] % devices:
            said = f"batch of {value.shape[0]} ({name}): {devices} devices"
            raise UserError(f"{said} cannot share it evenly")
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def replicated(tree):
    """Puts arrays on all devices of this process; buffers may be shared."""
    if jax.device_count() == 1:
        return tree
    # On one device alone they would be copied at every call, and compiled for, too.
    mesh = Mesh(np.asarray(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def data_parallel(step: Callable) -> Callable:
    """Compiles `step(state, constants, batch, scalar, axis_name=)` for all devices."""
    # `step` averages gradients over a given `axis_name`. The result reuses the buffers
    # of `state`; state and constants are `replicated`, `batch` is this process's [b,
    # ...].
    if jax.device_count() == 1:
        return jax.jit(step, donate_argnums=0)
    axes = dict(in_axes=(None, None, 0, None), out_axes=(None, None))
    step = functools.partial(step, axis_name=AXIS)
    step = jax.pmap(step, axis_name=AXIS, donate_argnums=0, **axes)

    def shared(state, constants, batch, end=None):
        return step(state, constants, split(batch), end)

    return shared


class LaneMap:
    """A step over lanes of videos, shared by this process's devices and no other's."""

    def __init__(self, begin: Callable, step: Callable, devices: int | None):
        """Takes pure functions of trees [B, ...]; compiles nothing yet."""
        # `begin(given)` makes the memory, `step(params, memory, given)` returns the
        # next one and a result. `devices` None takes all local ones.
        local = jax.local_devices()
        self.devices = len(local) if devices is None else devices
        if not 1 <= self.devices <= len(local):
            raise UserError(f"devices {devices}: there are {len(local)}")
        if self.devices == 1:
            self._begin = jax.jit(begin)
            self._step = jax.jit(step, donate_argnums=1)
        else:
            mapped = functools.partial(jax.pmap, devices=local[: self.devices])
            self._begin = mapped(begin)
            self._step = mapped(step, in_axes=(None, 0, 0), donate_argnums=1)

    def begin(self, given):
        """Makes the first memory from arrays [B, ...]; the device count divides B."""
        return self._begin(self._shared(given))

    def step(self, params: dict, memory, given: dict):
        """Starts a step on arrays [B, ...], which reuses the buffers of `memory`."""
        return self._step(params, memory, self._shared(given))

    def _shared(self, tree):
        if self.devices == 1:
            return tree
        n = self.devices  # not -1 after it: an array may be empty
        return jax.tree.map(lambda x: x.reshape(n, len(x) // n, *x.shape[1:]), tree)

    def gather(self, found) -> dict:
        """Copies a step's result to the host as NumPy arrays [B, ...]; waits for it."""
        found = jax.tree.map(np.asarray, found)
        if self.devices == 1:
            return found
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Lets all processes fail where one does; all must leave the block, together."""
    # Without it the others would wait for the failed one, or continue without its lock.
    try:
        yield
    except Exception:  # an interrupted process does not wait for the others
        any_process(True)
        raise
    if any_process(False):
        raise UserError("another process has failed; see its messages")


def any_process(flag: bool) -> bool:
    """Whether a flag is set in any process; all must call it at the same time."""
    return largest(int(flag)) > 0


def largest(number: int) -> int:
    """The largest of all processes' numbers; all must call it at the same time."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.asarray(number)).max())
