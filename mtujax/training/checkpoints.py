"""Checkpoints of a run: saved in the background, restored bit for bit."""

import contextlib
import dataclasses
import math

from mtujax.errors import UserError
from mtujax.training.checkpoint_store import (
    Damaged,
    Store,
    arrays_of,
    check_about,
    describe,
    state_of,
)
from mtujax.training.optimizers import TrainState


@dataclasses.dataclass(frozen=True)
class Restored:
    """Content of a checkpoint."""

    step: int  # its number
    state: TrainState  # on the default device
    extra: dict  # JSON values saved with it
    psnr: float | None  # of the validation at that time in dB
    notes: tuple[str, ...] = ()  # on damaged or unfinished ones that were skipped


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
        self._latest, self._every, self._best = latest, every, best
        self._psnr: dict[int, float] = {}
        self._damaged: set[int] = set()
        self._store = Store(folder, kept=self._kept, read_only=read_only)
        with contextlib.ExitStack() as opened:
            opened.callback(self._store.close)
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
        self._store.close()

    def wait(self) -> None:
        """Waits for the checkpoint being saved.

        Raises:
            UserError: if it could not be saved.
        """
        self._store.wait()

    def steps(self) -> list[int]:
        """Lists the numbers of all checkpoints, ascending."""
        return self._store.steps()

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
                self._store.delete(damaged)
                self._damaged.remove(damaged)
        newest = max(self.steps(), default=-1)
        if newest > step:
            raise UserError(
                f"{self._store.folder}: has a newer checkpoint, {newest}, than {step}: "
                "resume from that, delete it, or use a new run directory"
            )
        if newest == step:
            return
        psnr = None if psnr is None or not math.isfinite(psnr) else float(psnr)
        arrays = arrays_of(state)
        self._note_psnr(step, psnr)
        self._store.write(step, arrays, describe(arrays, extra=extra, psnr=psnr))

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
                    f"{self._store.name(step)}: damaged ({damage}); {self._list()}"
                ) from None
        notes = [
            f"{self._store.name(step)}: is incomplete, skipped"
            for step in self._store.unfinished
            if step > max(self.steps(), default=-1)
        ]
        for step in reversed(self.steps()):
            try:
                found = self._read(step, like)
                return dataclasses.replace(found, notes=tuple(notes))
            except Damaged as damage:
                self._damaged.add(step)
                name = self._store.name(step)
                notes.append(f"{name}: is damaged ({damage}), skipped")
        if self.steps():
            raise UserError(
                f"{self._store.folder}: no checkpoint in it can be read: {notes[0]}; "
                "delete the folder, or use a new run directory, to start over"
            )
        return None

    def _step_of(self, which):
        steps, folder = self.steps(), self._store.folder
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
        arrays = self._store.read_arrays(step)
        state = state_of(arrays, about, like, self._store.name(step))
        return Restored(step, state, about["extra"], about["psnr"])

    def _about(self, step):
        return check_about(self._store.read_about(step), self._store.name(step))

    def _note_psnr(self, step, psnr):
        if psnr is not None:
            self._psnr[step] = psnr

    def _rated(self, steps):
        """Returns the validated steps, the best last; of equal ones the later."""
        return sorted((s for s in steps if s in self._psnr), key=self._psnr.get)

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
