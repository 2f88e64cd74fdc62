"""Timing that cannot lie: every stage of a frame apart, each waited for.

What is timed is what users run: the compiled step of a `Stream`. A computation on a
device is over when its results are, not when the call returns, so each stage ends by
waiting for all it made. Subjects that are compared take turns within each round, so
that a machine whose speed drifts does not decide. Letters: B batch, H W pixels.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.model.cost import compiled_memory
from mtujax.model.network import MTUNet, initial_state
from mtujax.model.stream import Stream

STAGES = ("host_to_device", "step", "device_to_host", "end_to_end")
"""What is timed of a frame; the last is a frame pushed until its result is had."""


METHOD = "linear interpolation between the two nearest samples (NumPy's default)"
"""How percentiles are taken."""


Clock = Callable[[], float]


class Subject(Protocol):
    """What can be timed: a network that takes one frame after the other."""

    def put(self, frame: np.ndarray) -> Any:
        """Copies frame [B, H, W, 3] uint8 to the device."""

    def step(self, frame: Any) -> Any:
        """Restores the next frame from what `put` gave; may return before it is."""

    def get(self, restored: Any) -> np.ndarray:
        """Copies what `step` gave to the host, [B, H, W, 3] uint8."""

    def push(self, frame: np.ndarray) -> Any:
        """Does all three as users do, without waiting in between."""

    def wait(self, value: Any) -> None:
        """Returns when everything that has been asked for up to `value` is done."""


class Compiled(NamedTuple):
    """How long a step takes before it can run, once.

    Attributes:
        trace_s: seconds from Python to the compiler's language.
        compile_s: seconds of the compiler.
    """

    trace_s: float
    compile_s: float


class Network:
    """The compiled step of a `Stream`, taken apart; a `Subject`.

    Attributes:
        compiled: the step, compiled.
        preparation: how long that took; less where this process, or a cache on disk,
            had compiled the same before.
    """

    def __init__(
        self,
        model: MTUNet,
        params: dict,
        shape: tuple[int, int, int, int],
        clock: Clock = time.perf_counter,
    ):
        """Compiles the step.

        Args:
            model: the network.
            params: its (inference) parameters.
            shape: (B, H, W, 3) of the frames, which are uint8.
            clock: seconds, rising.
        """
        self._stream, self._params = Stream(model, params), jax.device_put(params)
        lowered, trace = timed(lambda: self._stream.lowered(shape, np.uint8), clock)
        self.compiled, compile = timed(lowered.compile, clock)
        self.preparation = Compiled(trace, compile)
        self._state = initial_state(model, *shape[:3])
        self._window = collections.deque(maxlen=model.config.window)
        self._last = None

    def put(self, frame: np.ndarray) -> jax.Array:
        """Copies frame [B, H, W, 3] uint8 to the device, as `Stream` does."""
        return jnp.asarray(np.array(frame))

    def step(self, frame: jax.Array) -> jax.Array:
        """Restores the next frame; `frame` [B, H, W, 3] enters the window."""
        # As at the start of a video, whose first frame is repeated.
        missing = self._window.maxlen - len(self._window)
        self._window.extend([frame] * max(missing, 1))
        window = tuple(self._window)
        self._last = self.compiled(self._params, self._state, window)
        self._state, restored, _ = self._last
        return restored

    def get(self, restored: jax.Array) -> np.ndarray:
        """Copies the restored frame [B, H, W, 3] to the host."""
        return np.array(restored)

    def push(self, frame: np.ndarray) -> list[np.ndarray]:
        """Pushes frame [B, H, W, 3] into a `Stream` of its own."""
        return self._stream.push(frame)

    def wait(self, value: Any) -> None:
        """Returns when `value`, and all that the last step made, is there."""
        jax.block_until_ready((value, self._last))


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Samples in milliseconds, summed up.

    Attributes:
        p50: median.
        p95: 95th percentile, by `METHOD`, as the others.
        p99: 99th percentile; of less than 100 samples close to the largest.
        mean: arithmetic mean.
        min: smallest.
        max: largest.
        count: number of samples.
    """

    p50: float
    p95: float
    p99: float
    mean: float
    min: float
    max: float
    count: int


def timed(
    work: Callable[[], Any],
    clock: Clock = time.perf_counter,
    wait: Callable[[Any], None] | None = None,
) -> tuple[Any, float]:
    """Times one call, with the wait for what it began.

    Args:
        work: what to do.
        clock: seconds, rising.
        wait: returns when the result is there; None for what returns when it is done.

    Returns:
        The result and seconds.
    """
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
    """Times subjects in turn: in each round a frame by stages, and one at a stretch.

    Args:
        subjects: by name.
        frames: [B, H, W, 3] uint8 each, taken in turn.
        rounds: rounds that count.
        warm_up: rounds before them that do not; at least as many as the network looks
            ahead, or `push` gives no frame yet.
        at_a_stretch: also push a frame; without it there is no "end_to_end".
        clock: seconds, rising.
        on_round: called after each round with the number done and that of all.

    Returns:
        By name and stage, `rounds` samples in milliseconds in the order of rounds.
    """
    wanted = STAGES if at_a_stretch else STAGES[:-1]
    taken = {name: {stage: [] for stage in wanted} for name in subjects}
    names = list(subjects)
    for number in range(warm_up + rounds):
        frame = frames[number % len(frames)]
        first = number % len(names)  # nobody always comes first
        for name in names[first:] + names[:first]:
            stages = _stages(subjects[name], frame, clock, at_a_stretch)
            if number >= warm_up:
                for samples, took in zip(taken[name].values(), stages, strict=True):
                    samples.append(1e3 * took)
        if on_round:
            on_round(number + 1, warm_up + rounds)
    return taken


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
    """Sums samples up.

    Args:
        samples: milliseconds, at least one.

    Returns:
        Percentiles by `METHOD` and the rest.

    Raises:
        ValueError: if there are no samples.
    """
    if not len(samples):
        raise ValueError("no samples")
    p50, p95, p99 = map(float, np.percentile(samples, (50, 95, 99)))
    low, mean, high = map(float, (min(samples), np.mean(samples), max(samples)))
    return Statistics(p50, p95, p99, mean, low, high, len(samples))


def ratio(samples: Sequence[float], others: Sequence[float]) -> float:
    """Compares two subjects of `measure`, round by round.

    Args:
        samples: of one stage.
        others: of the same rounds.

    Returns:
        The median of `samples` / `others`: a drift that both share cancels out.
    """
    return float(np.median(np.asarray(samples) / np.asarray(others)))


class Memory(NamedTuple):
    """The most device memory that the step takes.

    Attributes:
        bytes: the figure to quote: `device` where the device tells, else `compiled`;
            None if nobody does.
        source: where it is from.
        device: the most that JAX has had in use since the process began, with whatever
            the compiler tried out; None where the device does not tell, as on a CPU.
        compiled: what comes in and goes out of a step, and what it computes with, by
            the compiler's analysis.
    """

    bytes: int | None
    source: str
    device: int | None
    compiled: int | None


def peak_memory(compiled: jax.stages.Compiled) -> Memory:
    """Finds out how much device memory a step takes; call it when one has run.

    Args:
        compiled: the step.

    Returns:
        Bytes, and who says so.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    used, found = stats.get("peak_bytes_in_use"), compiled_memory(compiled)
    planned = found and found.total
    if used is not None:
        return Memory(used, "device.memory_stats: peak_bytes_in_use", used, planned)
    source = "unknown" if planned is None else "compiled.memory_analysis"
    return Memory(planned, source, None, planned)


def latency(lookahead: int, rate: float, milliseconds: float) -> float:
    """How long after a frame its restored form is there, in a live video.

    Args:
        lookahead: frames that must arrive after it first.
        rate: of the video, in frames per second.
        milliseconds: from the arrival of the last of them to the result.

    Returns:
        Milliseconds.
    """
    return 1e3 * lookahead / rate + milliseconds
