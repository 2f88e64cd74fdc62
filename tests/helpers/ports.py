"""Ports for processes that find each other."""

import random
import socket


def coordinator():
    """An address where nothing listens, and nothing will by chance.

    The system gives ports from 32768 on (Linux) to whoever does not care; a port of
    these could be taken in the seconds between here and where it is used.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as found:
            try:
                found.bind(("localhost", port))
            except OSError:
                continue
        return f"localhost:{port}"
