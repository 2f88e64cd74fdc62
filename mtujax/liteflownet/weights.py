"""LiteFlowNet's weights on disk.

The files have the format of other weights, but are marked as a teacher.
"""

import functools
import os
import types
from collections.abc import Mapping
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.common.files import file_digest
from mtujax.data.flow import Estimator
from mtujax.errors import WeightsError
from mtujax.liteflownet.network import SIDES, LiteFlowNet, flow
from mtujax.weights.files import find_released
from mtujax.weights.safetensors_io import (
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

    Examples:
        >>> _, teacher = load_teacher("teacher.safetensors")
        >>> save_teacher("tuned.safetensors", teacher, description="tuned on my videos")

    Args:
        path: file to write, ending in `.safetensors`; an existing one is replaced.
        params: its parameters, any float dtype.
        **provenance: JSON values kept in the header (`description`, `license`, …).

    Raises:
        WeightsError: if parameters do not fit, are not finite, or nothing can be
            written; an earlier file of that name is then untouched.
    """
    write_tensors(
        path, params, teacher_shapes(), teacher=NETWORK, provenance=provenance
    )


def load_teacher(path: str | os.PathLike) -> tuple[LiteFlowNet, dict]:
    """Loads the flow teacher with its weights.

    Examples:
        >>> network, teacher = load_teacher("teacher.safetensors")
        >>> parameter_count(teacher)
        5381969

    Args:
        path: of a file that `mtujax convert --teacher` wrote, or "liteflownet", which
            `mtujax fetch` brings.

    Returns:
        The network and its parameters, float32, as `flow` and `label_motion` take them.

    Raises:
        WeightsError: if the file is missing, damaged, not made by mtujax or not of a
            teacher, or if its tensors do not fit (every one is listed).
    """
    path = find_released(str(path)) or Path(path)
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


def teacher_estimator(path: str | os.PathLike) -> tuple[str, Estimator]:
    """Loads the flow teacher as what `data.compute_motion` takes.

    Examples:
        >>> method, estimate = teacher_estimator("teacher.safetensors")
        >>> method[:8]  # with the digest of the file
        'teacher '

    Args:
        path: as for `load_teacher`.

    Returns:
        The method's name, which has the digest of the file, and its function:
        (frame, previous frame), each [H, W, 3] uint8 or float in [0, 1] -> backward
        flow [H, W, 2] float32 (dx, dy) in pixels.

    Raises:
        WeightsError: as `load_teacher`.
    """
    path = find_released(str(path)) or path
    _, params = load_teacher(path)

    def estimate(current, previous):
        return np.asarray(flow(params, current[None], previous[None])[0])

    return f"teacher {file_digest(path)[:16]}", estimate


@functools.cache
def teacher_shapes() -> Mapping[str, tuple[int, ...]]:
    """Shapes of the teacher's parameters, by "/"-joined path; HWIO."""
    frame = jax.ShapeDtypeStruct((1, SIDES, SIDES, 3), jnp.float32)
    tree = jax.eval_shape(LiteFlowNet().init, jax.random.key(0), frame, frame)
    flat = flax.traverse_util.flatten_dict(tree["params"], sep="/")
    return types.MappingProxyType({name: value.shape for name, value in flat.items()})
