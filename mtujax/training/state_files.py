"""Training states as arrays with their digest, and as one safetensors file.

The digest is kept beside a state wherever it is stored, as storages miss flipped bits.
No pickle: reading runs no code.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mtujax.common.dataclass_json import parse_json, seal, unsealed
from mtujax.common.files import check_free, check_place, unwritable_named, whole_output
from mtujax.common.text import listed
from mtujax.errors import UserError
from mtujax.training.optimizers import TrainState
from mtujax.weights.safetensors_io import STATE, check_suffix, shape_findings

FORMAT = 2
"""Increased when another version could misread what is written."""

Arrays = dict[str, np.ndarray]
"""A state's arrays on the host, by their "/"-joined paths in its tree."""

_NAMED = 3  # differences in a message


class Damaged(Exception):
    """Data is not as it was written; `str()` is a clause that says why."""


def arrays_of(state) -> Arrays:
    """Copies a state, on any device, to the host."""
    return {name: np.asarray(x) for name, x in _named(jax.device_get(state)).items()}


def _named(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


def describe(arrays: Arrays, **values) -> dict:
    """Returns JSON values to keep with arrays: `values`, and checksums of all."""
    return seal({"format": FORMAT, **values, "sha256": _arrays_digest(arrays)})


def check_about(about, source: str) -> dict:
    """Checks what `describe` gave: `Damaged`, or `UserError` for another format."""
    try:
        about = unsealed(about)
    except UserError as error:
        raise Damaged(str(error)) from None
    if about.get("format") != FORMAT:
        raise UserError(
            f"{source}: of format {about.get('format')!r}, this version reads "
            f"{FORMAT}; use the mtujax that wrote it, or init_from= with the weights "
            "that it exports"
        )
    return about


def _arrays_digest(arrays):
    found = hashlib.sha256()
    for name, x in sorted(arrays.items()):
        found.update(f"{name} {x.dtype} {x.shape};".encode())
        found.update(x.tobytes())
    return found.hexdigest()


def state_of(arrays: Arrays, about: dict, like, source: str):
    """A state like `like`, bit for bit: `Damaged`, or UserError for another tree."""
    # Of `like`, shapes and dtypes are enough; `about` is from `check_about`.
    if _arrays_digest(arrays) != about["sha256"]:
        raise Damaged("the checksum of its state does not agree")
    expected = _named(like)
    differing = shape_findings(
        {name: x.shape for name, x in arrays.items()},
        {name: x.shape for name, x in expected.items()},
    ) or [
        f"{name} is {arrays[name].dtype}, expected {x.dtype}"
        for name, x in expected.items()
        if arrays[name].dtype != x.dtype
    ]
    if differing:
        raise UserError(
            f"{source}: holds the state of another network or optimiser: "
            f"{listed(differing, _NAMED, '; ')}"
        )
    # Copies: a training step may reuse the memory of its state.
    leaves = [jnp.array(arrays[name]) for name in expected]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def write_state(
    state: TrainState, extra: dict, path: str | os.PathLike, *, overwrite: bool = False
) -> None:
    """Writes a state, with JSON values `extra`, as a `.safetensors` file."""
    path = Path(path)
    check_suffix(path)
    check_place(path, folder=False)
    check_free(path, folder=False, overwrite=overwrite)
    # safetensors writes raw memory and ignores strides.
    arrays = {n: np.asarray(x, order="C") for n, x in arrays_of(state).items()}
    header = {STATE: json.dumps(describe(arrays, extra=extra))}
    data = safetensors.numpy.save(arrays, header)
    with unwritable_named(path):
        with whole_output(path, folder=False, overwrite=overwrite) as part:
            part.write_bytes(data)


def read_state(path: str | os.PathLike, like: TrainState) -> tuple[TrainState, dict]:
    """Reads an exported state, bit for bit, and the `extra` kept with it."""
    # `like` is a state of the same structure, of which shapes and dtypes are enough.
    with _opened(path) as (file, about):
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        return state_of(arrays, about, like, str(path)), about["extra"]


def read_extra(path: str | os.PathLike) -> dict:
    """Reads the `extra` of an exported state without the state."""
    with _opened(path) as (_, about):
        return about["extra"]


@contextlib.contextmanager
def _opened(path) -> Iterator[tuple]:
    """Opens an exported state; yields the file and the values kept with it."""
    export = "`mtujax export RUN STATE.safetensors --state` writes one"
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder, but a state is one file; {export}")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(STATE)
            if text is None:
                raise UserError(f"{path}: holds no training state; {export}")
            yield file, check_about(parse_json(text), str(path))
    except (safetensors.SafetensorError, ValueError, Damaged) as error:
        raise UserError(f"{path}: damaged ({error}); copy it again") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {export}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
