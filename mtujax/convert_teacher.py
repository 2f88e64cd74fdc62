"""PyTorch checkpoints of LiteFlowNet into teacher files: one rename table, strict."""

import os
from pathlib import Path

import flax.traverse_util
import jax
import numpy as np

from mtujax.convert import Conversion
from mtujax.findings import refuse, shape_findings
from mtujax.teacher_layers import LEVELS
from mtujax.teacher_weights import NETWORK, save_teacher, teacher_shapes
from mtujax.torch_checkpoint import read_checkpoint

_LICENCE = (
    "Converted from a PyTorch checkpoint; this file stays under the licence of its "
    "source. The weights that LiteFlowNet's authors published are for research only."
)
_LAST_AXES = {4: (2, 3, 1, 0), 1: (0,)}  # OIHW -> HWIO; depthwise C1HW -> HW1C
_FEATURES = {"One": 1, "Two": 3, "Thr": 2, "Fou": 2, "Fiv": 1, "Six": 1}


def teacher_names() -> dict[str, str]:
    """The rename table {PyTorch name: "/"-joined parameter path}."""
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
    return {name: path for name, path in table.items() if path in shapes}


def teacher_params(tensors: dict[str, np.ndarray]) -> dict:
    """Renames and transposes a state dict into the teacher's parameters.

    Args:
        tensors: {PyTorch name without prefix: array}, complete.

    Returns:
        The parameters of `LiteFlowNet`.
    """
    flat = {}
    for name, path in teacher_names().items():
        axes = _LAST_AXES[tensors[name].ndim]
        flat[path] = np.ascontiguousarray(np.transpose(tensors[name], axes))
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def teacher_findings(tensors: dict[str, np.ndarray]) -> list[str]:
    """Names each tensor of a state dict that LiteFlowNet lacks or has otherwise."""
    found = {name: value.shape for name, value in tensors.items()}
    shapes, expected = teacher_shapes(), {}
    for name, path in teacher_names().items():
        axes = _LAST_AXES[len(shapes[path])]
        expected[name] = tuple(shapes[path][k] for k in np.argsort(axes))
    return shape_findings(found, expected)


def convert_teacher(
    checkpoint: str | os.PathLike, output: str | os.PathLike
) -> Conversion:
    """Writes a LiteFlowNet checkpoint as a teacher file.

    Args:
        checkpoint: a state dict with names as `moduleFeatures.moduleOne.0.bias`.
        output: the `.safetensors` file to write.

    Returns:
        What was done; its `preset` is the network's name.

    Raises:
        WeightsError: if the checkpoint is not one of LiteFlowNet, listing every
            missing, unexpected and mis-shaped tensor, or if nothing can be written.
    """
    tensors, sha256 = read_checkpoint(checkpoint)
    refuse(checkpoint, teacher_findings(tensors), f": it is no {NETWORK}")
    params, name = teacher_params(tensors), Path(checkpoint).name
    save_teacher(
        output,
        params,
        description=f"{NETWORK}, converted from {name}",
        licence=_LICENCE,
        source=name,
        source_sha256=sha256,
    )
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Conversion(Path(output), NETWORK, parameters, sha256, dropped=())
