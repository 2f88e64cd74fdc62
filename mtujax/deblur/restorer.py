"""Frames of any size through the network, in the available memory.

Drives a stream for a whole video: it chooses tiles where whole frames do not fit, takes
smaller ones if memory runs out all the same, and keeps the device busy while the host
reads and writes. Letters: H W pixels, h w motion grid.
"""

import collections
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import numpy as np

from mtujax.common.hardware import out_of_memory
from mtujax.common.text import readable
from mtujax.deblur.memory import available_bytes, plan
from mtujax.errors import UserError
from mtujax.model.network import MTUNet
from mtujax.model.stream import Step, Stream, check_frame, unpack
from mtujax.model.tiling import TiledStream, default_overlap, tilings
from mtujax.ops.resampling import padded_size

_IN_FLIGHT = 2  # results the device may still be computing while the host encodes
_WARM_UP = 8  # frames before the first missing one, restored again if a state is lost


Tile = tuple[int, int] | Literal["auto"] | None


class Restored(NamedTuple):
    """A restored frame.

    Attributes:
        frame: [H, W, 3], of the dtype that was pushed.
        displacement: [h, w, 2] int32 (dx, dy) in cells of the motion grid; None for a
            network without motion compensation.
        snapshot: state to `resume` from after this frame; None where none is due.
            Empty where no state is carried on: before a cut.
    """

    frame: np.ndarray
    displacement: np.ndarray | None
    snapshot: dict[str, np.ndarray] | None


class Restorer:
    """Restores a video frame by frame, with results a few frames behind."""

    # When memory runs out, the frames not yet returned are restored again in smaller
    # tiles, after a warm-up over the frames before: none is lost, none comes twice.

    def __init__(
        self,
        model: MTUNet,
        params: dict,
        *,
        on_note: Callable[[str], None] | None = None,
        snapshot_every: int | None = None,
        tile: Tile = "auto",
    ):
        """Starts before the first frame."""
        # `tile`: "auto" takes tiles where whole frames do not fit in memory, None only
        # once memory has run out, (rows, columns) in pixels always. `snapshot_every`
        # counts frames.
        self._model, self._params = model, jax.device_put(params)
        self._on_note, self._every, self._tile = on_note, snapshot_every, tile
        self._stream: Stream | None = None
        self._kind = None  # shape and dtype of its frames
        self._tiles = {}  # per kind, what was decided
        self._held = collections.deque()  # frames needed to restore again
        self._anchor = {}  # the snapshot before them
        self._pending = collections.deque()  # restored, maybe still being computed
        # Numbers of the next frame to be pushed, restored and returned.
        self._pushed = self._restored = self._returned = 0
        self._ended = True  # the next frame starts a shot

    def push(self, frame: np.ndarray) -> list[Restored]:
        """Copies and takes the next frame; returns finished frames, oldest first.

        [H, W, 3] RGB, uint8 or float in [0, 1]. For another size or dtype than since
        the last `reset`, ValueError; the frame then counts as not pushed.
        """
        check_frame(frame)
        held = _Held(self._pushed, np.array(frame), self._ended)
        self._held.append(held)
        self._ended = False
        try:
            ready = self._do([held], _IN_FLIGHT)
        except ValueError:
            self._held.pop()
            self._ended = held.starts
            raise
        self._pushed += 1
        return ready

    def reset(self) -> list[Restored]:
        """Marks a cut, after which size and dtype may change; returns as `push`."""
        self._ended = True
        return self._do([], _IN_FLIGHT)

    def finish(self) -> list[Restored]:
        """Ends the video and returns all frames not yet returned, oldest first."""
        self._ended = True
        return self._do([], 0)

    def resume(self, snapshot: dict[str, np.ndarray], frames_done: int) -> None:
        """Resumes after `frames_done` frames from an earlier run's snapshot there."""
        if self._pushed:
            raise ValueError("resume: frames have been pushed already")
        if snapshot:
            unpack(snapshot, self._model)
        self._anchor, self._ended = snapshot, not snapshot
        self._pushed = self._restored = self._returned = frames_done

    def _do(self, todo, keep):
        """Takes frames until at most `keep` results are pending; returns the rest."""
        ready = []
        while not self._tried(todo, keep, ready):
            self._stream = None
            self._pending.clear()
            self._shrink()
            todo = list(self._held)
            self._restored = todo[0].number
        self._forget()
        return ready

    def _tried(self, todo, keep, ready):
        """Returns whether memory sufficed."""
        try:
            for held in todo:
                if held.starts:
                    self._end_shot(ready)
                self._open(held)
                self._collect(self._stream.advance(jax.device_put(held.frame)), ready)
            if self._ended:
                self._end_shot(ready)
            self._hand_over(keep, ready)
            return True
        except Exception as error:
            if not out_of_memory(error):
                raise
        return False

    def _end_shot(self, ready):
        if self._stream is not None:
            self._collect(self._stream.drain(), ready)

    def _collect(self, steps, ready):
        for step in steps:
            number = self._restored
            self._restored += 1
            due = self._every and self._restored % self._every == 0
            due = due and number >= self._returned
            snapshot = self._stream.snapshot() if due else None
            self._pending.append(_Pending(number, step, snapshot, self._kind[1]))
            self._hand_over(_IN_FLIGHT, ready)

    def _hand_over(self, keep, ready):
        while len(self._pending) > keep:
            number, step, snapshot, dtype = self._pending[0]
            # Waits for the device, whose errors are raised here.
            frame, displacement = jax.tree.map(np.array, step)
            self._pending.popleft()
            if number < self._returned:  # of the warm-up
                continue
            frame = frame.astype(dtype, copy=False)
            ready.append(Restored(frame, displacement, snapshot))
            self._returned += 1

    def _open(self, held):
        """Makes a stream for a frame, if there is none that takes it."""
        kind = held.frame.shape, held.frame.dtype
        other = held.starts and kind != self._kind
        if self._stream is not None and not other:
            return
        self._kind, self._stream = kind, None
        if kind not in self._tiles:
            auto = self._tile == "auto"
            self._tiles[kind] = self._planned() if auto else self._tile
        network, tile = (self._model, self._params), self._tiles[kind]
        self._stream = TiledStream(*network, tile) if tile else Stream(*network)
        if held is self._held[0] and not held.starts:
            self._stream.resume(self._anchor)

    def _planned(self):
        (height, width, _), dtype = self._kind
        free = available_bytes()
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        found = plan(self._model, self._params, height, width, dtype, free)
        if found.tile:
            self._note(
                f"frames of {width}x{height} need about {readable(found.needed)} of "
                f"free memory, {readable(free)} are free: restored in tiles of "
                f"{_size(found.tile)}"
            )
        return found.tile

    def _shrink(self):
        """Decides on tiles of half the area, as memory has run out."""
        (height, width, _), _ = self._kind
        config = self._model.config
        tile = self._tiles.get(self._kind)
        whole = padded_size(height, width, config.cell)
        area = math.prod(map(min, tile or whole, whole))
        sizes = tilings(height, width, default_overlap(config), config.cell)
        smaller = [t for t in sizes if math.prod(t) < area]
        halves = [t for t in smaller if 2 * math.prod(t) <= area]
        tried = f"in tiles of {_size(tile)}" if tile else "as a whole"
        failed = f"frames of {width}x{height}: out of memory {tried}"
        if not smaller:
            raise UserError(f"{failed}: free some memory, or give smaller frames")
        self._tiles[self._kind] = halves[0] if halves else smaller[-1]
        self._note(f"{failed}: goes on in tiles of {_size(self._tiles[self._kind])}")

    def _note(self, text):
        if self._on_note:
            self._on_note(text)

    def _forget(self):
        """Drops frames that are not needed for restoring again."""
        oldest = self._returned - _WARM_UP
        for held in self._held:
            if held.starts and held.number <= self._returned:
                oldest = max(oldest, held.number)  # nothing is carried over a cut
        while self._held and self._held[0].number < oldest:
            self._held.popleft()
            self._anchor = {}


class _Held(NamedTuple):
    number: int
    frame: np.ndarray
    starts: bool  # a shot


class _Pending(NamedTuple):
    number: int
    step: Step
    snapshot: dict | None
    dtype: np.dtype


def _size(tile):
    return f"{tile[1]}x{tile[0]}"
