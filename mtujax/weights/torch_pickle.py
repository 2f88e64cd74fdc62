"""The pickles that `torch.save` writes, read by an interpreter of our own.

It knows the opcodes that PyTorch's own restricted reader knows, and of globals those
that tensors are made of: nothing is imported, and nothing of ours can be altered.
A tensor is read as the place of its values; what a pickle declares takes no memory.
"""

import collections
import dataclasses
import math
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

_NAMES = (
    "float16 float32 float64 bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3fnuz "
    "float8_e5m2fnuz int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool "
    "complex64 complex128"
).split()
DTYPES = {name: jnp.dtype(name) for name in _NAMES}
"""{name in PyTorch, without `torch.`: of the values in memory}."""

_STORAGES = {
    "Half": "float16",
    "Float": "float32",
    "Double": "float64",
    "BFloat16": "bfloat16",
    "Char": "int8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}
_MOST = 1 << 56  # values of a shape, of which NumPy can still make a view
# Hashed in no time, unlike nested tuples.
_KEYS = (str, bytes, bool, int, float, type(None))


class ForeignError(Exception):
    """A pickle holds an object or code that is not known; the text is its name."""


@dataclasses.dataclass(eq=False)
class Storage:
    """Values that tensors share, in the order of memory."""

    dtype: str
    size: int
    data: Any = None  # the buffer with them, once it is known
    order: str = "<"  # of its bytes

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.size * DTYPES[self.dtype].itemsize


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; the shape and strides in values."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its number of values."""
        return math.prod(self.shape)

    def array(self) -> np.ndarray:
        """Its values, a read-only view of the storage where the byte order allows."""
        kind, data = DTYPES[self.dtype], self.storage.data
        if self.storage.order == ">":
            unit = kind.itemsize // (2 if kind.kind == "c" else 1)
            data = np.frombuffer(data, np.uint8).reshape(-1, unit)[:, ::-1].tobytes()
        steps = [step * kind.itemsize for step in self.strides]
        start = self.offset * kind.itemsize if self.size else 0
        return np.ndarray(self.shape, kind, data, start, steps)


@dataclasses.dataclass(frozen=True, eq=False)
class Unreadable:
    """A tensor of another kind than plain values, `what`."""

    what: str


def _check_sizes(*values):
    if any(type(value) is not int or value < 0 for value in values):
        raise ValueError("a size, stride or offset is negative or no number")


def _tensor(storage, offset, shape, strides, *_):
    return _typed_tensor(storage, offset, shape, strides, False, None, storage.dtype)


def _typed_tensor(storage, offset, shape, strides, grad, hooks, dtype, *_):
    if type(storage) is not Storage or len(shape) != len(strides):
        raise ValueError("a tensor is not made of a storage, a shape and strides")
    _check_sizes(offset, *shape, *strides)
    if len(shape) > 64 or math.prod(max(n, 1) for n in shape) > _MOST:
        raise ValueError("a tensor has too many axes or values")
    pairs = list(zip(shape, strides, strict=True))
    some = all(shape)
    steps = tuple(step if some and n > 1 else 0 for n, step in pairs)
    tensor = Tensor(storage, dtype, offset, tuple(shape), steps)
    reach = sum((n - 1) * step for n, step in pairs)
    room = storage.nbytes // DTYPES[dtype].itemsize
    if some and offset + reach >= room:
        raise ValueError("a tensor reaches beyond its storage")
    return tensor


def _is_storage(place):
    return isinstance(place, _Global) and place.made in DTYPES


@dataclasses.dataclass(frozen=True, eq=False)
class _Global:
    """A known global: its name, and what calling it makes, or what it stands for."""

    name: str
    made: Any


def _globals() -> dict[str, Any]:
    """Known globals {name: what it stands for in our pickles}."""
    calls: dict[str, Callable] = {
        "collections.OrderedDict": lambda *args: collections.OrderedDict(
            *[_plain_items(items) for items in args]
        ),
        "torch.Size": lambda values=(): tuple(values),
        "torch._utils._rebuild_tensor": _tensor,
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_tensor_v3": _typed_tensor,
        "torch._utils._rebuild_parameter": lambda data, *_: data,
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
        "torch._utils._rebuild_sparse_tensor": lambda layout, *_: Unreadable(
            f"a {_text(layout)} tensor"
        ),
        "torch.serialization._get_layout": _text,
        "_codecs.encode": lambda text, encoding: text.encode("latin-1"),
    }
    made = {name: _Global(name, call) for name, call in calls.items()}
    for word, dtype in _STORAGES.items():
        made[f"torch.{word}Storage"] = _Global(f"{word}Storage", dtype)
    untyped = "torch.storage.UntypedStorage"
    made[untyped] = _Global(untyped, "uint8")
    return made | {f"torch.{name}": name for name in DTYPES}


def _text(value):
    if type(value) is not str:
        raise ValueError("a name is no text")
    return value


def _plain_items(items):
    if type(items) is not list:
        raise ValueError("an OrderedDict is not made of a list")
    return [(_key(key), value) for key, value in items]


_KNOWN = _globals()


def _key(key):
    if type(key) not in _KEYS:
        raise ValueError(f"a dict has a {type(key).__name__} as key")
    return key


def _push(stack, value):
    stack.append(value)


def _reduce(stack):
    args, function = stack.pop(), stack.pop()
    if type(function) is not _Global or not callable(function.made):
        raise ForeignError(getattr(function, "name", type(function).__name__))
    stack.append(function.made(*args))


def _build(stack):
    stack.pop()  # the versions of modules
    if type(stack[-1]) is not collections.OrderedDict:
        raise ForeignError(type(stack[-1]).__name__)


def _set_items(stack, items):
    if type(stack[-1]) not in (dict, collections.OrderedDict):
        raise ValueError("entries are added to what is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        stack[-1][_key(key)] = value


def _extend(stack, items):
    if type(stack[-1]) is not list:
        raise ValueError("entries are added to what is no list")
    stack[-1].extend(items)


def _tuple(stack, count):
    if len(stack) < count:
        raise ValueError("the stack is empty")
    stack[len(stack) - count :] = [tuple(stack[len(stack) - count :])]


_SIMPLE = {
    "NONE": lambda s, _: s.append(None),
    "NEWTRUE": lambda s, _: s.append(True),
    "NEWFALSE": lambda s, _: s.append(False),
    "EMPTY_TUPLE": lambda s, _: s.append(()),
    "EMPTY_LIST": lambda s, _: s.append([]),
    "EMPTY_DICT": lambda s, _: s.append({}),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _push),
    "BINUNICODE": _push,
    # Strings of Python 2, which come as Latin-1.
    "SHORT_BINSTRING": lambda s, text: s.append(text.encode("latin-1").decode()),
    "TUPLE1": lambda s, _: _tuple(s, 1),
    "TUPLE2": lambda s, _: _tuple(s, 2),
    "TUPLE3": lambda s, _: _tuple(s, 3),
    "REDUCE": lambda s, _: _reduce(s),
    "BUILD": lambda s, _: _build(s),
    "APPEND": lambda s, _: _extend(s, [s.pop()]),
    "SETITEM": lambda s, _: _set_items(s, [s.pop(-2), s.pop()]),
    "PROTO": lambda s, _: None,
}
"""{opcode: what it does to the stack, with its argument}."""

_MARKED = {
    "TUPLE": lambda s, items: s.append(tuple(items)),
    "APPENDS": _extend,
    "SETITEMS": _set_items,
}
"""{opcode: what it does to the stack, with all entries since the last MARK}."""


def read_pickle(file: BinaryIO, storage_at: Callable[[tuple], Storage]) -> Any:
    """Reads plain values, containers, `Tensor`s and `Unreadable`s from a pickle."""
    # The file stands after it then. `storage_at` finds the storage of a persistent id:
    # dtype, key, device, number of values and, in the older format, a part of it.
    # ForeignError if it names anything else, of which nothing is run; any exception if
    # it is damaged.
    stack, marks, memo = [], [], {}
    for opcode, value, _ in _opcodes(file):
        name = opcode.name
        if name in _SIMPLE:
            _SIMPLE[name](stack, value)
        elif name in _MARKED:
            items, stack = stack, marks.pop()
            _MARKED[name](stack, items)
        elif name == "MARK":
            marks.append(stack)
            stack = []
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[value] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[value])
        elif name == "GLOBAL":
            place = value.replace(" ", ".", 1)
            place = place.replace("__builtin__.", "builtins.", 1)
            if place not in _KNOWN:
                raise ForeignError(place)
            stack.append(_KNOWN[place])
        elif name == "BINPERSID":
            stack.append(storage_at(_storage_id(stack.pop())))
        elif name == "STOP":
            return stack.pop()
        elif name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1"):
            named = [text for text in stack[-2:] if type(text) is str] or [name]
            raise ForeignError(value if name == "INST" else ".".join(named))
        else:
            raise ValueError(f"opcode {name}")
    raise EOFError


def _opcodes(file):
    """Those of a pickle; an EOFError where the file holds none."""
    try:
        yield from pickletools.genops(file)
    except ValueError:  # its text is of no use to a user
        raise EOFError from None


def _storage_id(found):
    """(dtype, key, device, size, ...) of a persistent id of a storage."""
    if type(found) is not tuple or len(found) < 5 or found[0] != "storage":
        raise ForeignError("an object outside of the pickle")
    if not _is_storage(found[1]) or type(found[2]) is not str:
        raise ForeignError("a storage of another kind")
    _check_sizes(found[4])
    return found[1].made, *found[2:]
