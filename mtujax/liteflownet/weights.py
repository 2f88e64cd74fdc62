"""LiteFlowNet's weights on disk, and conversion of its PyTorch checkpoints.

The files have the format of other weights, but are marked as a teacher. Conversion has
one rename table and is strict.
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

from mtujax.common.files import digest
from mtujax.data.flow import Estimator
from mtujax.errors import WeightsError
from mtujax.liteflownet.layers import LEVELS
from mtujax.liteflownet.network import SIDES, LiteFlowNet, flow
from mtujax.weights import released
from mtujax.weights.convert import Conversion, Names, name_findings, renamed
from mtujax.weights.safetensors_io import (
    FORMAT,
    damaged_header,
    read_header,
    read_tensors,
    refuse,
    refuse_checkpoint,
    refuse_newer,
    write_tensors,
)
from mtujax.weights.torch_reader import read_checkpoint

NETWORK = "LiteFlowNet"


def save_teacher(path: str | os.PathLike, params: dict, **provenance) -> None:
    """Writes the parameters of a `LiteFlowNet`, all or nothing.

    Args:
        path: file to write, ending in `.safetensors`; an existing one is replaced.
        params: its parameters, any float dtype.
        **provenance: JSON values kept in the header (`description`, `licence`, …).

    Raises:
        WeightsError: if parameters do not fit, are not finite, or nothing can be
            written; an earlier file of that name is then untouched.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    tensors = {name: np.asarray(value, np.float32) for name, value in flat.items()}
    write_tensors(
        path, tensors, teacher_shapes(), teacher=NETWORK, provenance=provenance
    )


def load_teacher(path: str | os.PathLike) -> tuple[LiteFlowNet, dict]:
    """Loads the flow teacher with its weights.

    Args:
        path: of a file that `mtujax convert --teacher` wrote, or "liteflownet", which
            `mtujax fetch` brings.

    Returns:
        The network and its parameters, float32, as `flow` and `label_motion` take them.

    Raises:
        WeightsError: if the file is missing, damaged, not made by mtujax or not of a
            teacher, or if its tensors do not fit (every one is listed).
    """
    path = released.find(str(path)) or Path(path)
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

    Args:
        path: as for `load_teacher`.

    Returns:
        The method's name, which has the digest of the file, and its function:
        (frame, previous frame), each [H, W, 3] uint8 or float in [0, 1] -> backward
        flow [H, W, 2] float32 (dx, dy) in pixels.

    Raises:
        WeightsError: as `load_teacher`.
    """
    path = released.find(str(path)) or path
    _, params = load_teacher(path)

    def estimate(current, previous):
        return np.asarray(flow(params, current[None], previous[None])[0])

    return f"teacher {digest(Path(path).read_bytes())[:16]}", estimate


@functools.cache
def teacher_shapes() -> Mapping[str, tuple[int, ...]]:
    """Shapes of the teacher's parameters, by "/"-joined path; HWIO."""
    frame = jax.ShapeDtypeStruct((1, SIDES, SIDES, 3), jnp.float32)
    tree = jax.eval_shape(LiteFlowNet().init, jax.random.key(0), frame, frame)
    flat = flax.traverse_util.flatten_dict(tree["params"], sep="/")
    return types.MappingProxyType({name: value.shape for name, value in flat.items()})


_LICENCE = (
    "Converted from a PyTorch checkpoint; this file stays under the licence of its "
    "source. The weights that LiteFlowNet's authors published are for research only."
)
_LAST_AXES = {4: (2, 3, 1, 0), 1: (0,)}  # OIHW -> HWIO; depthwise C1HW -> HW1C
_FEATURES = {"One": 1, "Two": 3, "Thr": 2, "Fou": 2, "Fiv": 1, "Six": 1}


def teacher_names() -> Names:
    """The rename table of all layers."""
    layers = {}
    for level, (word, count) in enumerate(_FEATURES.items(), 1):
        for k in range(count):
            name = f"moduleFeatures.module{word}.{2 * k}"
            layers[name] = f"features/conv_{level}_{k}"
    for place, level in enumerate(LEVELS):
        for word in ("Matching", "Subpixel"):
            name, path = f"module{word}.{place}", f"{word.lower()}_{level}"
            layers[f"{name}.moduleFeat.0"] = f"{path}/feature"
            for k, step in enumerate(("conv_0", "conv_1", "conv_2", "last")):
                layers[f"{name}.moduleMain.{2 * k}"] = f"{path}/head/{step}"
        name, path = f"moduleMatching.{place}", f"matching_{level}"
        layers[f"{name}.moduleUpflow"] = f"{path}/up_flow"
        layers[f"{name}.moduleUpcorr"] = f"{path}/up_scores"
        name, path = f"moduleRegularization.{place}", f"regularization_{level}"
        layers[f"{name}.moduleFeat.0"] = f"{path}/feature"
        for k in range(6):
            layers[f"{name}.moduleMain.{2 * k}"] = f"{path}/conv_{k}"
        for k in (0, 1):
            layers[f"{name}.moduleDist.{k}"] = f"{path}/distance_{k}"
        for axis in "xy":
            layers[f"{name}.moduleScale{axis.upper()}"] = f"{path}/scale_{axis}"
    ends = {"weight": "kernel", "bias": "bias"}
    table = {
        f"{name}.{theirs}": f"{path}/{ours}"
        for name, path in layers.items()
        for theirs, ours in ends.items()
    }
    shapes = teacher_shapes()  # not every level has every layer
    return {
        name: (path, _LAST_AXES[len(shapes[path])])
        for name, path in table.items()
        if path in shapes
    }


def teacher_params(tensors: dict[str, np.ndarray]) -> dict:
    """Renames and transposes a complete state dict into the teacher's parameters."""
    return renamed(tensors, teacher_names())


def teacher_findings(tensors: dict[str, np.ndarray]) -> list[str]:
    """Names each tensor of a state dict that LiteFlowNet lacks or has otherwise."""
    return name_findings(tensors, teacher_names(), teacher_shapes(), {})


def convert_teacher(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    about: dict[str, str] | None = None,
) -> Conversion:
    """Writes a PyTorch checkpoint of LiteFlowNet as a file of the flow teacher.

    Args:
        checkpoint: a state dict of the network.
        output: the `.safetensors` file to write.
        about: more to keep in the file's header, in place of what is kept otherwise.

    Returns:
        A `Conversion`: the file written and its number of parameters.

    Raises:
        WeightsError: if the checkpoint is not of that network, listing every missing,
            unexpected and mis-shaped tensor, or if nothing can be written.
    """
    tensors, sha256 = read_checkpoint(checkpoint)
    refuse(checkpoint, teacher_findings(tensors), f": it is no {NETWORK}")
    params, name = teacher_params(tensors), Path(checkpoint).name
    save_teacher(
        output,
        params,
        **{
            "description": f"{NETWORK}, converted from {name}",
            "licence": _LICENCE,
            "source": name,
            "source_sha256": sha256,
            **(about or {}),
        },
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Conversion(Path(output), NETWORK, parameters, sha256, dropped=())
