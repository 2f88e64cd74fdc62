"""Weights of the flow teacher on disk: as other weights, but marked as a teacher."""

import functools
import hashlib
import os
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.findings import WeightsError
from mtujax.teacher import SIDES, LiteFlowNet
from mtujax.tensor_files import (
    FORMAT,
    damaged_header,
    read_header,
    read_tensors,
    refuse_checkpoint,
    refuse_newer,
    write_tensors,
)

NETWORK = "LiteFlowNet"


def save_teacher(path: str | os.PathLike, params: dict, **provenance) -> None:
    """Writes the parameters of a `LiteFlowNet`, all or nothing.

    Args:
        path: where to, ending in `.safetensors`; an existing file is replaced at once.
        params: its parameters, any float dtype.
        **provenance: JSON values kept in the header (`description`, `licence`, …).

    Raises:
        WeightsError: if parameters do not fit, are not finite, or nothing can be
            written; then an earlier file of that name is untouched.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    tensors = {name: np.asarray(value, np.float32) for name, value in flat.items()}
    write_tensors(
        path, tensors, teacher_shapes(), teacher=NETWORK, provenance=provenance
    )


def load_teacher(path: str | os.PathLike) -> tuple[LiteFlowNet, dict]:
    """Makes the flow teacher with its weights.

    Args:
        path: of a file that `mtujax convert --teacher` wrote.

    Returns:
        The network and its parameters, float32, as `flow` and `label_motion` take them.

    Raises:
        WeightsError: if the file is missing, damaged, not made by mtujax or not of a
            teacher, or if its tensors do not fit (every one is listed).
    """
    path = Path(path)
    refuse_checkpoint(path, "--teacher ")
    header, _ = read_header(path)
    if "teacher" not in header:
        if "config" not in header:
            raise damaged_header(path)
        raise WeightsError(
            f"{path}: weights of a deblurring network, not of a flow teacher, which "
            "`mtujax convert --teacher` makes of a LiteFlowNet checkpoint"
        )
    known = {"format": FORMAT, "teacher": NETWORK}
    unknown = [f"{k} {header[k]!r}" for k in known if header[k] != known[k]]
    refuse_newer(path, unknown)
    tensors = read_tensors(path, teacher_shapes())
    params = {name: jnp.asarray(value) for name, value in tensors.items()}
    return LiteFlowNet(), flax.traverse_util.unflatten_dict(params, sep="/")


def teacher_sha256(path: str | os.PathLike) -> str:
    """Tells teachers apart.

    Args:
        path: of the file.

    Returns:
        The hexadecimal SHA-256 digest of its content.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def teacher_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the teacher's parameters, by "/"-joined path; HWIO."""
    return dict(_shape_items())


@functools.cache
def _shape_items():
    frame = jax.ShapeDtypeStruct((1, SIDES, SIDES, 3), jnp.float32)
    tree = jax.eval_shape(LiteFlowNet().init, jax.random.key(0), frame, frame)
    flat = flax.traverse_util.flatten_dict(tree["params"], sep="/")
    return tuple((name, value.shape) for name, value in flat.items())
