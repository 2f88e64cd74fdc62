"""Weights on disk: safetensors with the network's configuration inside, never a pickle.

A file holds the inference parameters as float32 tensors, named by their "/"-joined path
in the parameter tree, and one JSON text in its header: format number, `ModelConfig` and
provenance (description, license, training, scores: whatever its writer knew). Bundled
weights are such files in `mtujax/assets`.
"""

import dataclasses
import importlib.resources
import math
import os
from pathlib import Path

import flax.traverse_util
import jax
import platformdirs

from mtujax.common.dataclass_json import read_json
from mtujax.common.text import closest
from mtujax.config import PRESETS, ModelConfig
from mtujax.errors import UnknownWeightsError, UsageError, WeightsError
from mtujax.model.network import MTUNet, expected_shapes, inference_params
from mtujax.model.optimized_form import inference_form
from mtujax.weights.safetensors_io import (
    FORMAT,
    damaged_header,
    read_header,
    read_tensors,
    refuse_checkpoint,
    refuse_newer,
    write_tensors,
)

CACHE = "MTUJAX_CACHE"
"""Environment variable that names another folder for all that is fetched."""

TEACHER = "liteflownet"
"""Name of the flow teacher, which training reads."""


@dataclasses.dataclass(frozen=True)
class Released:
    """One of the authors' checkpoints; the last three are None for the flow teacher."""

    name: str  # under which it is fetched and used
    member: str  # name of its file in the authors' archive
    preset: str | None = None  # name of its network
    dataset: str | None = None  # that it was trained on, as "gopro"
    row: str | None = None  # key of its row in the paper's tables


def _released():
    networks = {"MTU1": "mtu1", "MTU2": "mtu2", "MTU4": "mtu4", "MTU10": "mtu10"}
    networks |= {"MTU10_L": "mtu10_l", "MTU2_amp": "mtu2"}
    for network, preset in networks.items():
        row = "mtu2_hp" if network == "MTU2_amp" else preset
        for data in ("GoPro", "DVD", "REDS"):
            name = f"{network}-{data}".lower()
            member = f"{network}_{data}.pytorch"
            yield Released(name, member, preset, data.lower(), row)
    yield Released(TEACHER, "liteFlowNet.pytorch")


RELEASED = {one.name: one for one in _released()}
"""All of them by name."""


def cache_folder() -> Path:
    """The folder for all that is fetched: `MTUJAX_CACHE`, or the user's own."""
    return Path(os.environ.get(CACHE) or platformdirs.user_cache_path("mtujax"))


def place_of(name: str) -> Path:
    """The weights file that a released name stands for, fetched or not."""
    return cache_folder() / "weights" / f"{name}.safetensors"


def is_fetched(name: str) -> bool:
    """Whether it is a released name whose weights are there."""
    return name in RELEASED and place_of(name).is_file()


def find_released(name: str) -> Path | None:
    """The file of a released name; None for other names."""
    # An UnknownWeightsError, with the command that brings it, if it is not fetched yet.
    if name not in RELEASED:
        return None
    if not is_fetched(name):
        raise UnknownWeightsError(
            f"{name!r} is not fetched yet; `mtujax fetch {name}` brings it from where "
            "its authors put it"
        )
    return place_of(name)


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """The header of a weights file.

    Examples:
        >>> describe("mine.safetensors").size > 1000
        True

    Attributes:
        name: file name without its suffix; of bundled weights, what `load` takes.
        path: path of the file.
        config: the network that the weights belong to.
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

    Examples:
        >>> save_weights("copy.safetensors", model.config, params, license="CC0-1.0")
        >>> describe("copy.safetensors").metadata
        {'license': 'CC0-1.0'}

    Args:
        path: file to write, ending in `.safetensors`; an existing one is replaced.
        model_config: the network that the parameters belong to.
        params: its parameters, any float dtype; layers only training reads are dropped.
        **provenance: JSON values kept in the header (`description`, `license`, …).

    Raises:
        WeightsError: if parameters do not fit, are not finite, or nothing can be
            written; an earlier file of that name is then untouched.
    """
    write_tensors(
        path,
        inference_params(params),
        expected_shapes(model_config),
        config=dataclasses.asdict(model_config),
        provenance=provenance,
    )


def load(
    name_or_path: str | os.PathLike,
    *,
    dtype: str | None = None,
    optimized: bool = False,
) -> tuple[MTUNet, dict]:
    """Loads a network with its weights.

    Examples:
        >>> model, params = load("fast")
        >>> model.config.lookahead
        2

    Args:
        name_or_path: a name from `bundled`, one that `mtujax fetch` has brought, or
            the path of a `.safetensors` file.
        dtype: compute precision in place of the configured one, "float32", "bfloat16"
            or "float16".
        optimized: change both to restore the same frames, up to rounding, with less
            work (`model.optimized_form.inference_form`); not for training.

    Returns:
        The model and its inference parameters: float32, or if optimized, in the
        precision that it computes in.

    Raises:
        UnknownWeightsError: if it is no such name and no path, or for an unknown dtype.
        WeightsError: if the file is missing, damaged or not made by mtujax, or if its
            tensors do not fit its configuration (every one is listed).
    """
    path = locate(name_or_path)
    config = describe(path).config
    if dtype is not None:
        try:
            config = dataclasses.replace(config, dtype=dtype)
        except ValueError as error:
            raise UnknownWeightsError(str(error)) from None
    tensors = read_tensors(path, expected_shapes(config))
    network = MTUNet(config), flax.traverse_util.unflatten_dict(tensors, sep="/")
    if not optimized:
        return network[0], jax.device_put(network[1])
    return inference_form(*network)


def bundled() -> list[WeightsFile]:
    """Lists the weights that come with the package, by name, with scores if known.

    Scores are in a file of their own: they are measured with the weights, and name them
    by their sha256.

    Examples:
        >>> [file.name for file in bundled()]
        ['fast', 'fast_live']
    """
    path = _assets() / "scores.json"
    scores = read_json(path) if path.is_file() else {}
    files = [describe(path) for path in _bundled_paths().values()]
    return [
        dataclasses.replace(file, metadata=file.metadata | scores.get(file.name, {}))
        for file in files
    ]


def describe(path: str | os.PathLike) -> WeightsFile:
    """Reads the header of a `.safetensors` file, not its tensors.

    Examples:
        >>> describe("mine.safetensors").config.num_units
        1

    Args:
        path: the file.

    Returns:
        Its configuration, provenance and size.

    Raises:
        WeightsError: if the file is missing, damaged or not made by mtujax.
    """
    path = Path(path)
    header, shapes = read_header(path)
    config = _config(path, header)
    _check_counts(path, config, len(shapes))
    parameters = sum(math.prod(shape) for shape in shapes.values())
    size = path.stat().st_size
    return WeightsFile(path.stem, path, config, header["provenance"], parameters, size)


def _config(path, header):
    """Reads the configuration from a header, or raises WeightsError."""
    if "teacher" in header:
        raise WeightsError(
            f"{path}: weights of a flow teacher ({header['teacher']}), not of a "
            "deblurring network; `mtujax data flow --teacher` takes them"
        )
    try:
        fields = dict(header["config"])
    except (ValueError, KeyError, TypeError):
        raise damaged_header(path) from None
    defaults = dataclasses.asdict(ModelConfig())
    unknown = [f"field {name!r}" for name in fields if name not in defaults]
    if header["format"] != FORMAT:
        unknown = [f"format {header['format']!r}"]
    refuse_newer(path, unknown)
    try:
        for name, value in fields.items():
            kind = type(defaults[name])
            if type(value) is not (list if kind is tuple else kind):
                raise ValueError(f"{name}={value!r}: must be {kind.__name__}")
        return ModelConfig(**fields)
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: its configuration has {error}") from None


def _check_counts(path, config, tensors):
    """Refuses a network of more layers than tensors, before they are traced."""
    if (layers := config.num_units * max(config.num_blocks, 1)) > tensors:
        raise WeightsError(
            f"{path}: damaged, its configuration has {layers} blocks, but it holds "
            f"{tensors} tensors; get it again"
        )


def _assets() -> Path:
    return Path(str(importlib.resources.files("mtujax") / "assets"))


def _bundled_paths():
    return {path.stem: path for path in sorted(_assets().glob("*.safetensors"))}


def is_run(weights: str | os.PathLike) -> bool:
    """Whether weights are a training run (a folder or URL); known names go first."""
    name = str(weights)
    if name in _bundled_paths() or is_fetched(name):
        return False
    return Path(name).is_dir() or "://" in name


def locate(name_or_path: str | os.PathLike) -> Path:
    """The path of bundled or fetched weights or of a file, which may be missing."""
    path = Path(name_or_path)
    paths, name = _bundled_paths(), str(name_or_path)
    if path.suffix == ".safetensors":
        if path.stem in paths and not path.exists():
            raise WeightsError(
                f"{path}: no such file; the bundled weights are called {path.stem!r}"
            )
        return path
    refuse_checkpoint(path)
    if name in paths:
        return paths[name]
    if found := find_released(name):
        return found
    if name in PRESETS:
        raise UnknownWeightsError(
            f"{name!r} is a network without bundled weights; bundled: "
            f"{', '.join(paths) or 'none'}; `mtujax fetch {name}-gopro` (or -dvd, "
            "-reds) brings the authors', `mtujax convert` takes a checkpoint of yours"
        )
    if name and path.is_dir():
        raise UnknownWeightsError(
            f"{name}: is a folder; of a training run, `mtujax export {name} "
            "FILE.safetensors` writes weights"
        )
    near = closest(name.lower(), [*paths, *RELEASED])
    hint = f", did you mean {near!r}" if near else ""
    known = ", ".join(paths) or "none"
    raise UnknownWeightsError(
        f"unknown weights {name!r}{hint}; bundled: {known}; `mtujax weights` lists "
        "what can be fetched; or give the path of a .safetensors file"
    )


def with_about(content: dict, about: dict) -> dict:
    """Adds a user's metadata to that of a step, of which it may replace nothing."""
    if taken := sorted(content.keys() & about.keys()):
        raise UsageError(
            f"about {taken[0]}: is what callers of the step read; name it otherwise"
        )
    return content | about
