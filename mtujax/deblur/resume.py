"""Long work that can be interrupted: finished segments are kept next to the output.

`OUTPUT.part` holds what is finished of OUTPUT: `job.json` (settings and segments),
`state-N.npz` (the network's state after N segments) and the sinks' own files. It is
deleted when the output is complete, or when nothing in it is finished.
"""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from mtujax.common.dataclass_json import check_same, read_json
from mtujax.common.files import named_after, one_at_a_time
from mtujax.errors import UserError

_MANIFEST = "job.json"
_LOCK = "lock"


class Job:
    """The folder of one piece of work; a context manager.

    Attributes:
        folder: where sinks keep unfinished files.
        segments: for each finished segment, what each sink and the pipeline noted.
    """

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
        self._settings = json.loads(json.dumps(settings))
        self.folder = named_after(Path(os.path.realpath(output)), ".part")
        self.segments, self._resumable = [], resumable
        if self.folder.exists():
            self._take(resume, start_over)
        made = not self.folder.exists()
        try:
            if made:
                self.folder.mkdir()
                self._store(self.folder / _MANIFEST, self._manifest())
            self._held = self._lock()
        except OSError:
            if made:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __enter__(self) -> "Job":
        """Returns itself."""
        return self

    def __exit__(self, kind, error, _):
        """Deletes the folder unless the work failed and a segment is finished."""
        if error is not None and self.segments and self._resumable:
            error.add_note(
                f"{self.frames} finished frames are kept in {self.folder.name}: "
                "--resume continues from them"
            )
            self._held.close()
        else:
            self._discard(self._held)

    @property
    def frames(self) -> int:
        """Number of frames in the finished segments."""
        return sum(segment["frames"] for segment in self.segments)

    def finish(self, segment: dict, state: dict[str, np.ndarray]) -> None:
        """Records a finished segment, and the state to start the next one from."""
        # `segment` is JSON values, with the number of its `frames`; its files are
        # closed.
        number = len(self.segments) + 1
        path = self._state(number)
        with _appearing(path) as file:
            np.savez(file, **state)
        # Recorded last: what the manifest names exists.
        self.segments.append(segment)
        self._store(self.folder / _MANIFEST, self._manifest())
        self._state(number - 1).unlink(missing_ok=True)

    def state(self) -> dict[str, np.ndarray]:
        """Loads the state after the last finished segment, as given to `finish`."""
        with np.load(self._state(len(self.segments))) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _lock(self):
        """Locks the folder for this process, so that no two write the same output."""
        held = contextlib.ExitStack()
        busy = "another process is writing it"
        held.enter_context(one_at_a_time(self.folder / _LOCK, self._output, busy=busy))
        return held

    def _discard(self, held, *, ignore_errors=True):
        """Deletes the folder, and releases its lock."""
        shutil.rmtree(self.folder, ignore_errors=True)
        left = self.folder.exists()  # Windows does not delete the lock, an open file
        held.close()
        if left:
            shutil.rmtree(self.folder, ignore_errors=ignore_errors)

    def _state(self, number):
        return self.folder / f"state-{number}.npz"

    def _manifest(self):
        content = {"settings": self._settings, "segments": self.segments}
        return json.dumps(content, indent=1)

    def _store(self, path, text):
        with _appearing(path) as file:
            file.write(text.encode())

    def _take(self, resume, start_over):
        """Decides what to do with a folder that exists already."""
        content = self._content()
        segments, settings = content["segments"], content["settings"]
        if segments and not (resume or start_over):
            frames = sum(s["frames"] for s in segments)
            raise UserError(
                f"{self.folder.name}: has {frames} finished frames of an interrupted "
                "run; --resume continues it, --overwrite starts over"
            )
        if not segments or not resume:
            self._discard(self._lock(), ignore_errors=False)
            return
        check_same(
            settings,
            self._settings,
            f"{self.folder.name}: was started with other settings",
            "give the same, or --overwrite to start over",
        )
        self.segments = segments

    def _content(self):
        names = {path.name for path in self.folder.iterdir()}
        if names <= {_LOCK, f"{_MANIFEST}.new"}:  # killed right after the start
            return {"settings": {}, "segments": []}
        try:
            content = read_json(self.folder / _MANIFEST)
            return {k: content[k] for k in ("settings", "segments")}
        except (FileNotFoundError, UserError, KeyError, TypeError):
            raise UserError(
                f"{self.folder}: is in the way: unfinished work is kept there, and "
                "this is none; move it away"
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
