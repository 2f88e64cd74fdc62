"""One of many videos: what is to be made of it, and what becomes of it."""

import dataclasses
import errno
import os
import time
import traceback
from collections.abc import Callable

from mtujax.deblur import remote
from mtujax.deblur.api import restore_video
from mtujax.deblur.batcher import Lane
from mtujax.deblur.output import ENCODING, Options
from mtujax.deblur.report import VideoResult
from mtujax.deblur.resume import has_job
from mtujax.errors import notes_of, reason
from mtujax.model.network import MTUNet
from mtujax.video.inputs import output_kind

# Not EFBIG, which `files.FULL` has too: a smaller video may be written.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclasses.dataclass(frozen=True)
class Task:
    """One video to make, and how."""

    input: str
    output: str
    options: Options
    overwrite: bool
    resume: bool
    segment_frames: int

    @classmethod
    def of(cls, input: str, output: str, options: Options, *how) -> "Task":
        """A task whose options are checked, without those of other kinds of output."""
        options.check(input, output, "file")  # also what this output does not need
        if output_kind(output) != "file":
            options = dataclasses.replace(options, **dict.fromkeys(ENCODING))
        return cls(input, output, options, *how)

    @property
    def key(self) -> str:
        """Name of the output in its folder."""
        return os.path.basename(self.output.rstrip("/"))


def again(task: Task) -> Task:
    """A task whose process died: what that had finished of it is its own."""
    return dataclasses.replace(task, overwrite=True, resume=True)


def restore(
    task: Task,
    network: tuple[MTUNet, dict],
    progress: Callable[[int, int | None], None],
    on_note: Callable[[str], None] | None = None,
    lane: Lane | None = None,
) -> VideoResult:
    """Does a task; its result may be an error. OSError if the disk is full."""
    video, started = VideoResult(task.input, task.key), time.perf_counter()
    names = {}  # of copies: what they are copies of

    def named(text):
        for copy, name in names.items():
            text = text.replace(copy, name)
        return text

    def say(note):
        on_note(f"{task.input}: {named(note)}")

    try:
        video = dataclasses.replace(video, source=remote.state_of(task.input))
        with (
            remote.copied(task.input, task.output) as input,
            remote.published(task.output, overwrite=task.overwrite) as output,
        ):
            names |= {output: task.output, input: task.input}
            found = restore_video(
                input,
                output,
                task.options,
                network,
                overwrite=task.overwrite,
                resume=task.resume and has_job(output),
                segment_frames=task.segment_frames,
                progress=progress,
                on_note=on_note and say,
                lane=lane,
                resumable=not remote.is_url(task.output),
            )
        size = remote.size_of(task.output)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            error.filename = error.filename or task.output
            raise
        return dataclasses.replace(video, error=named(_line(error)))
    return dataclasses.replace(
        video,
        frames=found.frames,
        notes=tuple(map(named, found.notes)),
        seconds=round(time.perf_counter() - started, 3),
        bytes=size,
    )


def _line(error):
    """An error as one line; the traceback of a bug goes to stderr."""
    said = reason(error)
    if said is None:
        traceback.print_exception(error)
        said = f"a bug of this program: {type(error).__name__}: {error}"
    return " ".join("; ".join([said, *notes_of(error)]).split())
