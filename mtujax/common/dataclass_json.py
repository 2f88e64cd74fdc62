"""Conversion of dataclasses to and from JSON, with one clear line per invalid field."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping

from mtujax.common.text import nearest
from mtujax.errors import UsageError

_NOT = object()  # the value does not fit the type


def to_dict(config) -> dict:
    """Converts a dataclass of dataclasses to JSON values; tuples become lists."""

    def plain(value):
        if isinstance(value, Mapping):
            return {name: plain(entry) for name, entry in value.items()}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    return plain(dataclasses.asdict(config))


def from_dict(
    values: Mapping, kind: type, path: str = "", *, renamed: Mapping[str, str] = {}
):
    """Builds a `kind` from mappings; UsageError names the wrong field, after `path`."""
    # `renamed` maps the whole former path of a field to its present one.
    hints = typing.get_type_hints(kind)
    for name in values:
        if (old := f"{path}{name}") in renamed:
            raise UsageError(f"{old}: is called {renamed[old]} now")
        if name not in hints:
            raise UsageError(f"{path}{name}: no such field; {nearest(name, hints)}")
    read = {
        name: _value(value, hints[name], f"{path}{name}", renamed)
        for name, value in values.items()
    }
    for field in dataclasses.fields(kind):
        needed = field.default is field.default_factory is dataclasses.MISSING
        if needed and field.name not in read:
            raise UsageError(f"{path}{field.name}: is not given")
    try:
        return kind(**read)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path.rstrip('.') or 'config'}: {error}") from None


def _value(value, hint, path, renamed):
    """Converts a value to a field's type, or raises UsageError."""
    choices = [hint]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        choices = list(typing.get_args(hint))
    if value is None and types.NoneType in choices:
        return None
    for choice in choices:
        if dataclasses.is_dataclass(choice) and isinstance(value, Mapping):
            return from_dict(value, choice, f"{path}.", renamed=renamed)
        if (read := _read(value, choice)) is not _NOT:
            return read
    raise UsageError(f"{path} {value!r}: must be {' or '.join(map(_words, choices))}")


def _read(value, kind):
    """Converts a value to one type, or returns `_NOT` if it does not fit."""
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is typing.Literal:
        return value if value in parts else _NOT
    if origin in (int, float):
        wanted = isinstance(value, int if origin is int else int | float)
        return origin(value) if wanted and not isinstance(value, bool) else _NOT
    if not parts:
        return value if isinstance(value, origin) else _NOT
    if not isinstance(value, list | tuple):
        return _NOT
    if origin is not tuple or Ellipsis in parts:
        parts = parts[:1] * len(value)
    if len(parts) != len(value):
        return _NOT
    read = tuple(_read(v, part) for v, part in zip(value, parts, strict=True))
    return _NOT if any(r is _NOT for r in read) else read


def _words(kind):
    """Describes a type for a message."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(map(repr, parts))
    if not parts:
        return kind.__name__.replace("NoneType", "None")
    if origin is tuple and Ellipsis not in parts:
        return f"({', '.join(map(_words, parts))})"
    return f"several {_words(parts[0])}"


def differing_fields(old: dict, new: dict) -> list[str]:
    """Lists the fields in which two nested dicts of JSON values differ, by name.

    As "train.learning_rate: 0.0001 there, 0.0002 here"; "-" stands for a missing field.
    """
    there, here = (dict(_dotted(values)) for values in (old, new))
    names = sorted(there.keys() | here.keys())
    return [
        f"{name}: {there.get(name, '-')} there, {here.get(name, '-')} here"
        for name in names
        if there.get(name, "-") != here.get(name, "-")
    ]


def _dotted(values, path=""):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _dotted(value, f"{path}{name}.")
        else:
            # Compared as JSON, in which a tuple is a list.
            yield f"{path}{name}", json.dumps(value)


def plain(values):
    """Makes values fit for strict JSON: text for numbers that are not finite."""
    if isinstance(values, dict):
        return {name: plain(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return str(values)
    return values
