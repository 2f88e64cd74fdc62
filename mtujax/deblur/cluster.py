"""Work spread over a Ray cluster: one process for each GPU, or for each few cores.

Ray places the processes and carries what they are given, a few tasks at a time; those
whose process or node died are tried again elsewhere. Files are not carried: they are on
a path that all share.
"""

import contextlib
import functools
import math
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from mtujax.common import hardware, interrupts
from mtujax.errors import UsageError, UserError, extra
from mtujax.model.network import MTUNet
from mtujax.weights.files import load

_CORES = 4  # of a process, where no GPU is
_TRIES = 3  # of work whose process or node died
_POLL = 1.0  # seconds between reports of the progress
_WAIT = 0.2  # seconds until the next look, well within `interrupts.GRACE`
_REACHED = 5.0  # seconds in which a cluster must answer

_SETTINGS_OF_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A cluster of its own starts within its usual 30 s only on cores that are free.
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_agent_register_timeout_ms": "180000",
}

# How HTTP/2, which Ray speaks, begins (RFC 9113): each side sends its settings first.
_SETTINGS = b"\4"  # the type of the frame, after three bytes of its length
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)


def check_address(address: str) -> None:
    """Refuses what can be no cluster (UsageError) or is none, and a lack of Ray."""
    if address not in ("auto", "local") and not re.fullmatch(
        r"[^:/\s]+:\d{1,5}", address
    ):
        raise UsageError(f"ray {address!r}: give HOST:PORT of a cluster, auto or local")
    _ray()
    if ":" in address:
        with _explained(address):
            _look(address)


def _ray():
    """The library; a UserError if it is not installed."""
    with extra("ray"):
        for name, value in _SETTINGS_OF_RAY.items():
            os.environ.setdefault(name, value)
        import ray
    return ray


@contextlib.contextmanager
def _explained(address):
    """Makes of whatever keeps Ray from a cluster a UserError with the remedy."""
    try:
        yield
    except Exception as error:
        why = " ".join(str(error).split()).rstrip(".")
        remedy = "start one there with `ray start --head`, or give local"
        if address == "local":  # Ray gives up where other work has the cores
            remedy = "try again with less other work here, or without Ray"
        if "mismatch" in why.lower():
            theirs = re.search(r"Ray: *([\w.]+)", why)
            theirs = theirs[1] if theirs else "THEIRS"
            remedy = f"install ray=={theirs} and the same Python as there"
        raise UserError(f"ray {address}: {why}; {remedy}") from None


@contextlib.contextmanager
def _joined(address):
    """The library, connected to a cluster or to one of its own on this machine."""
    ray = _ray()
    options = {"include_dashboard": False} if address == "local" else {}
    with _explained(address):
        ray.init(address, log_to_driver=False, logging_level="ERROR", **options)
    interrupts.install()  # Ray takes SIGTERM for itself
    try:
        yield ray
    finally:
        ray.shutdown()


def _look(address):
    """Raises an error if no cluster is there, for which Ray would wait minutes."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), _REACHED) as there:
        if os.environ.get("RAY_USE_TLS", "0") == "0":
            there.sendall(_HELLO)
            if there.recv(9)[3:4] != _SETTINGS:
                raise OSError("what listens there is not Ray")


class _Board:
    """Counts the frames of all processes, in one place."""

    def __init__(self):
        self._frames = 0

    def add(self, frames):
        self._frames += frames

    def read(self):
        return self._frames


class _Count:
    """A progress that is reported to the board about once a second."""

    def __init__(self, board):
        self._board, self._since, self._sent = board, 0, time.monotonic()

    def __call__(self, *_):
        self._since += 1
        if time.monotonic() - self._sent >= _POLL:
            self.send()

    def send(self):
        self._board.add.remote(self._since)
        self._since, self._sent = 0, time.monotonic()


def _do(work, tasks, packed, board, mtujax):
    """In a process of the cluster: yields from `work(tasks, network, progress)`."""
    if mtujax != (here := version("mtujax")):
        host = socket.gethostname()
        raise UserError(
            f"{host} has mtujax {here}, and this machine {mtujax}; install the same"
        )
    progress = _Count(board)
    try:
        _prepare()
        yield from work(tasks, _loaded(packed), progress)
    finally:
        progress.send()


def _packed(weights):
    """A network as bytes for other machines; uses no device here."""
    if isinstance(weights, Path):
        return weights.read_bytes()
    model, params = weights
    return model.config, jax.tree.map(np.asarray, params)


@functools.cache
def _prepare():
    hardware.use_cache(None)


def _loaded(packed):
    if isinstance(packed, bytes):
        return _read(packed)
    return MTUNet(packed[0]), packed[1]


@functools.lru_cache(maxsize=1)
def _read(data):
    """A network of a file's bytes, once in a process that does several tasks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(data)
        return load(path)


def _processes(ray):
    """What each process takes, a GPU, or cores where no node has one; how many fit."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    if gpus := sum(int(node.get("GPU", 0)) for node in nodes):
        return {"num_gpus": 1, "num_cpus": 1}, gpus
    if not any(cores):
        raise UserError("ray: this cluster has no GPU and no core; add a node")
    each = min(_CORES, max(cores))
    return {"num_cpus": each}, sum(count // each for count in cores)


def spread(
    address: str,
    tasks: dict[str, object],
    work: Callable,
    weights: Path | tuple[MTUNet, dict],
    progress: Callable[[int, None], None] | None,
    *,
    again: Callable,
    at_once: Callable[[bool], int],
) -> Iterator[tuple]:
    """Yields (name, result, None) as they come, or (name, None, why there is none)."""
    # `work(tasks, network, progress)`, a function of a module, yields the name and the
    # result of each of some tasks. `again` makes of a task the one to try when its
    # process has died, `at_once` says how many one with a GPU, or without, is given.
    with _joined(address) as ray:
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        board = ray.remote(num_cpus=0)(_Board).options(scheduling_strategy=here)
        board = board.remote()
        need, processes = _processes(ray)
        # Tasks, not actors: those of an actor that is gone use up their tries before
        # the cluster knows it. A process stays for the next task, and keeps its GPU.
        do = ray.remote(max_retries=0, max_calls=0, **need)(_do)
        given = ray.put(_packed(weights)), board, version("mtujax")
        tasks, tries, shown = dict(tasks), dict.fromkeys(tasks, 1), 0

        def start(*names):
            return do.remote(work, {name: tasks[name] for name in names}, *given)

        size = min(at_once("num_gpus" in need), math.ceil(len(tasks) / processes))
        names = list(tasks)
        several = (names[i : i + size] for i in range(0, len(names), size))
        left = {start(*some): {*some} for some in several}
        while left:
            interrupts.check()
            ready, _ = ray.wait(list(left), num_returns=1, timeout=_WAIT)
            frames = ray.get(board.read.remote())
            if progress and frames > shown:
                progress(shown := frames, None)
            for stream in ready:
                found, error = _next(ray, address, stream)
                if found is not None:
                    name, result = found
                    left[stream].remove(name)
                    yield name, result, None
                    continue
                for name in left.pop(stream):  # those of a process that died
                    if tries[name] == _TRIES:
                        yield name, None, error
                        continue
                    tries[name] += 1
                    tasks[name] = again(tasks[name])
                    left[start(name)] = {name}  # alone: one may have killed the others


def _next(ray, address, stream):
    """What a stream of results has next, and why there is no more, if it broke off."""
    try:
        return ray.get(next(stream)), None
    except StopIteration:
        return None, None
    except ray.exceptions.RayTaskError as error:
        said = str(error.cause)
        if isinstance(error.cause, ImportError) or "failed to import" in said:
            what = said.strip().splitlines()[-1]  # after a traceback of that node
            raise UserError(
                f"ray {address}: a node lacks a library ({what}); install mtujax there"
            ) from None
        raise error.cause from None
    except ray.exceptions.RayError as error:
        first = str(error).strip().splitlines()[0]
        return None, f"its process or node died {_TRIES} times ({first})"
