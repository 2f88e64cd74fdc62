"""Who handles signals."""

import signal
import threading


def in_a_thread(block):
    """The handlers of SIGTERM within a block in a thread, and outside of it."""

    def body():
        with block():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen, before = [], signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    return seen, [before]
