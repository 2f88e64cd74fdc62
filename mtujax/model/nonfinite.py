"""Values of frames that are not finite, which the network replaces: here counted."""

import collections
import warnings

import jax
import jax.numpy as jnp


class Replaced:
    """Counts values that the network replaces, on the device; warns at the first."""

    def __init__(self, what: str):
        """Sets what has these values, for the warning."""
        self._what, self._found = what, 0
        self._counting = collections.deque()

    def add(self, frames: jax.Array) -> None:
        """Starts counting in frames of any shape; integers need none."""
        traced = isinstance(frames, jax.core.Tracer)
        if jnp.issubdtype(frames.dtype, jnp.floating) and not traced:
            self._counting.append(_count(frames))

    def look(self, *, wait: bool = False) -> None:
        """Warns if a count that is there, or with `wait` any, is the first not 0."""
        while self._counting and (wait or self._counting[0].is_ready()):
            count = int(self._counting.popleft())
            if count and not self._found:
                warnings.warn(
                    f"{self._what}: {count} values are NaN or infinite; such values "
                    "are replaced (NaN by 0, infinity by the end of [0, 1])",
                    stacklevel=4,
                )
            self._found += count

    @property
    def total(self) -> int:
        """Number of values so far."""
        self.look(wait=True)
        return self._found


@jax.jit
def _count(frames):
    return jnp.sum(~jnp.isfinite(frames))
