"""The one-frame step as an ONNX file, with its weights and how to call it inside.

It runs wherever an ONNX runtime does, for one video. The step is `model.network` in
ONNX operators, NCHW inside, written out rather than traced: see docs/lab-notes/onnx.md.
Imported late: needs onnx. Letters: H W pixels, p side of a patch, h w motion grid (H /
4p, W / 4p), C channels, K frames of the window, r search radius.
"""

import importlib.metadata
import os
from pathlib import Path

import jax
import numpy as np
import onnx
from onnx import TensorProto

from mtujax.common.files import (
    check_free,
    check_place,
    unwritable_named,
    whole_output,
)
from mtujax.config import LEAKY_SLOPE, MOTION_STRIDE, ModelConfig
from mtujax.deploy.onnx_ops import (
    Frames,
    Graph,
    Size,
    blended,
    blur_spectrum,
    frame_motions,
    samples,
)
from mtujax.errors import UsageError, UserError
from mtujax.model.network import OVERFLOWN, MTUNet
from mtujax.model.optimized_form import inference_form, least_cells
from mtujax.model.unit import FILTER_SCALE
from mtujax.ops.matching import POOL, TILE
from mtujax.weights.files import with_about

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
    """Writes the step of one frame, with its weights, for ONNX runtimes.

    Needs the extra `onnx`. The file is there whole or not at all.

    Examples:
        >>> step = write_onnx(*load("fast"), "fast.onnx")
        >>> [value.name for value in step.graph.output][:1]
        ['restored']

    Args:
        model: the network; its `dtype` is the precision of the file.
        params: its parameters, as `load` gives them.
        output: the .onnx file.
        size: (width, height) in pixels of all frames; None leaves both open.
        opset: ONNX operator set.
        about: texts to keep in the file, by name.
        overwrite: whether an existing file is replaced.

    Returns:
        What the file holds: from a window [K, H, W, 3] uint8 and the state to the
        restored frame [H, W, 3] uint8 and the next state. H and W must be multiples of
        the network's `cell`.

    Raises:
        UsageError: for a size, precision or operator set that the step cannot have.
        UserError: for a file that exists or cannot be written, or weights that are too
            large for their precision.
    """
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
    done = _Step(graph, config, params, tuple(grid))(state, "window")
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


class _Step:
    """Adds the step of a network to a graph; its weights are those of `params`."""

    def __init__(self, graph: Graph, config: ModelConfig, params: dict, grid):
        """Takes the inference form and the motion grid's sizes (h, w)."""
        self.g, self.config, self.params = graph, config, params
        self.grid: tuple[Size, Size] = grid
        self.dtype = np.dtype(config.dtype)

    def __call__(self, state: dict[str, str], window: str) -> dict[str, str]:
        """From a state's arrays and uint8 [K, H, W, 3] to the next state's, by name."""
        # Besides these the result has `image` uint8 [H, W, 3] and, with motion
        # compensation, `displacement` int32 [h, w, 2].
        g, cfg = self.g, self.config
        frames = g.Cast(g.Transpose(window, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
        frames = g.Div(frames, 255.0)
        each = [g.cut(frames, 0, k, k + 1) for k in range(cfg.window)]
        blurry = each[cfg.lookback]
        first = g.Reshape(state["is_first"], [1, 1, 1, 1])
        restored = g.Where(first, each[cfg.lookback - 1], state["restored"])
        along, spectrum, moved, steered = self._steered(frames, each, restored)
        inputs = [*each[: cfg.lookback], restored, *each[cfg.lookback + 1 :]]
        structure = self._conv(self._patches(blurry), self.params["structure"])
        temporal = self._conv(
            self._patches(g.Concat(*inputs, axis=1)), self.params["temporal"], steered
        )
        x, out, displacement = g.Concat(structure, temporal, axis=1), {}, None
        for i in range(cfg.num_units):
            unit, last = self.params[f"unit_{i}"], i == cfg.num_units - 1
            detail = self._detail(x, unit["detail"])
            if i in cfg.matching_units:
                name = f"motion_{cfg.matching_units.index(i)}"
                motion = self._motion_features(structure, detail, unit)
                key = self._or_initial(first, state[name], motion)
                displacement = self._match(motion, key)
                if cfg.initial_features == "zero":
                    still = g.Reshape(first, [1, 1, 1])
                    displacement = g.Where(still, 0, displacement)
                out[name] = motion
            x = detail
            if not last or cfg.last_unit_reads_warped:
                warped = self._or_initial(first, state["detail"], detail)
                if displacement is not None:
                    warped = self._displace(warped, displacement)
                x = g.Concat(detail, warped, axis=1)
        guides = along, spectrum, moved, first
        image = self._image(x, unit["deblur"], blurry, guides)
        sound = g.Cast(g.Less(g.Abs(image), OVERFLOWN), to=TensorProto.FLOAT)
        sound = g.ReduceMin(g.Reshape(sound, [-1]), [0])
        out |= {"detail": detail, "restored": g.Clip(image, 0.0, 1.0)}
        out["is_first"] = g.Less(sound, 1.0)
        levels = g.Round(g.Mul(out["restored"], 255.0))
        picture = g.Cast(g.Squeeze(levels, [0]), to=TensorProto.UINT8)
        out["image"] = g.Transpose(picture, perm=[1, 2, 0])
        if displacement is not None:
            pairs = g.Transpose(displacement, perm=[1, 2, 0])
            out["displacement"] = g.Cast(pairs, to=TensorProto.INT32)
        return out

    def _steered(self, frames, each, restored):
        """Samples, spectrum, moved frame, and features of these after their layer."""
        g, cfg = self.g, self.config
        if not cfg.motion_samples:
            return None, None, None, None
        after = min(cfg.lookback + 1, cfg.window - 1)
        three = Frames(g, frames, each, (cfg.lookback - 1, cfg.lookback, after))
        beside = cfg.neighbour_samples > 0
        motion, ways = frame_motions(
            g, three, self.grid, cfg.patch, to_neighbours=beside
        )
        previous = restored if cfg.blend_previous else None
        along, features, moved = samples(
            g, three, motion, ways, previous, self.grid, cfg
        )
        spectrum = None
        if cfg.exposure_spectrum:
            spectrum = blur_spectrum(g, three.own, motion, self.grid, cfg.patch)
            size = [g.scaled(n, MOTION_STRIDE) for n in self.grid]
            everywhere = g.Reshape(spectrum, [1, -1, 1, 1])
            everywhere = g.Expand(everywhere, g.shape(1, 1, *size))
            features = g.Concat(features, everywhere, axis=1)
        layer = self.params["steered"]
        features = self._conv(features, layer, padding=0, active=False)
        return along, spectrum, moved, features

    def _conv(self, x, layer, more=None, *, stride=1, padding=None, active=True):
        g, layer = self.g, layer["conv"]
        kernel = self._weights(layer["kernel"], (3, 2, 0, 1))
        padding = kernel.shape[-1] // 2 if padding is None else padding
        bias = self._weights(layer["bias"], (0,))
        pads, strides = [padding] * 4, [stride] * 2
        y = g.Conv(self._cast(x), kernel, bias, pads=pads, strides=strides)
        y = y if more is None else g.Add(y, more)
        return self._activate(y) if active else y

    def _up(self, x, layer):
        g, kernel = self.g, self._weights(layer["kernel"], (2, 3, 0, 1))
        bias = self._weights(layer["bias"], (0,))
        y = g.ConvTranspose(x, kernel, bias, pads=[1] * 4, strides=[2, 2])
        return self._activate(y)

    def _activate(self, x):
        if self.config.activation == "relu":
            return self.g.Relu(x)
        return self.g.LeakyRelu(x, alpha=LEAKY_SLOPE)

    def _weights(self, values, axes):
        return np.transpose(np.asarray(values), axes).astype(self.dtype)

    def _cast(self, x, dtype=None):
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        if self.dtype == np.float32:
            return x  # as everything is
        kind = TensorProto.FLOAT if dtype == np.float32 else TensorProto.FLOAT16
        return self.g.Cast(x, to=kind)

    def _detail(self, x, layers):
        """F^n: [1, 2C, H / p, W / p] -> [1, C, H / p, W / p]."""
        g = self.g
        full = self._conv(x, layers["encode_1"])
        half = self._conv(full, layers["encode_2"], stride=2)
        y = entry = self._conv(half, layers["encode_3"], stride=2)
        for k in range(self.config.num_blocks):
            block = layers[f"block_{k}"]
            y = g.Add(y, self._conv(self._conv(y, block["conv_0"]), block["conv_1"]))
        y = g.Add(entry, self._conv(y, layers["block_end"]))
        y = g.Add(half, self._up(y, layers["decode_1"]))
        return g.Add(full, self._up(y, layers["decode_2"]))

    def _motion_features(self, structure, detail, unit):
        g, cfg = self.g, self.config
        injected = g.Add(detail, structure) if cfg.structure_injection else detail
        if cfg.motion_layer:
            layer = unit["motion"]["layer"]
            return self._conv(injected, layer, stride=MOTION_STRIDE, padding=1)
        side = [MOTION_STRIDE] * 2
        return g.AveragePool(injected, kernel_shape=side, strides=side)

    def _or_initial(self, first, stored, own):
        start = own
        if self.config.initial_features == "zero":
            start = np.zeros((), self.dtype)
        return self.g.Where(first, start, stored)

    def _match(self, query, key):
        """Displacement (dx, dy) int64 [2, h, w] of features [1, C, h, w]."""
        # As `ops.matching` does it: columns in bands, one product for all dx of a band.
        g, (height, width), r = self.g, self.grid, self.config.search_radius
        side, count = 2 * r + 1, self.config.channels * (1 + self.config.motion_layer)
        query, key = self._unit_norm(query), self._unit_norm(key)
        bands = g.scaled(g.plus(width, TILE - 1), 1, TILE)
        missing = g.minus(g.scaled(bands, TILE), width)
        query = g.Pad(query, g.shape(0, 0, 0, 0, 0, 0, 0, missing))
        query = g.reshape(query, 1, count, height, bands, TILE)
        query = g.Transpose(query, perm=[0, 2, 3, 4, 1])
        # Blocks of the key as wide as a band; those that a band reaches, side by side.
        reach = -(-2 * r // TILE)
        right = g.plus(missing, reach * TILE - r)
        key = g.Pad(key, g.shape(0, 0, r, r, 0, 0, r, right))
        rows = g.plus(height, 2 * r)
        key = g.reshape(key, count, rows, g.plus(bands, reach), TILE)
        parts = [g.cut(key, 2, k, _from_end(reach - k)) for k in range(reach + 1)]
        span = TILE + 2 * r
        key = g.cut(g.Concat(*parts, axis=3) if reach else key, 3, 0, span)
        key = g.Transpose(key, perm=[1, 2, 0, 3])
        best, columns = [], []
        for dy in range(side):
            row = g.MatMul(query, g.cut(key, 0, dy, _from_end(2 * r - dy)))
            # One column more in each row makes a diagonal a column.
            flat = g.Pad(g.Reshape(row, [0, 0, 0, -1]), [0] * 7 + [TILE])
            scores = g.Reshape(flat, [0, 0, -1, span + 1])
            scores = g.Transpose(g.cut(scores, 3, 0, side), perm=[0, 3, 1, 2])
            scores = g.AveragePool(
                scores,
                kernel_shape=[POOL, POOL],
                pads=[POOL // 2] * 4,
                count_include_pad=1,
            )
            best.append(g.ReduceMax(scores, [1]))
            columns.append(g.ArgMax(scores, axis=1))
        # The first of equals in both, so the first class wins a tie.
        dy = g.ArgMax(g.Concat(*best, axis=1), axis=1)
        dx = g.GatherElements(g.Concat(*columns, axis=1), dy, axis=1)
        found = g.Sub(g.Concat(dx, dy, axis=1), r)
        return g.Squeeze(g.cut(found, 3, 0, width), [0])

    def _unit_norm(self, x):
        g, x = self.g, self._cast(x, np.float32)
        return g.Div(x, g.Max(g.ReduceL2(x, [1]), 1e-12))

    def _displace(self, source, displacement):
        """Moves the blocks of features [1, C, 4h, 4w]; zeros come from outside."""
        g, (height, width), cfg = self.g, self.grid, self.config
        across = g.Cast(g.places(width), to=TensorProto.INT64)
        down = g.Cast(g.places(height), to=TensorProto.INT64)
        x = g.Add(g.Gather(displacement, 0), across)
        y = g.Add(g.Gather(displacement, 1), g.Unsqueeze(down, [1]))
        inside = None
        for at, n in ((x, width), (y, height)):
            fits = g.And(g.GreaterOrEqual(at, 0), g.Less(at, g.shape(n)))
            inside = fits if inside is None else g.And(inside, fits)
        index = g.Where(inside, g.Add(g.Mul(y, g.shape(width)), x), 0)
        blocks = g.SpaceToDepth(source, blocksize=MOTION_STRIDE)
        count = cfg.channels * MOTION_STRIDE**2
        rows = g.Transpose(g.reshape(blocks, count, -1), perm=[1, 0])
        rows = g.Gather(rows, g.reshape(index, -1))
        rows = g.Where(g.reshape(inside, -1, 1), rows, np.zeros((), self.dtype))
        moved = g.reshape(g.Transpose(rows, perm=[1, 0]), 1, count, height, width)
        return g.DepthToSpace(moved, blocksize=MOTION_STRIDE)

    def _patches(self, x):
        p = self.config.patch
        return x if p == 1 else self.g.SpaceToDepth(x, blocksize=p)

    def _image(self, features, layers, blurry, guides):
        """D^n: the image [1, 3, H, W] float32, not clamped."""
        along, spectrum, moved, first = guides
        g, cfg, area = self.g, self.config, self.config.patch**2
        size = [g.scaled(n, MOTION_STRIDE) for n in self.grid]
        image = self._conv(features, layers["layer"], active=False)
        image = self._cast(image, np.float32)
        if along is not None:
            taps = cfg.filter_taps
            sizes = [n for n in (3 * area, taps, cfg.blend_shares) if n]
            parts = g.Split(image, sizes, axis=1, outputs=len(sizes))
            image, weights, *logits = parts
            if spectrum is not None:
                exposure = np.asarray(layers["exposure"], np.float32)
                usual = g.MatMul(spectrum, exposure)
                weights = g.Add(weights, g.reshape(usual, 1, taps, 1, 1))
            # Of each pixel of a patch apart; one result for its three colours.
            along = g.reshape(self._patches(along), area, taps, *size)
            filtered = g.ReduceSum(g.Mul(along, weights), [1])
            image = g.reshape(image, area, 3, *size)
            image = g.Add(image, g.Mul(filtered, FILTER_SCALE))
            image = g.reshape(image, 1, 3 * area, *size)
        if cfg.patch > 1:
            image = g.DepthToSpace(image, blocksize=cfg.patch)
        image = g.Add(blurry, image) if cfg.residual_learning else image
        if moved is None:
            return image
        return blended(g, image, moved, *logits, first, cfg.patch)


def _from_end(count):
    """Where to end a slice that leaves out the last `count`."""
    return -count if count else np.iinfo(np.int64).max
