"""Checkpoints of a run: saved in the background, restored bit for bit.

Each is a plain Orbax tree in a managed folder, which
`ocp.StandardCheckpointer().restore(f"{folder}/{step}/state")` opens without mtujax, as
nested dictionaries of arrays. A step appears when it is complete, also on object
storage and if the process is killed. Beside the tree are JSON values with its digest,
as Orbax alone does not report flipped bits.
"""

import asyncio
import contextlib
import dataclasses
import errno
import functools
import logging
import math
import os
import re
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mtujax.errors import UserError, extra as installed
from mtujax.training.optimizers import TrainState
from mtujax.training.state_files import (
    Damaged,
    arrays_of,
    check_about,
    describe,
    state_of,
)


@dataclasses.dataclass(frozen=True)
class Restored:
    """Content of a checkpoint."""

    step: int  # its number
    state: TrainState  # on the default device
    extra: dict  # JSON values saved with it
    psnr: float | None  # of the validation at that time in dB
    notes: tuple[str, ...] = ()  # on damaged or unfinished ones that were skipped


_UNFINISHED = ".orbax-checkpoint-tmp"

# Errors of a storage that cannot be reached; any other error means damage.
_OUT_OF_REACH = (PermissionError, ConnectionError, TimeoutError, MemoryError)
_OF_CONTENT = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
_CODES = tuple(
    """PERMISSION_DENIED UNAUTHENTICATED UNAVAILABLE DEADLINE_EXCEEDED ABORTED CANCELLED
    RESOURCE_EXHAUSTED""".split()
)


class _Steps:
    """Orbax's names of steps, all of which it lists, whatever is damaged in one."""

    def __init__(self, names):
        self._names = names

    def __getattr__(self, name):
        return getattr(self._names, name)

    def find_all(self, folder) -> Iterator:
        for step in self._names.find_all(folder):
            try:
                _ = step.commit_timestamp
            except Exception:  # of any kind, for all of them: it parses garbage
                vars(step)["_checkpoint_metadata"] = None  # as of a file not there
            yield step


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints in a folder; a context manager, which waits for the last one.

    Each process of a run calls the same methods; the first one writes.

    Examples:
        >>> config = TrainConfig(steps=1000)
        >>> state = init_train_state(config, init_params(model, jax.random.key(0)))
        >>> with Checkpoints("saved") as checkpoints:
        ...     checkpoints.save(100, state, extra={}, psnr=28.5)
        ...     checkpoints.wait()
        ...     checkpoints.restore(state).psnr
        28.5
    """

    def __init__(
        self,
        folder: str,
        *,
        latest: int = 2,
        every: int | None = None,
        best: int = 1,
        read_only: bool = False,
    ):
        """Opens or creates a folder of checkpoints.

        Args:
            folder: local, or remote as gs://bucket/run/checkpoints.
            latest: how many of the last ones are kept.
            every: the first at or after each multiple of it is kept for good.
            best: how many of those with the highest PSNR are kept.
            read_only: change nothing, as another process may write there.

        Raises:
            UserError: if the folder cannot be used.
        """
        with installed("train"):
            import orbax.checkpoint as ocp
        self._latest, self._every, self._best = latest, every, best
        self._psnr: dict[int, float] = {}
        self._damaged: set[int] = set()
        self._args = ocp.args
        self._folder = folder if "://" in folder else os.path.abspath(folder)
        options = ocp.CheckpointManagerOptions(
            create=not read_only,
            read_only=read_only,
            save_interval_steps=0 if read_only else 1,
            cleanup_tmp_directories=not read_only,
            preservation_policy=types.SimpleNamespace(should_preserve=self._preserved),
            step_name_format=_Steps(ocp.path.step.standard_name_format()),
            # In the background, a folder that cannot be made leaves threads behind that
            # wait for it for minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        _silence()
        with self._explaining("cannot be used"):
            # Steps that an earlier process started but did not finish writing.
            self._unfinished = _unfinished(self._folder)
            self._manager = ocp.CheckpointManager(
                self._folder, options=options, item_names=("state", "about")
            )
            self._reader = _tree_reader(ocp)
        with contextlib.ExitStack() as opened:
            opened.callback(self.close)
            # One out of reach may be the best, and must not be deleted as unrated.
            unread = (Damaged, UserError) if read_only else Damaged
            for step in self.steps():
                with contextlib.suppress(unread):
                    self._note_psnr(step, self._about(step)["psnr"])
            opened.pop_all()

    def __exit__(self, kind, error, traceback):
        """Waits for the checkpoint being saved; after an error raises none."""
        try:
            self.close()
        except UserError as failure:
            if error is None:
                raise
            error.add_note(str(failure))

    def close(self) -> None:
        """Waits for the checkpoint being saved, and releases resources.

        Raises:
            UserError: if it could not be saved.
        """
        try:
            self.wait()
        finally:
            self._manager.close()
            self._reader.close()

    def wait(self) -> None:
        """Waits for the checkpoint being saved.

        Raises:
            UserError: if it could not be saved.
        """
        with self._explaining("the last checkpoint could not be saved"):
            self._manager.wait_until_finished()

    def steps(self) -> list[int]:
        """Lists the numbers of all checkpoints, ascending, with the one being saved."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Returns the number of the one with the highest PSNR, or None."""
        rated = self._rated(self.steps())
        return rated[-1] if rated else None

    def save(
        self, step: int, state: TrainState, extra: dict, *, psnr: float | None = None
    ) -> None:
        """Saves in the background; the state may change as soon as this returns.

        A number that is saved already is not saved again. Damaged checkpoints of this
        or a higher number that `restore` skipped are deleted.

        Args:
            step: number of the checkpoint: updates made and skipped.
            state: to save.
            extra: JSON values to keep with it.
            psnr: of the validation in dB, if there was one.

        Raises:
            UserError: if this one or the one before could not be saved, which leaves
                those on disk untouched, or if there is a newer one.
        """
        for damaged in sorted(self._damaged):
            if damaged >= step:
                with self._explaining(f"{damaged} is damaged and cannot be deleted"):
                    self._manager.delete(damaged)
                self._damaged.remove(damaged)
        newest = max(self.steps(), default=-1)
        if newest > step:
            raise UserError(
                f"{self._folder}: has a newer checkpoint, {newest}, than {step}: "
                "resume from that, delete it, or use a new run directory"
            )
        if newest == step:
            return
        psnr = None if psnr is None or not math.isfinite(psnr) else float(psnr)
        arrays = arrays_of(state)
        self._note_psnr(step, psnr)
        # Of arrays on the host, Orbax writes those of the first process only.
        items = self._args.Composite(
            state=self._args.StandardSave(unflatten_dict(arrays, sep="/")),
            about=self._args.JsonSave(describe(arrays, extra=extra, psnr=psnr)),
        )
        with self._explaining("checkpoints cannot be saved"):
            self._manager.save(step, args=items, force=True)

    def restore(self, like: TrainState, which: str | int = "latest") -> Restored | None:
        """Reads a checkpoint.

        Args:
            like: a state of the same structure; shapes and dtypes are enough.
            which: "latest", "best", or a number. If the latest is damaged or was not
                finished, the one before is read, and `notes` says so.

        Returns:
            Its content; None if the latest is wanted and there is none at all.

        Raises:
            UserError: if none can be read, if the one asked for is missing or cannot be
                read, or if it holds another structure.
        """
        if which != "latest":
            step = self._step_of(which)
            try:
                return self._read(step, like)
            except Damaged as damage:
                raise UserError(
                    f"{self._name(step)}: damaged ({damage}); {self._list()}"
                ) from None
        notes = [
            f"{self._name(step)}: is incomplete, skipped"
            for step in self._unfinished
            if step > max(self.steps(), default=-1)
        ]
        for step in reversed(self.steps()):
            try:
                found = self._read(step, like)
                return dataclasses.replace(found, notes=tuple(notes))
            except Damaged as damage:
                self._damaged.add(step)
                name = self._name(step)
                notes.append(f"{name}: is damaged ({damage}), skipped")
        if self.steps():
            raise UserError(
                f"{self._folder}: no checkpoint in it can be read: {notes[0]}; "
                "delete the folder, or use a new run directory, to start over"
            )
        return None

    def _step_of(self, which):
        steps, folder = self.steps(), self._folder
        step = self.best_step() if which == "best" else which
        if step is None and steps:
            raise UserError(
                f"{folder}: no checkpoint was validated, so none is the best; take the "
                "latest"
            )
        if step not in steps:
            raise UserError(f"{folder}: no checkpoint {which}; {self._list()}")
        return step

    def _list(self):
        return f"there are {', '.join(map(str, self.steps())) or 'none'}"

    def _read(self, step, like):
        about = self._about(step)
        with self._reading(step):
            tree = self._reader.restore(f"{self._name(step)}/state")
            arrays = flatten_dict(tree, sep="/")
        state = state_of(arrays, about, like, self._name(step))
        return Restored(step, state, about["extra"], about["psnr"])

    def _about(self, step):
        args = self._args.Composite(about=self._args.JsonRestore())
        with self._reading(step):
            about = self._manager.restore(step, args=args).about
        return check_about(about, self._name(step))

    def _name(self, step):
        return f"{self._folder}/{step}"

    @contextlib.contextmanager
    def _reading(self, step) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of any kind: it parses what may be garbage
            if _is_out_of_reach(error):
                raise UserError(
                    f"{self._name(step)}: cannot be read ({_reason(error)})"
                ) from error
            raise Damaged(_reason(error)) from error

    @contextlib.contextmanager
    def _explaining(self, what) -> Iterator[None]:
        """Turns whatever a storage or Orbax raises into a `UserError` of one line."""
        try:
            yield
        except Exception as error:
            # Orbax has already unlisted the steps that the failed one would replace.
            with contextlib.suppress(Exception):
                self._manager.reload()
            raise UserError(
                f"{self._folder}: {what} ({_reason(error)}); those saved before are "
                "untouched"
            ) from error

    def _note_psnr(self, step, psnr):
        if psnr is not None:
            self._psnr[step] = psnr

    def _rated(self, steps):
        """Returns the validated steps, the best last; of equal ones the later."""
        return sorted((s for s in steps if s in self._psnr), key=self._psnr.get)

    def _preserved(self, checkpoints, *, context) -> list[bool]:
        """Says which checkpoints to keep, as Orbax's `PreservationPolicy`."""
        kept = self._kept(sorted(checkpoint.step for checkpoint in checkpoints))
        return [checkpoint.step in kept for checkpoint in checkpoints]

    def _kept(self, steps):
        """Returns the steps to keep; damaged ones take no other's place."""
        whole = [step for step in steps if step not in self._damaged]
        kept = set(whole[::-1][: self._latest])
        kept.update(self._rated(whole)[::-1][: self._best])
        first = {}  # between each two multiples of `every`
        for step in whole:
            if self._every and step >= self._every:
                first.setdefault(step // self._every, step)
        return kept.union(first.values())


def _is_out_of_reach(error):
    """Whether the stored data may be intact, so that nothing may be deleted."""
    of_system = isinstance(error, OSError) and error.errno not in _OF_CONTENT
    known = isinstance(error, _OUT_OF_REACH) or str(error).startswith(_CODES)
    return of_system or known


def remote_path(path: str) -> Path:
    """A path that may be remote, scheme://…, with the methods of pathlib's."""
    from etils import epath

    return epath.Path(path)


def _unfinished(folder):
    path = remote_path(folder)
    names = [p.name for p in path.iterdir()] if path.exists() else []
    unfinished = (name.split(_UNFINISHED)[0] for name in names if _UNFINISHED in name)
    return sorted(int(name) for name in unfinished if name.isdecimal())


def _reason(error):
    """Shortens an error of the system, of a storage, or of Orbax."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    text = " ".join(str(error).split())
    if code := re.search(r"os_error_code='?(\d+)", text):
        return os.strerror(int(code[1]))
    # Of a storage: CODE: where "…": where "…": what [details].
    text = re.split(r" \[(?:source|tensorstore)", text.rsplit('": ', 1)[-1])[0][:120]
    known = isinstance(error, OSError | ValueError) and text
    return text if known else f"{type(error).__name__} {text}"


@functools.cache
def _silence():
    """Keeps Orbax's log out of the terminal: what matters in it is raised as well."""
    logging.getLogger("absl").addFilter(
        lambda record: f"{os.sep}orbax{os.sep}" not in record.pathname
    )


def _tree_reader(ocp):
    """Returns Orbax's reader of trees of NumPy arrays, quiet about damaged ones."""

    class Arrays(ocp.type_handlers.NumpyHandler):
        async def deserialize(self, infos, args=None):
            # Orbax's own leaves the others behind where one cannot be read, and each
            # of them prints a traceback when it finds that nobody waits for it.
            one = super().deserialize
            args = args or [None] * len(infos)
            reads = (one([i], a and [a]) for i, a in zip(infos, args, strict=True))
            found = await asyncio.gather(*reads, return_exceptions=True)
            for result in found:
                if isinstance(result, BaseException):
                    raise result
            return [array for (array,) in found]

    registry = ocp.type_handlers.create_type_handler_registry((np.ndarray, Arrays()))
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    return ocp.Checkpointer(handler)
