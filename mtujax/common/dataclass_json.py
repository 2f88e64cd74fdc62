"""Conversion of dataclasses to and from JSON, with one clear line per invalid field."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path

from mtujax.common.files import digest, whole_output
from mtujax.common.text import listed, nearest
from mtujax.errors import UsageError, UserError

_NOT = object()  # the value does not fit the type
_LONGEST = 80  # letters of a list in a message


def to_dict(config) -> dict:
    """Converts a dataclass of dataclasses to JSON values; tuples become lists."""
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


def _kinds(hint) -> tuple:
    """The types of a union, or the type itself."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if union else (hint,)


def field_types(kind: type, path: str = "") -> dict[str, type]:
    """Types of all fields, None aside, by dotted name: a part, then its own fields."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        (choice,) = (one for one in _kinds(hint) if one is not types.NoneType)
        found[f"{path}{name}"] = choice
        if dataclasses.is_dataclass(choice):
            found |= field_types(choice, f"{path}{name}.")
    return found


def _value(value, hint, path, renamed):
    """Converts a value to a field's type, or raises UsageError."""
    choices = _kinds(hint)
    if value is None and types.NoneType in choices:
        return None
    for choice in choices:
        if dataclasses.is_dataclass(choice) and isinstance(value, Mapping):
            return from_dict(value, choice, f"{path}.", renamed=renamed)
        if (parts := _parts(value, choice)) is not None:
            read = {n: _value(v, h, f"{path}.{n}", renamed) for n, (v, h) in parts}
            return read if isinstance(value, Mapping) else tuple(read.values())
        if (read := _read(value, choice)) is not _NOT:
            return read
    raise UsageError(f"{path} {value!r}: must be {' or '.join(map(_words, choices))}")


def _parts(value, kind):
    """Name, value and type of the parts of a dict, or of a tuple of dataclasses."""
    origin, kinds = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict and isinstance(value, Mapping):
        return [(name, (part, kinds[1])) for name, part in value.items()]
    several = origin is tuple and dataclasses.is_dataclass(kinds[0])
    if several and isinstance(value, list | tuple):
        return [(n, (part, kinds[0])) for n, part in enumerate(value)]
    return None


def _read(value, kind):
    """Converts a value to one type, or returns `_NOT` if it does not fit."""
    origin, parts = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is typing.Literal:
        return value if value in parts else _NOT
    if origin in (int, float):
        wanted = isinstance(value, int if origin is int else int | float)
        try:
            return origin(value) if wanted and not isinstance(value, bool) else _NOT
        except OverflowError:  # an integer of hundreds of digits
            return _NOT
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
    if origin is dict or dataclasses.is_dataclass(kind):
        return "a mapping"
    if not parts:
        return kind.__name__.replace("NoneType", "None")
    if origin is tuple and Ellipsis not in parts:
        return f"({', '.join(map(_words, parts))})"
    return f"several {_words(parts[0])}"


def differing_fields(old: dict, new: dict) -> list[str]:
    """Lines as "train.steps: 1 there, 2 here" for JSON values that differ, by name."""
    there, here = (dict(_dotted(values)) for values in (old, new))
    names = sorted(there.keys() | here.keys())
    pairs = {name: (there.get(name, "-"), here.get(name, "-")) for name in names}
    return [
        f"{name}: {_difference(*pair)}"
        for name, pair in pairs.items()
        if len({*pair}) > 1
    ]


def _difference(there, here):
    """What differs in two JSON texts; of long lists, such as of videos, only that."""
    if any(text[0] == "[" and len(text) > _LONGEST for text in (there, here)):
        return "not the same"
    there, here = ("none" if text == "null" else text for text in (there, here))
    return f"{there} there, {here} here"


def check_same(old: dict, new: dict, what: str, remedy: str = "") -> None:
    """Refuses to continue with other settings; a UserError names what differs."""
    if differing := differing_fields(old, new):
        named = listed(differing, between="; ")
        raise UserError(f"{what}: {named}{f'; {remedy}' if remedy else ''}")


def _dotted(values, path=""):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _dotted(value, f"{path}{name}.")
        else:
            # Compared as JSON, in which a tuple is a list.
            yield f"{path}{name}", json.dumps(value)


def read_json(
    path: Path, remedy: str = "", *, kind: type | None = None, sealed: bool = False
):
    """Reads a JSON file; FileNotFoundError if it is missing, UserError if damaged."""
    # `path` may be remote; `kind` is a dataclass to build of them; `sealed` wants the
    # checksum of `seal`; the error ends in the remedy.
    try:
        values = parse_json(path.read_bytes())  # as UTF-8, whatever the locale
        if (kind or sealed) and not isinstance(values, dict):
            raise UserError(f"holds a {type(values).__name__}, not a mapping")
        values = unsealed(values) if sealed else values
        return from_dict(values, kind) if kind else values
    except FileNotFoundError:
        raise
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
    except UserError as error:
        why = f"damaged ({error})"
    except ValueError as error:
        why = f"damaged, not JSON ({error})"
    raise UserError(f"{path}: {why}{f'; {remedy}' if remedy else ''}")


def parse_json(text: str | bytes):
    """JSON values of a text; ValueError if it is not JSON, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(str(error)) from None


_SEAL = "seal"


def seal(values: dict) -> dict:
    """Adds a checksum to JSON values, and returns them as JSON gives them back."""
    values = json.loads(json.dumps(values))
    return {**values, _SEAL: _seal_of(values)}


def unsealed(values) -> dict:
    """The values that `seal` was given; UserError, a clause, if they have changed."""
    if not isinstance(values, dict) or _SEAL not in values:
        raise UserError("no checksum in it")
    rest = {name: value for name, value in values.items() if name != _SEAL}
    if values[_SEAL] != _seal_of(rest):
        raise UserError("its checksum does not agree")
    return rest


def _seal_of(values):
    return digest(json.dumps(values, sort_keys=True).encode())


def write_json(path: Path, values) -> None:
    """Writes JSON values, all or nothing; numbers that are not finite become text."""
    text = json.dumps(plain(values), indent=1, allow_nan=False) + "\n"
    with whole_output(path, folder=False) as part:
        part.write_text(text, "utf-8")


def plain(values):
    """JSON values of dicts, lists and tuples, with text for NaN and infinity."""
    if isinstance(values, dict):
        return {name: plain(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [plain(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        return str(values)
    return values
