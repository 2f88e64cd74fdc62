"""Files of named tensors: safetensors with a JSON text of ours in the header.

No pickle: reading runs no code. Written all or nothing. Problems are reported tensor by
tensor.
"""

import json
import os
from pathlib import Path

import flax.traverse_util
import numpy as np
import safetensors
import safetensors.numpy

from mtujax.common.dataclass_json import parse_json
from mtujax.common.files import irregular, whole_output
from mtujax.common.text import counted, printable
from mtujax.errors import UnknownWeightsError, UnwritableError, WeightsError


def shape_findings(
    found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> list[str]:
    """Names each missing, unexpected or mis-shaped tensor {name: shape}."""
    missing = [f"missing {n} {list(expected[n])}" for n in expected if n not in found]
    unexpected = [
        f"unexpected {n} {list(found[n])}" for n in found if n not in expected
    ]
    mis_shaped = [
        f"mis-shaped {n} {list(found[n])}, expected {list(shape)}"
        for n, shape in expected.items()
        if n in found and tuple(found[n]) != tuple(shape)
    ]
    return missing + unexpected + mis_shaped


def finite_findings(tensors: dict[str, np.ndarray]) -> list[str]:
    """Names the tensors that hold NaN or infinity."""
    return [
        f"{name} holds values that are not finite"
        for name, value in tensors.items()
        if not np.isfinite(value).all()
    ]


def refuse(path: str | os.PathLike, findings: list[str], advice: str = "") -> None:
    """Raises WeightsError about `path`, listing all findings, if there are any."""
    if findings:
        count = counted(len(findings), "tensor")
        listed = printable("; ".join(findings))
        error = WeightsError(f"{path}: {count} cannot be used{advice}: {listed}")
        error.findings = tuple(map(printable, findings))
        raise error


FORMAT = 1  # raised when files of this version could be misread by an older one
STATE = "mtujax_state"
"""Key in the header of what is no weights but a whole training state."""

_HEADER = "mtujax"
_CHECKPOINTS = (".pytorch", ".pth", ".pt", ".ckpt")


Shapes = dict[str, tuple[int, ...]]


def write_tensors(
    path: str | os.PathLike, params: dict, expected: Shapes, **header
) -> None:
    """Writes parameters as float32; WeightsError unless finite and of these shapes."""
    path = Path(path)
    check_suffix(path)
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    # safetensors writes raw memory and ignores strides.
    tensors = {n: np.asarray(x, np.float32, order="C") for n, x in flat.items()}
    shapes = {name: value.shape for name, value in tensors.items()}
    refuse(path, shape_findings(shapes, expected) or finite_findings(tensors))
    try:
        text = json.dumps({"format": FORMAT, **header}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: provenance must be JSON values: {error}") from None
    data = safetensors.numpy.save(tensors, {_HEADER: text})
    try:
        with whole_output(path, folder=False) as part:
            part.write_bytes(data)
    except OSError as error:
        raise UnwritableError(f"{path}: cannot be written ({error.strerror})") from None


def check_suffix(path: Path) -> None:
    """Refuses a file to be written that does not end in `.safetensors`."""
    if path.suffix != ".safetensors":
        raise UnknownWeightsError(
            f"{path}: the name of such a file ends in .safetensors"
        )


def read_header(path: str | os.PathLike) -> tuple[dict, Shapes]:
    """Reads a header, with at least "format" and "provenance", and {name: shape}."""
    path = Path(path)
    with _opened(path) as file:
        header = file.metadata() or {}
        text = header.get(_HEADER)
        shapes = {name: _shape(file.get_slice(name)) for name in file.keys()}
    if STATE in header:
        raise WeightsError(
            f"{path}: a training state, for resume_state_from=; `mtujax export` "
            "without --state writes weights"
        )
    if text is None:
        raise WeightsError(
            f"{path}: no mtujax configuration in its header, so it was not written by "
            "mtujax; convert the original checkpoint with `mtujax convert`"
        )
    try:
        header = parse_json(text)
        kept = {"format": header["format"], "provenance": dict(header["provenance"])}
    except (ValueError, KeyError, TypeError):
        raise damaged_header(path) from None
    return {**header, **kept}, shapes


def damaged_header(path: Path) -> WeightsError:
    """The error for a header of the file `path` that cannot be understood."""
    return WeightsError(f"{path}: its mtujax header is damaged; write the file again")


def refuse_newer(path: Path, unknown: list[str]) -> None:
    """Raises WeightsError if a header has anything unknown to this version."""
    if unknown:
        raise WeightsError(
            f"{path}: its configuration has unknown {', '.join(unknown)}, so a newer "
            "mtujax wrote it: upgrade, `git pull` and `pip install .` in a clone"
        )


def read_tensors(path: Path, expected: Shapes) -> dict[str, np.ndarray]:
    """Reads all float32 tensors; WeightsError lists each that is not as expected."""
    with _opened(path) as file:
        parts = {name: file.get_slice(name) for name in file.keys()}
        shapes = {name: _shape(part) for name, part in parts.items()}
        findings = shape_findings(shapes, expected)
        for name, part in parts.items():
            if part.get_dtype() != "F32":
                findings.append(f"{name} is {part.get_dtype()}, expected F32")
        refuse(path, findings)
        tensors = {name: file.get_tensor(name) for name in parts}
    refuse(path, finite_findings(tensors))
    return tensors


def refuse_checkpoint(path: Path, options: str = "") -> None:
    """Refuses a suffix of PyTorch, with the command to convert it."""
    if path.suffix.lower() in _CHECKPOINTS:
        raise UnknownWeightsError(
            f"{path}: a PyTorch checkpoint; run `mtujax convert {options}{path} "
            f"{path.with_suffix('.safetensors').name}` first and load the result"
        )


def _shape(part):
    return tuple(part.get_shape())


def _opened(path):
    if kind := irregular(path):
        raise WeightsError(f"{path}: is a {kind}, not a .safetensors file")
    if not path.exists():
        raise WeightsError(f"{path}: no such file")
    if path.is_dir():
        raise WeightsError(
            f"{path}: is a folder, not a .safetensors file; of a training run, "
            "`mtujax export` writes one"
        )
    try:
        return safetensors.safe_open(path, framework="np")
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{path}: damaged or not a safetensors file ({error}); get it again"
        ) from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error})") from None
