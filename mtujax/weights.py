"""Weights on disk: safetensors with the network's configuration inside, never a pickle.

A file holds the inference parameters as float32 tensors, named by their "/"-joined path
in the parameter tree, and one JSON text in its header: format number, `ModelConfig` and
provenance (description, licence, training, scores: whatever its writer knew). Bundled
weights are such files in `mtujax/assets`.
"""

import dataclasses
import difflib
import functools
import importlib.resources
import json
import os
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from mtujax.config import PRESETS, ModelConfig
from mtujax.findings import (
    UnknownWeightsError,
    WeightsError,
    finite_findings,
    refuse,
    shape_findings,
)
from mtujax.network import MTUNet, inference_params, init_params
from mtujax.outputs import whole_output

FORMAT = 1  # raised when files of this version could be misread by an older one
_HEADER = "mtujax"
_CHECKPOINTS = (".pytorch", ".pth", ".pt", ".ckpt")


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """What the header of a weights file tells.

    Attributes:
        name: file name without its suffix; of bundled weights, what `load` takes.
        path: where the file lies.
        config: the network they belong to.
        metadata: provenance as written by `save_weights`.
        parameters: number of parameters.
        size: bytes on disk.
    """

    name: str
    path: Path
    config: ModelConfig
    metadata: dict
    parameters: int
    size: int


def save_weights(
    path: str | os.PathLike, model_config: ModelConfig, params: dict, **provenance
) -> None:
    """Writes inference parameters and their configuration, all or nothing.

    Args:
        path: where to, ending in `.safetensors`; an existing file is replaced at once.
        model_config: the network they belong to.
        params: its parameters, any float dtype; layers only training reads are dropped.
        **provenance: JSON values kept in the header (`description`, `licence`, …).

    Raises:
        WeightsError: if parameters do not fit, are not finite, or nothing can be
            written; then an earlier file of that name is untouched.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path}: the name of a weights file ends in .safetensors")
    flat = flax.traverse_util.flatten_dict(inference_params(params), sep="/")
    tensors = {name: np.asarray(value, np.float32) for name, value in flat.items()}
    shapes = {name: value.shape for name, value in tensors.items()}
    findings = shape_findings(shapes, expected_shapes(model_config))
    refuse(path, findings or finite_findings(tensors))
    header = {
        "format": FORMAT,
        "config": dataclasses.asdict(model_config),
        "provenance": provenance,
    }
    try:
        metadata = {_HEADER: json.dumps(header, allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path}: provenance must be JSON values: {error}") from None
    _write_at_once(path, safetensors.numpy.save(tensors, metadata))


def load(
    name_or_path: str | os.PathLike, *, dtype: str | None = None
) -> tuple[MTUNet, dict]:
    """Makes a network with its weights.

    Args:
        name_or_path: a name from `bundled`, or the path of a `.safetensors` file.
        dtype: compute precision in place of the configured one, "float32", "bfloat16"
            or "float16".

    Returns:
        The model and its inference parameters, float32.

    Raises:
        UnknownWeightsError: if it is neither a bundled name nor a path.
        WeightsError: if the file is missing, damaged or not made by mtujax, or if its
            tensors do not fit its configuration (every one is listed).
    """
    path = _locate(name_or_path)
    config = describe(path).config
    if dtype is not None:
        try:
            config = dataclasses.replace(config, dtype=dtype)
        except ValueError as error:
            raise WeightsError(str(error)) from None
    with _opened(path) as file:
        parts = {name: file.get_slice(name) for name in file.keys()}
        shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
        findings = shape_findings(shapes, expected_shapes(config))
        for name, part in parts.items():
            if part.get_dtype() != "F32":
                findings.append(f"{name} is {part.get_dtype()}, expected F32")
        refuse(path, findings)
        tensors = {name: file.get_tensor(name) for name in parts}
    refuse(path, finite_findings(tensors))
    params = {name: jnp.asarray(value) for name, value in tensors.items()}
    return MTUNet(config), flax.traverse_util.unflatten_dict(params, sep="/")


def bundled() -> list[WeightsFile]:
    """Lists the weights that come with the package, sorted by name."""
    return [describe(path) for path in _bundled_paths().values()]


def describe(path: str | os.PathLike) -> WeightsFile:
    """Reads the header of a `.safetensors` file, not its tensors.

    Args:
        path: the file.

    Returns:
        Its configuration, provenance and size.

    Raises:
        WeightsError: if the file is missing, damaged or not made by mtujax.
    """
    path = Path(path)
    with _opened(path) as file:
        text = (file.metadata() or {}).get(_HEADER)
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]
    if text is None:
        raise WeightsError(
            f"{path}: no mtujax configuration in its header, so it was not written by "
            "mtujax; convert the original checkpoint with `mtujax convert`"
        )
    config, provenance = _parse_header(path, text)
    parameters = sum(int(np.prod(shape)) for shape in shapes)
    size = path.stat().st_size
    return WeightsFile(path.stem, path, config, provenance, parameters, size)


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of a network's inference parameters, by "/"-joined path; HWIO."""
    return dict(_shape_items(config))


def _parse_header(path, text):
    """Returns the configuration and provenance that a header's JSON text holds."""
    try:
        header = json.loads(text)
        number, fields = header["format"], dict(header["config"])
        provenance = dict(header["provenance"])
    except (ValueError, KeyError, TypeError):
        raise WeightsError(
            f"{path}: its mtujax header is damaged; write the file anew"
        ) from None
    defaults = dataclasses.asdict(ModelConfig())
    unknown = [f"field {name!r}" for name in fields if name not in defaults]
    if number != FORMAT:
        unknown = [f"format {number!r}"]
    if unknown:
        raise WeightsError(
            f"{path}: its configuration has unknown {', '.join(unknown)}, so a newer "
            "mtujax wrote it; upgrade with `pip install -U mtujax`"
        )
    try:
        for name, value in fields.items():
            kind = type(defaults[name])
            if type(value) is not (list if kind is tuple else kind):
                raise ValueError(f"{name}={value!r}: must be {kind.__name__}")
        return ModelConfig(**fields), provenance
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: its configuration has {error}") from None


@functools.lru_cache(maxsize=8)  # traces the network, a second for the largest
def _shape_items(config):
    model = MTUNet(config)
    tree = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    flat = flax.traverse_util.flatten_dict(inference_params(tree), sep="/")
    return tuple((name, value.shape) for name, value in flat.items())


def _opened(path):
    if not path.exists():
        raise WeightsError(f"{path}: no such file")
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder, not a .safetensors file")
    try:
        return safetensors.safe_open(path, framework="np")
    except safetensors.SafetensorError as error:
        raise WeightsError(
            f"{path}: damaged or not a safetensors file ({error}); get it anew"
        ) from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error})") from None


def _assets() -> Path:
    return Path(str(importlib.resources.files("mtujax") / "assets"))


def _bundled_paths():
    return {path.stem: path for path in sorted(_assets().glob("*.safetensors"))}


def _locate(name_or_path):
    """The path meant by a bundled name or a path."""
    path = Path(name_or_path)
    if path.suffix == ".safetensors":
        return path
    if path.suffix.lower() in _CHECKPOINTS:
        raise WeightsError(
            f"{path}: a PyTorch checkpoint; run `mtujax convert {path} "
            f"{path.with_suffix('.safetensors').name}` first and load the result"
        )
    paths, name = _bundled_paths(), str(name_or_path)
    if name in paths:
        return paths[name]
    if name in PRESETS:
        raise UnknownWeightsError(
            f"{name!r} is a network without bundled weights; bundled: "
            f"{', '.join(paths) or 'none'}; `mtujax convert` makes a .safetensors file "
            "of the authors' weights"
        )
    nearest = difflib.get_close_matches(name.lower(), paths, n=1)
    hint = f", did you mean {nearest[0]!r}" if nearest else ""
    known = ", ".join(paths) or "none"
    raise UnknownWeightsError(
        f"unknown weights {name!r}{hint}; bundled: {known}; or give the path of a "
        ".safetensors file"
    )


def _write_at_once(path, data):
    try:
        with whole_output(path, folder=False) as part:
            part.write_bytes(data)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror})") from None
