"""Background threads: iterators that run ahead, and queues that are worked off.

Decoder, network and encoder release the interpreter lock while they compute, so
threads overlap them; bounded queues limit memory.
"""

import contextlib
import math
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from mtujax.common.interrupts import check, stopped_by
from mtujax.errors import notes_of

_END = object()
_POLL = 0.1  # seconds between checks whether the other side has gone


class Ahead(contextlib.AbstractContextManager, Iterator):
    """Runs an iterator in a thread, a few items ahead of its consumer."""

    def __init__(self, items: Iterable, size: int):
        """Starts; up to `size` items wait. A generator is closed in its own thread."""
        self._queue, self._stop = queue.Queue(size), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def __exit__(self, *_):
        """Stops the thread and waits for it."""
        self._stop.set()
        self._thread.join()

    def __next__(self):
        """Returns the next item; raises an error of the iterator."""
        while True:
            check()
            with contextlib.suppress(queue.Empty):
                item, error = self._queue.get(timeout=_POLL)
                break
        if error is not None:
            self._queue.put((_END, error))  # for further calls
            raise error
        return item

    def _run(self, items):
        items = iter(items)
        try:
            for item in items:
                if not self._put((item, None)):
                    return
            error = StopIteration()
        except BaseException as raised:
            error = raised
        finally:
            if hasattr(items, "close"):
                items.close()
        self._put((_END, error))

    def _put(self, item):
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=_POLL)
                return True
            except queue.Full:
                pass
        return False


class Behind(contextlib.AbstractContextManager):
    """Passes items to a function in a thread, in order; a context manager."""

    def __init__(self, work: Callable[[object], None], size: int):
        """Starts; up to `size` items wait."""
        self._work, self._error = work, None
        self._queue, self._stop = queue.Queue(size), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __exit__(self, kind, *_):
        """Waits until all items are done; after an error, drops those that wait."""
        if kind is not None:
            self._stop.set()
        while kind is None and not self._taken(_END):
            pass
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, item: object) -> None:
        """Adds an item, waiting for room; raises the error of an earlier item."""
        check()
        while not self._taken(item):
            check()
        if self._error is not None:
            raise self._error

    def _taken(self, item):
        """Waits for room a while; True also after an error, when none is needed."""
        with contextlib.suppress(queue.Full):
            if self._error is None:
                self._queue.put(item, timeout=_POLL)
            return True
        return False

    def _run(self):
        try:
            while not self._stop.is_set():
                try:
                    item = self._queue.get(timeout=_POLL)
                except queue.Empty:
                    continue
                if item is _END:
                    return
                self._work(item)
        except BaseException as raised:
            self._error = raised


def cores() -> int:
    """Number of CPU cores, or hardware threads, that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS or Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """Default number of decoding threads: one per core, at most 16."""
    return min(cores(), 16)


def in_order(
    function: Callable, items: Iterable, *, threads: int, ahead: float = math.inf
) -> Iterator:
    """Maps in threads, in order, with at most `ahead` results waiting."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        try:
            for item in items:
                check()
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                check()
                yield waiting.popleft().result()
        finally:
            # Otherwise everything queued would run before an error is seen.
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def side_by_side(work: Callable, tasks: Iterable, threads: int) -> Iterator[Iterator]:
    """Does tasks in threads while the block runs: their results, as they come."""
    # `work(task, post)` may `post` calls, which whoever takes the results makes. If the
    # block fails, tasks end at their next `check`, and its error gets their notes.
    posted, stop = queue.SimpleQueue(), threading.Event()

    def do(task):
        with stopped_by(stop):
            check()
            return work(task, posted.put)

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(do, task) for task in tasks]
        for future in futures:
            future.add_done_callback(posted.put)
        try:
            yield _arriving(posted, len(futures))
        except BaseException as error:
            stop.set()
            for future in futures:
                if future.cancel() or future.exception() in (None, error):
                    continue
                for note in notes_of(future.exception()):
                    error.add_note(note)
            raise


def _arriving(posted, count):
    while count:
        check()
        with contextlib.suppress(queue.Empty):
            item = posted.get(timeout=_POLL)
            if isinstance(item, Future):
                count -= 1
                yield item.result()
            else:
                item()
