"""Export of a training run: its weights, or its whole state to resume from.

Reads a run directory and changes nothing there, so the run may be active. A state is
exported as one safetensors file, with its checksum and what is needed to resume in the
header.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from mtujax.common.dataclass_json import parse_json
from mtujax.common.files import check_free, check_place, whole_output
from mtujax.errors import UserError
from mtujax.training.checkpoint_store import (
    Damaged,
    arrays_of,
    check_about,
    describe,
    state_of,
)
from mtujax.training.run_folder import read_run
from mtujax.training.step import TrainState
from mtujax.weights.files import save_weights
from mtujax.weights.safetensors_io import STATE, check_suffix


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
    try:
        with whole_output(path, folder=False, overwrite=overwrite) as part:
            part.write_bytes(data)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


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


_LIBRARIES = ("mtujax", "jax", "flax", "optax")


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        updates: number that the run had made.
        psnr: of the moving average at that time's validation in dB, or None.
        notes: lines on checkpoints that could not be read.
    """

    updates: int
    psnr: float | None
    notes: tuple[str, ...]


def export_weights(
    run: str,
    output: str | os.PathLike,
    *,
    which: str | int = "latest",
    raw: bool = False,
    about: dict[str, str] | None = None,
) -> Exported:
    """Writes the weights of a run as a file for `mtujax.load`.

    They load as a float32 network, unless a precision is chosen: that of the training
    need not suit the device they are used on, and is only recorded.

    Args:
        run: its directory, local or remote.
        output: a `.safetensors` file, which is replaced atomically.
        which: checkpoint: "latest", "best" or a number.
        raw: the parameters themselves, not their moving average.
        about: more metadata for the file, as {"licence": "Apache-2.0"}.

    Returns:
        The number of updates, the validation PSNR and notes.

    Raises:
        UserError: if the run cannot be read or the file cannot be written.
    """
    config, found = read_run(run, which=which)
    updates = int(found.state.step)
    provenance = {
        "training": f"{updates} updates on {config.data.name}, {config.train.scheme} "
        "scheme",
        "updates": updates,
        "moving_average": not raw,
        "precision": config.model.dtype,
        "versions": ", ".join(f"{name} {version(name)}" for name in _LIBRARIES),
    }
    psnr = None if raw else found.psnr  # it is of the moving average
    if psnr is not None:
        provenance["validation_psnr"] = round(psnr, 4)
    params = found.state.params if raw else found.state.ema
    network = dataclasses.replace(config.model, dtype="float32")
    save_weights(output, network, params, **(provenance | (about or {})))
    return Exported(updates, psnr, found.notes)


def export_state(
    run: str,
    output: str | os.PathLike,
    *,
    which: str | int = "latest",
    overwrite: bool = False,
) -> Exported:
    """Writes the whole state of a run as a file for `resume_state_from`.

    Args:
        run: its directory, local or remote.
        output: a `.safetensors` file, which is written atomically.
        which: checkpoint: "latest", "best" or a number.
        overwrite: replace an existing file.

    Returns:
        The number of updates, the validation PSNR and notes.

    Raises:
        UserError: if the run cannot be read or the file cannot be written.
    """
    _, found = read_run(run, which=which)
    write_state(found.state, found.extra, output, overwrite=overwrite)
    return Exported(int(found.state.step), found.psnr, found.notes)
