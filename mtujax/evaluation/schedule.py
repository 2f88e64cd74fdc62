"""Videos of different lengths side by side: each lane takes one after another.

A lane is a place in a batch. Where a video ends the next one starts in the next step,
and no lane waits for another. Letters: B lanes, K frames of a window.
"""

import heapq
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np


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
    lengths: Mapping[int, int], lanes: int, *, lookahead: int = 0
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
