"""Early end of a run: by a signal, or when its time is over."""

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """A signal ended a run, whose state is saved; `status` is 128 + its number."""

    def __init__(self, number: int, message: str):
        """Takes the signal's number and a message of one line."""
        super().__init__(message)
        self.status = 128 + number


class Stopper:
    """Catches SIGINT and SIGTERM; a second one exits at once. A context manager."""

    def __init__(
        self,
        max_minutes: float | None = None,
        *,
        say: Callable[[str], None] = print,
        leave: Callable[[int], None] = os._exit,
    ):
        """Starts the clock of `max_minutes`; None is no limit."""
        self.number = None  # of the signal that was caught
        self._say, self._leave = say, leave
        self._end = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._undo = contextlib.ExitStack()

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
        """Installs the handlers, if this is the main thread: no other can."""
        if threading.current_thread() is not threading.main_thread():
            return self
        taken = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
        for number in taken:
            before = signal.signal(number, self._note)
            self._undo.callback(signal.signal, number, before)
        # The system's handler writes signals here even while the device works or a
        # step compiles, when no Python handler is called.
        writing, reading = socket.socketpair()
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=self._watch, args=(reading, taken))
        watcher.start()
        self._undo.callback(watcher.join)
        self._undo.callback(writing.close)
        self._undo.callback(signal.set_wakeup_fd, before)
        return self

    def __exit__(self, *_):
        """Restores the earlier handlers."""
        self._undo.close()

    def _note(self, number, _):
        self.number = number

    def _watch(self, reading, taken):
        first = True
        with reading:
            while came := reading.recv(1):
                if came[0] not in taken:
                    continue
                if not first:
                    return self._leave(128 + came[0])
                first, self.number = False, came[0]
                self._say(
                    "interrupted: stops after this batch and saves; once more leaves "
                    "at once, without saving"
                )
