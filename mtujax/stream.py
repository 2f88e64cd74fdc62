"""A video frame by frame: the one-frame network driven by hand, with bounded memory.

Letters: B batch, H W pixels.
"""

import collections
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.network import MTUNet, RecurrentState, initial_state

Frame = np.ndarray | jax.Array


class Stream:
    """Restores a video while it arrives, `lookahead` frames behind the input.

    Equal to `restore_clip` over the same frames. Memory does not grow with the video:
    it keeps the recurrent state and at most `lookback + lookahead + 1` blurry frames.

    Example:
        >>> stream = Stream(model, params)
        >>> for frame in camera:
        ...     for restored in stream.push(frame):
        ...         show(restored)
        >>> rest = stream.flush()

    Attributes:
        latency: number of frames by which the output lags behind the input.
    """

    def __init__(self, model: MTUNet, params: dict):
        """Starts before the first frame of a video.

        Args:
            model: the network.
            params: its (inference) parameters.
        """
        self.latency = model.config.lookahead
        self._model = model
        self._params = jax.device_put(params)
        self._start()

    def push(self, frame: Frame) -> list[Frame]:
        """Takes the next frame and returns those that became ready, oldest first.

        Args:
            frame: [H, W, 3] or [B, H, W, 3] RGB, uint8 in [0, 255] or float in [0, 1];
                numpy or JAX. B videos advance together.

        Returns:
            Restored frames of the same shape, dtype and range, clamped to it: none
            while the look-ahead fills, then one per call. NumPy arrays for a NumPy
            frame, and JAX arrays, possibly still being computed, for a JAX frame.

        Raises:
            ValueError: for a frame whose shape or dtype is not that of the frames
                before (call `reset` between videos), or that is no RGB image.
        """
        self._check(frame)
        if self._kind is None:
            self._kind = _Kind.of(frame)
            batch, height, width, _ = self._kind.batched
            self._state = initial_state(self._model, batch, height, width)
        elif self._kind != _Kind.of(frame):
            raise ValueError(
                f"frame of {frame.dtype} {tuple(frame.shape)}: this video has "
                f"{self._kind.dtype} {self._kind.shape}; call reset() between videos"
            )
        # Copied: a camera may fill the same buffer again while the frame still waits,
        # and JAX reads a NumPy array's own memory, sometimes later.
        frame = np.array(frame) if self._kind.numpy else frame
        self._waiting.append(jnp.asarray(frame).reshape(self._kind.batched))
        if len(self._waiting) <= self.latency:
            return []
        return [self._restore_next()]

    def flush(self) -> list[Frame]:
        """Ends the video: returns the frames still pending, none is lost.

        Returns:
            The last `latency` restored frames (fewer for a shorter video), as `push`
            gives them. The next `push` starts a new video.
        """
        ready = []
        while self._waiting:
            ready.append(self._restore_next())
        self._start()
        return ready

    def reset(self) -> list[Frame]:
        """Marks a cut: what follows has nothing to do with what came before.

        Returns:
            The frames still pending, as `flush` does; the next frame may have another
            shape or dtype.
        """
        return self.flush()

    def _start(self):
        self._kind: _Kind | None = None
        self._state: RecurrentState | None = None
        self._past = collections.deque(maxlen=self._model.config.lookback)
        self._waiting = collections.deque()  # the target, then the frames after it

    def _restore_next(self):
        cfg = self._model.config
        target = self._waiting[0]
        # At either end of the video the window repeats the outermost frame.
        past = list(self._past)
        past = [past[0] if past else target] * (cfg.lookback - len(past)) + past
        future = list(self._waiting)[1 : 1 + cfg.lookahead]
        last = future[-1] if future else target
        future += [last] * (cfg.lookahead - len(future))
        window = (*past, target, *future)
        self._state, restored = _step(self._model, self._params, self._state, window)
        self._past.append(self._waiting.popleft())
        restored = restored.reshape(self._kind.shape)
        # A copy, which unlike a view of JAX's memory can be written to.
        return np.array(restored, self._kind.dtype) if self._kind.numpy else restored

    @staticmethod
    def _check(frame):
        shape, dtype = np.shape(frame), getattr(frame, "dtype", None)
        floating = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
        if not (floating or dtype == np.uint8):
            raise ValueError(f"frame of {dtype}: give uint8, or float in [0, 1]")
        if len(shape) not in (3, 4) or shape[-1] != 3 or 0 in shape:
            raise ValueError(f"frame of shape {shape}: give [H, W, 3] or [B, H, W, 3]")


class _Kind(collections.namedtuple("_Kind", "shape dtype numpy")):
    """What all frames of a video have in common."""

    @classmethod
    def of(cls, frame):
        return cls(tuple(frame.shape), frame.dtype, isinstance(frame, np.ndarray))

    @property
    def batched(self):
        return self.shape if len(self.shape) == 4 else (1, *self.shape)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _step(model, params, state, window):
    dtype = window[0].dtype
    window = to_unit_range(jnp.stack(window, axis=1))
    state, outputs = model.apply({"params": params}, state, window)
    return state, from_unit_range(outputs["restored"], dtype)


def to_unit_range(frames: jax.Array) -> jax.Array:
    """Maps frames [..., 3], uint8 or float in [0, 1], to float32 in [0, 1].

    Args:
        frames: [..., 3] of any size.

    Returns:
        float32 of the same shape; uint8 is divided by 255.
    """
    if frames.dtype == jnp.uint8:
        return frames.astype(jnp.float32) / 255.0
    return frames.astype(jnp.float32)


def from_unit_range(frames: jax.Array, dtype) -> jax.Array:
    """Maps frames [..., 3] to `dtype`, clamped to its range of colours.

    Args:
        frames: [..., 3] float, nominally in [0, 1].
        dtype: uint8 (rounded half to even, as the release saves) or a float dtype.

    Returns:
        [..., 3] of `dtype`.
    """
    chex.assert_type(frames, float)
    frames = jnp.clip(frames, 0.0, 1.0)
    if dtype == jnp.uint8:
        return jnp.round(frames * 255.0).astype(jnp.uint8)
    return frames.astype(dtype)
