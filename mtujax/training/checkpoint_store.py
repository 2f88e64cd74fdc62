"""Training states on disk: a plain Orbax tree for each step, in a managed folder.

`ocp.StandardCheckpointer().restore(f"{folder}/{step}/state")` opens it without mtujax,
as nested dictionaries of arrays. A step appears when it is complete, also on object
storage and if the process is killed. Beside the tree are JSON values with its digest,
as Orbax alone does not report flipped bits. No pickle: reading runs no code.
"""

import asyncio
import contextlib
import errno
import functools
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mtujax.common.dataclass_json import seal, unsealed
from mtujax.common.text import listed
from mtujax.errors import UserError, extra
from mtujax.weights.safetensors_io import shape_findings

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


_UNFINISHED = ".orbax-checkpoint-tmp"

# Errors of a storage that cannot be reached; any other error means damage.
_OUT_OF_REACH = (PermissionError, ConnectionError, TimeoutError, MemoryError)
_OF_CONTENT = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
_CODES = tuple(
    """PERMISSION_DENIED UNAUTHENTICATED UNAVAILABLE DEADLINE_EXCEEDED ABORTED CANCELLED
    RESOURCE_EXHAUSTED""".split()
)


class _Steps:
    """Orbax's names of steps, all of which it lists, whatever is damaged in one."""

    def __init__(self, names):
        self._names = names

    def __getattr__(self, name):
        return getattr(self._names, name)

    def find_all(self, folder) -> Iterator:
        for step in self._names.find_all(folder):
            try:
                _ = step.commit_timestamp
            except Exception:  # of any kind, for all of them: it parses garbage
                vars(step)["_checkpoint_metadata"] = None  # as of a file not there
            yield step


class Store:
    """A folder of steps; each process of a run calls the same methods."""

    def __init__(
        self,
        folder: str,
        *,
        kept: Callable[[list[int]], Iterable[int]],
        read_only: bool = False,
    ):
        """Opens a folder, local or scheme://…; `read_only` changes nothing."""
        # `kept` is called with all steps, ascending, when one is written, and returns
        # those to keep.
        with extra("train"):
            import orbax.checkpoint as ocp
        self._args, self._kept = ocp.args, kept
        self.folder = folder if "://" in folder else os.path.abspath(folder)
        options = ocp.CheckpointManagerOptions(
            create=not read_only,
            read_only=read_only,
            save_interval_steps=0 if read_only else 1,
            cleanup_tmp_directories=not read_only,
            preservation_policy=self,
            step_name_format=_Steps(ocp.path.step.standard_name_format()),
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
            self._reader = _tree_reader(ocp)

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """Says which checkpoints to keep, as Orbax's `PreservationPolicy`."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = set(self._kept(sorted(steps)))
        return [step in kept for step in steps]

    def name(self, step: int) -> str:
        """Returns the folder of a step, for messages."""
        return f"{self.folder}/{step}"

    def steps(self) -> list[int]:
        """Lists all steps, ascending, with the one that is being written."""
        return sorted(self._manager.all_steps())

    def write(self, step: int, arrays: Arrays, about: dict) -> None:
        """Starts writing a new last step, once the one before is written."""
        # Of arrays on the host, Orbax writes those of the first process only.
        items = self._args.Composite(
            state=self._args.StandardSave(unflatten_dict(arrays, sep="/")),
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
            self._reader.close()

    def delete(self, step: int) -> None:
        """Deletes a step that exists."""
        with self._explaining(f"{step} is damaged and cannot be deleted"):
            self._manager.delete(step)

    def read_about(self, step: int):
        """Reads a step's JSON values: `Damaged`, or `UserError` if out of reach."""
        args = self._args.Composite(about=self._args.JsonRestore())
        with self._reading(step):
            return self._manager.restore(step, args=args).about

    def read_arrays(self, step: int) -> Arrays:
        """Reads a step's arrays, as `read_about`; flipped bits may be missed."""
        with self._reading(step):
            tree = self._reader.restore(f"{self.name(step)}/state")
            return flatten_dict(tree, sep="/")

    @contextlib.contextmanager
    def _reading(self, step) -> Iterator[None]:
        try:
            yield
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
    unfinished = (name.split(_UNFINISHED)[0] for name in names if _UNFINISHED in name)
    return sorted(int(name) for name in unfinished if name.isdecimal())


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


@functools.cache
def _silence():
    """Keeps Orbax's log out of the terminal: what matters in it is raised as well."""
    logging.getLogger("absl").addFilter(
        lambda record: f"{os.sep}orbax{os.sep}" not in record.pathname
    )


def _tree_reader(ocp):
    """Returns Orbax's reader of trees of NumPy arrays, quiet about damaged ones."""

    class Arrays(ocp.type_handlers.NumpyHandler):
        async def deserialize(self, infos, args=None):
            # Orbax's own leaves the others behind where one cannot be read, and each
            # of them prints a traceback when it finds that nobody waits for it.
            one = super().deserialize
            args = args or [None] * len(infos)
            reads = (one([i], a and [a]) for i, a in zip(infos, args, strict=True))
            found = await asyncio.gather(*reads, return_exceptions=True)
            for result in found:
                if isinstance(result, BaseException):
                    raise result
            return [array for (array,) in found]

    registry = ocp.type_handlers.create_type_handler_registry((np.ndarray, Arrays()))
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    return ocp.Checkpointer(handler)
