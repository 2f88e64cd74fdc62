"""The weights, or the whole state, that a new run starts from."""

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mtujax.archive import read_extra, unpack
from mtujax.errors import UserError
from mtujax.export import read_run, state_like
from mtujax.findings import shape_findings
from mtujax.mappings import differing_fields, to_dict
from mtujax.network import MTUNet, inference_params, init_params
from mtujax.settings import RunConfig, config_of, fixed_fields, state_fields
from mtujax.training import TrainState
from mtujax.weights import expected_shapes, is_run, load


def first_params(
    model: MTUNet, *, seed: int = 0, spread: bool = False, init_from: str | None = None
) -> dict:
    """Draws weights, or takes those of another training.

    Args:
        model: the network.
        seed: of the draw.
        spread: rescale what is drawn, as `spread_params`.
        init_from: a bundled name, a `.safetensors` file or a run's folder. What only
            training reads is not in the former two, and drawn.

    Returns:
        Parameters with the layers that only training reads.

    Raises:
        UserError: if they are not of this network; names the fields that differ.
    """
    params = init_params(model, jax.random.key(seed))
    if spread:
        params = spread_params(params, motion_samples=model.config.motion_samples)
    if init_from is None:
        return params
    if is_run(init_from):
        config, found = read_run(init_from)
        network, given = config.model, found.state.ema
    else:
        loaded, given = load(init_from)
        network = loaded.config
    flat = flatten_dict(inference_params(given), sep="/")
    shapes = {name: value.shape for name, value in flat.items()}
    findings = shape_findings(shapes, expected_shapes(model.config))
    # Of the same shapes, but they have learnt to be read otherwise.
    if findings or network.activation != model.config.activation:
        fields = differing_fields(to_dict(network), to_dict(model.config))
        raise UserError(
            f"init_from {init_from}: not weights of this network: "
            f"{'; '.join(fields) or findings[0]}"
        )
    given = flatten_dict(jax.tree.map(jnp.asarray, given), sep="/")
    return unflatten_dict(flatten_dict(params, sep="/") | given, sep="/")


def spread_params(params: dict, *, motion_samples: int = 0) -> dict:
    """Rescales drawn weights, so that a few thousand updates are enough to learn.

    The published 0.03, which a million updates outlive, makes features fade from layer
    to layer and leaves them to the picture's brightness, though blur is in its detail.
    Here kernels see differences only (their mean is 0), features keep their size, and
    the layers that give images or end a residual block start small.

    Args:
        params: from `init_params`.
        motion_samples: of the network. The filters that weight them start at 0: the
            first frames would cost more than they gain.

    Returns:
        A tree like it.
    """
    colours = np.arange(3 + 2 * motion_samples) < 3

    def rescale(path, kernel):
        names = [part.key for part in path]
        if names[-1] != "kernel":
            return kernel
        if "deblur" in names:
            outputs = np.tile(colours, kernel.shape[-1] // len(colours))
            return 0.02 * kernel * outputs.reshape(1, 1, 1, -1)
        first = names[0] in ("structure", "temporal")
        kernel = kernel - kernel.mean((0, 1) if first else (0, 1, 2), keepdims=True)
        # Each output of a transposed convolution sums 4 of its 16 taps.
        taps = 4 if names[-2].startswith("decode") else kernel.shape[0] ** 2
        gain = np.sqrt(2.0 / (taps * kernel.shape[2])) / 0.03
        return kernel * gain * (10.0 if first else 0.3 if "conv_1" in names else 1.0)

    return jax.tree_util.tree_map_with_path(rescale, params)


def state_of_another(config: RunConfig) -> tuple[TrainState, int, list[str]]:
    """Takes the exported state of another run, if its structure agrees.

    Args:
        config: of the run that begins; its `go_on_from` names the state.

    Returns:
        The state, how many batches it has seen, and notes on what is otherwise now.

    Raises:
        UserError: if it is of another network or scheme, or cannot be read.
    """
    given = config.go_on_from
    old = config_of(read_extra(given)["config"], given)
    differing = differing_fields(state_fields(old), state_fields(config))
    if differing:
        raise UserError(f"{given}: is of another configuration: {'; '.join(differing)}")
    state, extra = unpack(given, state_like(config))
    changed = differing_fields(fixed_fields(old), fixed_fields(config))
    return state, extra["batches"], [f"going on from {given}", *changed]
