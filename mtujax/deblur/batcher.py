"""Videos side by side on one device: steps of frames of one size run together.

Each video is restored by a thread, as if it were alone, up to the step of the network.
Steps of one size that are due at the same time become one; who has none due is waited
for shortly, once, and then left out until it has.
"""

import contextlib
import copy
import dataclasses
import threading
import time
from collections.abc import Callable, Hashable, Iterator

import jax

from mtujax.common import interrupts
from mtujax.model.network import MTUNet, RecurrentState
from mtujax.model.stream import LaneStream, Stream, run_together
from mtujax.model.tiling import Plan

_LONGEST = 1.0  # seconds that others are waited for, before a program is compiled too
_SHORTEST = 0.01
_POLL = 0.1  # seconds between looks whether the work is to end
_TILED = "tiled"  # in place of a kind: whatever is restored in tiles


class Batcher:
    """The videos in progress on one device, up to `lanes` at once."""

    def __init__(self, lanes: int):
        """Starts with no video."""
        self.changed = threading.Condition()  # held by whoever uses what follows
        self.lanes = set()  # of the videos in progress
        self._most, self._groups = lanes, {}

    @contextlib.contextmanager
    def lane(self) -> Iterator["Lane"]:
        """A place for one video, of whatever sizes, while the block runs."""
        lane = Lane(self)
        with self.changed:
            self.lanes.add(lane)
        try:
            yield lane
        finally:
            with self.changed:
                self.lanes.remove(lane)
                lane.leave()

    def group(self, kind: Hashable) -> "_Group":
        """The videos whose frames have this kind."""
        if kind not in self._groups:
            self._groups[kind] = _Group(1 if kind == _TILED else self._most)
        return self._groups[kind]


@dataclasses.dataclass(eq=False)
class _Step:
    """A step that is due."""

    lane: "Lane"
    state: object
    window: tuple[jax.Array, ...]
    since: float = dataclasses.field(default_factory=time.monotonic)
    started: bool = False
    done: bool = False
    found: tuple | None = None
    error: Exception | None = None


class _Group:
    """Videos whose frames have one kind."""

    def __init__(self, most):
        self.most = most  # at once; fewer where memory holds no more
        self.inside = 0  # that have a place
        self.due = []  # steps, oldest first
        self.running = False
        self.plan = None  # how to restore frames of this kind, once known
        self.planning = threading.Lock()
        self._compiled, self._ended, self._pace = set(), None, 0.0

    @property
    def patience(self):
        """Seconds that others are waited for."""
        if self._size() not in self._compiled:
            return _LONGEST
        return min(max(self._pace / 2, _SHORTEST), _LONGEST)

    def _size(self):
        # Powers of two: few programs are to be compiled. The rest is the next to run.
        return 1 << (min(len(self.due), self.most).bit_length() - 1)

    def take(self):
        """The oldest steps that are due, which are no longer."""
        size = self._size()
        steps, self.due = self.due[:size], self.due[size:]
        for step in steps:
            step.started = True
        return steps

    def ran(self, size):
        """Notes how long it takes from one step to the next."""
        before, self._ended = self._ended, time.monotonic()
        if size in self._compiled and before is not None:
            self._pace = self._ended - before
        self._compiled.add(size)
        self.running = False


class Lane:
    """The place of one video; made by `Batcher.lane`."""

    def __init__(self, batcher: Batcher):
        """Starts in no group."""
        self._batcher, self._changed = batcher, batcher.changed
        self.group = None  # of the size that its frames have now
        self.awaited = True  # whether the others wait for its next step
        self._seen = 1  # how many could be in that group when this one came

    def planned(
        self, kind: Hashable, plan: Callable[[], Plan], free: int | None
    ) -> Plan:
        """The plan for frames of a kind, by which memory limits how many there are."""
        with self._changed:
            group = self._batcher.group(kind)
        with group.planning:  # it compiles, once for all videos
            if group.plan is None:
                group.plan = plan()
                if free is not None and (needed := group.plan.needed):
                    group.most = max(1, min(group.most, free // needed))
        return group.plan

    def stream(self, model: MTUNet, params: dict, kind: Hashable) -> Stream:
        """A stream for frames of a kind, once there is a place for it."""
        self.enter(kind)
        return LaneStream(model, params, self.step)

    def alone(self) -> None:
        """Waits until no other video is restored in tiles: these fill the memory."""
        self.enter(_TILED)

    def enter(self, kind: Hashable) -> None:
        """Waits for a place among the videos whose frames have this kind."""
        with self._changed:
            group = self._batcher.group(kind)
            if self.group is not group or group.inside > group.most:
                self.leave()
                while group.inside >= group.most:
                    self._changed.wait(_POLL)
                    interrupts.check()
                group.inside += 1
            self.group, self._seen, self.awaited = group, group.most, True

    def leave(self) -> None:
        """Frees its place for others; no step waits for this one any more."""
        with self._changed:
            if self.group is not None:
                self.group.inside -= 1
            self.group, self.awaited = None, False
            self._changed.notify_all()

    def fewer(self) -> int | None:
        """After memory ran out: to how many at once it goes down; None from one."""
        if self.group is None or self._seen == 1:
            return None
        self.group.most = min(self.group.most, self._seen // 2)
        return self._seen // 2

    def step(
        self,
        model: MTUNet,
        params: dict,
        state: RecurrentState,
        window: tuple[jax.Array, ...],
    ) -> tuple:
        """Does one step of a stream, together with those that others have due."""
        group, wanted = self.group, _Step(self, state, window)
        with self._changed:
            group.due.append(wanted)
            self.awaited = True
            self._changed.notify_all()
            try:
                while not wanted.started:
                    left = self._time_left(group)
                    if left <= 0:
                        self._run(group, model, params)
                    else:
                        self._changed.wait(min(left, _POLL))
                    interrupts.check()
                while not wanted.done:
                    self._changed.wait(_POLL)
                    interrupts.check()
            finally:
                if wanted in group.due:
                    group.due.remove(wanted)
        if wanted.error is not None:
            # A copy, as each lane adds to its own.
            raise copy.copy(wanted.error) from wanted.error
        return wanted.found

    def _time_left(self, group):
        """Seconds until a group should run; 0 if now."""
        if group.running:
            return _POLL
        if len(group.due) >= group.most or not self._missing(group):
            return 0
        return group.due[0].since + group.patience - time.monotonic()

    def _missing(self, group):
        """Lanes that may soon have a step due in a group."""
        there = {step.lane for step in group.due}
        return [
            lane
            for lane in self._batcher.lanes - there
            if lane.awaited and lane.group in (group, None)
        ]

    def _run(self, group, model, params):
        """Runs the oldest steps that are due, without the lock."""
        for lane in self._missing(group):
            lane.awaited = False
        steps = group.take()
        group.running = True
        self._changed.release()
        found, error = [None] * len(steps), None
        try:
            states, windows = [s.state for s in steps], [s.window for s in steps]
            found = run_together(model, params, states, windows)
        except Exception as raised:
            error = raised
        finally:
            self._changed.acquire()
            group.ran(len(steps))
            for step, result in zip(steps, found, strict=True):
                step.found, step.error, step.done = result, error, True
            self._changed.notify_all()
