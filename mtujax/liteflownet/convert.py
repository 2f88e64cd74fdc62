"""PyTorch checkpoints of LiteFlowNet to files of the flow teacher: one rename table."""

import os
from pathlib import Path

import numpy as np

from mtujax.liteflownet.network import LEVELS
from mtujax.liteflownet.weights import NETWORK, save_teacher, teacher_shapes
from mtujax.model.network import parameter_count
from mtujax.weights.convert import Conversion, Names, name_findings, provenance, renamed
from mtujax.weights.safetensors_io import refuse
from mtujax.weights.torch_reader import read_checkpoint

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
    params = teacher_params(tensors)
    kept = provenance(NETWORK, checkpoint, sha256, _LICENCE) | (about or {})
    save_teacher(output, params, **kept)
    count = parameter_count(params)
    return Conversion(Path(output), NETWORK, count, sha256, dropped=())
