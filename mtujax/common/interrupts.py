"""SIGINT and SIGTERM: noted by a handler, acted on by the main thread at its next step.

An exception raised by a handler can be lost: it may come in a callback of a library,
such as JAX's of the garbage collector, whose exceptions are dropped. So the handler
raises nothing. Long work calls `check` at each step. Of what takes no step (imports,
compilation, waiting) a thread, woken by the system's own handler, ends the process,
after it has tidied up.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 0.5
"""Seconds that the main thread has for its next step."""

PATIENCE = 0.5
"""Seconds more that it has to tidy up, once it took the step."""


class Interrupted(BaseException):
    """A signal ended the work; `status` is 128 + its number."""

    # No Exception, of which libraries and `except` clauses take any.

    def __init__(self, number: int, message: str = "interrupted"):
        """Takes the signal's number and a message of one line."""
        super().__init__(message)
        self.status = 128 + number


class Wish:
    """What signals have requested."""

    def __init__(self, program: str, leave: Callable[[int], None]):
        """`leave` ends the process with a status, at once."""
        self.number = None  # of the signal that came, until it is complied with
        self._program, self._leave = program, leave
        self._tidies, self._say = [], None
        self._raised = self._leaving = False
        self.undivided = threading.Lock()  # held by what the process is not ended amid
        self._taken = [n for n in _SIGNALS if signal.getsignal(n) != signal.SIG_IGN]

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Installs the handlers and the thread while a block runs."""
        _open_closed_streams()  # before sockets take their numbers
        with contextlib.ExitStack() as undo:
            for number in self._taken:  # not what a shell has a background job ignore
                undo.callback(signal.signal, number, signal.getsignal(number))
            reading, self._writing = socket.socketpair()
            self._writing.setblocking(False)
            before = self.install()
            watcher = threading.Thread(target=self._watch, args=(reading,), daemon=True)
            watcher.start()
            undo.callback(watcher.join)
            undo.callback(self._writing.close)
            undo.callback(signal.set_wakeup_fd, before)
            yield

    def install(self) -> int:
        """Installs the handlers; returns the wake-up descriptor there was before."""
        for number in self._taken:
            signal.signal(number, self._note)
        # The system's handler writes here even while no Python handler is called.
        return signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)

    @contextlib.contextmanager
    def tidied(self, tidy: Callable[[], str | None]) -> Iterator[None]:
        """Has `tidy` called if the process is ended within the block."""
        self._tidies.append(tidy)
        try:
            yield
        finally:
            self._tidies.remove(tidy)

    @contextlib.contextmanager
    def deferred(self, say: Callable[[str], None]) -> Iterator[None]:
        """Leaves a block, which looks at `number`, to end by itself; `say`s so."""
        self._say = say
        try:
            yield
        finally:
            self._say = self.number = None

    @property
    def due(self) -> bool:
        """Whether the next step is to raise."""
        return self.number is not None and self._say is None

    def step(self) -> None:
        """Raises `Interrupted` if it is due; in the main thread."""
        self.stay()
        if self.due:
            # Again at every step: where one is swallowed, the next one is not.
            self._raised = True
            raise Interrupted(self.number)

    def stay(self) -> None:
        """Waits for ever if the process is being ended."""
        while self._leaving:
            time.sleep(1)

    def _note(self, number, _):
        self.number = number

    def _watch(self, reading):
        with reading:
            if self._next(reading):
                self._first(reading)

    def _first(self, reading):
        """After a first signal: waits for a step, or for a second signal."""
        if self._say is not None:
            self._say(
                "interrupted: stopping after this batch to save; interrupt again to "
                "exit at once, without saving"
            )
        elif self._stepped(reading):
            return None
        else:
            threading.Thread(target=self._tidy_up, daemon=True).start()
        return self._next(reading) and self._end()

    def _stepped(self, reading):
        """Whether the work ends by itself; or by a second signal."""
        for seconds in (GRACE, PATIENCE):
            reading.settimeout(seconds)
            with contextlib.suppress(TimeoutError):
                if self._next(reading):
                    self._end()
                return True
            if not self._raised:
                break
        reading.settimeout(None)
        return False

    def _tidy_up(self):
        self.undivided.acquire()  # for good
        self._leaving, notes = True, []
        for tidy in reversed(self._tidies.copy()):
            with contextlib.suppress(Exception):
                notes.append(tidy())
        self._end("; ".join(["error: interrupted", *filter(None, notes)]))

    def _next(self, reading):
        """Waits for a signal, and notes it; False when the work has ended."""
        while came := reading.recv(1):
            if came[0] in self._taken:
                self.number = came[0]
                return True
        return False

    def _end(self, said=""):
        number = self.number
        # The main thread may hold the lock of sys.stderr. A bar hides the cursor.
        text = "\r\x1b[?25h\x1b[K" if os.isatty(2) else ""
        text += f"{self._program}: {said}\n" if said else ""
        with contextlib.suppress(OSError):
            os.write(2, text.encode())
        self._leave(128 + number)


def _open_closed_streams():
    """Opens standard streams that were closed at the start, to nowhere."""
    # Else the next file that is opened takes the number of one, and gets all that
    # libraries print; and print() to a lacking stderr goes to stdout.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None and name != "stdin":
            setattr(sys, name, open(os.devnull, "w"))


# Signals concern the whole process, and so do requests.
_wish: Wish | None = None


@contextlib.contextmanager
def catching(
    program: str = "mtujax", *, leave: Callable[[int], None] = os._exit
) -> Iterator[Wish]:
    """Notes signals while the block runs: for `check`; at the second, `leave`s."""
    # Only in the main thread, as no other may; another such block around it stays.
    global _wish
    if threading.current_thread() is not threading.main_thread():
        yield Wish(program, leave)
    elif _wish is not None:
        install()
        yield _wish
    else:
        _wish = Wish(program, leave)
        try:
            with _wish.watching():
                yield _wish
        finally:
            _wish = None


def due() -> bool:
    """Whether a signal came, for threads that wait for something outside."""
    return _wish is not None and _wish.due


_stops = threading.local()


@contextlib.contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """Has `check`, in this thread, raise `Interrupted` once the event is set."""
    _stops.event = event
    try:
        yield
    finally:
        del _stops.event


def check() -> None:
    """Raises `Interrupted` if a signal came; of other threads, in `stopped_by` only."""
    if (event := getattr(_stops, "event", None)) is not None and event.is_set():
        raise Interrupted(signal.SIGINT)
    if _wish is not None and threading.current_thread() is threading.main_thread():
        _wish.step()


def undivided() -> contextlib.AbstractContextManager:
    """A short block that is left only by a second signal, as it belongs together."""
    return contextlib.nullcontext() if _wish is None else _wish.undivided


def tidied(tidy: Callable[[], str | None]) -> contextlib.AbstractContextManager:
    """A block that may be left at any moment after `tidy` was called, in a thread."""
    # It may return a message for the user, and must not block.
    return contextlib.nullcontext() if _wish is None else _wish.tidied(tidy)


def install() -> None:
    """Installs the handlers again, after a library that may have replaced them."""
    if _wish is not None:
        _wish.install()
