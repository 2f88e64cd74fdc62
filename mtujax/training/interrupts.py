"""Early end of a run: by a signal, or when its time is over."""

import contextlib
import math
import os
import time
from collections.abc import Callable

from mtujax.common import interrupts


class Stopper:
    """Says when to stop: by a signal or the clock; a second signal exits at once."""

    def __init__(
        self,
        max_minutes: float | None = None,
        *,
        say: Callable[[str], None] = print,
        leave: Callable[[int], None] = os._exit,
    ):
        """Starts the clock of `max_minutes`; None is no limit."""
        self._wish, self._say, self._leave = None, say, leave
        self._found = None
        self._end = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._undo = contextlib.ExitStack()

    @property
    def number(self) -> int | None:
        """Number of the signal that came, here or in another process; None if none."""
        return self._found or (self._wish and self._wish.number)

    def found(self, number: int) -> None:
        """Takes over a signal that came in another process."""
        self._found = number

    @property
    def left(self) -> float:
        """Seconds until the time is over; infinite without a limit."""
        if self._end is None:
            return math.inf
        return max(self._end - time.monotonic(), 0.0)

    @property
    def over(self) -> bool:
        """Whether to stop now."""
        return self.left == 0 or self.number is not None

    def __enter__(self) -> "Stopper":
        """Has signals noted; one that came before is obeyed here."""
        interrupts.check()
        self._wish = self._undo.enter_context(interrupts.catching(leave=self._leave))
        self._undo.enter_context(self._wish.deferred(self._say))
        return self

    def __exit__(self, *_):
        """Leaves signals to whoever had them before."""
        self._found = self.number
        self._undo.close()
