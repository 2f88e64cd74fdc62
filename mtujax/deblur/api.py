"""A whole video through the network: a file, folder or pipe in, and one of them out.

The decoder runs ahead in one thread and the encoder behind in another, while the
network runs in the caller's; memory is bounded. Letters: H W pixels.
"""

import contextlib
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtujax.common.files import (
    check_output,
    digest,
    named_after,
    naming,
    staged,
    state_of,
)
from mtujax.common.threads import Ahead, Behind
from mtujax.config import DEFAULT_WEIGHTS, SCENE_THRESHOLD
from mtujax.deblur.output import Options, Target
from mtujax.deblur.restorer import Restored, Restorer, stream_class
from mtujax.deblur.resume import Job, is_publishing
from mtujax.errors import UsageError, UserError, check_least
from mtujax.model.network import MTUNet
from mtujax.model.optimized_form import inference_form
from mtujax.video.inputs import Kind, Reader, input_kind, open_reader, output_kind
from mtujax.video.scene_cuts import MEMORY, Decoded, shots
from mtujax.weights.files import load

SEGMENT_FRAMES = 250
"""Frames of a segment, H.264's default key-frame distance."""


@dataclasses.dataclass(frozen=True)
class DeblurReport:
    """Result of `deblur_video`.

    Examples:
        >>> done = deblur_video("shaky.mp4", "new.mp4", weights="mine.safetensors")
        >>> done.frames, done.cuts, done.notes
        (4, 0, ())

    Attributes:
        output: the file or folder written.
        frames: number of frames written.
        size: their (width, height) in pixels.
        cuts: number of scene cuts found.
        seconds: wall time of reading, restoring and writing, including compilation.
        resumed: how many of the frames an interrupted run had finished.
        notes: what is not as in the input, one sentence each.
    """

    output: Path
    frames: int
    size: tuple[int, int]
    cuts: int
    seconds: float
    resumed: int
    notes: tuple[str, ...]

    @property
    def fps(self) -> float:
        """Frames restored per second of wall time."""
        return (self.frames - self.resumed) / max(self.seconds, 1e-9)


def deblur_video(
    input: str | os.PathLike,
    output: str | os.PathLike,
    *,
    weights: str | os.PathLike | tuple[MTUNet, dict] = DEFAULT_WEIGHTS,
    dtype: str | None = None,
    runtime: str = "jax",
    overwrite: bool = False,
    resume: bool = False,
    start: float | None = None,
    end: float | None = None,
    scene_threshold: float = SCENE_THRESHOLD,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    pix_fmt: str | None = None,
    compare: str | None = None,
    save_motion: str | os.PathLike | None = None,
    tile: str | tuple[int, int] | None = "auto",
    size: str | None = None,
    rate: str | float | Fraction | None = None,
    segment_frames: int = SEGMENT_FRAMES,
    progress: Callable[[int, int | None], None] | None = None,
    on_start: Callable[[], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> DeblurReport:
    """Restores a video and writes it, all or nothing.

    Examples:
        >>> done = deblur_video("shaky.mp4", "sharp.mp4", weights="mine.safetensors")
        >>> done.frames
        4

    Args:
        input: a video file, a folder of PNG or JPEG frames (natural order), or "-" for
            raw rgb24 frames from standard input.
        output: a video file (its suffix selects the container), a folder (any name
            without a suffix, with a slash at its end, or of an existing folder), or "-"
            for raw rgb24 frames to standard output. Frames of a folder keep their names
            and formats, including 16 bits, grey and alpha; frames of a video become
            PNG.
        weights: name of bundled weights, a `.safetensors` file, or `(model, params)`.
        dtype: compute precision in place of the model's: "float32", "bfloat16" or
            "float16".
        runtime: what computes: "jax", or "openvino", which is quicker on CPU cores
            (extra `openvino`; float32, without tiles and motion). Few values differ, by
            rounding: as a rule by one level of 255.
        overwrite: replace an existing output, and discard an interrupted run: with
            `resume` only one of another input or other settings.
        resume: resume an interrupted run with the same input and settings.
        start: where to start, in seconds after the first frame; of a folder, the number
            of a frame, counted from 0.
        end: stop before this time or frame number.
        scene_threshold: frames that differ from the one before by more than this, in
            [0, 1], start a new shot, to which no state is carried over; 0 disables it.
        codec: "h264", "hevc", "vp9", "av1" or "mpeg2"; None takes the container's
            default.
        crf: constant quality on the codec's own scale; its lowest value, 0 or 1, is the
            best.
        preset: speed of the encoder, by its own names.
        pix_fmt: pixel format of a video file: "yuv420p", which all players show,
            "yuv422p" or "yuv444p"; None takes the first that holds the frame's size.
        compare: write a comparison instead: "side", "wipe" or "diff".
        save_motion: also write the displacements, as colours, to this video file.
        tile: "auto" uses tiles where a whole frame does not fit in memory, None only
            once memory has run out, (rows, columns) in pixels always.
        size: of raw frames from a pipe, as "640x360".
        rate: frames per second of a pipe or a folder, as 30 or "30000/1001".
        segment_frames: frames per segment; work can be resumed at segment boundaries.
        progress: called after each frame with the number restored and the number
            expected, None if unknown.
        on_start: called once, with the first frame to restore, when nothing has been
            refused.
        on_note: called at once with each of the report's `notes`.

    Returns:
        What was written, and how fast.

    Raises:
        UsageError: for a setting out of range.
        UserError: for an input that cannot be read or an output that cannot be written.
        WeightsError: for weights that cannot be loaded.
        OSError: if writing fails. Then, and after an interruption, finished segments
            are kept next to the output for `resume`.
    """
    given = locals()
    options = Options(**{f.name: given[f.name] for f in dataclasses.fields(Options)})
    return restore_video(
        input,
        output,
        options,
        weights,
        overwrite=overwrite,
        resume=resume,
        segment_frames=segment_frames,
        progress=progress,
        on_start=on_start,
        on_note=on_note,
    )


def restore_video(
    input: str | os.PathLike,
    output: str | os.PathLike,
    options: Options,
    weights: str | os.PathLike | tuple[MTUNet, dict],
    *,
    overwrite: bool,
    resume: bool,
    segment_frames: int,
    progress: Callable[[int, int | None], None] | None,
    on_start: Callable[[], None] | None = None,
    on_note: Callable[[str], None] | None = None,
    lane=None,
    resumable: bool = True,
) -> DeblurReport:
    """`deblur_video`, also of one of several videos: in a `lane` of `batcher`."""
    # Not `resumable`, nothing of it is kept when it is interrupted.
    started, kind = time.perf_counter(), output_kind(output)
    options.check(input, output, kind)
    check_least(1, segment_frames=segment_frames)
    if resume and "pipe" in (input_kind(input), kind):
        raise UsageError("resume: a pipe cannot be read again")
    notes = []

    def note(text):
        notes.append(text)
        if on_note:
            on_note(text)

    with open_reader(input, options.size, options.rate) as reader:
        source = None if reader.kind == "pipe" else Path(input)
        # What of a killed run is complete is not in the way.
        if kind == "pipe" or not is_publishing(Path(output)) or overwrite > resume:
            _check_outputs(source, output, kind, options, overwrite)
        network = _network(weights, options.dtype)
        if options.save_motion is None:
            network = inference_form(*network)  # without motion that no image needs
        said = on_start or (lambda: None), note, progress
        run = Restoration(reader, Path(output), kind, options, network, *said, lane)
        if kind == "pipe":
            run.to_pipe(overwrite=overwrite)
        else:
            run.to_disk(
                _identity(source, options, network, segment_frames),
                every=segment_frames,
                resume=resume,
                overwrite=overwrite,
                keep=resumable and source is not None,
            )
    seconds = time.perf_counter() - started
    return DeblurReport(
        Path(output),
        run.frames,
        run.size,
        run.cuts,
        seconds,
        run.resumed,
        tuple(notes),
    )


def _check_outputs(source, output, kind, options, overwrite):
    """Refuses outputs that exist; `source` is None for a pipe."""
    source = source or Path(os.devnull)  # no file either
    if kind != "pipe":
        folder = kind == "folder"
        check_output(source, Path(output), folder=folder, overwrite=overwrite)
    if options.save_motion is not None:
        motion = Path(options.save_motion)
        check_output(source, motion, folder=False, overwrite=overwrite)


def _network(weights, dtype):
    if not isinstance(weights, tuple):
        return load(weights, dtype=dtype)
    model, params = weights
    if dtype is not None:
        model = MTUNet(dataclasses.replace(model.config, dtype=dtype))
    return model, params


def _identity(source, options, network, segment_frames):
    """Collects what must be equal for parts of two runs to make one file."""
    chosen = dataclasses.asdict(options)
    return {
        "input": source and source.name,
        "input's size and time": source and state_of(source),
        "weights": network_digest(network)[:16],
        "segment_frames": segment_frames,
        "mtujax": version("mtujax"),
        **{k: v if v is None else str(v) for k, v in chosen.items()},
    }


def network_digest(network: tuple[MTUNet, dict]) -> str:
    """Hexadecimal SHA-256 digest of a network's configuration and parameters."""
    model, params = network
    values = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)]
    return digest(b"".join([repr(model.config).encode(), *values]))


_WAITING = 4  # frames that may wait between two threads


@dataclasses.dataclass
class Restoration:
    """Restores one video."""

    reader: Reader
    output: Path
    kind: Kind
    options: Options
    network: tuple[MTUNet, dict]
    on_start: Callable[[], None]
    on_note: Callable[[str], None]
    progress: Callable[[int, int | None], None] | None
    lane: Any = None  # of `batcher`

    def __post_init__(self):
        """Checks the options that depend on the network; restores nothing yet."""
        self._notes = [*self.reader.info.notes]  # until there is a frame to restore
        # Frames written so far; those of an interrupted run; scene cuts found.
        self.frames = self.resumed = self.cuts = 0
        self._job, self._total = None, expected(self.reader, self.options)
        self._cell = self.network[0].config.cell
        self.options.check_tile(self._cell)
        if self.options.save_motion and not self.network[0].config.matching_units:
            raise UsageError(
                f"save_motion {self.options.save_motion}: this network matches no "
                "motion"
            )

    def to_pipe(self, *, overwrite: bool) -> None:
        """Restores everything to standard output, and the motion to a file if asked."""
        motion = self.options.save_motion
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
            self.output, settings, resume=resume, start_over=overwrite, resumable=keep
        )
        with job, naming(self.output, job.folder):
            if resume:
                done = f"resumes after {job.frames} frames"
                where = done if job.frames else "starts over: nothing is left"
                self._notes.append(f"{where} of an interrupted run")
            self._job = job
            self.frames = self.resumed = job.frames
            self.cuts = sum(segment.cuts for segment in job.segments)
            if job.published is None:
                self._restore(job.folder, every, overwrite or job.replaces)
            else:
                self.size, self.cuts = job.published.size, job.published.cuts
                self._begin()

    def _begin(self):
        """Reports the notes, once nothing can be refused any more."""
        if self._notes is None:
            return
        notes, self._notes = self._notes, None
        self.on_start()
        for note in notes:
            self.on_note(note)

    def _restore(self, folder, every, overwrite):
        where = self.output, self.kind, self.options, folder
        target = Target(self.reader, *where, self._cell)
        self.size = target.size  # of what is written, in pixels
        self._notes += target.notes
        with contextlib.closing(target):
            self._run(target, every)
            if not self.frames:
                start, end = self.options.start, self.options.end
                until = "the end" if end is None else f"{end:g}"
                raise UserError(
                    f"{self.reader.name}: no frame between {start or 0:g} and {until}"
                )
            self._begin()  # where all was restored by an interrupted run
            target.publish(
                overwrite=overwrite, on_note=self.on_note, commit=self._commit
            )
        for note in self.reader.late_notes:
            self.on_note(note)

    def _commit(self, made):
        if self._job is not None:
            self._job.commit(made, frames=self.frames, cuts=self.cuts, size=self.size)

    def _run(self, target, every):
        restorer = Restorer(
            *self.network,
            on_note=self.on_note,
            snapshot_every=every,
            tile=self.options.tile,
            lane=self.lane,
            whole=stream_class(self.options.runtime),
        )
        done = self.resumed
        if done:
            with self._job.continuing():
                target.resume([s.target for s in self._job.segments])
                state = self._job.state()
            restorer.resume(state, done)
        with (
            Ahead(self._decoded(done), _WAITING) as frames,
            Behind(lambda frame: self._write(target, frame), _WAITING) as behind,
        ):
            for frame in restorer.restore(self._announced(frames)):
                behind.put(frame)
                if self.progress:
                    self.progress(frame.number + 1, self._total)

    def _announced(self, frames):
        for frame in frames:
            self._begin()
            yield frame

    def _write(self, target, frame: Restored):
        """In the encoder's thread: writes a frame, and may end a segment."""
        target.write(frame)
        self.frames += 1
        self.cuts += frame.source.is_cut
        if frame.snapshot is not None:
            cuts = self.cuts - sum(segment.cuts for segment in self._job.segments)
            segment = {"frames": self.frames - self._job.frames, "cuts": cuts}
            segment["target"] = target.end_segment()
            self._job.finish(segment, frame.snapshot)

    def _decoded(self, done) -> Iterator[Decoded]:
        """In the decoder's thread: yields frames from `done` on, marking cuts."""
        start, end = self.options.start, self.options.end
        again = min(done, MEMORY)  # read once more, to find the same cuts
        frames = self.reader.frames(start=start, end=end, skip=done - again)
        found = shots(frames, self.options.scene_threshold)
        yield from itertools.islice(found, again, None)


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
