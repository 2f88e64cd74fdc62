"""Export of a training run: its weights, or its whole state to resume from.

Reads a run directory and changes nothing there, so the run may be active. A state is
exported as small files that, concatenated, are one safetensors file; `manifest.json`
holds their checksums and what is needed to resume.
"""

import dataclasses
import json
import math
import os
from importlib.metadata import version
from pathlib import Path

from mtujax.common.files import (
    check_free,
    check_only,
    check_place,
    digest,
    whole_output,
)
from mtujax.errors import UsageError, UserError
from mtujax.training.checkpoint_store import (
    FORMAT,
    Damaged,
    from_bytes,
    seal,
    to_bytes,
    unseal,
)
from mtujax.training.run_folder import read_run
from mtujax.training.step import TrainState
from mtujax.weights.files import save_weights

MANIFEST = "manifest.json"
"""Name of the file that lists the others."""


LIMIT = 15 * 2**20
"""Largest size of a part in bytes, so that it stays under 16 MiB."""


def pack(
    state: TrainState,
    extra: dict,
    folder: str | os.PathLike,
    *,
    limit: int = LIMIT,
    overwrite: bool = False,
) -> list[Path]:
    """Writes a state as parts of at most `limit` bytes, all or nothing.

    `extra` are JSON values to keep with it. `overwrite` replaces a folder that holds
    an archive and nothing else; an empty one is always replaced.
    """
    folder = Path(folder)
    if limit < 1:
        raise UsageError(f"limit {limit}: must be above 0")
    check_place(folder, folder=True)
    check_only(folder, lambda path: _is_of_archive(folder, path), "an archive")
    check_free(folder, folder=True, overwrite=overwrite)
    data = to_bytes(state)
    count = math.ceil(len(data) / limit)
    parts = [data[limit * n : limit * (n + 1)] for n in range(count)]
    names = [f"state-{n:03}-of-{count:03}.part" for n in range(1, count + 1)]
    listed = [
        {"name": name, "bytes": len(part), "sha256": digest(part)}
        for name, part in zip(names, parts, strict=True)
    ]
    manifest = seal({"format": FORMAT, "extra": extra, "parts": listed})
    try:
        with whole_output(folder, folder=True) as whole:
            for name, part in zip(names, parts, strict=True):
                (whole / name).write_bytes(part)
            (whole / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror})") from error
    return [folder / name for name in [*names, MANIFEST]]


def _is_of_archive(folder, path):
    return (folder / MANIFEST).is_file() and (
        path.name == MANIFEST or path.suffix == ".part"
    )


def unpack(folder: str | os.PathLike, like: TrainState) -> tuple[TrainState, dict]:
    """Reads the state of an archive, bit for bit, and the `extra` kept with it.

    `like` is a state of the same structure, of which shapes and dtypes are enough.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    try:
        data = b"".join(_read_part(folder, part) for part in manifest["parts"])
        state = from_bytes(data, like, str(folder))
    except Damaged as damage:
        raise UserError(f"{folder}: damaged ({damage}); copy it again") from None
    return state, manifest["extra"]


def read_extra(folder: str | os.PathLike) -> dict:
    """Reads the `extra` of an archive without its state."""
    return _read_manifest(Path(folder))["extra"]


def _read_manifest(folder):
    path = folder / MANIFEST
    try:
        return unseal(json.loads(path.read_text()), str(path))
    except FileNotFoundError:
        raise UserError(
            f"{folder}: no archive of a training state, as it has no {MANIFEST}"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, Damaged) as error:
        raise UserError(f"{path}: damaged ({error}); copy it again") from None


def _read_part(folder, part):
    path = folder / part["name"]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: missing; copy it, too") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) != part["bytes"]:
        raise UserError(
            f"{path}: has {len(data)} bytes, not {part['bytes']}; copy it again"
        )
    if digest(data) != part["sha256"]:
        raise UserError(f"{path}: damaged, its checksum differs; copy it again")
    return data


_LIBRARIES = ("mtujax", "jax", "flax", "optax")


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        updates: number that the run had made.
        psnr: of the moving average at that time's validation in dB, or None.
        files: paths written.
        notes: lines on checkpoints that could not be read.
    """

    updates: int
    psnr: float | None
    files: tuple[Path, ...]
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
        The number of updates, the validation PSNR, the files and notes.

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
    return Exported(updates, psnr, (Path(output),), found.notes)


def export_state(
    run: str,
    output: str | os.PathLike,
    *,
    which: str | int = "latest",
    overwrite: bool = False,
) -> Exported:
    """Writes the whole state of a run as an archive of parts under 16 MiB.

    Args:
        run: its directory, local or remote.
        output: folder to create.
        which: checkpoint: "latest", "best" or a number.
        overwrite: replace an existing archive.

    Returns:
        The number of updates, the validation PSNR, the files and notes.

    Raises:
        UserError: if the run cannot be read or the folder cannot be written.
    """
    _, found = read_run(run, which=which)
    files = pack(found.state, found.extra, output, overwrite=overwrite)
    return Exported(int(found.state.step), found.psnr, tuple(files), found.notes)
