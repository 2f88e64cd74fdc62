"""The loop of an evaluation: frames are read, restored, scored and recorded at once.

Decoding, the device and the host's bookkeeping overlap: threads read a few steps
ahead, and the scores of a step are fetched some steps later. Letters: B lanes.
"""

import contextlib
import dataclasses
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence

import jax
import numpy as np

from mtujax.common.threads import Behind, in_order
from mtujax.data.flow import FlowFiles
from mtujax.evaluation.dataset import LaneReader, ResultFrames, Videos
from mtujax.evaluation.lanes import Setup, lane_map, schedule_steps
from mtujax.evaluation.results import EvaluationFolder, SavedFrames
from mtujax.evaluation.scores import Tally, VideoRecord

_STEPS_AHEAD = 4  # read before they are needed
_STEPS_BEHIND = 2  # on the device before their scores are fetched
_WAITING_FRAMES = 8  # to be saved


@dataclasses.dataclass(frozen=True)
class Work:
    """An evaluation and where it is kept."""

    setup: Setup  # settings of every step
    params: dict  # of the network; {} without one
    videos: Videos  # of the dataset
    # Frames that are scored instead of restored ones, or None
    results: ResultFrames | None
    # Known motion, for `setup.exact`, from `Videos.exact_motion`
    exact: dict[int, FlowFiles]
    folder: EvaluationFolder  # where finished videos are kept
    batch: int | None  # videos that advance together; None takes one per device
    devices: int | None  # local devices; None takes all
    machine: dict[str, str | int]  # hardware and software of this process
    # Called with the frames done and the frames in all
    on_frames: Callable[[int, int], None]

    def finished(self, number: int) -> VideoRecord | None:
        """Returns a video's record; None if it has to be evaluated."""
        video = self.videos.source.videos[number].name
        return self.folder.finished(video, frames=self.setup.keep)


class Clocks:
    """Seconds of wall-clock time by stage."""

    # Of `seconds`: "compile" (the first step of each size of frames), "read" (the loop
    # waited for frames), "device" (it waited for scores), "all".

    def __init__(self):
        """Starts the clock of "all"."""
        self._start = time.perf_counter()
        self.seconds = dict.fromkeys(("compile", "read", "device", "all"), 0.0)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of a block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            now = time.perf_counter()
            self.seconds[name] += now - started
            self.seconds["all"] = now - self._start


def evaluate_share(
    work: Work, share: Sequence[int], kept: Collection[int], clocks: Clocks
) -> None:
    """Evaluates the videos of `share` not in `kept`, and saves each when finished."""
    infos, results = work.videos.source.videos, work.results
    groups = {}
    for number in share:
        deep = results is not None and results.deep[number]
        kind = infos[number].height, infos[number].width, deep
        groups.setdefault(kind, []).append(number)
    total = sum(infos[number].frames for number in share if number not in kept)
    lanes = lane_map(work.setup, work.devices)
    with Recorder(work, total) as recorder:
        for group in groups.values():
            # As many lanes as at the first start: another program rounds otherwise.
            count = min(work.batch or lanes.devices, len(group))
            count = -(-count // lanes.devices) * lanes.devices
            if todo := [number for number in group if number not in kept]:
                _run(work, todo, count, lanes, recorder, clocks)


def _run(work, group, count, lanes, recorder, clocks):
    """Evaluates videos whose frames have one size."""
    lookahead = work.setup.reach[1]
    reader = LaneReader(
        work.videos.source,
        group,
        reach=work.setup.reach,
        results=work.results,
        flow=work.setup.consistency,
        exact=work.exact if work.setup.exact else None,
    )
    plan = schedule_steps(reader.lengths, count, lookahead=lookahead)
    threads = min(os.cpu_count() or 1, _STEPS_AHEAD)
    read = in_order(reader, plan, threads=threads, ahead=_STEPS_AHEAD)
    with contextlib.closing(read):
        primed = [next(read)[1]["fresh"] for _ in range(lookahead)]
        memory, waiting = None, deque()
        for step, given in _timed(read, clocks):
            starts = memory is None
            with clocks.stage("compile") if starts else contextlib.nullcontext():
                if starts:  # the memory before this step, which takes in `fresh` itself
                    before = np.stack([*primed, given["fresh"]], axis=1)[:, :-1]
                    memory = lanes.begin(before)
                memory, found = lanes.step(work.params, memory, given)
            waiting.append((step.targets, found))
            if len(waiting) > _STEPS_BEHIND:
                _fetch(waiting.popleft(), lanes, recorder, clocks)
        while waiting:
            _fetch(waiting.popleft(), lanes, recorder, clocks)


def _timed(read, clocks):
    while True:
        with clocks.stage("read"):
            item = next(read, None)
        if item is None:
            return
        yield item


def _fetch(step, lanes, recorder, clocks):
    targets, found = step
    with clocks.stage("device"):
        found = lanes.gather(found)
    recorder.add(targets, found)


class Recorder:
    """Records the scores of steps, and saves frames in a thread; a context manager."""

    def __init__(self, work: Work, total: int):
        """Starts with no frame done, of the `total` that will come."""
        self._work, self._done, self._total = work, 0, total
        self._tallies, self._saved = {}, {}
        self._saver = Behind(self._save, _WAITING_FRAMES)

    def __enter__(self) -> "Recorder":
        """Returns itself."""
        self._saver.__enter__()
        return self

    def __exit__(self, *error):
        """Waits until all is saved on disk."""
        try:
            self._saver.__exit__(*error)
        finally:
            for frames in self._saved.values():
                frames.abandon()

    def add(self, targets: Sequence, found: dict) -> None:
        """Adds the scores [B] of a step by kind and name, and its restored frames."""
        frames = found.pop("restored", None)
        scores = {**found.pop("protocols"), **found}
        for lane, target in enumerate(targets):
            if target is not None:
                one = jax.tree.map(lambda values, lane=lane: values[lane], scores)
                frame = None if frames is None else frames[lane]
                self._add_frame(target, one, frame)
        self._done += sum(target is not None for target in targets)
        self._work.on_frames(self._done, self._total)

    def _add_frame(self, target, scores, frame):
        videos, number = self._work.videos, target.video
        if target.frame == 0:
            video = videos.source.videos[number]
            protocols, machine = self._work.setup.protocols, self._work.machine
            self._tallies[number] = Tally(video, protocols, machine)
        tally = self._tallies[number]
        name = videos.frame_name(number, target.frame)
        tally.add(name, scores)
        record = None
        if tally.complete:
            record = self._tallies.pop(number).record()
        if frame is not None or record is not None:
            self._saver.put((number, name, frame, record))

    def _save(self, item):
        """Saves a frame; a video's record is saved once all its frames are on disk."""
        number, name, frame, record = item
        folder, video = self._work.folder, self._work.videos.source.videos[number]
        if frame is not None:
            if number not in self._saved:
                self._saved[number] = SavedFrames(folder, video.name)
            self._saved[number].write(name, frame)
        if record is None:
            return
        if frame is not None:
            self._saved.pop(number).finish()
        folder.finish(record)
