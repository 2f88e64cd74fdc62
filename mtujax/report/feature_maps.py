"""The network's features on two frames, and the motion found with each kind of them.

Reference: Son et al. 2022, Sec. 3.1 and Figs. 2, 5 and 6. Letters: T time, H W pixels,
H' W' the same rounded up to multiples of 4p, p side of a patch, h w motion grid, C
channels, r search radius.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import MOTION_STRIDE
from mtujax.metrics.motion import alignment_accuracy
from mtujax.model.clip import clip_windows, window_at
from mtujax.model.network import MTUNet, initial_state
from mtujax.ops.labels import inside
from mtujax.ops.matching import displace, match, upsampled_flow
from mtujax.ops.resampling import area_downsample, pad_frames, to_unit_range

KINDS = ("detail", "structure", "injected")
"""Kinds of features that motion can be found with."""


_KEPT = ("structure", "detail", "motion")


@dataclasses.dataclass(frozen=True)
class FrameFeatures:
    """A frame and its features in the first unit."""

    blurry: np.ndarray  # [H, W, 3] in [0, 1]
    restored: np.ndarray  # [H, W, 3] in [0, 1]
    detail: np.ndarray  # [H' / p, W' / p, C] detail features f_t^1
    structure: np.ndarray  # [H' / p, W' / p, C] structure features f_t^b
    motion: np.ndarray | None  # [h, w, 2C] of the motion layer; None without one
    patch: int = 1  # p

    def to_match(self, kind: str) -> np.ndarray:
        """Features of a kind on the motion grid, [h, w, 2C] or [h, w, C] float32."""
        # "injected" are those of the motion layer, or without one the average of detail
        # plus structure. The other two are averages over 4x4 places, as in the paper's
        # models without that layer.
        if kind not in KINDS:
            raise ValueError(f"features {kind!r}: must be one of {', '.join(KINDS)}")
        if kind == "injected" and self.motion is not None:
            return self.motion
        features = {
            "detail": self.detail,
            "structure": self.structure,
            "injected": self.detail + self.structure,
        }[kind]
        return np.asarray(area_downsample(jnp.asarray(features)[None])[0])


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The previous sharp frame, moved onto the current one."""

    aligned: np.ndarray  # [H, W, 3] in [0, 1], black where its source is outside
    error: np.ndarray  # [ph, pw] mean absolute, at 1/4 scale; NaN likewise
    psnr: float  # at 1/4 scale, dB (`alignment_accuracy`)
    displacement: np.ndarray  # [h, w, 2] int32 (dx, dy) in cells


def clip_features(
    model: MTUNet, params: dict, clip: np.ndarray, at: int
) -> list[FrameFeatures]:
    """Features of frames `at` - 1 and `at`, at > 0, of a blurry clip [T, H, W, 3]."""
    if not 0 < at < len(clip):
        raise ValueError(f"at={at}: not in 1 to {len(clip) - 1}")
    scale = 255 if clip.dtype == np.uint8 else 1
    frames = jnp.asarray(clip, jnp.float32)[None] / scale
    state = initial_state(model, 1, *frames.shape[2:4])
    frames, index = _windows(model.config, frames)
    found = []
    for t in range(at + 1):
        state, restored, kept = _step(model, params, state, frames, index, t)
        if t >= at - 1:
            patch = model.config.patch
            found.append(_frame_features(frames[:, t], restored, kept, patch))
    return found


_windows = jax.jit(clip_windows, static_argnums=0)


@functools.partial(jax.jit, static_argnames="model")
def _step(model, params, state, frames, index, t):
    (state, outputs), kept = model.apply(
        {"params": params},
        state,
        window_at(frames, index[:, t]),
        capture_intermediates=lambda module, _: module.name in _KEPT,
        mutable=["intermediates"],
    )
    return state, outputs["restored"], kept["intermediates"]


def _frame_features(frame, restored, kept, patch):
    def first(module):
        return np.asarray(module["__call__"][0][0], np.float32)

    unit = kept["unit_0"]
    return FrameFeatures(
        blurry=np.asarray(frame[0]),
        restored=np.clip(np.asarray(restored[0]), 0, 1),
        detail=first(unit["detail"]),
        structure=first(kept["structure"]),
        motion=first(unit["motion"]) if "motion" in unit else None,
        patch=patch,
    )


def motion_between(
    before: FrameFeatures, now: FrameFeatures, kind: str, *, radius: int
) -> np.ndarray:
    """Motion [h, w, 2] int32 (dx, dy) in cells to the frame before, by `kind`."""
    query, key = (jnp.asarray(f.to_match(kind))[None] for f in (now, before))
    return np.asarray(match(query, key, radius=radius)[0])


def align(
    displacement: np.ndarray,
    previous: np.ndarray,
    current: np.ndarray,
    *,
    patch: int = 1,
) -> Alignment:
    """Moves a sharp frame [H, W, 3] uint8 by [h, w, 2] int (dx, dy) in cells."""
    moves = np.asarray(displacement, np.int32)[None]
    aligned, error, psnr = _align(moves, previous[None], current[None], patch)
    return Alignment(
        aligned=np.asarray(aligned[0]),
        error=np.asarray(error[0]),
        psnr=float(psnr[0]),
        displacement=np.asarray(displacement),
    )


@functools.partial(jax.jit, static_argnames="patch")
def _align(displacement, previous, current, patch):
    before, now = to_unit_range(previous), to_unit_range(current)
    padded = [pad_frames(frame, patch * MOTION_STRIDE) for frame in (before, now)]
    moves = upsampled_flow(displacement, patch).astype(jnp.int32)
    moved = displace(padded[0], moves)
    error = jnp.abs(area_downsample(moved) - area_downsample(padded[1]))
    error = jnp.where(inside(moves), jnp.mean(error, axis=-1), jnp.nan)
    height, width = now.shape[1:3]
    psnr = alignment_accuracy(displacement, before, now, patch=patch)["psnr"]
    return moved[:, :height, :width], error, psnr
