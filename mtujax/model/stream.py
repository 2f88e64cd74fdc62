"""A video frame by frame: the one-frame network run step by step, with bounded memory.

A snapshot holds everything that a stream remembers, as arrays by name that `np.savez`
can store: `motion_0`, ..., `detail`, `restored` and `is_first` are `RecurrentState`;
`past_0`, ... are the last blurry frames [B, H, W, 3], oldest first.

Streams of several videos may run their steps together, in one program: each keeps its
own state, only inputs are stacked within, and no stream affects another. Letters: B
batch, H W pixels, h w motion grid.
"""

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.model.network import (
    MTUNet,
    RecurrentState,
    initial_state,
    restore_windows,
)
from mtujax.ops.resampling import Replaced, from_unit_range, native

Frame = np.ndarray | jax.Array


class Kind(collections.namedtuple("Kind", "shape dtype numpy")):
    """Shape (H, W, 3) or (B, H, W, 3) and dtype of frames; whether they are NumPy."""

    @classmethod
    def of(cls, frame: Frame) -> "Kind":
        """The kind of a frame that `check_frame` has accepted."""
        return cls(tuple(frame.shape), frame.dtype, isinstance(frame, np.ndarray))

    @property
    def batched(self) -> tuple[int, int, int, int]:
        """(B, H, W, 3), with B = 1 where there is no batch."""
        return self.shape if len(self.shape) == 4 else (1, *self.shape)


def check_frame(frame: Frame) -> None:
    """Raises ValueError unless [H, W, 3] or [B, H, W, 3], uint8 or float."""
    shape, dtype = np.shape(frame), getattr(frame, "dtype", None)
    floating = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    if not (floating or dtype == np.uint8):
        raise ValueError(f"frame of {dtype}: give uint8, or float in [0, 1]")
    if len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape:
        raise ValueError(f"frame of shape {shape}: give [H, W, 3] or [B, H, W, 3]")


def pack(state: RecurrentState, past: Sequence[jax.Array]) -> dict[str, np.ndarray]:
    """Copies a state and its past frames [B, H, W, 3], oldest first, to the host."""
    arrays = state.as_arrays() | {f"past_{k}": frame for k, frame in enumerate(past)}
    return {name: _storable(array) for name, array in arrays.items()}


def unpack(
    snapshot: dict[str, np.ndarray], model: MTUNet
) -> tuple[RecurrentState, list[jax.Array]]:
    """Undoes `pack`, onto the device; ValueError names an array that does not fit."""
    past = _past(snapshot, model.config.lookback)
    batch, height, width, _ = past[0].shape
    like = jax.eval_shape(lambda: initial_state(model, batch, height, width))
    like = like.as_arrays()
    unknown = snapshot.keys() - like.keys() - {f"past_{k}" for k in range(len(past))}
    if unknown:
        raise ValueError(f"snapshot: {min(unknown)} is of another network")
    arrays = {name: _loaded(snapshot, name) for name in like}
    for name, wanted in like.items():
        found = arrays[name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(
                f"snapshot: {name} is {found.dtype} {found.shape}, and with this "
                f"network {wanted.dtype} {wanted.shape}"
            )
    return RecurrentState.of_arrays(arrays), past


def _past(snapshot, lookback):
    count = sum(name.startswith("past_") for name in snapshot)
    if not 1 <= count <= lookback:
        raise ValueError(
            f"snapshot: has {count} past frames; this network reads 1 to {lookback}"
        )
    past = [_loaded(snapshot, f"past_{k}") for k in range(count)]
    for frame in past:
        if frame.ndim != 4 or frame.shape[-1] != 3 or frame.shape != past[0].shape:
            raise ValueError(f"snapshot: a past frame is {frame.dtype} {frame.shape}")
    return past


def _storable(array):
    # NumPy's files do not know bfloat16: they hold the same bits as uint16.
    array = np.array(array)
    return array.view(np.uint16) if array.dtype == jnp.bfloat16 else array


def _loaded(snapshot, name):
    if name not in snapshot:
        raise ValueError(f"snapshot: has no {name}, which this network needs")
    array = np.asarray(snapshot[name])
    # No array of ours is uint16 itself.
    array = array.view(jnp.bfloat16) if array.dtype == np.uint16 else array
    # Copied: the device must not keep memory that belongs to another.
    return jnp.array(array)


class Step(NamedTuple):
    """What a stream returns for one frame."""

    restored: Frame  # [H, W, 3] or [B, H, W, 3], as the frame came in
    # [h, w, 2] or [B, h, w, 2] int32 (dx, dy), in cells of the motion grid, of the last
    # unit that matched; h, w are H, W over `ModelConfig.cell`, rounded up. None for a
    # network without motion compensation.
    displacement: Frame | None


class Stream:
    """Restores a video while it arrives, `lookahead` frames behind the input.

    Equal to `restore_clip` over the same frames. Memory does not grow with the video:
    it keeps the recurrent state and at most `lookback + lookahead + 1` blurry frames.

    Examples:
        >>> stream = Stream(model, params)
        >>> for frame in camera:
        ...     for restored in stream.push(frame):
        ...         show(restored)
        >>> rest = stream.flush()

    Attributes:
        latency: number of frames by which the output lags behind the input.
        replaced: number of values that were not finite, in all frames so far.
    """

    def __init__(self, model: MTUNet, params: dict, *, in_flight: int = 0):
        """Starts before the first frame of a video.

        Args:
            model: the network.
            params: its (inference) parameters.
            in_flight: number of results that a GPU may still be computing while the
                host reads the next frame and shows the last; the output lags behind by
                as many frames more.

        Raises:
            ValueError: if `in_flight` is negative or not a whole number.
        """
        if not isinstance(in_flight, int) or in_flight < 0:
            raise ValueError(
                f"in_flight={in_flight}: must be a whole number, 0 or more"
            )
        self.latency = model.config.lookahead + in_flight
        self._in_flight = in_flight
        self._model = model
        self._params = jax.device_put(params)
        self._replaced = Replaced("frames")
        self._start()

    @property
    def replaced(self) -> int:
        """Number of values that were not finite; waits until they are counted."""
        return self._replaced.total

    def push(self, frame: Frame) -> list[Frame]:
        """Takes the next frame and returns those that became ready, oldest first.

        Args:
            frame: [H, W, 3] or [B, H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1];
                NumPy or JAX. B videos advance together. Values that are not finite are
                replaced, NaN by 0 and infinity by the end of the range, with one
                warning; `replaced` counts them.

        Returns:
            Restored frames of the same shape, dtype and range, clamped to it: none
            for the first `latency` frames, then one per call. NumPy arrays for a NumPy
            frame, and JAX arrays, possibly still being computed, for a JAX frame.

        Raises:
            ValueError: for a frame whose shape or dtype differs from that of earlier
                frames (call `reset` between videos), or that is no RGB image.
        """
        return [step.restored for step in self.advance(frame)]

    def advance(self, frame: Frame) -> list[Step]:
        """Like `push`, but also returns the motion.

        Args:
            frame: [H, W, 3] or [B, H, W, 3], as for `push`.

        Returns:
            A `Step` for each frame that `push` would return.

        Raises:
            ValueError: as `push` does.
        """
        check_frame(frame)
        kind = Kind.of(frame)
        if self._kind is None:
            self._begin(kind)
        elif self._kind != kind:
            raise ValueError(
                f"frame of {frame.dtype} {tuple(frame.shape)}: this video has "
                f"{self._kind.dtype} {self._kind.shape}; call reset() between videos"
            )
        # Copied: a camera may fill the same buffer again while the frame still waits,
        # and JAX reads a NumPy array's own memory, sometimes later.
        frame = native(np.array(frame)) if kind.numpy else frame
        self._waiting.append(jax.device_put(frame.reshape(kind.batched)))
        self._replaced.add(self._waiting[-1])
        if len(self._waiting) > self._model.config.lookahead:
            self._dispatch()
        late = len(self._dispatched) - self._in_flight
        ready = [self._collect() for _ in range(late)]
        self._replaced.look()
        return ready

    def flush(self) -> list[Frame]:
        """Ends the video and returns all frames still pending.

        Returns:
            The last `latency` restored frames (fewer for a shorter video), each
            [B, H, W, 3] or [H, W, 3] as `push` returns them. The next `push` starts a
            new video.
        """
        return [step.restored for step in self.finish()]

    def finish(self) -> list[Step]:
        """Like `flush`, but also returns the motion.

        Returns:
            A `Step` for each frame that `flush` would return.
        """
        return list(self.drain())

    def drain(self) -> Iterator[Step]:
        """Like `finish`, but yields one frame at a time.

        Yields:
            The `Step`s of `finish`; take all of them before the next `push`.
        """
        while self._waiting or self._dispatched:
            try:
                if self._waiting:
                    self._dispatch()
                full = len(self._dispatched) > self._in_flight
                step = self._collect() if full or not self._waiting else None
            except Exception:
                self._start()  # a step that failed has used up the state
                raise
            if not (self._waiting or self._dispatched):
                self._start()  # first: nothing runs after the last one
            if step is not None:
                yield step
        self._replaced.look(wait=True)
        self._start()

    def reset(self) -> list[Frame]:
        """Marks a scene cut: later frames have nothing to do with earlier ones.

        Returns:
            The frames still pending, [B, H, W, 3] or [H, W, 3] as `flush` returns them;
            the next frame may have another shape or dtype.
        """
        return self.flush()

    def snapshot(self) -> dict[str, np.ndarray]:
        """Copies to the host what the frames restored so far leave for the next one.

        Frames in flight count as restored, though they have not been returned yet.

        Returns:
            Arrays by name that `np.savez` can store: the recurrent state and the last
            blurry frames [B, H, W, 3], without those that still wait. Empty if no frame
            of this video has been restored yet.
        """
        return pack(self._state, self._past) if self._past else {}

    def resume(self, snapshot: dict[str, np.ndarray]) -> None:
        """Resumes where another stream, of the same network, took a snapshot.

        Given the frames from the first one on that had not been restored by then, this
        stream returns what the other would have, bit for bit with the same tiles.

        Args:
            snapshot: from `snapshot` of any stream, tiled or not.

        Raises:
            ValueError: if frames have been pushed since the last `flush` or `reset`,
                or the snapshot is of another network.
        """
        if self._past or self._waiting:
            raise ValueError("resume: in mid-video; call reset() before")
        if snapshot:
            self._state, past = unpack(snapshot, self._model)
            self._past.extend(past)

    def _start(self):
        self._kind: Kind | None = None
        self._state: RecurrentState | None = None
        self._past = collections.deque(maxlen=self._model.config.lookback)
        self._waiting = collections.deque()  # the target, then the frames after it
        self._dispatched = collections.deque()  # steps, maybe still being computed

    def _begin(self, kind):
        """Makes the first frame's kind that of the video."""
        if self._past:
            past = self._past[0]
            dtype = kind.dtype.newbyteorder("=")
            dtype = jax.dtypes.canonicalize_dtype(dtype)  # no float64
            if (past.shape, past.dtype) != (kind.batched, dtype):
                raise ValueError(
                    f"frame of {kind.dtype} {kind.shape}: the snapshot is of a video "
                    f"of {past.dtype} {past.shape}"
                )
        else:
            self._state = _first_state(self._model, *kind.batched[:3])
        self._kind = kind

    def _dispatch(self):
        """Starts restoring the next frame, without waiting for anything."""
        cfg = self._model.config
        # At either end of the video the window repeats the outermost frame.
        past, coming = list(self._past), list(self._waiting)[: 1 + cfg.lookahead]
        past = [*past[:1], coming[0]][:1] * (cfg.lookback - len(past)) + past
        coming += coming[-1:] * (1 + cfg.lookahead - len(coming))
        step = Step(*self._run((*past, *coming)))
        self._past.append(self._waiting.popleft())
        if len(self._kind.shape) == 3:
            step = jax.tree.map(lambda batch: batch.reshape(batch.shape[1:]), step)
        if self._kind.numpy:
            jax.tree.map(lambda array: array.copy_to_host_async(), step)
        self._dispatched.append(step)

    def _collect(self):
        """Returns the oldest step, on the host if its frame came from there."""
        step = self._dispatched.popleft()
        if not self._kind.numpy:
            return step
        # Copies, which unlike views of JAX's memory can be written to.
        restored, displacement = jax.tree.map(np.array, step)
        return Step(restored.astype(self._kind.dtype, copy=False), displacement)

    def _run(self, window):
        """Runs the network on one batched frame: restored frame and displacement."""
        self._state, *outputs = _step(self._model, self._params, self._state, window)
        return outputs

    def lowered(self, shape: tuple[int, ...], dtype) -> jax.stages.Lowered:
        """Lowers the largest computation of a `push`; allocates no arrays.

        Args:
            shape: (B, H, W, 3) of the frames.
            dtype: dtype of the frames.

        Returns:
            What `push`, once this is compiled, runs without compiling it again.
        """
        state, window = self._abstract(shape, dtype)
        return _step.lower(self._model, self._params, state, window)

    def lowered_ahead(
        self, shape: tuple[int, ...], dtype
    ) -> tuple[jax.stages.Lowered, ...]:
        """Lowers what runs before `lowered` and may need more temporary memory.

        Args:
            shape: (B, H, W, 3) of the frames.
            dtype: dtype of the frames.

        Returns:
            Computations whose inputs and results are all among those of `lowered`.
        """
        return ()

    def _abstract(self, shape, dtype):
        model, frame = self._model, jax.ShapeDtypeStruct(shape, dtype)
        state = jax.eval_shape(lambda: initial_state(model, *shape[:3]))
        return state, (frame,) * model.config.window


_first_state = jax.jit(initial_state, static_argnums=(0, 1, 2, 3))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _step(model, params, state, window):
    return restore_frames(model, params, state, window)


def restore_frames(model, params, state, window):
    """Restores frames [B, H, W, 3] from windows of K such; in their dtype."""
    stacked = jnp.stack(window, axis=1)
    state, restored, displacement = restore_windows(model, params, state, stacked)
    return state, from_unit_range(restored, window[0].dtype), displacement


class LaneStream(Stream):
    """A stream whose steps its owner runs, maybe together with those of others."""

    def __init__(self, model: MTUNet, params: dict, run: Callable):
        """`run(model, params, state, window)` does one step, as `run_together` does."""
        super().__init__(model, params)
        self._run_with_others = run

    def _run(self, window):
        step = self._model, self._params, self._state, window
        self._state, *outputs = self._run_with_others(*step)
        return outputs


def run_together(
    model: MTUNet,
    params: dict,
    states: Sequence[RecurrentState],
    windows: Sequence[tuple[jax.Array, ...]],
) -> list[tuple]:
    """Starts one step of several streams, and returns what `run` does for each."""
    # A window is K frames [B, H, W, 3]. Copying the states in and out costs little
    # beside the network, whose every layer moves as much.
    if len(states) == 1:  # the program that is there already
        return [_step(model, params, states[0], windows[0])]
    return _steps(model, params, tuple(states), tuple(windows))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _steps(model, params, states, windows):
    state, window = (
        jax.tree.map(lambda *parts: jnp.concatenate(parts), *trees)
        for trees in (states, windows)
    )
    found = restore_frames(model, params, state, window)
    sizes = [state.is_first.shape[0] for state in states]
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return [
        jax.tree.map(lambda x, a=end - size, b=end: x[a:b], found)
        for size, end in zip(sizes, ends, strict=True)
    ]
