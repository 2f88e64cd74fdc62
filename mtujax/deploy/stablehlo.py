"""The one-frame step as a program of its own: StableHLO with its weights inside.

It runs wherever JAX does, without this package, on frames of any size that is a
multiple of the motion grid's cell. Letters: B videos, s side of a cell in pixels, h w
motion grid.
"""

import importlib.metadata
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp

from mtujax.common.files import (
    check_free,
    check_only,
    check_place,
    unwritable_named,
    whole_output,
)
from mtujax.config import ModelConfig
from mtujax.errors import extra
from mtujax.model.network import MTUNet, RecurrentState, initial_state
from mtujax.model.optimized_form import (
    inference_form,
    least_cells,
    matrix_multiple,
)
from mtujax.ops.resampling import from_unit_range, to_unit_range
from mtujax.weights.files import with_about

PLATFORMS = ("cpu", "cuda", "tpu")
STEP, MODULE, MANIFEST = "step.jax", "step.stablehlo", "manifest.json"
_NOTES = (  # {cell} is replaced by the side of a cell
    "state, restored = step(state, window). `window` holds the blurry frames oldest "
    "first; past the ends of a video the outermost one is repeated. Before the first "
    "frame of a video each array of `state` is filled with its `start`.",
    "In shapes b is the number of videos, h and w are rows and columns of the motion "
    "grid: frames are {cell}h x {cell}w pixels; others are extended by reflection.",
    "step.jax is for jax.export.deserialize (needs flatbuffers), step.stablehlo is the "
    "same as portable bytecode for other runtimes: its function `main` takes and gives "
    "what `module` lists, in that order; `platform` is an int32, the place in "
    "`platforms` of the one that runs it. Its shapes are open: refine them for one "
    "size of frames (StableHLO's pass stablehlo-refine-shapes) before compiling.",
)


def write_step(
    model: MTUNet,
    params: dict,
    output: str | os.PathLike,
    *,
    about: dict | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes the step of one frame, with its weights, for CPU, GPU and TPU.

    Needs the extra `deploy`. The files are there whole or not at all; they run
    without this package.

    Examples:
        >>> files = write_step(*load("fast"), "step")
        >>> sorted(file.name for file in files)
        ['manifest.json', 'step.jax', 'step.stablehlo']

    Args:
        model: the network; its `dtype` is the precision of the step.
        params: its parameters, as `load` gives them.
        output: folder to write.
        about: what to keep in the manifest besides, JSON values by name.
        overwrite: whether an existing step is replaced.

    Returns:
        The files: the step for `jax.export`, the same as a StableHLO module, and a
        manifest that lists inputs and outputs with shapes and types.

    Raises:
        UserError: for a folder that holds anything else or cannot be written.
    """
    output = Path(output)
    check_place(output, folder=True)
    names = (STEP, MODULE, MANIFEST)
    check_only(output, lambda path: path.name in names, "a step")
    check_free(output, folder=True, overwrite=overwrite)
    with extra("deploy"):
        import flatbuffers  # noqa: F401, as JAX needs it
    # One program for all devices: wider channels gain most where half precision runs.
    multiple = matrix_multiple(model.config)
    model, params = inference_form(model, params, multiple=multiple)
    exported = export_step(model, params)
    contents = {
        STEP: bytes(exported.serialize()),
        MODULE: exported.mlir_module_serialized,
        MANIFEST: _manifest(model.config, about or {}),
    }
    whole = whole_output(output, folder=True, overwrite=overwrite)
    with unwritable_named(output), whole as folder:
        for name, content in contents.items():
            (folder / name).write_bytes(content)
    return [output / name for name in contents]


def export_step(model: MTUNet, params: dict) -> jax.export.Exported:
    """Exports the one-frame step; numbers of videos, rows and columns are left open."""
    # (state by name, window [B, n, sh, sw, 3] uint8) -> (next state, restored frame [B,
    # sh, sw, 3] uint8).
    least = least_cells(model.config)
    b, h, w = jax.export.symbolic_shape(
        "b, h, w", constraints=[f"h >= {least}", f"w >= {least}"]
    )
    size = b, model.config.cell * h, model.config.cell * w

    def step(state, window):
        state, outputs = model.apply(
            {"params": params}, RecurrentState.of_arrays(state), to_unit_range(window)
        )
        return state.as_arrays(), from_unit_range(outputs["restored"], jnp.uint8)

    state = jax.eval_shape(lambda: initial_state(model, *size).as_arrays())
    shape = (size[0], model.config.window, *size[1:], 3)
    window = jax.ShapeDtypeStruct(shape, jnp.uint8)
    return jax.export.export(jax.jit(step), platforms=PLATFORMS)(state, window)


def _manifest(config: ModelConfig, about):
    b, h, w = jax.export.symbolic_shape("b, h, w")
    model, cell = MTUNet(config), config.cell
    state = jax.eval_shape(
        lambda: initial_state(model, b, cell * h, cell * w).as_arrays()
    )
    content = {
        "format": 1,
        "lookback": config.lookback,
        "lookahead": config.lookahead,
        "frames": {
            "dtype": "uint8",
            "multiple": cell,
            "least": least_cells(config) * cell,
            "order": "RGB",
        },
        "state": {
            name: {
                "shape": " ".join(str(n).replace("*", "") for n in array.shape),
                "dtype": str(array.dtype),
                "start": int(name == "is_first"),
            }
            for name, array in state.items()
        },
        "module": {
            "arguments": ["platform", *sorted(state), "window"],
            "results": [*sorted(state), "restored frame"],
        },
        "platforms": PLATFORMS,
        "versions": {n: importlib.metadata.version(n) for n in ("mtujax", "jax")},
        "notes": [note.replace("{cell}", str(cell)) for note in _NOTES],
    }
    content = with_about(content, about)
    return (json.dumps(content, indent=1) + "\n").encode()
