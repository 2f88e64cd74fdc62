"""Writes an ONNX graph node by node; imported late: needs onnx.

Tensors are names. A size is an int where it is known, else the name of an int64 [1]
that the graph computes: what is known needs no node.
"""

import collections

import numpy as np
import onnx
from onnx import helper, numpy_helper

Size = int | str


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
        count = self.Cast(self.Squeeze(size), to=onnx.TensorProto.FLOAT)
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
