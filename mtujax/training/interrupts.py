"""When a run has to stop early: a signal, or its time is over."""

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
    """A signal ended a run; its state is saved.

    Attributes:
        status: exit status of the command line: 128 and the signal's number.
    """

    def __init__(self, number: int, message: str):
        """Keeps what to say.

        Args:
            number: of the signal.
            message: one line.
        """
        super().__init__(message)
        self.status = 128 + number


class Stopper:
    """Notes SIGINT and SIGTERM in place of dying of them; a context manager.

    A second one leaves at once, without saving. Both are noticed while the device
    works or a step compiles, when no handler of Python's is called.

    Attributes:
        number: of the signal that came, or None.
    """

    def __init__(
        self,
        max_minutes: float | None = None,
        *,
        say: Callable[[str], None] = print,
        leave: Callable[[int], None] = os._exit,
    ):
        """Starts the clock.

        Args:
            max_minutes: time until `over`; None for no end.
            say: takes a line on the first signal.
            leave: ends the process with a status on the second one.
        """
        self.number = None
        self._say, self._leave = say, leave
        self._end = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._undo = contextlib.ExitStack()

    @property
    def left(self) -> float:
        """Seconds until the time is over."""
        if self._end is None:
            return math.inf
        return max(self._end - time.monotonic(), 0.0)

    @property
    def over(self) -> bool:
        """Whether to stop now."""
        return self.left == 0 or self.number is not None

    def __enter__(self) -> "Stopper":
        """Takes the signals, if this is the main thread, which alone can."""
        if threading.current_thread() is not threading.main_thread():
            return self
        taken = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]
        for number in taken:
            before = signal.signal(number, self._note)
            self._undo.callback(signal.signal, number, before)
        # What arrives is written here by the system's handler, whatever runs.
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
        """Gives the signals back."""
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
