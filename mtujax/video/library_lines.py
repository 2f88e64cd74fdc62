"""What C libraries print on standard error, caught to be said in our words.

They print to the process's standard error, which all threads share. So while several
decode, a line may be of any of them: each then decodes once more, alone.
"""

import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import TypeVar

_OF_LIBRARY = re.compile(
    rb"^(?:Corrupt JPEG|Premature end of JPEG|Invalid SOS|Inconsistent progression"
    rb"|Warning: unknown JFIF|Unknown Adobe color|Application transferred"
    rb"|libjpeg|libpng|\[ *(?:WARN|ERROR):\S+ global (?:grfmt_|loadsave))[^\n]*\n?",
    re.M,
)

Result = TypeVar("Result")


def noting(work: Callable[[], Result]) -> tuple[Result, bool]:
    """Calls work that prints as libraries do: its result, and whether it did."""
    result, printed = _STDERR.call(work, alone=False)
    return _STDERR.call(work, alone=True) if printed else (result, False)


class _Stderr:
    """Standard error, caught while any thread calls work."""

    def __init__(self):
        self._turn = threading.Condition()
        self._inside = self._waiting = 0  # threads that call work, or want to alone
        self._lines = 0  # of libraries, so far
        self._file = self._kept = None  # what stands in, and the true one

    def call(self, work, *, alone):
        """The result, and whether any thread printed; `alone`, when none else does."""
        with self._turn:
            self._wait(alone)
            if not self._inside:
                self._catch()
            self._inside += 1
            before = self._lines
            if alone:
                return self._called(work, before)
        return self._called(work, before)

    def _wait(self, alone):
        if not alone:
            self._turn.wait_for(lambda: not self._waiting)
            return
        self._waiting += 1
        try:
            self._turn.wait_for(lambda: not self._inside)
        finally:
            self._waiting -= 1

    def _called(self, work, before):
        try:
            result = work()
        finally:
            with self._turn:
                self._inside -= 1
                self._pass_on()
                if not self._inside:
                    self._release()
                    self._turn.notify_all()
                printed = self._lines > before
        return result, printed

    def _catch(self):
        try:
            self._kept = os.dup(2)
        except OSError:  # it is closed
            return
        try:
            self._file, self._read = tempfile.TemporaryFile(), 0
        except OSError:  # no room: what is printed is seen
            os.close(self._kept)
            return
        if sys.stderr is not None:
            sys.stderr.flush()
        os.dup2(self._file.fileno(), 2)

    def _pass_on(self):
        """Counts the libraries' lines; all others go where they belong."""
        if self._file is None:
            return
        place = self._file.fileno()
        found = os.pread(place, os.fstat(place).st_size - self._read, self._read)
        self._read += len(found)
        others, lines = _OF_LIBRARY.subn(b"", found)
        self._lines += lines
        if others:
            os.write(self._kept, others)

    def _release(self):
        if self._file is None:
            return
        os.dup2(self._kept, 2)
        self._pass_on()  # what came meanwhile
        os.close(self._kept)
        self._file.close()
        self._file = None


_STDERR = _Stderr()  # the process has only one
