"""Frames of any size through the network, in the available memory.

Drives a stream for a whole video: it plans tiles where whole frames do not fit, takes
smaller ones if memory still runs out, and keeps the device busy while the host reads
and writes. Letters: H W pixels, h w motion grid.
"""

import collections
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import numpy as np

from mtujax.common.text import readable
from mtujax.errors import UserError, extra, out_of_memory
from mtujax.model.network import MTUNet
from mtujax.model.stream import Step, Stream, check_frame, unpack
from mtujax.model.tiling import TiledStream, default_overlap, plan, tilings
from mtujax.ops.resampling import padded_size
from mtujax.video.scene_cuts import Decoded


def available_bytes() -> int | None:
    """Bytes that arrays on the default device may still take; None if unknown."""
    # Of an accelerator its limit minus what is in use; of a CPU what the system calls
    # available, or less where the process's control groups allow less.
    device = next(iter(jax.device_put(np.zeros(())).devices()))
    if device.platform == "cpu":
        return host_bytes()
    stats = device.memory_stats() or {}
    if not {"bytes_limit", "bytes_in_use"} <= stats.keys():
        return None
    return max(0, stats["bytes_limit"] - stats["bytes_in_use"])


def host_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take from Linux; None on other systems."""
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        free = [1024 * int(fields["MemAvailable"].split()[0])]
    except (OSError, KeyError, ValueError):
        return None
    return max(0, min(free + list(_group_bytes(root))))


# Per version of control groups: its limit, its use, and what of the use is files that
# the system drops when it needs the memory.
_GROUP_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def _group_bytes(root):
    """Yields the bytes that each control group above this process leaves it."""
    for folder in _groups(root):
        for limit, use, files in _GROUP_FILES:
            try:
                limit = int((folder / limit).read_text())  # "max" is no number
                use = int((folder / use).read_text())
                stat = (folder / "memory.stat").read_text().split()
            except (OSError, ValueError):
                continue
            dropped = dict(zip(stat[::2], stat[1::2], strict=True)).get(files, 0)
            yield limit - use + int(dropped)


def _groups(root):
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        # A container may not see its own group by name, but as the top one.
        group = top / path.lstrip("/")
        yield from (g for g in (group, *group.parents) if g.is_relative_to(top))


_IN_FLIGHT = 2  # results the device may still be computing while the host encodes
_WARM_UP = 8  # frames before the first missing one, restored again if a state is lost


Tile = tuple[int, int] | Literal["auto"] | None


def stream_class(runtime: str) -> type[Stream]:
    """What restores whole frames; UserError where its library is missing."""
    if runtime == "jax":
        return Stream
    with extra(runtime):
        from mtujax.deploy.openvino_stream import OpenVinoStream
    return OpenVinoStream


class Restored(NamedTuple):
    """A frame and what has become of it."""

    number: int  # counted from 0 over the whole video, resumed runs included
    source: Decoded  # as it was decoded
    # on the host, of the dtype that was pushed; None before it is restored
    step: Step | None = None
    # state to `resume` from after this frame; None where none is due. Empty where no
    # state is carried on: before a cut.
    snapshot: dict[str, np.ndarray] | None = None


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
        lane=None,
        whole: type[Stream] = Stream,
    ):
        """Starts before the first frame."""
        # `tile`: "auto" takes tiles where whole frames do not fit in memory, None only
        # once memory has run out, (rows, columns) in pixels always. `snapshot_every`
        # counts frames. `lane`: of `batcher`, beside other videos. `whole` is of
        # `stream_class`.
        self._model, self._params = model, jax.device_put(params)
        self._on_note, self._every, self._tile = on_note, snapshot_every, tile
        self._lane, self._whole = lane, whole
        self._stream: Stream | None = None
        self._kind = None  # shape and dtype of its frames
        self._tiles = {}  # per kind, what was decided
        self._held = collections.deque()  # frames to be restored, maybe again
        self._anchor = {}  # the snapshot before them
        self._pending = collections.deque()  # restored, maybe still being computed
        # Numbers of the next frame to be pushed, restored and returned.
        self._pushed = self._restored = self._returned = 0

    def restore(self, frames: Iterable[Decoded]) -> Iterator[Restored]:
        """Yields the frames of a video, each as soon as it is restored."""
        for frame in frames:
            yield from self.push(frame)
        yield from self.finish()

    def push(self, source: Decoded) -> list[Restored]:
        """Copies the next frame [H, W, 3], uint8 or float; returns finished ones."""
        # For another size or dtype where there is no cut, ValueError; it then counts as
        # not pushed.
        check_frame(source.frame)
        copied = source._replace(frame=np.array(source.frame))
        self._held.append(Restored(self._pushed, copied))
        try:
            ready = self._do([self._held[-1]])
        except ValueError:
            self._held.pop()
            raise
        self._pushed += 1
        return ready

    def finish(self) -> list[Restored]:
        """Ends the video and returns all frames not yet returned, oldest first."""
        ready = self._do([], last=True)
        self._stream, self._anchor = None, {}
        self._held.clear()
        if self._lane:
            self._lane.leave()
        return ready

    def resume(self, snapshot: dict[str, np.ndarray], frames_done: int) -> None:
        """Resumes after `frames_done` frames from an earlier run's snapshot there."""
        if self._pushed:
            raise ValueError("resume: frames have been pushed already")
        if snapshot:
            unpack(snapshot, self._model)
        self._anchor = snapshot
        self._pushed = self._restored = self._returned = frames_done

    def _do(self, todo, *, last=False):
        """Takes frames, maybe the last ones; returns those that are finished."""
        ready = []
        while not self._tried(todo, last, ready):
            self._stream = None
            self._pending.clear()
            self._shrink()
            todo = list(self._held)
            self._restored = todo[0].number
        self._forget()
        return ready

    def _tried(self, todo, last, ready):
        """Returns whether memory sufficed."""
        try:
            for held in todo:
                if held.source.is_cut:
                    self._end_shot(ready)
                self._open(held)
                # Of the device's arrays, which are not waited for.
                frame = jax.device_put(held.source.frame)
                self._collect(self._stream.advance(frame), ready)
            if last:
                self._end_shot(ready)
                self._hand_over(0, ready)
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
            held = self._held[self._restored - self._held[0].number]
            self._restored += 1
            due = self._every and self._restored % self._every == 0
            due = due and held.number >= self._returned
            snapshot = self._stream.snapshot() if due else None
            self._pending.append(held._replace(step=step, snapshot=snapshot))
            self._hand_over(_IN_FLIGHT, ready)

    def _hand_over(self, keep, ready):
        while len(self._pending) > keep:
            done = self._pending.popleft()
            # Waits for the device, whose errors are raised here.
            frame, displacement = jax.tree.map(np.array, done.step)
            if done.number < self._returned:  # of the warm-up
                continue
            frame = frame.astype(done.source.frame.dtype, copy=False)
            ready.append(done._replace(step=Step(frame, displacement)))
            self._returned += 1

    def _open(self, held):
        """Makes a stream for a frame, if there is none that takes it."""
        frame, _, is_cut = held.source
        kind = frame.shape, frame.dtype
        if self._stream is not None and (kind == self._kind or not is_cut):
            return
        self._kind, self._stream = kind, None
        if kind not in self._tiles:
            auto = self._tile == "auto"
            self._tiles[kind] = self._planned() if auto else self._tile
        self._stream = self._made(self._tiles[kind])
        if held is self._held[0] and not is_cut:
            self._stream.resume(self._anchor)

    def _made(self, tile):
        network = self._model, self._params
        if self._lane and tile:
            self._lane.alone()
        elif self._lane:
            return self._lane.stream(*network, self._kind)
        whole = Stream if self._refusal() else self._whole
        return TiledStream(*network, tile) if tile else whole(*network)

    def _refusal(self):
        """Why whole frames cannot be restored as requested; None if they can."""
        if self._whole is Stream:
            return None
        return self._whole.refusal(self._model.config, *self._kind)

    def _planned(self):
        (height, width, _), dtype = self._kind
        if why := self._refusal():
            self._note(f"frames of {width}x{height} are restored in JAX: {why}")
        elif self._whole is not Stream:
            return None  # what it needs is known once memory has run out
        free = available_bytes()
        dtype = jax.dtypes.canonicalize_dtype(dtype)
        given = self._model, self._params, height, width, dtype, free
        if self._lane:
            found = self._lane.planned(self._kind, lambda: plan(*given), free)
        else:
            found = plan(*given)
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
        if self._lane and (fewer := self._lane.fewer()):
            self._note(
                f"frames of {width}x{height}: out of memory side by side: continues "
                f"with at most {fewer} at a time"
            )
            return
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
        self._note(f"{failed}: continues in tiles of {_size(self._tiles[self._kind])}")

    def _note(self, text):
        if self._on_note:
            self._on_note(text)

    def _forget(self):
        """Drops frames that are not needed for restoring again."""
        oldest = self._returned - _WARM_UP
        for held in self._held:
            if held.source.is_cut and held.number <= self._returned:
                oldest = max(oldest, held.number)  # nothing is carried over a cut
        while self._held and self._held[0].number < oldest:
            self._held.popleft()
            self._anchor = {}


def _size(tile):
    return f"{tile[1]}x{tile[0]}"
