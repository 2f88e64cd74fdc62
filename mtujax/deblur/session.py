"""One video's way from its reader through the network to its target.

The decoder runs ahead in one thread and the encoder behind in another, while the
network runs in the caller's. Letters: H W pixels.
"""

import collections
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from mtujax.common.files import naming
from mtujax.common.threads import Ahead, Behind
from mtujax.deblur.options import Options
from mtujax.deblur.output import Frame, Target
from mtujax.deblur.restorer import Restorer
from mtujax.deblur.resume import Job
from mtujax.errors import UsageError, UserError
from mtujax.model.network import MTUNet
from mtujax.video.image_folder import FolderReader, ImageKind
from mtujax.video.inputs import is_folder
from mtujax.video.scene_cuts import MEMORY, shots

_WAITING = 4  # frames that may wait between two threads


class Restoration:
    """Restores one video.

    Attributes:
        frames: number of frames written so far.
        resumed: how many of them an interrupted run had finished.
        cuts: number of scene cuts found.
        size: (width, height) of what is written, in pixels.
    """

    def __init__(
        self,
        reader,
        output: Path,
        options: Options,
        network: tuple[MTUNet, dict],
        on_note: Callable[[str], None],
        progress: Callable[[int, int | None], None] | None,
    ):
        """Checks the options that depend on the network; restores nothing yet."""
        self._reader, self._output, self._options = reader, output, options
        self._network, self._on_note, self._progress = network, on_note, progress
        self.frames = self.resumed = self.cuts = 0
        self._segment_cuts, self._job, self._total = 0, None, expected(reader, options)
        self._cell = network[0].config.cell
        options.check_tile(self._cell)
        if options.save_motion is not None and not network[0].config.matching_units:
            raise UsageError(
                f"save_motion {options.save_motion}: this network matches no motion"
            )

    def to_pipe(self) -> None:
        """Restores everything to standard output."""
        self._restore(None, None)

    def to_disk(
        self, settings: dict, *, every: int, resume: bool, overwrite: bool, keep: bool
    ) -> None:
        """Restores everything to a file or folder, in segments of `every` frames."""
        # `settings` must be equal for an interrupted run to be resumed; `keep` keeps
        # finished segments when this run is interrupted.
        job = Job(self._output, settings, resume=resume, anew=overwrite, resumable=keep)
        with job, naming(self._output, job.folder):
            if resume:
                self._say_where(job.frames)
            self._job = job
            self.frames = self.resumed = job.frames
            self.cuts = sum(segment["cuts"] for segment in job.segments)
            self._restore(job.folder, every, overwrite)

    def _say_where(self, done):
        where = f"goes on after {done} frames" if done else "begins: nothing is left"
        self._on_note(f"{where} of an interrupted run")

    def _restore(self, folder, every, overwrite=False):
        where = self._output, self._options, folder
        target = Target(self._reader, *where, self._cell)
        self.size = target.size
        for note in target.notes:
            self._on_note(note)
        with contextlib.closing(target):
            self._run(target, every)
            if not self.frames:
                raise UserError(self._nothing())
            target.publish(overwrite=overwrite, on_note=self._on_note)
        for note in self._reader.late_notes:
            self._on_note(note)

    def _run(self, target, every):
        restorer = Restorer(
            *self._network,
            on_note=self._on_note,
            snapshot_every=every,
            tile=self._options.tile,
        )
        done = self.resumed
        if done:
            target.resume([s["target"] for s in self._job.segments])
            restorer.resume(self._job.state(), done)
        waiting = collections.deque()
        with (
            Ahead(self._tagged(done), _WAITING) as frames,
            Behind(lambda out: self._write(target, *out), _WAITING) as behind,
        ):

            def hand(results):
                for result in results:
                    told = waiting.popleft()
                    behind.put((told, result))
                    if self._progress:
                        self._progress(told[0] + 1, self._total)

            for number, (blurry, tag, is_cut) in enumerate(frames, start=done):
                if is_cut:
                    hand(restorer.reset())
                waiting.append((number, blurry, tag, is_cut))
                hand(restorer.push(blurry))
            hand(restorer.finish())

    def _write(self, target, told, result):
        """In the encoder's thread: writes a frame, and may end a segment."""
        number, blurry, tag, is_cut = told
        target.write(Frame(number, blurry, result.frame, result.displacement, tag))
        self.frames += 1
        self.cuts += is_cut
        self._segment_cuts += is_cut
        if result.snapshot is not None:
            segment = {"frames": self.frames - self._job.frames}
            segment |= {"cuts": self._segment_cuts, "target": target.end_segment()}
            self._job.finish(segment, result.snapshot)
            self._segment_cuts = 0

    def _tagged(self, done) -> Iterator:
        """In the decoder's thread: yields frames from `done` on, marking cuts."""
        options, reader = self._options, self._reader
        again = min(done, MEMORY)  # read once more, to find the same cuts
        frames = reader.frames(start=options.start, end=options.end, skip=done - again)
        found = shots(frames, options.scene_threshold)
        from_folder = isinstance(reader, FolderReader)
        for number, (frame, tag, is_cut) in enumerate(found, start=done - again):
            if number < done:
                continue
            if from_folder and not is_folder(self._output):
                tag = number
            elif is_folder(self._output) and not from_folder:
                tag = ImageKind(f"frame_{number:06d}.png")
            yield frame, tag, is_cut

    def _nothing(self):
        start, end = self._options.start, self._options.end
        until = "the end" if end is None else f"{end:g}"
        return f"{self._reader.name}: no frame between {start or 0:g} and {until}"


def expected(reader, options: Options) -> int | None:
    """Number of frames in the range, None if unknown; for the progress bar."""
    info, by_frame = reader.info, isinstance(reader, FolderReader)
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
