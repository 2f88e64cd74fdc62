"""Long work that can be interrupted: finished segments are kept next to the output.

`OUTPUT.part` holds what is finished of OUTPUT: `job.json` (settings and segments),
`state-N.npz` (the network's state after N segments) and the sinks' own files. It is
deleted when the output is complete, or when nothing in it is finished. Killed at any
moment, it is as far as `job.json` says: that is written last and deleted last, and
emptied before anything that it names is deleted.
"""

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mtujax.common import interrupts
from mtujax.common.array_files import read_npz
from mtujax.common.dataclass_json import check_same, read_json, seal
from mtujax.common.files import (
    BUSY,
    Made,
    empty,
    file_digest,
    named_after,
    one_at_a_time,
    remove_locked,
    sweep,
)
from mtujax.errors import UserError

_MANIFEST = "job.json"
_LOCK = "lock"


@dataclasses.dataclass(frozen=True)
class _Segment:
    """A finished segment: frames, cuts, what the sinks noted, digest of the state."""

    frames: int
    cuts: int = 0
    target: dict[str, dict] = dataclasses.field(default_factory=dict)
    state: str = ""


@dataclasses.dataclass(frozen=True)
class _Publication:
    """What is complete, (path, output, whether a folder) each, and what to report."""

    made: tuple[tuple[str, str, bool], ...]
    frames: int
    cuts: int
    size: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class _Content:
    """The manifest."""

    settings: dict
    segments: tuple[_Segment, ...] = ()
    publication: _Publication | None = None

    @property
    def frames(self):
        if self.publication is not None:
            return self.publication.frames
        return sum(segment.frames for segment in self.segments)


class Job(contextlib.AbstractContextManager):
    """The folder of one piece of work; a context manager."""

    def __init__(
        self,
        output: Path,
        settings: dict,
        *,
        resume: bool = False,
        start_over: bool = False,
        resumable: bool = True,
    ):
        """Makes the folder, or resumes or discards (`start_over`) what is in it."""
        # `settings`, JSON values, must be equal for a job to be resumed. `resumable`
        # keeps finished segments when the work is interrupted.
        self._output = output
        self.folder = _folder(output)  # where sinks keep unfinished files
        self._settings = json.loads(json.dumps(settings))
        self.segments, self._resumable = [], resumable  # the finished ones
        # Frames, cuts and size of an output that a killed process had made, and that is
        # complete now (None if there is work to do); whether it published a part.
        self.published, self.replaces = None, False
        self._complete, self._damaged = False, False
        made = not self.folder.exists()
        with contextlib.ExitStack() as stack:
            self.folder.mkdir(exist_ok=True)
            _content(self.folder)  # refused before anything is written there
            lock = one_at_a_time(self.folder / _LOCK, self._output, busy=BUSY)
            try:
                stack.enter_context(lock)
            except OSError:
                if made:
                    shutil.rmtree(self.folder, ignore_errors=True)
                raise
            self._take(_content(self.folder), resume, start_over)
            stack.enter_context(interrupts.tidied(self._left_behind))
            self._held = stack.pop_all()

    def __exit__(self, kind, error, _):
        """Deletes the folder unless the work failed and a segment is finished."""
        with self._held:
            if error is None or not (note := self._kept()):
                self._remove()
            elif not self._damaged:
                error.add_note(note)
        if os.name == "nt" and not self.segments:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _left_behind(self):
        """In place of `__exit__`; no segment is finished any more."""
        return (not self._complete and self._kept()) or self._remove()

    def _kept(self):
        """What to say of finished segments that are kept; None if there are none."""
        if not self.segments or not self._resumable:
            return None
        return (
            f"{self.frames} finished frames are kept in {self.folder.name}: --resume "
            "continues from them"
        )

    def _remove(self):
        self._discard()
        self.segments = []
        remove_locked(self.folder, _LOCK)

    @property
    def frames(self) -> int:
        """Number of frames that are finished."""
        return self._content(self.published).frames

    def finish(self, segment: dict, state: dict[str, np.ndarray]) -> None:
        """Records a finished segment, and the state to start the next one from."""
        # `segment` is JSON values, with the number of its `frames`; its files are
        # closed.
        with interrupts.undivided():
            number = len(self.segments) + 1
            path = self._state(number)
            with _appearing(path) as file:
                np.savez(file, **state)
            # Recorded last: what the manifest names exists.
            self.segments.append(_Segment(**segment, state=file_digest(path)))
            self._store()
            self._state(number - 1).unlink(missing_ok=True)

    @contextlib.contextmanager
    def continuing(self) -> Iterator[None]:
        """Reads what is kept within it: `--resume` is no remedy if that fails."""
        self._damaged = True
        yield
        self._damaged = False

    def state(self) -> dict[str, np.ndarray]:
        """Loads the state after the last finished segment, as given to `finish`."""
        path, sha256 = self._state(len(self.segments)), self.segments[-1].state
        found = read_npz(path, sha256=sha256, remedy="--overwrite starts over")
        return {name: np.array(value) for name, value in found.items()}

    def commit(
        self, made: Sequence[Made], *, frames: int, cuts: int, size: tuple[int, int]
    ) -> None:
        """Notes that all is complete, so that publishing it can be finished later."""
        if self._resumable:
            places = tuple(
                (str(m.path), os.path.realpath(m.output), m.folder) for m in made
            )
            self._store(_Publication(places, frames, cuts, size))
            self._complete = True

    def _state(self, number):
        return self.folder / f"state-{number}.npz"

    def _content(self, publication):
        return _Content(self._settings, tuple(self.segments), publication)

    def _store(self, publication=None):
        content = self._content(publication)
        with _appearing(self.folder / _MANIFEST) as file:
            text = json.dumps(seal(dataclasses.asdict(content)), indent=1)
            file.write(text.encode())

    def _discard(self):
        """Deletes what is in the folder; the manifest never lists deleted files."""
        if not self._complete:
            self.segments = []
            self._store()
        empty(self.folder, _LOCK, _MANIFEST)
        (self.folder / _MANIFEST).unlink(missing_ok=True)

    def _take(self, content, resume, start_over):
        """Decides what to do with what is in the folder already."""
        if content.frames and not (resume or start_over):
            raise UserError(
                f"{self.folder.name}: has {content.frames} finished frames of an "
                "interrupted run; --resume continues it, --overwrite starts over"
            )
        if not content.frames or not resume:
            self._discard()
            self._store()
            return
        try:
            check_same(
                content.settings,
                self._settings,
                f"{self.folder.name}: was started with other settings",
                "give the same, or --overwrite to start over",
            )
        except UserError:
            if not start_over:
                raise
            self._discard()
            self._store()
            return
        self.segments = list(content.segments)
        if content.publication is not None:
            self._publish(content.publication)

    def _publish(self, publication):
        """Finishes a publication, or repeats the work if part of it is missing."""
        made = [Made(Path(p), Path(o), folder) for p, o, folder in publication.made]
        self.replaces = True
        if all(one.path.exists() or one.output.exists() for one in made):
            for one in made:
                one.place()
                sweep(one.output)
            self.published, self._complete = publication, True
        elif any(one.folder and not one.path.exists() for one in made):
            self._discard()  # frames of finished segments are gone
            self._store()


def has_job(output: str | os.PathLike) -> bool:
    """Whether unfinished work on an output is kept next to it."""
    return _folder(output).exists()


def is_publishing(output: Path) -> bool:
    """Whether a process was killed while it published an output, or tidied up."""
    folder = _folder(output)
    with contextlib.suppress(OSError, UserError):
        if _content(folder).publication is not None:
            return True
        if {path.name for path in folder.iterdir()} <= {_LOCK}:  # nothing is left
            with one_at_a_time(folder / _LOCK, output):
                remove_locked(folder, _LOCK)
    return False


def _folder(output):
    return named_after(Path(os.path.realpath(output)), ".part")


def _content(folder):
    """Reads the manifest; a UserError if the folder is not that of a job."""
    names = {path.name for path in folder.iterdir()}
    if names <= {_LOCK, f"{_MANIFEST}.new"}:  # killed right after the start
        return _Content({})
    remedy = f"move {folder.name} away to start over"
    try:
        return read_json(folder / _MANIFEST, remedy, kind=_Content, sealed=True)
    except FileNotFoundError:
        raise UserError(
            f"{folder}: exists, but not with the unfinished work that is kept there; "
            "move it away"
        ) from None


@contextlib.contextmanager
def _appearing(path):
    """A file that gets its name only once its content is on disk."""
    temporary = path.with_name(f"{path.name}.new")
    with open(temporary, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
