"""The authors' PyTorch checkpoints to weights files: one rename table, strict.

A `.pytorch` file is a state dict whose names may carry `module.Network.`; the tensors
`deblur_layer.*` are read by training only and dropped. It is read without PyTorch and
without running any code in it.
"""

import dataclasses
import os
from pathlib import Path

import flax.traverse_util
import numpy as np

from mtujax.config import PRESETS, PUBLISHED, ModelConfig
from mtujax.errors import UnknownWeightsError, WeightsError
from mtujax.model.network import expected_shapes, parameter_count
from mtujax.weights.files import save_weights
from mtujax.weights.safetensors_io import Shapes, refuse, shape_findings
from mtujax.weights.torch_reader import read_checkpoint

LICENCE = (
    "Converted from a PyTorch checkpoint; this file stays under the licence of its "
    "source. The weights that the authors released come with their code, AGPL-3.0."
)
_CONVOLUTION = (2, 3, 1, 0)  # OIHW -> HWIO
_TRANSPOSED = (2, 3, 0, 1)  # IOHW -> HWIO
_BIAS = (0,)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The result of a conversion."""

    output: Path
    preset: str  # name of the network
    parameters: int  # their number
    sha256: str  # hexadecimal digest of the checkpoint
    dropped: tuple[str, ...]  # names of the training-only tensors left out


Names = dict[str, tuple[str, tuple[int, ...]]]
"""{PyTorch name: ("/"-joined path, axes that `numpy.transpose` brings into order)}."""


def renamed(tensors: dict[str, np.ndarray], names: Names) -> dict:
    """Renames and transposes a complete state dict into a tree of parameters."""
    flat = {
        path: np.ascontiguousarray(np.transpose(tensors[name], axes))
        for name, (path, axes) in names.items()
    }
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def name_findings(
    tensors: dict[str, np.ndarray], names: Names, shapes: Shapes, also: Shapes
) -> list[str]:
    """Names each tensor that parameters lack or have otherwise; `also` may be there."""
    found = {name: value.shape for name, value in tensors.items()}
    expected = {
        name: tuple(shapes[path][k] for k in np.argsort(axes))
        for name, (path, axes) in names.items()
    }
    allowed = {name: shape for name, shape in also.items() if name in found}
    return shape_findings(found, expected | allowed)


def torch_names(config: ModelConfig) -> Names:
    """The rename table, in the order of the forward pass; inference parameters only."""
    layers = {"base_conv.0": "structure", "inp_prev_conv.0": "temporal"}
    if config.motion_samples:
        layers["inp_steered"] = "steered"
    for i in range(config.num_units):
        network, unit = f"HGs.{i}", f"unit_{i}"
        for k in (1, 2, 3):
            layers[f"{network}.enc{k}.0"] = f"{unit}/detail/encode_{k}"
        for k in range(config.num_blocks):
            layers[f"{network}.RBs.{k}.0"] = f"{unit}/detail/block_{k}/conv_0"
            layers[f"{network}.RBs.{k}.2"] = f"{unit}/detail/block_{k}/conv_1"
        layers[f"{network}.RB_end.0"] = f"{unit}/detail/block_end"
        for k in (1, 2):
            layers[f"{network}.dec{k}.0"] = f"{unit}/detail/decode_{k}"
        if config.motion_layer and i in config.matching_units:
            place = config.matching_units.index(i)
            layers[f"motion_layer.{place}.0"] = f"{unit}/motion/layer"
    layers["out"] = f"unit_{config.num_units - 1}/deblur/layer"
    table = {}
    for name, path in layers.items():
        transposed = "/decode_" in path
        path = path if transposed else f"{path}/conv"
        axes = _TRANSPOSED if transposed else _CONVOLUTION
        table[f"{name}.weight"] = (f"{path}/kernel", axes)
        table[f"{name}.bias"] = (f"{path}/bias", _BIAS)
    if config.exposure_spectrum:
        path = f"unit_{config.num_units - 1}/deblur/exposure"
        table["out_exposure.weight"] = (path, (1, 0))
    return table


def to_params(tensors: dict[str, np.ndarray], config: ModelConfig) -> dict:
    """Renames and transposes a complete state dict into inference parameters."""
    return renamed(tensors, torch_names(config))


def from_params(params: dict, config: ModelConfig) -> dict[str, np.ndarray]:
    """The inverse of `to_params`: a state dict without prefix, for the PyTorch twin."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return {
        name: np.ascontiguousarray(np.transpose(flat[path], np.argsort(axes)))
        for name, (path, axes) in torch_names(config).items()
    }


def find_preset(tensors: dict[str, np.ndarray]) -> str | None:
    """Finds the preset with the names and shapes of a state dict, or None."""
    nearest = _nearest_preset(tensors)
    return None if checkpoint_findings(tensors, PRESETS[nearest]) else nearest


def checkpoint_findings(
    tensors: dict[str, np.ndarray], config: ModelConfig
) -> list[str]:
    """Names each tensor of a state dict that a network lacks or has otherwise."""
    shapes, also = expected_shapes(config), _training_shapes(config)
    return name_findings(tensors, torch_names(config), shapes, also)


def convert_checkpoint(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    preset: str | None = None,
    about: dict[str, str] | None = None,
) -> Conversion:
    """Writes a PyTorch checkpoint as a weights file.

    Args:
        checkpoint: the `.pytorch` file.
        output: the `.safetensors` file to write.
        preset: name in `PRESETS`, of a published network; None finds it.
        about: more to keep in the file's header, in place of what is kept otherwise.

    Returns:
        A `Conversion`: the file written, its network, and the tensors dropped.

    Raises:
        UnknownWeightsError: if `preset` is no preset, or not of a published network.
        WeightsError: if the checkpoint is not of that network, listing every missing,
            unexpected and mis-shaped tensor, or if nothing can be written.
    """
    if preset is not None and preset not in PRESETS:
        raise UnknownWeightsError(
            f"unknown preset {preset!r}; one of {', '.join(PRESETS)}"
        )
    if preset is not None and preset not in PUBLISHED:
        own = ", ".join(f"{n}={v!r}" for n, v in _own_form(PRESETS[preset]).items())
        raise UnknownWeightsError(
            f"preset {preset!r}: a form of our own ({own}), of which no PyTorch "
            f"checkpoint is; one of {', '.join(PUBLISHED)}"
        )
    tensors, sha256 = read_checkpoint(checkpoint)
    preset = _fitting_preset(checkpoint, tensors, preset)
    config = PRESETS[preset]
    params = to_params(tensors, config)
    kept = provenance(preset, checkpoint, sha256, LICENCE) | (about or {})
    save_weights(output, config, params, **kept)
    return Conversion(
        output=Path(output),
        preset=preset,
        parameters=parameter_count(params),
        sha256=sha256,
        dropped=tuple(name for name in tensors if name in _training_shapes(config)),
    )


def provenance(
    network: str, checkpoint: str | os.PathLike, sha256: str, licence: str
) -> dict[str, str]:
    """What the header of converted weights says of their checkpoint."""
    source = Path(checkpoint).name
    return {
        "description": f"{network}, converted from {source}",
        "license": licence,
        "source": source,
        "source_sha256": sha256,
    }


def _fitting_preset(checkpoint, tensors, preset):
    """The preset's name, checked or found; raises with every finding otherwise."""
    fitting = find_preset(tensors)
    if fitting is not None and preset in (None, fitting):
        return fitting
    if "moduleFeatures.moduleOne.0.weight" in tensors:
        raise WeightsError(
            f"{checkpoint}: LiteFlowNet, the flow teacher; add --teacher"
        )
    nearest = preset or _nearest_preset(tensors)
    advice = f": it is no {preset or 'released network, the nearest is ' + nearest}"
    if fitting is not None:
        advice += f" but a {fitting}; use preset {fitting!r}"
    refuse(checkpoint, checkpoint_findings(tensors, PRESETS[nearest]), advice)


def _nearest_preset(tensors):
    """The preset whose names differ least; no two presets share all their names."""
    found = {name for name in tensors if not name.startswith("deblur_layer.")}
    names = {name: torch_names(config) for name, config in PUBLISHED.items()}
    return min(names, key=lambda name: len(found ^ names[name].keys()))


def _own_form(config):
    """The settings in which a network differs from all published ones."""
    names = (
        "patch activation first_kernel motion_samples exposure_spectrum blend_previous"
    )
    given = {name: getattr(config, name) for name in names.split()}
    return {n: v for n, v in given.items() if v != getattr(ModelConfig, n)}


def _training_shapes(config):
    """Shapes of the deblur layers that only training reads."""
    shapes = {}
    for i in range(config.num_units - 1):
        shapes[f"deblur_layer.{i}.weight"] = (3, 2 * config.channels, 3, 3)
        shapes[f"deblur_layer.{i}.bias"] = (3,)
    return shapes
