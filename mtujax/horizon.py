"""How far a run will have come when its time is over."""

import math
import time
from collections.abc import Callable

_FIRST = 3  # batches, of which the first one compiles and the next ones are waited for


class Horizon:
    """Tells the number of updates at the end from the pace so far.

    What stood still for a validation counts in the pace: there will be more of them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Knows nothing yet.

        Args:
            clock: gives seconds.
        """
        self._clock = clock
        self._calls, self._first = 0, None

    def end(self, position: int, left: float) -> int | None:
        """Estimates the end; call it before each batch.

        Args:
            position: updates so far.
            left: seconds until the time is over.

        Returns:
            Updates at the end, at least `position`; None while no pace is known.
        """
        self._calls += 1
        now = self._clock()
        if self._calls <= _FIRST:
            self._first = position, now
            return None
        before, then = self._first
        if position <= before or now <= then:
            return None
        return position + math.ceil(left * (position - before) / (now - then))
