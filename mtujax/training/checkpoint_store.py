"""Training states as bytes, by step, in a folder that Orbax manages.

A step appears when it is complete, also on object storage and if the process is
killed. The bytes are one safetensors array per step: an Orbax array for each leaf takes
several times as long. No pickle: reading them runs no code.
"""

import contextlib
import errno
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mtujax.common.files import digest
from mtujax.errors import UserError, extra
from mtujax.weights.safetensors_io import shape_findings

FORMAT = 1
"""Increased when an older version could misread what is written."""


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
    """Data is not as it was written; `str()` is a clause that says why."""


def to_bytes(state) -> bytes:
    """Serialises a tree of arrays, on any device, as a safetensors file."""
    leaves = _named(jax.device_get(state)).items()
    # safetensors writes raw memory and ignores strides.
    return safetensors.numpy.save({n: np.asarray(x, order="C") for n, x in leaves})


def from_bytes(data: bytes, like, source: str):
    """Reads a safetensors file into a tree like `like`, bit for bit.

    Of `like`, shapes and dtypes are enough; `source` is for messages. Raises `Damaged`,
    or a `UserError` if another tree was written.
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
    # Copies: a training step may reuse the memory of its state.
    leaves = map(jnp.array, leaves)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(tree):
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in leaves
    }


def seal(values: dict) -> dict:
    """Adds a checksum to JSON values, and returns them as JSON gives them back."""
    values = json.loads(json.dumps(values))
    return {**values, _SEAL: _seal_of(values)}


def unseal(values, source: str) -> dict:
    """Checks and removes the checksum: `Damaged`, or `UserError` for another format."""
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


_UNFINISHED = ".orbax-checkpoint-tmp"

# Errors of a storage that cannot be reached; any other error means damage.
_OUT_OF_REACH = (PermissionError, ConnectionError, TimeoutError, MemoryError)
_OF_CONTENT = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
_CODES = (
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "ABORTED",
    "CANCELLED",
    "RESOURCE_EXHAUSTED",
)


class Store:
    """A folder of steps; each process of a run calls the same methods."""

    def __init__(
        self,
        folder: str,
        *,
        kept: Callable[[list[int]], Iterable[int]],
        read_only: bool = False,
    ):
        """Opens or creates the folder, local or scheme://….

        `kept` is called with all steps, ascending, when one is written, and returns
        those to keep. `read_only` changes nothing, as another process may write there.
        """
        with extra("train"):
            import orbax.checkpoint as ocp
        self._args = ocp.args
        self.folder = folder if "://" in folder else os.path.abspath(folder)
        options = ocp.CheckpointManagerOptions(
            create=not read_only,
            read_only=read_only,
            save_interval_steps=0 if read_only else 1,
            cleanup_tmp_directories=not read_only,
            preservation_policy=_Policy(kept),
            # In the background, a folder that cannot be made leaves threads behind that
            # wait for it for minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        _silence()
        with self._explaining("cannot be used"):
            # Steps that an earlier process started but did not finish writing.
            self.unfinished = _unfinished(self.folder)
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_names=("state", "about")
            )

    def name(self, step: int) -> str:
        """Returns the folder of a step, for messages."""
        return f"{self.folder}/{step}"

    def steps(self) -> list[int]:
        """Lists all steps, ascending, with the one that is being written."""
        return sorted(self._manager.all_steps())

    def write(self, step: int, data: bytes, about: dict) -> None:
        """Starts writing a new last step, once the one before is written."""
        # Only what the first process gives is written.
        items = self._args.Composite(
            state=self._args.StandardSave({"bytes": np.frombuffer(data, np.uint8)}),
            about=self._args.JsonSave(about),
        )
        with self._explaining("checkpoints cannot be saved"):
            self._manager.save(step, args=items, force=True)

    def wait(self) -> None:
        """Waits until all is written."""
        with self._explaining("the last checkpoint could not be saved"):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and releases Orbax's resources."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def delete(self, step: int) -> None:
        """Deletes a step that exists."""
        with self._explaining(f"{step} is damaged and cannot be deleted"):
            self._manager.delete(step)

    def read_about(self, step: int):
        """Reads a step's JSON values: `Damaged`, or `UserError` if out of reach."""
        return self._item(step, about=self._args.JsonRestore()).about

    def read_bytes(self, step: int, size: int) -> bytes:
        """Reads a step's `size` bytes, as `read_about`; flipped bits may be missed."""
        target = {"bytes": np.empty(size, np.uint8)}
        found = self._item(step, state=self._args.StandardRestore(target))
        return found.state["bytes"].tobytes()

    def _item(self, step, **args):
        try:
            return self._manager.restore(step, args=self._args.Composite(**args))
        except Exception as error:  # of any kind: it parses what may be garbage
            if _is_out_of_reach(error):
                raise UserError(
                    f"{self.name(step)}: cannot be read ({_reason(error)})"
                ) from error
            raise Damaged(_reason(error)) from error

    @contextlib.contextmanager
    def _explaining(self, what) -> Iterator[None]:
        """Turns whatever a storage or Orbax raises into a `UserError` of one line."""
        try:
            yield
        except Exception as error:
            # Orbax has already unlisted the steps that the failed one would replace.
            with contextlib.suppress(Exception):
                self._manager.reload()
            raise UserError(
                f"{self.folder}: {what} ({_reason(error)}); those saved before are "
                "untouched"
            ) from error


class _Policy:
    """Orbax's policy of which steps to keep."""

    def __init__(self, kept):
        self._kept = kept

    def should_preserve(self, checkpoints, *, context):
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = set(self._kept(sorted(steps)))
        return [step in kept for step in steps]


def _is_out_of_reach(error):
    """Whether the stored data may be intact, so that nothing may be deleted."""
    of_system = isinstance(error, OSError) and error.errno not in _OF_CONTENT
    known = isinstance(error, _OUT_OF_REACH) or str(error).startswith(_CODES)
    return of_system or known


def remote_path(path: str) -> Path:
    """A path that may be remote, scheme://…, with the methods of pathlib's."""
    from etils import epath

    return epath.Path(path)


def _unfinished(folder):
    path = remote_path(folder)
    names = [p.name for p in path.iterdir()] if path.exists() else []
    begun = (name.split(_UNFINISHED)[0] for name in names if _UNFINISHED in name)
    return sorted(int(name) for name in begun if name.isdecimal())


def _reason(error):
    """Shortens an error of the system, of a storage, or of Orbax."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    text = " ".join(str(error).split())
    if code := re.search(r"os_error_code='?(\d+)", text):
        return os.strerror(int(code[1]))
    # Of a storage: CODE: where "…": where "…": what [details].
    text = re.split(r" \[(?:source|tensorstore)", text.rsplit('": ', 1)[-1])[0][:120]
    known = isinstance(error, OSError | ValueError) and text
    return text if known else f"{type(error).__name__} {text}"


def _silence():
    """Keeps Orbax's log out of the terminal: what matters in it is raised as well."""
    logger = logging.getLogger("absl")
    if _not_of_orbax not in logger.filters:
        logger.addFilter(_not_of_orbax)


def _not_of_orbax(record):
    return f"{os.sep}orbax{os.sep}" not in record.pathname
