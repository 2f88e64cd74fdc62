"""Arrays of the other byte order, as some file formats have, which JAX refuses."""

import functools
from collections.abc import Callable

import jax
import numpy as np


def native(value):
    """Converts a NumPy array of any shape to this machine's order; all else passes."""
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        return value.astype(value.dtype.newbyteorder("="))
    return value


def any_byte_order(function: Callable) -> Callable:
    """Lets a function of arrays, compiled or not, take NumPy arrays of either order."""

    @functools.wraps(function)
    def call(*args, **options):
        args, options = jax.tree.map(native, (args, options))
        return function(*args, **options)

    return call
