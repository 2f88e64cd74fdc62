"""Several devices and hosts: the only file that knows pmap and processes.

The state keeps its natural shape (no stacked axis); batches are split over devices, and
gradients are averaged over all of them at each update.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtujax.common.hardware import cores
from mtujax.errors import UserError

AXIS = "devices"
"""Name of the axis over which gradients are averaged."""


def start(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> None:
    """Joins the processes of a run on several hosts; call it before anything else.

    SLURM, Kubernetes, Open MPI and TPU pods tell all of it themselves.

    Args:
        coordinator: "host:port" of the first process; None where it is detected.
        processes: number of processes.
        process: number of this one, from 0.

    Raises:
        UserError: if the others cannot be reached.
    """
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"several hosts: {reason}; give --coordinator HOST:PORT, --processes and "
            "--process to each, or none of them for one host"
        ) from None


def use_cores(batch: int) -> int:
    """Lets a CPU's cores count as devices that share a batch, if nobody has said more.

    XLA keeps two cores no more than half busy with one clip after the other; call it
    before anything else of JAX, and not among several processes.

    Args:
        batch: clips of an update.

    Returns:
        The number of devices that a CPU counts as from now on.
    """
    if os.environ.get("JAX_NUM_CPU_DEVICES") or jax.config.jax_num_cpu_devices > 0:
        return jax.config.jax_num_cpu_devices
    count = max(n for n in range(1, min(batch, cores()) + 1) if batch % n == 0)
    jax.config.update("jax_num_cpu_devices", count)
    return count


def is_first() -> bool:
    """Whether this process is the one that writes files and lines."""
    return jax.process_index() == 0


def local_batch(batch: int) -> int:
    """How many clips of the global batch this process reads.

    Args:
        batch: clips of an update, over all devices.

    Returns:
        Its share.

    Raises:
        UserError: if the devices cannot share the batch evenly.
    """
    devices = jax.device_count()
    if batch % devices:
        near = batch // devices * devices, -(-batch // devices) * devices
        fitting = " or ".join(str(n) for n in near if n)
        said = f"batch {batch}: {devices} devices cannot share it evenly"
        raise UserError(f"{said}; give {fitting}")
    return batch // devices * jax.local_device_count()


def share_begins(batch: int) -> int:
    """Number of this process's first clip in the global batch.

    Args:
        batch: clips of an update, over all devices.

    Returns:
        It; the others follow.
    """
    return jax.process_index() * local_batch(batch)


def split(batch: dict) -> dict:
    """Splits a batch among the devices of this process.

    Args:
        batch: arrays [b, ...] of the clips that it has read.

    Returns:
        Arrays [devices, b / devices, ...].

    Raises:
        UserError: if the devices cannot share it evenly.
    """
    devices = jax.local_device_count()
    for name, value in batch.items():
        if value.shape[0] % devices:
            said = f"batch of {value.shape[0]} ({name}): {devices} devices"
            raise UserError(f"{said} cannot share it evenly")
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def replicated(tree):
    """Puts arrays on all devices of this process, as a step returns its state.

    Several would copy what lies on one alone at every call, and compile for it, too.

    Args:
        tree: of arrays, of NumPy as well.

    Returns:
        It; buffers may be shared with what was given.
    """
    if jax.device_count() == 1:
        return tree
    mesh = Mesh(np.asarray(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def data_parallel(step: Callable) -> Callable:
    """Compiles a step for all devices there are, one or many.

    Args:
        step: pure function of a state, constants, a batch, a further scalar or None,
            and `axis_name=`, over which it averages its gradients if it is not None.

    Returns:
        A function of the state, whose buffers it reuses, and the constants, both
        `replicated`, this process's batch [b, ...] and the scalar.
    """
    if jax.device_count() == 1:
        return jax.jit(step, donate_argnums=0)
    axes = dict(in_axes=(None, None, 0, None), out_axes=(None, None))
    step = functools.partial(step, axis_name=AXIS)
    step = jax.pmap(step, axis_name=AXIS, donate_argnums=0, **axes)

    def shared(state, constants, batch, end=None):
        return step(state, constants, split(batch), end)

    return shared


class LaneMap:
    """A step over lanes of videos, which the devices of this process share.

    Other processes have lanes of their own; nothing is exchanged.

    Attributes:
        devices: how many are used.
    """

    def __init__(self, begin: Callable, step: Callable, devices: int | None = None):
        """Compiles nothing yet.

        Args:
            begin: pure function of a tree of arrays [B, ...] that gives the memory
                before the first step, a tree of arrays [B, ...].
            step: pure function of parameters, a memory and what is given, a dict of
                arrays [B, ...]; it returns the next memory and what was found.
            devices: how many of the local ones are used; None takes all.

        Raises:
            UserError: if there are not so many.
        """
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
        """Makes the memory before the first step.

        Args:
            given: arrays [B, ...], B a multiple of the number of devices.

        Returns:
            It, as the step keeps it.
        """
        return self._begin(self._shared(given))

    def step(self, params: dict, memory, given: dict):
        """Takes a step; does not wait for it.

        Args:
            params: the same for all lanes.
            memory: from `begin` or the step before, whose buffers are reused.
            given: arrays [B, ...].

        Returns:
            The next memory, and what was found, for `gather`.
        """
        return self._step(params, memory, self._shared(given))

    def _shared(self, tree):
        if self.devices == 1:
            return tree
        n = self.devices  # not -1 after it: an array may be empty
        return jax.tree.map(lambda x: x.reshape(n, len(x) // n, *x.shape[1:]), tree)

    def gather(self, found) -> dict:
        """Copies what a step found to the host; waits for it.

        Args:
            found: from a step.

        Returns:
            The tree with NumPy arrays [B, ...].
        """
        found = to_host(found)
        if self.devices == 1:
            return found
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Lets all processes fail where one does; all must leave the block, together.

    Without it the others would wait for the failed one, or go on without its lock.
    """
    try:
        yield
    except Exception:  # an interrupted process does not wait for the others
        any_process(True)
        raise
    if any_process(False):
        raise UserError("another process has failed; see what it says")


def any_process(flag: bool) -> bool:
    """Whether a flag is set in any process; all must ask at the same time.

    Args:
        flag: of this one.

    Returns:
        The same in all.
    """
    return largest(int(flag)) > 0


def largest(number: int) -> int:
    """The largest of the processes' numbers; all must ask at the same time.

    Args:
        number: of this one.

    Returns:
        The same in all.
    """
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.process_allgather(np.asarray(number)).max())


def to_host(tree):
    """Copies arrays to the host, as checkpoints of several processes want them.

    Args:
        tree: of arrays that every device holds alike.

    Returns:
        The tree with NumPy arrays.
    """
    return jax.tree.map(np.asarray, tree)
