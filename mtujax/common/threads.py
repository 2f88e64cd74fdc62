"""Work in threads: items made ahead of their use, and items worked off behind it.

Decoder, network and encoder each leave the interpreter while they compute, so that
threads overlap them; bounded queues keep memory flat.
"""

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

_END = object()
_POLL = 0.1  # seconds between looks at whether the other side has gone


class Ahead(Iterator):
    """Runs an iterator in a thread, a few items ahead of whoever takes them."""

    def __init__(self, items: Iterable, size: int):
        """Starts.

        Args:
            items: what is run; closed in its own thread, if it is a generator.
            size: items that may wait.
        """
        self._queue, self._stop = queue.Queue(size), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(items,), daemon=True)
        self._thread.start()

    def __enter__(self) -> "Ahead":
        """Returns itself."""
        return self

    def __exit__(self, *_):
        """Stops the thread and waits for it."""
        self._stop.set()
        self._thread.join()

    def __next__(self):
        """The next item; an error of the iterator is raised here."""
        item, error = self._queue.get()
        if error is not None:
            self._queue.put((_END, error))  # for whoever asks again
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


class Behind:
    """Hands items to a function in a thread; a context manager."""

    def __init__(self, work: Callable[[object], None], size: int):
        """Starts.

        Args:
            work: called with each item, in order.
            size: items that may wait.
        """
        self._work, self._error = work, None
        self._queue, self._stop = queue.Queue(size), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Behind":
        """Returns itself."""
        return self

    def __exit__(self, kind, *_):
        """Waits until all is done; after an error, drops what still waits."""
        if kind is not None:
            self._stop.set()
        else:
            self._offer(_END)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def put(self, item: object) -> None:
        """Adds an item; waits while too many are waiting.

        Args:
            item: for `work`.

        Raises:
            BaseException: what `work` raised on an earlier item.
        """
        self._offer(item)
        if self._error is not None:
            raise self._error

    def _offer(self, item):
        while self._error is None:
            try:
                self._queue.put(item, timeout=_POLL)
                return
            except queue.Full:
                pass

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


def default_threads() -> int:
    """Threads that decode by default: one for each core, at most 16."""
    return min(os.cpu_count() or 1, 16)


def in_threads(
    function: Callable,
    items: Iterable,
    *,
    threads: int,
    progress: Callable[[int, int | None], None] | None = None,
    total: int | None = None,
) -> Iterator:
    """Maps a function over items in threads; OpenCV decodes outside Python's lock.

    Args:
        function: of one item; its results are kept until they are asked for.
        items: as many as there are.
        threads: that work at once.
        progress: called with results given so far and `total`.
        total: their number, if known.

    Yields:
        Results in the order of items.
    """
    with ThreadPoolExecutor(threads) as pool:
        try:
            for done, result in enumerate(pool.map(function, items), 1):
                yield result
                if progress:
                    progress(done, total)
        except BaseException:
            # What is still queued would be worked off before the error is seen.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def in_order(
    function: Callable, items: Iterable, *, threads: int, ahead: int
) -> Iterator:
    """Maps a function over items in threads, a few items ahead of whoever takes them.

    Args:
        function: of one item.
        items: taken one by one, never more than `ahead` before they are needed.
        threads: that work at once.
        ahead: results that may wait, which bounds memory.

    Yields:
        Results in the order of items.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
