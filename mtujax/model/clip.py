"""A whole clip at once: the one-frame network scanned over time (Sec. 3.2).

`stream.py` runs the same step frame by frame. Letters: B batch, T time, H W pixels.
"""

import functools

import einops
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mtujax.config import ModelConfig
from mtujax.model.network import (
    MTUNet,
    RecurrentState,
    initial_state,
    restore_windows,
)
from mtujax.ops.resampling import Replaced, native


def restore_clip(
    model: MTUNet,
    params: dict,
    clip: jax.Array,
    state: RecurrentState | None = None,
    *,
    before: jax.Array | None = None,
    after: jax.Array | None = None,
    starts: jax.Array | None = None,
) -> tuple[RecurrentState, jax.Array]:
    """Restores every frame of a batch of clips.

    A long video can be given in chunks that give the same frames as the whole: pass the
    state of each chunk to the next, its last blurry frames as `before`, and the first
    frames of the next chunk as `after`.

    Examples:
        >>> state, first = restore_clip(model, params, clip[:, :4], after=clip[:, 4:5])
        >>> state, rest = restore_clip(
        ...     model, params, clip[:, 4:], state, before=clip[:, 3:4]
        ... )
        >>> first.shape, rest.shape
        ((1, 4, 24, 32, 3), (1, 3, 24, 32, 3))

    Args:
        model: the network.
        params: its (inference) parameters.
        clip: [B, T, H, W, 3] blurry frames, float in [0, 1], RGB; any H and W. Values
            that are not finite are replaced, with a warning unless this is traced.
        state: of the previous chunk; None starts every video at its first frame.
        before: [B, >= 1, H, W, 3] frames that precede `clip`; None repeats its first.
        after: [B, >= 1, H, W, 3] frames that follow `clip`; None repeats its last.
        starts: bool [B, T], True where a video or shot starts: the state is reset there
            and no window reaches across. The first frame needs no mark when `state` is
            None.

    Returns:
        The state after the last frame, and the restored frames [B, T, H, W, 3] float32,
        not clamped.

    Raises:
        ValueError: if `clip`, `before` or `after` is not floating point, if shapes do
            not fit together, or if `state` is of another network or size.
    """
    given, replaced = {"clip": clip, "before": before, "after": after}, Replaced("clip")
    for name, frames in given.items():
        if frames is not None:
            _check_frames(name, frames, given["clip"].shape)
            given[name] = jnp.asarray(native(frames))
            replaced.add(given[name])
    clip, before, after = given.values()
    batch, time, height, width, _ = clip.shape
    starts = jnp.zeros((batch, time), bool) if starts is None else starts
    starts = jnp.asarray(starts, bool)
    if starts.shape != (batch, time):
        raise ValueError(f"starts of shape {starts.shape}: give {(batch, time)}")
    first = functools.partial(initial_state, model, batch, height, width)
    state = first() if state is None else state
    _check_state(state, jax.eval_shape(first))
    result = _restore(model, params, clip, state, before, after, starts)
    replaced.look(wait=True)  # of the input: the device is restoring meanwhile
    return result


def _check_frames(name, frames, like):
    """Raises ValueError for 8-bit frames, which would become floats of up to 255."""
    shape = np.shape(frames)
    if len(shape) != 5 or shape[-1] != 3 or 0 in (shape[0], *shape[2:]):
        raise ValueError(f"{name} of shape {shape}: give [B, T, H, W, 3]")
    if (shape[0], *shape[2:]) != (like[0], *like[2:]):
        raise ValueError(f"{name} of shape {shape}: does not fit the clip's, {like}")
    if not jnp.issubdtype(frames.dtype, jnp.floating):
        raise ValueError(f"{name} of {frames.dtype}: divide 8-bit frames by 255 first")


def _check_state(state, wanted):
    """Raises ValueError for a state that this network has not made of such frames."""
    found, wanted = state.as_arrays(), wanted.as_arrays()
    for name, like in wanted.items():
        if name not in found or found[name].shape != like.shape:
            there = found[name].shape if name in found else "missing"
            raise ValueError(
                f"state: {name} is {there}, but for this network and clip {like.shape}"
            )


@functools.partial(jax.jit, static_argnames="model")
def _restore(model, params, clip, state, before, after, starts):
    frames, index = clip_windows(model.config, clip, before, after, starts)

    def step(state, inputs):
        index, start = inputs
        window = window_at(frames, index)
        state, restored, _ = restore_windows(model, params, state, window, start)
        return state, restored

    inputs = (einops.rearrange(index, "b t k -> t b k"), starts.T)
    state, restored = lax.scan(step, state, inputs)
    return state, einops.rearrange(restored, "t b h w c -> b t h w c")


def clip_windows(
    config: ModelConfig,
    clip: jax.Array,
    before: jax.Array | None = None,
    after: jax.Array | None = None,
    starts: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Finds the frames that the network reads for each frame of a clip; copies none.

    Examples:
        >>> frames, windows = clip_windows(PRESETS["mtu2"], clip)
        >>> windows[0, 0].tolist()  # the first frame is repeated before the video
        [0, 0, 0, 1, 2]

    Args:
        config: gives look-back and look-ahead.
        clip: [B, T, H, W, 3].
        before: [B, any, H, W, 3] frames that precede it, or None.
        after: [B, any, H, W, 3] frames that follow it, or None.
        starts: bool [B, T], True where a video or shot starts, or None.

    Returns:
        All frames [B, L, H, W, 3], and int32 [B, T, K] the indices into them of each
        window of K = `config.window` frames. Beyond a shot, or beyond the frames given,
        the outermost frame is repeated.
    """
    back, ahead = config.lookback, config.lookahead
    if starts is None:
        starts = jnp.zeros(clip.shape[:2], bool)
    # Frames that no window reaches need not be kept.
    before = clip[:, :0] if before is None else before[:, -back:]
    after = clip[:, :0] if after is None else after[:, :ahead]
    frames = jnp.concatenate([before, clip, after], axis=1)
    offset, length = before.shape[1], frames.shape[1]
    # The shot that each frame belongs to; frames after the clip belong to the last.
    shot = jnp.cumsum(starts, axis=1)
    shot = jnp.pad(shot, ((0, 0), (offset, 0)))
    shot = jnp.pad(shot, ((0, 0), (0, after.shape[1])), mode="edge")
    target = offset + jnp.arange(clip.shape[1])
    inside = shot[:, None, :] == shot[:, target][:, :, None]  # [B, T, L]
    position = jnp.arange(length)[None, None, :]
    low = jnp.min(jnp.where(inside, position, length), axis=-1, keepdims=True)
    high = jnp.max(jnp.where(inside, position, -1), axis=-1, keepdims=True)
    wanted = target[None, :, None] + jnp.arange(-back, ahead + 1)[None, None, :]
    return frames, jnp.clip(wanted, low, high)


def window_at(frames: jax.Array, index: jax.Array) -> jax.Array:
    """Gathers windows [B, K, H, W, 3] by index [B, K] from frames [B, L, H, W, 3]."""
    return jax.vmap(lambda video, k: video[k])(frames, index)
