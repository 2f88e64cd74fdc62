"""Videos side by side: a frame of each restored and scored on the device per step.

A lane is a place in a batch. Where a video ends the next one starts in the next step,
and no lane waits for another. Letters: B lanes, K frames of a window, H W pixels.
"""

import dataclasses
import functools
import heapq
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.metrics.motion import (
    alignment_accuracy,
    end_point_error,
    temporal_consistency,
)
from mtujax.metrics.protocols import Protocol
from mtujax.model.clip import window_at
from mtujax.model.network import (
    MTUNet,
    RecurrentState,
    initial_state,
    restore_windows,
)
from mtujax.ops.resampling import from_unit_range, to_unit_range
from mtujax.parallel import LaneMap


class Place(NamedTuple):
    """One frame: the numbers of its video and of the frame there, from 0."""

    video: int
    frame: int


class LaneStep(NamedTuple):
    """What all lanes do in one step; None for a lane that has nothing left."""

    targets: tuple[Place | None, ...]  # B frames that are restored or scored
    # B incoming blurry frames, the last ones that any window reads
    fresh: tuple[Place | None, ...]


def share_out(lengths: Mapping[int, int], parts: int) -> list[list[int]]:
    """Distributes videos so that all parts have about as many frames."""
    heap, shares = [(0, part) for part in range(parts)], [[] for _ in range(parts)]
    for video in sorted(lengths, key=lambda v: (-lengths[v], v)):
        frames, part = heapq.heappop(heap)
        shares[part].append(video)
        heapq.heappush(heap, (frames + lengths[video], part))
    return shares


def schedule_steps(
    lengths: Mapping[int, int], lanes: int, *, lookahead: int
) -> Iterator[LaneStep]:
    """Plans the steps that take every frame once; `lookahead` steps have no target."""
    streams = [
        [Place(video, frame) for video in share for frame in range(lengths[video])]
        for share in share_out(lengths, lanes)
    ]

    def at(position):
        return tuple(
            stream[position] if 0 <= position < len(stream) else None
            for stream in streams
        )

    for step in range(-lookahead, max(map(len, streams), default=0)):
        yield LaneStep(at(step), at(step + lookahead))


def window_ends(
    targets: tuple[Place | None, ...],
    lengths: Mapping[int, int],
    *,
    lookback: int,
    lookahead: int,
) -> tuple[np.ndarray, np.ndarray]:
    """First and last place in each window of the target's video, int32 [B] each."""
    low, high = (np.full(len(targets), lookback, np.int32) for _ in range(2))
    for lane, target in enumerate(targets):
        if target is not None:
            left = lengths[target.video] - 1 - target.frame
            low[lane] = lookback - min(lookback, target.frame)
            high[lane] = lookback + min(lookahead, left)
    return low, high


@dataclasses.dataclass(frozen=True)
class Setup:
    """Settings of every step; each is compiled once."""

    model: MTUNet | None  # the network; None where results made elsewhere are scored
    protocols: tuple[Protocol, ...]  # by which frames are scored
    motion: bool = False  # also score the network's motion between sharp frames
    exact: bool = False  # with `motion`, also compare it with a given exact flow
    consistency: bool = False  # also compare neighbouring frames along a given flow
    keep: bool = False  # also return the restored frames

    @property
    def reach(self) -> tuple[int, int]:
        """Numbers of frames of a window before and after its target."""
        if self.model is None:
            return 0, 0
        return self.model.config.lookback, self.model.config.lookahead


@flax.struct.dataclass
class Memory:
    """State carried from one step to the next; all lanes advance together."""

    state: RecurrentState | None  # of the network; None without one
    frames: jax.Array  # [B, K, H, W, 3] the last blurry frames, the newest last
    sharp: jax.Array  # [B, H, W, 3] uint8, the previous sharp frames
    # [B, H, W, 3] float32 in steps of 1 / 255, the previous results
    restored: jax.Array


def first_memory(setup: Setup, fresh: jax.Array) -> Memory:
    """Returns the memory before the first step, when every lane starts a video."""
    # `fresh` [B, look-ahead, H, W, 3], uint8, or float32 where results are, are the
    # first frames of every lane, before those of the first step.
    lanes, primed, height, width, _ = fresh.shape
    window = sum(setup.reach) + 1
    frames = jnp.zeros((lanes, window, height, width, 3), fresh.dtype)
    if primed:
        frames = frames.at[:, -primed:].set(fresh)
    still = (lanes, height, width, 3)
    state = setup.model and initial_state(setup.model, lanes, height, width)
    return Memory(state, frames, jnp.zeros(still, jnp.uint8), jnp.zeros(still))


def lane_step(
    setup: Setup, params: dict, memory: Memory, given: dict[str, jax.Array]
) -> tuple[Memory, dict]:
    """Restores and scores the next frame of every lane."""
    # `given` holds "fresh" [B, H, W, 3], the incoming frames; "sharp" [B, H, W, 3]
    # uint8, those of the targets; "low" and "high" int32 [B] from `window_ends`;
    # "start" bool [B], where the target is a video's first; for `setup.consistency`
    # also "flow" [B, H, W, 2] and "seen" bool [B, H, W]; for `setup.exact` likewise
    # "exact" and "known"; without a network "blurry" [B, H, W, 3] uint8, those of the
    # targets. Returns the next memory and scores: "protocols", by name as from
    # `Protocol.score` and with the "blurry_psnr" of the blurry frame; "motion" and
    # "consistency" if set up, meaningless at "start"; "restored" [B, H, W, 3] uint8
    # with `setup.keep`.
    frames = jnp.concatenate([memory.frames[:, 1:], given["fresh"][:, None]], axis=1)
    state, restored, displacement = _restore(setup, params, memory.state, frames, given)
    sharp, found = given["sharp"], {}
    # The compiler leaves out the SSIM of the blurry frame, which costs most.
    blurry = given.get("blurry", frames[:, setup.reach[0]])
    found["protocols"] = {
        p.name: p.score(restored, sharp)
        | {"blurry_psnr": p.score(blurry, sharp)["psnr"]}
        for p in setup.protocols
    }
    if setup.motion:
        patch = setup.model.config.patch
        pair = memory.sharp, sharp
        found["motion"] = alignment_accuracy(displacement, *pair, patch=patch)
    if setup.motion and setup.exact:
        exact = given["exact"], given["known"]
        error = end_point_error(displacement, *exact, patch=patch)
        found["motion"]["end_point_error"] = error
    shown = (
        to_unit_range(restored) if restored.dtype == jnp.uint8 else _levels(restored)
    )
    if setup.consistency:
        found["consistency"] = temporal_consistency(
            (memory.restored, shown),
            (memory.sharp, sharp),
            given["flow"],
            given["seen"],
        )
    if setup.keep:
        found["restored"] = from_unit_range(restored, jnp.uint8)
    return Memory(state, frames, sharp, shown), found


def _restore(setup, params, state, frames, given):
    if setup.model is None:
        return None, frames[:, 0], None
    index = jnp.arange(frames.shape[1], dtype=jnp.int32)[None]
    index = jnp.clip(index, given["low"][:, None], given["high"][:, None])
    window = window_at(frames, index)
    # What an idle lane computes must not carry over to the video that starts.
    return restore_windows(setup.model, params, state, window, given["start"])


def _levels(frames):
    """Rounds frames to 8-bit levels in [0, 1]; NaN where they are not finite."""
    levels = jnp.round(jnp.clip(frames.astype(jnp.float32), 0, 1) * 255) / 255
    return jnp.where(jnp.isfinite(frames), levels, jnp.nan)


@functools.cache
def lane_map(setup: Setup, devices: int | None):
    """Returns the `parallel.LaneMap` of a setup, cached so that it compiles once."""
    begin, step = (functools.partial(f, setup) for f in (first_memory, lane_step))
    return LaneMap(begin, step, devices)
