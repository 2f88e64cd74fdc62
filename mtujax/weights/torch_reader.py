"""A PyTorch checkpoint as a state dict of floats, read without PyTorch."""

import os
from pathlib import Path

import numpy as np

from mtujax.common.files import WEB_PAGE, digest, is_web_page
from mtujax.errors import WeightsError
from mtujax.weights.safetensors_io import finite_findings, refuse
from mtujax.weights.torch_archive import read_content
from mtujax.weights.torch_pickle import DTYPES, ForeignError, Tensor, Unreadable

# Keys under which a state dict is stored next to an optimizer's state and epoch.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "params")
_MUCH = 1 << 28  # bytes of float32, which a small file may declare by strides of 0


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], str]:
    """Reads a state dict of finite floats, running no code, and its SHA-256.

    Values that the file has as float32 are mapped, and read-only.
    """
    content, data = _read(Path(path))
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
    found, findings = {}, []
    for name, value in content.items():
        problem = _problem(value)
        short = str(name).removeprefix("module.").removeprefix("Network.")
        if problem is None and short in found:
            problem = "is there twice, with and without prefix"
        if problem is not None:
            findings.append(f"{name} {problem}")
        else:
            found[short] = value
    refuse(path, findings)
    if 4 * sum(value.size for value in found.values()) > max(_MUCH, 4 * len(data)):
        raise WeightsError(f"{path}: declares more values than it holds; get it again")
    tensors = {n: v.array().astype(np.float32, copy=False) for n, v in found.items()}
    refuse(path, finite_findings(tensors))
    return tensors, digest(data)


def _problem(value):
    """Why a state dict's entry is no array of floats, or None."""
    if isinstance(value, Unreadable):
        return f"is {value.what}, expected plain values"
    if not isinstance(value, Tensor):
        return f"is a {type(value).__name__}, expected a tensor"
    if DTYPES[value.dtype].kind in "biuc":
        return f"is torch.{value.dtype}, expected floating point"
    return None


def _read(path):
    """The content of a checkpoint and its bytes; WeightsError if it has none."""
    try:
        if path.suffix == ".safetensors" and path.exists():
            raise WeightsError(
                f"{path}: no PyTorch checkpoint but safetensors; if mtujax wrote it, "
                "it needs no converting and loads as it is"
            )
        with open(path, "rb") as file:
            return read_content(file)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from None
    except ForeignError as error:
        raise WeightsError(
            f"{path}: refused, it holds objects or code ({error}), none of which was "
            "run; only a state dict of tensors is read"
        ) from None
    except Exception as error:  # whatever damaged bytes make the reader raise
        if is_web_page(path):
            raise WeightsError(
                f"{path}: {WEB_PAGE}, not a checkpoint; get the file again"
            ) from None
        # Our own say what is wrong.
        why = str(error) if type(error) is ValueError else type(error).__name__
        raise WeightsError(
            f"{path}: damaged or not a PyTorch checkpoint ({' '.join(why.split())}); "
            "get it again"
        ) from None
