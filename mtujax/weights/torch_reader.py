"""Reading a PyTorch checkpoint without running any code in it.

PyTorch (`mtujax[torch]`) is imported when needed, never at import time.
"""

import io
import os
import pickle
import re
import types
import warnings
from pathlib import Path

import numpy as np

from mtujax.common.files import digest
from mtujax.errors import WeightsError
from mtujax.weights.safetensors_io import finite_findings, refuse

# Keys under which a state dict is stored next to an optimizer's state and epoch.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "params")


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], str]:
    """Reads a state dict of finite floats, running no code, and its SHA-256."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    if Path(path).suffix == ".safetensors":
        raise WeightsError(
            f"{path}: no PyTorch checkpoint but safetensors; if mtujax wrote it, it "
            "needs no converting and loads as it is"
        )
    content = _unpickle(path, data)
    if not isinstance(content, dict) or not content:
        kind = type(content).__name__
        raise WeightsError(
            f"{path}: holds {'an empty' if content == {} else 'a'} {kind}, expected a "
            "state dict of tensors; save `model.state_dict()`"
        )
    for name in _WRAPPERS:
        if isinstance(content.get(name), dict):
            raise WeightsError(
                f"{path}: its tensors lie under {name!r}, next to what training kept; "
                f"save them alone: torch.save(torch.load(FILE)[{name!r}], NEW)"
            )
    tensors, findings = {}, []
    for name, value in content.items():
        problem = _problem(value)
        short = str(name).removeprefix("module.").removeprefix("Network.")
        if problem is None and short in tensors:
            problem = "is there twice, with and without prefix"
        if problem is not None:
            findings.append(f"{name} {problem}")
        else:
            tensors[short] = value.detach().float().numpy()
    refuse(path, findings or finite_findings(tensors))
    return tensors, digest(data)


def import_torch() -> types.ModuleType:
    """Imports PyTorch, or raises WeightsError that says how to install it."""
    try:
        import torch
    except ImportError:
        raise WeightsError(
            "PyTorch is not installed; reading its checkpoints needs "
            "`pip install 'mtujax[torch]'`"
        ) from None
    return torch


def _problem(value):
    """Why a state dict's entry is no array of floats, or None."""
    torch = import_torch()
    if not isinstance(value, torch.Tensor):
        return f"is a {type(value).__name__}, expected a tensor"
    if not value.is_floating_point():
        return f"is {value.dtype}, expected floating point"
    if value.layout != torch.strided or value.device.type != "cpu":
        return f"is a {value.layout} tensor on {value.device}, expected plain values"
    return None


def _unpickle(path, data):
    """Loads tensors and plain containers only, by `torch.load`; runs no code."""
    torch = import_torch()
    try:
        with warnings.catch_warnings():  # about pickle protocols it then refuses
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever damaged bytes make the reader raise
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and foreign:
            raise WeightsError(
                f"{path}: refused, it holds objects or code ({foreign[1]}), none of "
                "which was run; only a state dict of tensors is read"
            ) from None
        raise WeightsError(
            f"{path}: damaged or not a PyTorch checkpoint "
            f"({type(error).__name__}); get it again"
        ) from None
