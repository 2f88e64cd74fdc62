"""One process at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mtujax.errors import UserError


@contextlib.contextmanager
def one_at_a_time(
    lock: Path,
    output: Path,
    *,
    busy: str = "is being prepared by another process; wait until it is done",
) -> Iterator[None]:
    """Holds a lock; the system gives it back when a process dies.

    Args:
        lock: the lock's file, which stays.
        output: what is being made, for the message.
        busy: the rest of the message.

    Yields:
        Nothing.

    Raises:
        UserError: if another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{output}: {busy}") from error
        yield
