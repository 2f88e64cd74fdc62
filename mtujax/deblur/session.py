"""One video's way from its reader through the network to its target.

The decoder runs ahead in one thread and the encoder behind in another, while the
network runs in the caller's. Letters: H W pixels.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mtujax.common.files import named_after, naming, staged
from mtujax.common.threads import Ahead, Behind
from mtujax.deblur.options import Options
from mtujax.deblur.output import Target
from mtujax.deblur.restorer import Restored, Restorer
from mtujax.deblur.resume import Job
from mtujax.errors import UsageError, UserError
from mtujax.model.network import MTUNet
from mtujax.video.inputs import Kind
from mtujax.video.scene_cuts import MEMORY, Decoded, shots

_WAITING = 4  # frames that may wait between two threads


class Restoration:
    """Restores one video."""

    def __init__(
        self,
        reader,
        output: Path,
        kind: Kind,
        options: Options,
        network: tuple[MTUNet, dict],
        on_note: Callable[[str], None],
        progress: Callable[[int, int | None], None] | None,
    ):
        """Checks the options that depend on the network; restores nothing yet."""
        self._reader, self._output, self._kind = reader, output, kind
        self._options = options
        self._network, self._on_note, self._progress = network, on_note, progress
        # Frames written so far; those of an interrupted run; scene cuts found.
        self.frames = self.resumed = self.cuts = 0
        self._segment_cuts, self._job, self._total = 0, None, expected(reader, options)
        self._cell = network[0].config.cell
        options.check_tile(self._cell)
        if options.save_motion is not None and not network[0].config.matching_units:
            raise UsageError(
                f"save_motion {options.save_motion}: this network matches no motion"
            )

    def to_pipe(self, *, overwrite: bool) -> None:
        """Restores everything to standard output, and the motion to a file if asked."""
        motion = self._options.save_motion
        if motion is None:
            self._restore(None, None, overwrite)
            return
        parts = named_after(Path(os.path.realpath(motion)), ".frames")
        with staged(parts, folder=True) as made:
            self._restore(made.path, None, overwrite)

    def to_disk(
        self, settings: dict, *, every: int, resume: bool, overwrite: bool, keep: bool
    ) -> None:
        """Restores everything to a file or folder, in segments of `every` frames."""
        # `settings` must be equal for an interrupted run to be resumed; `keep` keeps
        # finished segments when this run is interrupted.
        job = Job(
            self._output, settings, resume=resume, start_over=overwrite, resumable=keep
        )
        with job, naming(self._output, job.folder):
            if resume:
                self._say_where(job.frames)
            self._job = job
            self.frames = self.resumed = job.frames
            self.cuts = sum(segment.cuts for segment in job.segments)
            if job.published is None:
                self._restore(job.folder, every, overwrite or job.replaces)
            else:
                self.size, self.cuts = job.published.size, job.published.cuts

    def _say_where(self, done):
        where = (
            f"resumes after {done} frames" if done else "starts over: nothing is left"
        )
        self._on_note(f"{where} of an interrupted run")

    def _restore(self, folder, every, overwrite):
        where = self._output, self._kind, self._options, folder
        target = Target(self._reader, *where, self._cell)
        self.size = target.size  # of what is written, in pixels
        for note in target.notes:
            self._on_note(note)
        with contextlib.closing(target):
            self._run(target, every)
            if not self.frames:
                raise UserError(self._nothing())
            target.publish(
                overwrite=overwrite, on_note=self._on_note, commit=self._commit
            )
        for note in self._reader.late_notes:
            self._on_note(note)

    def _commit(self, made):
        if self._job is not None:
            self._job.commit(made, frames=self.frames, cuts=self.cuts, size=self.size)

    def _run(self, target, every):
        restorer = Restorer(
            *self._network,
            on_note=self._on_note,
            snapshot_every=every,
            tile=self._options.tile,
        )
        done = self.resumed
        if done:
            target.resume([s.target for s in self._job.segments])
            restorer.resume(self._job.state(), done)
        with (
            Ahead(self._decoded(done), _WAITING) as frames,
            Behind(lambda frame: self._write(target, frame), _WAITING) as behind,
        ):
            for frame in restorer.restore(frames):
                behind.put(frame)
                if self._progress:
                    self._progress(frame.number + 1, self._total)

    def _write(self, target, frame: Restored):
        """In the encoder's thread: writes a frame, and may end a segment."""
        target.write(frame)
        self.frames += 1
        self.cuts += frame.source.is_cut
        self._segment_cuts += frame.source.is_cut
        if frame.snapshot is not None:
            segment = {"frames": self.frames - self._job.frames}
            segment |= {"cuts": self._segment_cuts, "target": target.end_segment()}
            self._job.finish(segment, frame.snapshot)
            self._segment_cuts = 0

    def _decoded(self, done) -> Iterator[Decoded]:
        """In the decoder's thread: yields frames from `done` on, marking cuts."""
        start, end = self._options.start, self._options.end
        again = min(done, MEMORY)  # read once more, to find the same cuts
        frames = self._reader.frames(start=start, end=end, skip=done - again)
        found = shots(frames, self._options.scene_threshold)
        yield from itertools.islice(found, again, None)

    def _nothing(self):
        start, end = self._options.start, self._options.end
        until = "the end" if end is None else f"{end:g}"
        return f"{self._reader.name}: no frame between {start or 0:g} and {until}"


def expected(reader, options: Options) -> int | None:
    """Number of frames in the range, None if unknown; for the progress bar."""
    info, by_frame = reader.info, reader.kind == "folder"
    start, end = options.start, options.end
    if by_frame:
        for value in (start, end):
            if value is not None and value != int(value):
                raise UsageError(f"{value:g}: of a folder, give the number of a frame")
    if info.frames is None:
        return None
    unit = 1 if by_frame else info.rate
    first = round((start or 0) * unit)
    last = info.frames if end is None else min(info.frames, round(end * unit))
    return max(0, last - first)
