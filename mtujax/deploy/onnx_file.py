"""The one-frame step as an ONNX file, with its weights and how to call it inside.

It runs wherever an ONNX runtime does, for one video. Imported late: needs onnx.
Letters: H W pixels, p side of a patch, h w motion grid (H / 4p, W / 4p), K frames of
the window.
"""

import importlib.metadata
import os
from pathlib import Path

import jax
import numpy as np
import onnx

from mtujax.common.files import (
    check_free,
    check_place,
    unwritable_named,
    whole_output,
)
from mtujax.config import MOTION_STRIDE, ModelConfig
from mtujax.deploy.onnx_graph import Graph
from mtujax.deploy.onnx_network import Step
from mtujax.deploy.stablehlo import least_cells, with_about
from mtujax.errors import UsageError, UserError
from mtujax.model.inference import inference_form
from mtujax.model.network import MTUNet

LEAST_OPSET = 18
"""From which all operators of a step are there, in the form that is written."""

_DTYPES = ("float32", "float16")
_NOTES = (
    "Feed each `next_X` as `state_X` of the next frame; before a video's first frame "
    "all are zeros, but `state_is_first` is true. `window` holds the blurry frames in "
    "RGB, oldest first; past the ends of a video the outermost one is repeated. Frames "
    "whose sides are no multiples of `multiple`, or less than `least`, are extended "
    "below and to the right by reflection, and cut back."
)


def write_onnx(
    model: MTUNet,
    params: dict,
    output: str | os.PathLike,
    *,
    size: tuple[int, int] | None = None,
    opset: int = LEAST_OPSET,
    about: dict[str, str] | None = None,
    overwrite: bool = False,
) -> onnx.ModelProto:
    """Writes the inference form's step to a file, or nothing; returns what it holds."""
    # `size` is the (width, height) of all frames, None leaves both open; `about` is
    # kept in the file.
    output = Path(output)
    check_place(output, folder=False)
    check_free(output, folder=False, overwrite=overwrite)
    step = make_onnx(model, params, size=size, opset=opset, about=about)
    onnx.checker.check_model(step, full_check=True)
    with unwritable_named(output):
        with whole_output(output, folder=False, overwrite=overwrite) as part:
            part.write_bytes(step.SerializeToString())
    return step


def make_onnx(
    model: MTUNet,
    params: dict,
    *,
    size: tuple[int, int] | None = None,
    opset: int = LEAST_OPSET,
    about: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """The model that `write_onnx` writes."""
    _check(model.config, size, opset)
    _check_range(params, model.config.dtype)
    model, params = inference_form(model, params, multiple=1)
    config = model.config
    params = jax.tree.map(np.asarray, params)
    graph, cell = Graph(), config.cell
    names = ["h", "w"] if size is None else [n // cell for n in size[::-1]]
    full = [_times(n, cell) for n in names]
    window = [config.window, *full, 3]
    shapes = _state(config, names)
    graph.input("window", np.uint8, window)
    for name, (dtype, shape) in shapes.items():
        graph.input(f"state_{name}", dtype, shape)
    grid = names
    if size is None:
        whole = graph.Shape("window")
        grid = [graph.Div(graph.Slice(whole, [k], [k + 1]), [cell]) for k in (1, 2)]
    state = {name: f"state_{name}" for name in shapes}
    done = Step(graph, config, params, tuple(grid))(state, "window")
    graph.output("restored", done["image"], np.uint8, [*full, 3])
    if "displacement" in done:
        graph.output("displacement", done["displacement"], np.int32, [*names, 2])
    for name, (dtype, shape) in shapes.items():
        graph.output(f"next_{name}", done[name], dtype, shape)
    metadata = {
        "format": "1",
        "lookback": str(config.lookback),
        "lookahead": str(config.lookahead),
        "patch": str(config.patch),
        "multiple": str(cell),
        "least": str(cell * least_cells(config)),
        "dtype": config.dtype,
        "notes": _NOTES,
        "mtujax": importlib.metadata.version("mtujax"),
    }
    return graph.model("step", opset, with_about(metadata, about or {}))


def _check(config: ModelConfig, size, opset):
    if config.dtype not in _DTYPES:
        raise UsageError(
            f"dtype {config.dtype}: an ONNX step computes in {' or '.join(_DTYPES)}"
        )
    most = onnx.defs.onnx_opset_version()
    if not LEAST_OPSET <= opset <= most:
        raise UsageError(
            f"opset {opset}: must be {LEAST_OPSET} to {most}; earlier ones lack "
            f"operators of the step, later ones onnx {onnx.__version__} does not know"
        )
    cell = config.cell
    least = cell * least_cells(config)
    if size and any(n % cell or n < least for n in size):
        width, height = (max(-(-n // cell) * cell, least) for n in size)
        raise UsageError(
            f"size {size[0]}x{size[1]}: this network takes multiples of {cell}, at "
            f"least {least}; take {width}x{height} and extend frames by reflection"
        )


def _check_range(params, dtype):
    most = np.finfo(dtype).max
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        if np.abs(np.asarray(value)).max(initial=0) > most:
            name = "/".join(str(key.key) for key in path)
            raise UserError(f"{name}: has values beyond {dtype}; export float32")


def _times(size, factor):
    """A known or open dimension times a factor."""
    return size * factor if isinstance(size, int) or factor == 1 else f"{factor}*{size}"


def _state(config, grid):
    """Dtype and shape of each array of the state."""
    places = [_times(n, MOTION_STRIDE) for n in grid]
    channels = config.channels * (2 if config.motion_layer else 1)
    motion = np.dtype(config.dtype), [1, channels, *grid]
    return {f"motion_{n}": motion for n in range(len(config.matching_units))} | {
        "detail": (np.dtype(config.dtype), [1, config.channels, *places]),
        "restored": (np.float32, [1, 3, *(_times(n, config.cell) for n in grid)]),
        "is_first": (np.bool_, [1]),
    }
