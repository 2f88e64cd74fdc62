"""Converted weights against their checkpoint: the Flax networks next to PyTorch's.

Letters: T time, H W pixels.
"""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import torch

from mtujax.liteflownet.convert import teacher_findings
from mtujax.liteflownet.network import LiteFlowNet
from mtujax.liteflownet.weights import load_teacher
from mtujax.model.clip import clip_windows, window_at
from mtujax.model.network import initial_state
from mtujax.ops.resampling import padded_size
from mtujax.torch_port.liteflownet import TorchLiteFlowNet
from mtujax.torch_port.network import TorchMTUNet
from mtujax.weights.convert import checkpoint_findings, torch_names
from mtujax.weights.files import load
from mtujax.weights.safetensors_io import refuse
from mtujax.weights.torch_reader import read_checkpoint

_REACH = 2  # cells around another displacement that a frame changes by more than 1e-4


@dataclasses.dataclass(frozen=True)
class Differences:
    """How far the Flax network is from the PyTorch twin on a clip."""

    image: float  # largest absolute difference of a restored value, images in [0, 1]
    elsewhere: float  # the same, away from cells whose displacement differs or differed
    displacements: int  # grid cells whose displacement differs
    cells: int  # grid cells compared

    @property
    def agree(self) -> bool:
        """Whether nothing but rounding differs: images to 1e-4, but for near ties."""
        return self.displacements <= 0.01 * self.cells and self.elsewhere <= 1e-4

    def __str__(self) -> str:
        """Describes the differences."""
        return (
            f"images differ by {self.image:.1e} at most, {self.displacements} of "
            f"{self.cells} displacements differ"
        )


@dataclasses.dataclass(frozen=True)
class FlowDifferences:
    """How far the Flax teacher is from the PyTorch twin on a clip."""

    flow: float  # largest absolute difference of a flow component, in pixels
    span: float  # from the smallest to the largest component, in pixels

    @property
    def agree(self) -> bool:
        """Whether nothing but rounding differs: flows to 1e-4 of their span."""
        return self.flow <= 1e-4 * self.span

    def __str__(self) -> str:
        """Describes the difference."""
        return f"flow differs by {self.flow:.1e} pixels at most, of {self.span:.1f}"


def check(
    checkpoint: str | os.PathLike,
    weights: str | os.PathLike,
    *,
    frames: np.ndarray | None = None,
) -> Differences:
    """Compares weights with their checkpoint on frames [T, H, W, 3] in [0, 1]."""
    model, params = load(weights)
    tensors, _ = read_checkpoint(checkpoint)
    refuse(checkpoint, checkpoint_findings(tensors, model.config))
    names = torch_names(model.config)
    twin = TorchMTUNet(model.config)
    twin.load_state_dict({n: torch.from_numpy(tensors[n].copy()) for n in names})
    clip = _moving_texture() if frames is None else np.asarray(frames, np.float32)
    # The checkpoint runs under its own names: renaming, layouts and layers are tested.
    windows, index = clip_windows(model.config, jnp.asarray(clip)[None])
    step = jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs))
    size = (1, *clip.shape[1:3])
    state, twin_state = initial_state(model, *size), twin.initial_state(*size)
    cell = model.config.cell
    near = np.zeros((1, *(n // cell for n in padded_size(*size[1:], cell))), bool)
    steps = []
    for t in range(len(clip)):
        window = window_at(windows, index[:, t])
        # An accelerator may otherwise round products to ten bits.
        with jax.default_matmul_precision("highest"):
            state, ours = step(params, state, window)
        with torch.no_grad():
            twin_state, theirs = twin(twin_state, torch.from_numpy(np.array(window)))
        unequal = _unequal(ours, theirs)
        near = _spread(near | unequal) if unequal.size else near
        image = np.abs(ours["restored"] - theirs["restored"].numpy()).max(axis=-1)
        far = ~near.repeat(cell, axis=1).repeat(cell, axis=2)[:, : size[1], : size[2]]
        elsewhere = image.max(where=far, initial=0)
        steps.append((image.max(), elsewhere, unequal.sum(), unequal.size))
    images, elsewhere, displacements, cells = np.transpose(steps).tolist()
    return Differences(
        max(images), max(elsewhere), int(sum(displacements)), int(sum(cells))
    )


def check_teacher(
    checkpoint: str | os.PathLike, weights: str | os.PathLike
) -> FlowDifferences:
    """Compares the teacher with its checkpoint on frames of its own."""
    _, params = load_teacher(weights)
    tensors, _ = read_checkpoint(checkpoint)
    refuse(checkpoint, teacher_findings(tensors))
    twin = TorchLiteFlowNet()
    twin.load_state_dict({n: torch.from_numpy(v.copy()) for n, v in tensors.items()})
    clip = _moving_texture()
    pair = clip[1:], clip[:-1]
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(LiteFlowNet().apply)({"params": params}, *pair)
    theirs = twin(*(torch.from_numpy(f) for f in pair)).numpy()
    return FlowDifferences(float(np.abs(ours - theirs).max()), float(np.ptp(theirs)))


def _unequal(ours, theirs):
    """Where displacements differ, bool [1, h, w]; of no cell without displacements."""
    if "displacement" not in ours:
        return np.zeros((1, 0, 0), bool)
    unequal = np.asarray(ours["displacement"]) != theirs["displacement"].numpy()
    return unequal.any(axis=-1)


def _spread(near):
    """Adds the cells that an update of a frame carries a difference to; [1, h, w]."""
    near = torch.from_numpy(near.astype(np.float32))
    spread = torch.nn.functional.max_pool2d(near, 2 * _REACH + 1, 1, _REACH)
    return spread.numpy() > 0


def _moving_texture(time=4, side=96):
    """A smooth texture [T, H, W, 3] that moves right by 4 pixels a frame."""
    random = np.random.default_rng(0)
    waves = random.uniform(-0.6, 0.6, (2, 48))  # radians a pixel
    phase, colour = random.uniform(0, 6.28, 48), random.normal(0, 0.06, (48, 3))
    y, x = np.mgrid[:side, : side + 4 * time]
    texture = np.sin(waves[0] * y[..., None] + waves[1] * x[..., None] + phase) @ colour
    texture = np.clip(texture + 0.5, 0, 1).astype(np.float32)
    starts = range(4 * time, 0, -4)
    return np.stack([texture[:, start : start + side] for start in starts])
