"""The method evaluated: a network with its weights, or results made elsewhere."""

import dataclasses
import os
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from mtujax import training
from mtujax.common.dataclass_json import check_same, to_dict
from mtujax.common.files import digest, file_digest
from mtujax.config import ModelConfig
from mtujax.errors import UsageError
from mtujax.evaluation.results import Method
from mtujax.model.network import MTUNet, inference_params, parameter_count
from mtujax.weights.files import is_run, load, locate


@dataclasses.dataclass(frozen=True)
class Subject:
    """A method and what it takes to run it."""

    method: Method  # its description in results
    model: MTUNet | None  # the network; None for results made elsewhere
    params: dict  # its inference parameters; {} likewise


def open_subject(
    weights: str | os.PathLike | tuple[MTUNet, dict] | None = None,
    results: str | os.PathLike | None = None,
    *,
    config: ModelConfig | None = None,
    dtype: str | None = None,
    name: str | None = None,
) -> Subject:
    """Loads the method to evaluate.

    The sha256 is that of the weights' file; for a run, or for (model, params), it is
    that of the parameters as float32 bytes in the order of their names.

    Examples:
        >>> subject = open_subject("mine.safetensors", dtype="bfloat16")
        >>> subject.method.name, subject.model.config.dtype
        ('mine', 'bfloat16')

    Args:
        weights: a bundled name, a `.safetensors` file, a run directory, or
            (model, params); None with `results`.
        results: folder of restored frames; None with `weights`.
        config: the network that the weights must be of, and its precision; None takes
            any.
        dtype: compute precision; None takes that of `config`, or the network's own.
        name: of the method; None takes that of the weights or of `results`.

    Returns:
        The method with its network and inference parameters, if it has any.

    Raises:
        UsageError: if both or neither of weights and results are given.
        UserError: if weights do not load, or are of another network.
    """
    if (weights is None) == (results is None):
        raise UsageError("give either weights or results")
    if weights is None:
        if dtype is not None:
            raise UsageError(
                f"dtype {dtype}: results are not computed, it changes none"
            )
        return Subject(Method(name or Path(results).resolve().name), None, {})
    found = _network(weights)
    network = found.model.config
    if config is not None:
        _check_network(weights, network, config)
        dtype = dtype or config.dtype
    try:
        network = dataclasses.replace(network, dtype=dtype or network.dtype)
    except ValueError as error:
        raise UsageError(str(error)) from None
    about = {"name": name or found.method.name, "config": network}
    method = dataclasses.replace(found.method, **about)
    return Subject(method, MTUNet(network), found.params)


def _network(weights):
    if isinstance(weights, tuple):
        return _subject("network", *weights)
    if is_run(weights):
        config, found = training.read_run(str(weights))
        last = str(weights).rstrip("/").rsplit("/", 1)[-1]
        # In float32, as exported weights are, whatever the precision of the training.
        model = MTUNet(dataclasses.replace(config.model, dtype="float32"))
        return _subject(last, model, found.state.ema)
    return open_file(weights)


def open_file(weights: str | os.PathLike) -> Subject:
    """Loads weights that are one file, whose sha256 identifies them."""
    model, params = load(weights)
    path = locate(weights)
    return _subject(path.stem, model, params, file_digest(path))


def _check_network(weights, found, wanted):
    """Refuses weights of another network; the precision may differ."""
    there = dataclasses.replace(found, dtype=wanted.dtype)
    name = "" if isinstance(weights, tuple) else f" {weights}"
    what = f"weights{name}: of another network than the configuration's"
    check_same(to_dict(there), to_dict(wanted), what)


def _subject(name, model, params, sha256=None):
    params = inference_params(params)
    count = parameter_count(params)
    method = Method(name, sha256 or _digest(params), count, model.config)
    return Subject(method, model, params)


def _digest(params):
    flat = flatten_dict(jax.tree.map(np.asarray, params), sep="/")
    parts = [flat[key].astype(np.float32).tobytes() for key in sorted(flat)]
    return digest(b"".join(parts))
