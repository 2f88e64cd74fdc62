"""The authors' PyTorch checkpoints into weights files: one rename table, strict.

A `.pytorch` file is a state dict whose names may carry `module.Network.`; the tensors
`deblur_layer.*` are read by training only and dropped. It is read without running any
code that it may hold. PyTorch (`mtujax[torch]`) is imported when needed. Letters: B
batch, T time, K window, H W pixels.
"""

import dataclasses
import os
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mtujax.config import PRESETS, ModelConfig
from mtujax.network import initial_state
from mtujax.recurrent import clip_windows, window_at
from mtujax.torch_checkpoint import import_torch, read_checkpoint
from mtujax.weights import (
    UnknownWeightsError,
    expected_shapes,
    load,
    refuse,
    save_weights,
    shape_findings,
)

LICENCE = (
    "Converted from a PyTorch checkpoint; this file stays under the licence of its "
    "source. The weights that the authors released come with their code, AGPL-3.0."
)
_CONVOLUTION = (2, 3, 1, 0)  # OIHW -> HWIO
_TRANSPOSED = (2, 3, 0, 1)  # IOHW -> HWIO
_BIAS = (0,)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What `convert` did.

    Attributes:
        output: the file it wrote.
        preset: name of the network.
        parameters: number of parameters.
        sha256: hexadecimal digest of the checkpoint.
        dropped: names of the training-only tensors left out.
    """

    output: Path
    preset: str
    parameters: int
    sha256: str
    dropped: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Differences:
    """How far the Flax network is from the PyTorch twin on a clip.

    Attributes:
        image: largest absolute difference of a restored value, images in [0, 1].
        displacements: grid cells whose displacement differs.
        cells: grid cells compared.
    """

    image: float
    displacements: int
    cells: int


def torch_names(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The rename table, in the order of the forward pass; inference parameters only.

    Returns:
        {PyTorch name: ("/"-joined parameter path, axes)}, where
        `numpy.transpose(tensor, axes)` turns the PyTorch layout into the one here.
    """
    layers = {"base_conv.0": "structure", "inp_prev_conv.0": "temporal"}
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
    return table


def to_params(tensors: dict[str, np.ndarray], config: ModelConfig) -> dict:
    """Renames and transposes a state dict into a parameter tree.

    Args:
        tensors: {PyTorch name without prefix: array}, complete.
        config: the network.

    Returns:
        The inference parameters; training-only tensors are left out.
    """
    flat = {
        path: np.ascontiguousarray(np.transpose(tensors[name], axes))
        for name, (path, axes) in torch_names(config).items()
    }
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def from_params(params: dict, config: ModelConfig) -> dict[str, np.ndarray]:
    """The inverse of `to_params`: a state dict without prefix, for the PyTorch twin.

    Returns:
        {PyTorch name: array in PyTorch's layout}.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return {
        name: np.ascontiguousarray(np.transpose(flat[path], np.argsort(axes)))
        for name, (path, axes) in torch_names(config).items()
    }


def find_preset(tensors: dict[str, np.ndarray]) -> str | None:
    """Finds the preset that has a state dict's names and shapes; None if none has."""
    nearest = _nearest_preset(tensors)
    return None if checkpoint_findings(tensors, PRESETS[nearest]) else nearest


def checkpoint_findings(
    tensors: dict[str, np.ndarray], config: ModelConfig
) -> list[str]:
    """Names each tensor of a state dict that a network lacks or has otherwise."""
    found = {name: value.shape for name, value in tensors.items()}
    shapes = expected_shapes(config)
    expected = {
        name: tuple(shapes[path][k] for k in np.argsort(axes))
        for name, (path, axes) in torch_names(config).items()
    }
    for name, shape in _training_shapes(config).items():
        if name in found:  # allowed, not required
            expected[name] = shape
    return shape_findings(found, expected)


def convert(
    checkpoint: str | os.PathLike,
    output: str | os.PathLike,
    *,
    preset: str | None = None,
) -> Conversion:
    """Writes a PyTorch checkpoint as a weights file.

    Args:
        checkpoint: the `.pytorch` file.
        output: the `.safetensors` file to write.
        preset: name in `PRESETS`; None finds it.

    Returns:
        What was done.

    Raises:
        UnknownWeightsError: if `preset` is no preset.
        WeightsError: if the checkpoint is not one of that network, listing every
            missing, unexpected and mis-shaped tensor, or if nothing can be written.
    """
    if preset is not None and preset not in PRESETS:
        raise UnknownWeightsError(
            f"unknown preset {preset!r}; one of {', '.join(PRESETS)}"
        )
    tensors, sha256 = read_checkpoint(checkpoint)
    preset = _fitting_preset(checkpoint, tensors, preset)
    config = PRESETS[preset]
    params = to_params(tensors, config)
    save_weights(
        output,
        config,
        params,
        description=f"{preset}, converted from {Path(checkpoint).name}",
        licence=LICENCE,
        source=Path(checkpoint).name,
        source_sha256=sha256,
    )
    return Conversion(
        output=Path(output),
        preset=preset,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        sha256=sha256,
        dropped=tuple(name for name in tensors if name in _training_shapes(config)),
    )


def check(
    checkpoint: str | os.PathLike,
    weights: str | os.PathLike,
    *,
    frames: np.ndarray | None = None,
) -> Differences:
    """Compares a weights file with its checkpoint on a short clip.

    The checkpoint runs in the PyTorch twin, under its own names, and the file in the
    Flax network, so renaming, layouts and layers are all tested.

    Args:
        checkpoint: the `.pytorch` file.
        weights: the `.safetensors` file made of it.
        frames: [T, H, W, 3] blurry frames, float in [0, 1]; None draws a texture.

    Returns:
        The largest differences. Rounding leaves images within 1e-4; where two scores
        nearly tie a displacement may differ, and single pixels with it.

    Raises:
        WeightsError: if either file cannot be read or they do not belong together.
    """
    torch = import_torch()
    from mtujax.torch_twin import TorchMTUNet

    model, params = load(weights)
    tensors, _ = read_checkpoint(checkpoint)
    refuse(checkpoint, checkpoint_findings(tensors, model.config))
    names = torch_names(model.config)
    twin = TorchMTUNet(model.config)
    twin.load_state_dict({name: torch.from_numpy(tensors[name]) for name in names})
    clip = _moving_texture() if frames is None else np.asarray(frames, np.float32)
    windows, index = clip_windows(model.config, jnp.asarray(clip)[None])
    step = jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs))
    size = (1, *clip.shape[1:3])
    state, twin_state = initial_state(model, *size), twin.initial_state(*size)
    steps = []
    for t in range(len(clip)):
        window = window_at(windows, index[:, t])
        state, ours = step(params, state, window)
        with torch.no_grad():
            twin_state, theirs = twin(twin_state, torch.from_numpy(np.array(window)))
        steps.append(_step_differences(ours, theirs))
    images, displacements, cells = zip(*steps, strict=True)
    return Differences(max(images), sum(displacements), sum(cells))


def _step_differences(ours, theirs):
    image = np.abs(ours["restored"] - theirs["restored"].numpy()).max()
    if "displacement" not in ours:
        return float(image), 0, 0
    unequal = np.asarray(ours["displacement"]) != theirs["displacement"].numpy()
    unequal = unequal.any(axis=-1)
    return float(image), int(unequal.sum()), unequal.size


def _moving_texture(time=4, side=96, step=4):
    """A smooth texture [T, H, W, 3] that moves right by `step` pixels a frame."""
    random = np.random.default_rng(0)
    waves = random.uniform(-0.6, 0.6, (2, 48))  # radians a pixel
    phase, colour = random.uniform(0, 6.28, 48), random.normal(0, 0.06, (48, 3))
    y, x = np.mgrid[:side, : side + time * step]
    texture = np.sin(waves[0] * y[..., None] + waves[1] * x[..., None] + phase) @ colour
    texture = np.clip(texture + 0.5, 0, 1).astype(np.float32)
    starts = [(time - t) * step for t in range(time)]
    return np.stack([texture[:, start : start + side] for start in starts])


def _fitting_preset(checkpoint, tensors, preset):
    """The preset's name, checked or found; raises with every finding otherwise."""
    fitting = find_preset(tensors)
    if fitting is not None and preset in (None, fitting):
        return fitting
    nearest = preset or _nearest_preset(tensors)
    advice = f": it is no {preset or 'released network, the nearest is ' + nearest}"
    if fitting is not None:
        advice += f" but a {fitting}; use preset {fitting!r}"
    refuse(checkpoint, checkpoint_findings(tensors, PRESETS[nearest]), advice)


def _nearest_preset(tensors):
    """The preset whose names differ least; no two presets share all their names."""
    found = {name for name in tensors if not name.startswith("deblur_layer.")}
    return min(PRESETS, key=lambda name: len(found ^ torch_names(PRESETS[name]).keys()))


def _training_shapes(config):
    """Shapes of the deblur layers that only training reads."""
    shapes = {}
    for i in range(config.num_units - 1):
        shapes[f"deblur_layer.{i}.weight"] = (3, 2 * config.channels, 3, 3)
        shapes[f"deblur_layer.{i}.bias"] = (3,)
    return shapes
