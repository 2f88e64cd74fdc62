"""When a run has to stop early: a signal, or its time is over."""

import signal
import threading
import time


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

    A second signal of a kind does what it always does.

    Attributes:
        number: of the signal that came, or None.
    """

    def __init__(self, max_minutes: float | None = None):
        """Starts the clock.

        Args:
            max_minutes: time until `over`; None for no end.
        """
        self.number = None
        self._end = None if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._before = {}

    @property
    def over(self) -> bool:
        """Whether to stop now."""
        late = self._end is not None and time.monotonic() >= self._end
        return late or self.number is not None

    def __enter__(self) -> "Stopper":
        """Takes the signals, if this is the main thread, which alone can."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if (before := signal.getsignal(number)) != signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, _):
        self.number = number
        signal.signal(number, self._before.pop(number))
