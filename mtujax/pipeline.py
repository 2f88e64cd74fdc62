"""Work in threads: items made ahead of their use, and items worked off behind it.

Decoder, network and encoder each leave the interpreter while they compute, so that
threads overlap them; bounded queues keep memory flat.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator

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
