"""Timing by stages: each stage of a frame is timed apart and waited for.

It times what users run: the compiled step of a `Stream`. A call to a device returns
before the computation is done, so each stage ends by waiting for all its results.
Subjects that are compared take turns within each round, so that a drift of the
machine's speed favours none. Letters: B batch size, H W pixels.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.model.network import MTUNet, initial_state
from mtujax.model.stream import Stream
from mtujax.model.tiling import compiled_memory

STAGES = ("host_to_device", "step", "device_to_host", "end_to_end")
"""Timed stages of a frame; the last is from pushing a frame to having its result."""


METHOD = "linear interpolation between the two nearest samples (NumPy's default)"
"""How percentiles are computed."""


Clock = Callable[[], float]


class Subject(Protocol):
    """What can be timed: a network that takes one frame after another."""

    def put(self, frame: np.ndarray) -> Any:
        """Copies frame [B, H, W, 3] uint8 to the device."""

    def step(self, frame: Any) -> Any:
        """Restores the next frame from `put`'s result; may return before it is done."""

    def get(self, restored: Any) -> np.ndarray:
        """Copies the result of `step` to the host, [B, H, W, 3] uint8."""

    def push(self, frame: np.ndarray) -> Any:
        """Does all three as users do, without waiting in between."""

    def wait(self, value: Any) -> None:
        """Returns when all work requested up to `value` is done."""


class Compiled(NamedTuple):
    """Seconds, once per step, to trace it from Python and to compile the trace."""

    trace_s: float
    compile_s: float


class Network:
    """The compiled step of a `Stream`, split into stages; a `Subject`.

    Examples:
        >>> network = Network(model, params, (1, 24, 32, 3))
        >>> network.preparation.compile_s > 0
        True

    Attributes:
        compiled: the compiled step.
        preparation: seconds to trace and to compile it; fewer where this process, or a
            cache on disk, had compiled the same before.
    """

    def __init__(
        self,
        model: MTUNet,
        params: dict,
        shape: tuple[int, int, int, int],
        clock: Clock = time.perf_counter,
        options: Mapping[str, Any] | None = None,
    ):
        """Compiles the step.

        Args:
            model: the network.
            params: its (inference) parameters.
            shape: (B, H, W, 3) of the frames, which are uint8.
            clock: returns seconds, never decreasing.
            options: of the compiler, as XLA names them.
        """
        self._stream, self._params = Stream(model, params), jax.device_put(params)
        lowered, trace = timed(lambda: self._stream.lowered(shape, np.uint8), clock)
        self.compiled, compile = timed(lambda: lowered.compile(options), clock)
        self.preparation = Compiled(trace, compile)
        self._state = initial_state(model, *shape[:3])
        self._window = collections.deque(maxlen=model.config.window)
        self._last = None

    def put(self, frame: np.ndarray) -> jax.Array:
        """Copies frame [B, H, W, 3] uint8 to the device, as `Stream` does."""
        return jnp.asarray(np.array(frame))

    def step(self, frame: jax.Array) -> jax.Array:
        """Restores the next frame; `frame` [B, H, W, 3] uint8 enters the window."""
        # As at the start of a video, whose first frame is repeated.
        missing = self._window.maxlen - len(self._window)
        self._window.extend([frame] * max(missing, 1))
        window = tuple(self._window)
        self._last = self.compiled(self._params, self._state, window)
        self._state, restored, _ = self._last
        return restored

    def get(self, restored: jax.Array) -> np.ndarray:
        """Copies the restored frame [B, H, W, 3] uint8 to the host."""
        return np.array(restored)

    def push(self, frame: np.ndarray) -> list[np.ndarray]:
        """Pushes frame [B, H, W, 3] uint8 into a separate `Stream`."""
        return self._stream.push(frame)

    def wait(self, value: Any) -> None:
        """Returns when `value`, and every result of the last step, is computed."""
        jax.block_until_ready((value, self._last))


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Summary of samples in milliseconds, with percentiles by `METHOD`."""

    p50: float
    p95: float
    p99: float  # of fewer than 100 samples, close to the largest
    mean: float
    min: float
    max: float
    count: int


def timed(
    work: Callable[[], Any],
    clock: Clock = time.perf_counter,
    wait: Callable[[Any], None] | None = None,
) -> tuple[Any, float]:
    """Times one call, with `wait` for its result; returns the result and seconds."""
    begun = clock()
    result = work()
    if wait is not None:
        wait(result)
    return result, clock() - begun


def measure(
    subjects: Mapping[str, Subject],
    frames: Sequence[np.ndarray],
    *,
    rounds: int,
    warm_up: int,
    at_a_stretch: bool = True,
    clock: Clock = time.perf_counter,
    on_round: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, list[float]]]:
    """Times subjects in turn: in each round one frame by stages, and one end to end.

    Examples:
        >>> frames = [np.zeros((1, 24, 32, 3), np.uint8)]
        >>> subjects = {"mine": Network(model, params, frames[0].shape)}
        >>> times = measure(subjects, frames, rounds=3, warm_up=2)
        >>> sorted(times["mine"])
        ['device_to_host', 'end_to_end', 'host_to_device', 'step']

    Args:
        subjects: by name.
        frames: [B, H, W, 3] uint8 each, taken in turn.
        rounds: rounds that count.
        warm_up: rounds before them that do not; at least the network's look-ahead, or
            `push` returns no frame yet.
        at_a_stretch: also push a frame; without it there is no "end_to_end".
        clock: returns seconds, never decreasing.
        on_round: called after each round with the number done and the total.

    Returns:
        By name and stage, `rounds` samples in milliseconds, in the order of rounds.
    """
    wanted = STAGES if at_a_stretch else STAGES[:-1]
    measured = {name: {stage: [] for stage in wanted} for name in subjects}
    names = list(subjects)
    for number in range(warm_up + rounds):
        frame = frames[number % len(frames)]
        first = number % len(names)  # no subject always comes first
        for name in names[first:] + names[:first]:
            stages = _stages(subjects[name], frame, clock, at_a_stretch)
            if number >= warm_up:
                for samples, took in zip(measured[name].values(), stages, strict=True):
                    samples.append(1e3 * took)
        if on_round:
            on_round(number + 1, warm_up + rounds)
    return measured


def _stages(subject, frame, clock, at_a_stretch):
    """Seconds of each stage."""
    there, to_device = timed(lambda: subject.put(frame), clock, subject.wait)
    restored, step = timed(lambda: subject.step(there), clock, subject.wait)
    _, to_host = timed(lambda: subject.get(restored), clock, subject.wait)
    seconds = [to_device, step, to_host]
    if at_a_stretch:
        seconds.append(timed(lambda: subject.push(frame), clock, subject.wait)[1])
    return seconds


def statistics(samples: Sequence[float]) -> Statistics:
    """Summarizes samples.

    Examples:
        >>> statistics([10.0, 12.0, 11.0]).p50
        11.0

    Args:
        samples: milliseconds, at least one.

    Returns:
        Percentiles by `METHOD`, mean, smallest, largest and count, in milliseconds.

    Raises:
        ValueError: if there are no samples.
    """
    if not len(samples):
        raise ValueError("no samples")
    p50, p95, p99 = map(float, np.percentile(samples, (50, 95, 99)))
    low, mean, high = map(float, (min(samples), np.mean(samples), max(samples)))
    return Statistics(p50, p95, p99, mean, low, high, len(samples))


def ratio(samples: Sequence[float], others: Sequence[float]) -> float:
    """Median of `samples` / `others` by rounds: a drift that both share cancels out."""
    return float(np.median(np.asarray(samples) / np.asarray(others)))


class Memory(NamedTuple):
    """Peak device memory of a step, in bytes."""

    bytes: int | None  # to quote: `device` where known, else `compiled`
    source: str  # where it is from
    device: int | None  # JAX's peak since the process started; None on a CPU
    compiled: int | None  # of the step, by the compiler's analysis; None if unknown


def peak_memory(compiled: jax.stages.Compiled) -> Memory:
    """Reports the peak memory of a compiled step; call it after the step has run."""
    stats = jax.local_devices()[0].memory_stats() or {}
    used, found = stats.get("peak_bytes_in_use"), compiled_memory(compiled)
    planned = found and found.total
    if used is not None:
        return Memory(used, "device.memory_stats: peak_bytes_in_use", used, planned)
    source = "unknown" if planned is None else "compiled.memory_analysis"
    return Memory(planned, source, None, planned)


def latency(lookahead: int, rate: float, milliseconds: float) -> float:
    """Milliseconds from the arrival of a live frame to its restored form."""
    return 1e3 * lookahead / rate + milliseconds
