"""The training state as bytes: safetensors, each leaf under its path in the tree.

Checkpoints and archives hold these bytes. No pickle: reading them runs no code.
"""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mtujax.errors import UserError
from mtujax.findings import shape_findings

FORMAT = 1
"""Raised when what is written could be misread by an older version."""

_SEAL = "seal"
_NAMED = 3  # differences in a message
_TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}


class Damaged(Exception):
    """What was read is not what was written; `str()` is a clause that says why."""


def to_bytes(state) -> bytes:
    """Writes a tree of arrays; nothing of their memory is held.

    Args:
        state: arrays of any shape, on any device, which hold numbers of `_TYPES`.

    Returns:
        A safetensors file.
    """
    leaves = _named(jax.device_get(state)).items()
    # It writes memory as it lies, whatever its strides say.
    return safetensors.numpy.save({n: np.asarray(x, order="C") for n, x in leaves})


def from_bytes(data: bytes, like, source: str):
    """Reads what `to_bytes` wrote.

    Args:
        data: a safetensors file.
        like: a tree of arrays, or of their shapes and types, that is expected.
        source: where the bytes come from, for messages.

    Returns:
        The tree `like` with NumPy arrays [...] bit for bit as written.

    Raises:
        Damaged: if they cannot be read.
        UserError: if they hold another tree; names what differs first.
    """
    try:
        found = dict(safetensors.deserialize(data))
    except (safetensors.SafetensorError, ValueError) as error:
        raise Damaged(f"no tensors in it: {error}") from None
    expected = _named(like)
    differing = shape_findings(
        {name: tuple(leaf["shape"]) for name, leaf in found.items()},
        {name: leaf.shape for name, leaf in expected.items()},
    ) or [
        f"{name} is {_TYPES.get(found[name]['dtype'])}, expected {leaf.dtype}"
        for name, leaf in expected.items()
        if _TYPES.get(found[name]["dtype"]) != str(leaf.dtype)
    ]
    if differing:
        more = len(differing) - _NAMED
        more = f" and {more} more" if more > 0 else ""
        raise UserError(
            f"{source}: holds the state of another network or optimiser: "
            f"{'; '.join(differing[:_NAMED])}{more}"
        )
    leaves = [
        np.frombuffer(found[name]["data"], jnp.dtype(leaf.dtype)).reshape(leaf.shape)
        for name, leaf in expected.items()
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


def digest(data: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def seal(values: dict) -> dict:
    """Adds a checksum, so that damage is noticed.

    Args:
        values: JSON values by name.

    Returns:
        The same as JSON gives them back, and the checksum.
    """
    values = json.loads(json.dumps(values))
    return {**values, _SEAL: _seal_of(values)}


def unseal(values, source: str) -> dict:
    """Takes the checksum off, after a look at it.

    Args:
        values: what `seal` gave.
        source: where it comes from, for messages.

    Returns:
        What was sealed.

    Raises:
        Damaged: if it does not agree.
        UserError: if it is of another format.
    """
    if not isinstance(values, dict) or _SEAL not in values:
        raise Damaged("no checksum in it")
    values = dict(values)
    if values.pop(_SEAL) != _seal_of(values):
        raise Damaged("its checksum does not agree")
    if values.get("format") != FORMAT:
        raise UserError(
            f"{source}: of format {values.get('format')!r}, this version reads "
            f"{FORMAT}; use the mtujax that wrote it, or a newer one"
        )
    return values


def _seal_of(values):
    return digest(json.dumps(values, sort_keys=True).encode())
