"""A graph of ONNX operators, and `ops.motion_samples` and `ops.blur` in them.

For one video, NCHW. Tensors are names. A size is an int where it is known, else the
name of an int64 [1] that the graph computes: what is known needs no node. Imported
late: needs onnx. Letters: H W pixels, h w motion grid (H / 4p, W / 4p), p side of a
patch, K frames of the window, S samples.
"""

import collections

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mtujax.config import MOTION_STRIDE, ModelConfig
from mtujax.ops import blur as spectral, motion_samples as steering

Size = int | str
Grid = tuple[Size, Size]


class Graph:
    """Nodes and constants in the order of the computation.

    `graph.Conv(x, kernel, strides=[2, 2])` adds a node of any operator and returns its
    output's name. Numbers, lists and arrays among the inputs become constants: a float
    is a float32, an int or a list of ints is int64, None is an input left out.
    """

    def __init__(self):
        """Starts empty."""
        self._nodes, self._constants = [], {}
        self._counts, self._sizes = collections.Counter(), {}
        self._inputs, self._outputs = [], []

    def __getattr__(self, operator):
        """A function that adds a node of an operator."""
        if not operator[0].isupper():
            raise AttributeError(operator)

        def add(*inputs, outputs: int = 1, **attributes):
            names = [self._named(operator) for _ in range(outputs)]
            read = [self._tensor(x) for x in inputs]
            node = helper.make_node(operator, read, names, names[0], **attributes)
            self._nodes.append(node)
            return names[0] if outputs == 1 else names

        return add

    def input(self, name: str, dtype: np.dtype, shape: list[int | str]) -> str:
        """Adds an input of the graph; a dimension with a name is open."""
        self._inputs.append(_value(name, dtype, shape))
        return name

    def output(self, name: str, tensor: str, dtype: np.dtype, shape: list[int | str]):
        """Makes a tensor an output of the graph, under another name."""
        self._nodes.append(helper.make_node("Identity", [tensor], [name], name))
        self._outputs.append(_value(name, dtype, shape))

    def scaled(self, size: Size, up: int, down: int = 1) -> Size:
        """A size times `up`, divided by `down` and rounded down."""
        if isinstance(size, int):
            return size * up // down
        key = (size, up, down)
        if key not in self._sizes:
            found = self.Mul(size, [up]) if up != 1 else size
            self._sizes[key] = self.Div(found, [down]) if down != 1 else found
        return self._sizes[key]

    def plus(self, size: Size, other: Size) -> Size:
        """The sum of two sizes."""
        if isinstance(size, int) and isinstance(other, int):
            return size + other
        return self.Add(*(self.shape(x) for x in (size, other)))

    def minus(self, size: Size, other: Size) -> Size:
        """The difference of two sizes."""
        if isinstance(size, int) and isinstance(other, int):
            return size - other
        return self.Sub(*(self.shape(x) for x in (size, other)))

    def shape(self, *sizes: Size):
        """A shape or a list of pads or ends, as an input of a node."""
        if all(isinstance(size, int) for size in sizes):
            return self._tensor(list(sizes))
        if len(sizes) == 1:
            return sizes[0]
        if sizes not in self._sizes:
            parts = [[n] if isinstance(n, int) else n for n in sizes]
            self._sizes[sizes] = self.Concat(*parts, axis=0)
        return self._sizes[sizes]

    def reshape(self, x: str, *sizes: Size) -> str:
        """`x` in another shape."""
        return self.Reshape(x, self.shape(*sizes))

    def cut(self, x: str, axis: int, start: Size, end: Size) -> str:
        """`x` from `start` up to `end` along an axis."""
        return self.Slice(x, self.shape(start), self.shape(end), [axis])

    def places(self, size: Size) -> str:
        """0, 1, ... as float32, `size` of them."""
        if isinstance(size, int):
            return self._tensor(np.arange(size, dtype=np.float32))
        count = self.Cast(self.Squeeze(size), to=TensorProto.FLOAT)
        return self.Range(0.0, count, 1.0)

    def model(self, name: str, opset: int, metadata: dict[str, str]) -> onnx.ModelProto:
        """The whole model, without what no output needs; the shapes are checked."""
        values = [numpy_helper.from_array(v, k) for v, k in self._constants.values()]
        nodes, read = [], {value.name for value in self._outputs}
        for node in reversed(self._nodes):
            if read & set(node.output):
                read |= set(node.input)
                nodes.append(node)
        graph = helper.make_graph(
            nodes[::-1],
            name,
            self._inputs,
            self._outputs,
            [value for value in values if value.name in read],
        )
        sets = [helper.make_opsetid("", opset)]
        model = helper.make_model(
            graph,
            opset_imports=sets,
            ir_version=helper.find_min_ir_version_for(sets),
            producer_name="mtujax",
        )
        helper.set_model_props(model, metadata)
        return model

    def _named(self, operator):
        self._counts[operator] += 1
        return f"{operator}_{self._counts[operator]}"

    def _tensor(self, x):
        if x is None:
            return ""
        if isinstance(x, str):
            return x
        kind = np.float32 if isinstance(x, float) else None
        x = np.asarray(x, kind)
        key = (x.dtype, x.shape, x.tobytes())
        if key not in self._constants:
            self._constants[key] = x, self._named("constant")
        return self._constants[key][1]


def _value(name, dtype, shape):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, shape)


class Frames:
    """The previous, current and next frame [1, 3, H, W], and their greys."""

    def __init__(self, graph: Graph, frames: str, each: list[str], places):
        """Takes the window [K, 3, H, W], its frames one by one, and which they are."""
        weights = np.asarray(steering.GREY, np.float32).reshape(1, 3, 1, 1)
        grey = graph.ReduceSum(graph.Mul(frames, weights), [1])
        self.before, self.current, self.after = (each[k] for k in places)
        self.greys = [graph.cut(grey, 0, k, k + 1) for k in places]
        before, self.own, after = self.greys
        self.pair = graph.Concat(before, after, axis=0)  # greys [2, 1, H, W]


def frame_motions(
    g: Graph, frames: Frames, grid: Grid, patch: int, *, to_neighbours: bool
) -> tuple[str, str | None]:
    """`frame_motions`: [1, 2, H / p, W / p], and [1, 4, ...] or None, in pixels."""
    pyramid = [_pooled(g, frames.pair, MOTION_STRIDE)]
    sizes = [tuple(g.scaled(n, patch) for n in grid)]
    while len(pyramid) < steering.LEVELS:
        pyramid.append(_pooled(g, pyramid[-1], 2))
        sizes.append(tuple(g.scaled(n, 1, 2) for n in sizes[-1]))
    motion = None
    for level, size in zip(reversed(pyramid), reversed(sizes), strict=True):
        if motion is None:
            motion = g.Expand(np.zeros((1, 2, 1, 1), np.float32), g.shape(1, 2, *size))
        else:
            motion = g.Resize(
                g.Mul(motion, 2.0),
                None,
                np.asarray([1, 1, 2, 2], np.float32),
                mode="linear",
            )
            # An odd row or column of this level has none on the coarser one.
            motion = g.Pad(motion, [0, 0, 0, 0, 0, 0, 1, 1], mode="edge")
            motion = g.Slice(motion, [0, 0], g.shape(*size), [2, 3])
        places = _Places(g, size)
        for _ in range(steering.ITERATIONS):
            motion = _refined(g, motion, level, places)
    fine = [g.scaled(n, MOTION_STRIDE) for n in grid]
    alone = [
        g.Equal(g.ReduceMax(g.Reshape(g.Abs(g.Sub(x, frames.current)), [-1]), [0]), 0.0)
        for x in (frames.before, frames.after)
    ]
    motion = g.Where(g.Or(*alone), g.Mul(motion, 2.0), motion)

    def of_patches(motion, count):
        motion = g.Mul(motion, float(MOTION_STRIDE))
        if patch != MOTION_STRIDE:
            size = g.shape(1, count, *fine)
            motion = g.Resize(motion, None, None, size, mode="linear")
        return g.Clip(motion, -steering.LARGEST_MOTION, steering.LARGEST_MOTION)

    if not to_neighbours:
        return of_patches(motion, 2), None
    own, ways = _pooled(g, frames.own, MOTION_STRIDE), []
    others = zip(_split(g, pyramid[0]), alone, (-1.0, 1.0), strict=True)
    for other, is_alone, sign in others:
        found = g.Mul(motion, sign)
        for _ in range(steering.ITERATIONS):
            moved = places.sampled(other, places.shares(found))
            found = _stepped(g, found, own, moved, places, 1)
        ways.append(g.Where(is_alone, motion, g.Mul(found, sign)))
    return of_patches(motion, 2), of_patches(g.Concat(*ways, axis=1), 4)


def _split(g, pair):
    return g.Split(pair, [1, 1], axis=0, outputs=2)


def samples(
    g: Graph,
    frames: Frames,
    motion: str,
    ways: str | None,
    restored: str | None,
    grid: Grid,
    config: ModelConfig,
) -> tuple[str, str, str | None]:
    """`steered_samples`: [1, S, H, W], features of patches, `restored` moved."""
    patch, count = config.patch, config.motion_samples
    places = _Places(g, tuple(g.scaled(n, patch * MOTION_STRIDE) for n in grid))

    def flow_of(motion):
        if patch > 1:
            size = g.shape(1, 2, *places.size)
            how = {"mode": "nearest", "nearest_mode": "floor"}
            how["coordinate_transformation_mode"] = "asymmetric"
            motion = g.Resize(motion, None, None, size, **how)
        return places.shares(motion)

    def sampled(image, flow, step):
        return places.sampled(image, g.Mul(flow, step))

    flow = back = forth = flow_of(motion)
    if ways is not None:
        back, forth = map(flow_of, g.Split(ways, [2, 2], axis=1, outputs=2))
    steps = [k / count for k in range(-count, count + 1) if k]
    along = [sampled(frames.own, flow, step) for step in steps]
    neighbours = [(frames.before, back, -1.0), (frames.after, forth, 1.0)]
    neighbours += [] if restored is None else [(restored, back, -1.0)]
    moved = [sampled(*neighbour) for neighbour in neighbours]
    sides = [g.Sub(image, frames.current) for image in moved]
    more = config.neighbour_samples
    around = [steering.SPACING * k for k in range(-more, more + 1)] if more else []
    before, _, after = frames.greys
    along += [sampled(before, back, step - 1) for step in around]
    if config.lookahead:
        along += [sampled(after, forth, step + 1) for step in around]
    along = g.Sub(g.Concat(*along, axis=1), frames.own)
    pixels = g.Mul(g.Concat(along, *sides, axis=1), steering.CONTRAST)
    if patch > 1:
        pixels = g.SpaceToDepth(pixels, blocksize=patch)
    length = g.Min(g.Div(g.ReduceL2(motion, [1]), steering.SLOW), 1.0)
    features = g.Concat(pixels, g.Div(motion, steering.FAR), length, axis=1)
    return along, features, None if restored is None else moved[-1]


def blended(
    g: Graph, current: str, moved: str, logits: str, first: str, patch: int
) -> str:
    """`motion_samples.blended`: frames [1, 3, H, W], logits [1, p p, H / p, W / p]."""
    change = g.Sub(moved, current)
    unlike = g.ReduceMean(g.Mul(change, change), [1])
    unlike = _mean(
        g, unlike if patch == 1 else _pooled(g, unlike, patch), steering.AROUND
    )
    lower = g.Log(g.Add(g.Mul(unlike, 2 / steering.AGREEMENT**2), 1.0))
    share = g.Where(first, 0.0, g.Sigmoid(g.Sub(logits, lower)))
    if patch > 1:
        share = g.DepthToSpace(share, blocksize=patch)
    return g.Add(current, g.Mul(share, change))


def blur_spectrum(g: Graph, own: str, motion: str, grid: Grid, patch: int) -> str:
    """`blur.blur_spectrum` of a grey frame [1, 1, H, W]: [1, F]."""
    every, last = spectral.EVERY, [np.iinfo(np.int64).max] * 2
    size = tuple(g.scaled(n, patch * MOTION_STRIDE) for n in grid)
    places = _Places(g, size, every * patch)
    motion = g.Slice(motion, [0, 0], last, [2, 3], [every, every])
    reach = spectral.REACH * spectral.STEP
    steps = np.arange(-reach, reach + 1, dtype=np.float32) / spectral.STEP
    flows = g.Mul(places.shares(motion), steps.reshape(-1, 1, 1, 1))
    height, width = (g.scaled(n, MOTION_STRIDE // every) for n in grid)
    found = places.sampled(own, flows, rows=g.scaled(height, len(steps)), columns=width)
    found = g.reshape(found, len(steps), -1)
    speed = g.ReduceL2(motion, [1])
    fast = g.And(
        g.Greater(speed, spectral.SLOWEST), g.Less(speed, steering.LARGEST_MOTION)
    )
    beyond = g.Sub(g.Mul(g.Abs(motion), float(spectral.REACH)), places.room())
    within = g.LessOrEqual(g.ReduceMax(beyond, [1]), 0.0)
    moving = g.Cast(g.reshape(g.And(fast, within), 1, -1), to=TensorProto.FLOAT)
    change = g.Sub(g.cut(found, 0, 1, len(steps)), g.cut(found, 0, 0, len(steps) - 1))
    change = g.Mul(change, moving)
    products = g.MatMul(change, g.Transpose(change, perm=[1, 0]))
    weights = np.asarray(spectral.power_weights())
    power = g.MatMul(
        g.Reshape(products, [1, -1]), weights.reshape(-1, weights.shape[-1])
    )
    diagonal = np.eye(len(steps) - 1, dtype=np.float32) / (len(steps) - 1)
    mean = g.ReduceSum(g.Mul(products, diagonal), [0, 1])
    share = g.Max(g.Div(power, g.Max(mean, 1e-12)), spectral.LEAST)
    unusual = g.Sub(g.Log(share), np.asarray([spectral.MEAN], np.float32))
    unusual = g.Div(unusual, spectral.DEVIATION)
    unusual = g.Clip(unusual, -spectral.FARTHEST, spectral.FARTHEST)
    believed = g.Min(g.Div(g.ReduceMean(moving), spectral.ENOUGH), 1.0)
    return g.Mul(unusual, believed)


class _Places:
    """The pixels of an image, or each `step`-th of them, as GridSample counts them."""

    def __init__(self, g, size, step=1):
        """Takes the image's size (rows, columns)."""
        self.g, self.size, self.step = g, size, step
        rows, columns = size
        # Shares of the way from the first pixel's centre to the last one's, times 2.
        self._scale = g.Concat(*(self._per_pixel(n) for n in (columns, rows)), axis=0)
        x, y = self._at(columns), self._at(rows)
        x = g.Mul(g.reshape(x, 1, 1, -1, 1), np.asarray([1, 0], np.float32))
        y = g.Mul(g.reshape(y, 1, -1, 1, 1), np.asarray([0, 1], np.float32))
        self._pixels = g.Add(x, y)  # [1, h, w, 2] (x, y)
        self._grid = g.Sub(g.Mul(self._pixels, self._scale), 1.0)

    def _at(self, size):
        g = self.g
        places = g.places(g.scaled(size, 1, self.step))
        return places if self.step == 1 else g.Mul(places, float(self.step))

    def _last(self, size):
        """The last pixel's place, float32 [1]."""
        if isinstance(size, int):
            return np.asarray([size - 1], np.float32)
        return self.g.Sub(self.g.Cast(size, to=TensorProto.FLOAT), 1.0)

    def _per_pixel(self, size):
        if isinstance(size, int):
            return np.asarray([2 / max(size - 1, 1)], np.float32)
        g = self.g
        return g.Div(2.0, g.Max(self._last(size), 1.0))

    def shares(self, motion):
        """A motion [1, 2, h, w] in pixels as GridSample counts: [1, h, w, 2]."""
        g = self.g
        return g.Mul(g.Transpose(motion, perm=[0, 2, 3, 1]), self._scale)

    def sampled(self, image, flow, rows=None, columns=None):
        """`image` at each pixel plus its `shares`, its edge repeated beyond it."""
        g = self.g
        grid = g.Add(self._grid, flow)
        if rows is not None:  # all flows [N, h, w, 2] of one image, one after the other
            grid = g.reshape(grid, 1, rows, columns, 2)
        return g.GridSample(image, grid, align_corners=1, padding_mode="border")

    def room(self):
        """How far each pixel may move without leaving the image: [1, 2, h, w]."""
        g, (rows, columns) = self.g, self.size
        last = g.Concat(self._last(columns), self._last(rows), axis=0)
        room = g.Min(self._pixels, g.Sub(last, self._pixels))
        return g.Transpose(room, perm=[0, 3, 1, 2])


def _refined(g, motion, pair, places):
    """One iteration of Lucas-Kanade between a pair of greys [2, 1, h, w]."""
    signs = np.asarray([-1, 1], np.float32).reshape(2, 1, 1, 1)
    found = places.sampled(pair, g.Mul(places.shares(motion), signs))
    return _stepped(g, motion, *_split(g, found), places, 2)


def _stepped(g, motion, first, second, places, apart):
    """One iteration, from two images that a step moves `apart` times as far apart."""
    change = g.Sub(second, first)
    slopes = _slopes(g, g.Mul(g.Add(first, second), 0.5))
    across, down = g.Split(slopes, [1, 1], axis=1, outputs=2)
    unlike = g.Mul(change, change)
    beyond = g.Relu(g.ReduceMax(g.Sub(g.Abs(motion), places.room()), [1]))
    unlike = g.Add(unlike, g.Min(beyond, 1.0))
    products = [
        g.Mul(slopes, slopes),
        g.Mul(slopes, change),
        g.Mul(across, down),
        unlike,
    ]
    means = _mean(g, g.Concat(*products, axis=1), steering.WINDOW)
    squares, moments, xy, unlike = g.Split(means, [2, 2, 1, 1], axis=1, outputs=4)
    xx, yy = g.Split(squares, [1, 1], axis=1, outputs=2)
    crossed = g.Mul(xy, xy)
    texture = g.Relu(g.Sub(g.Mul(xx, yy), crossed))
    texture = g.Div(texture, g.Add(g.Add(xx, yy), 1e-9))
    weight = g.Div(
        g.Sqrt(g.Add(texture, steering.PLAIN)),
        g.Add(g.Mul(unlike, steering.FIT), 1.0),
    )
    xx, yy = (g.Add(x, steering.DAMPING) for x in (xx, yy))
    scale = g.Mul(g.Sub(g.Mul(xx, yy), crossed), float(apart))
    xt, yt = g.Split(moments, [1, 1], axis=1, outputs=2)
    step = g.Concat(
        g.Sub(g.Mul(xy, yt), g.Mul(yy, xt)),
        g.Sub(g.Mul(xy, xt), g.Mul(xx, yt)),
        axis=1,
    )
    step = g.Clip(g.Div(step, scale), -steering.STEP, steering.STEP)
    weighted = g.Mul(g.Add(motion, step), weight)
    total = _mean(g, g.Concat(weighted, weight, axis=1), steering.SMOOTH)
    motion, weight = g.Split(total, [2, 1], axis=1, outputs=2)
    return g.Div(motion, weight)


def _slopes(g, image):
    """Central differences along x and y of [1, 1, h, w]: [1, 2, h, w]."""
    wide = g.Pad(image, [0, 0, 1, 1, 0, 0, 1, 1], mode="edge")
    slopes = []
    for axis, other in ((3, 2), (2, 3)):
        middle = g.cut(wide, other, 1, -1)
        ends = (
            g.cut(middle, axis, 2, np.iinfo(np.int64).max),
            g.cut(middle, axis, 0, -2),
        )
        slopes.append(g.Sub(*ends))
    return g.Mul(g.Concat(*slopes, axis=1), 0.5)


def _mean(g, x, side):
    """Average over windows of `side`, the edge repeated."""
    reach = side // 2
    x = g.Pad(x, [0, 0, reach, reach, 0, 0, reach, reach], mode="edge")
    return g.AveragePool(x, kernel_shape=[side, side])


def _pooled(g, x, side):
    return g.AveragePool(x, kernel_shape=[side] * 2, strides=[side] * 2)
