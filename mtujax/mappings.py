"""Configurations from nested mappings, as files and JSON give them, and back."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping

from mtujax.errors import UsageError


def to_dict(config) -> dict:
    """A configuration as JSON has it.

    Args:
        config: a dataclass of dataclasses.

    Returns:
        A dict of dicts, lists, strings, numbers and None.
    """

    def plain(value):
        if isinstance(value, Mapping):
            return {name: plain(entry) for name, entry in value.items()}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    return plain(dataclasses.asdict(config))


def from_dict(values: Mapping, kind: type, path: str = ""):
    """Makes a configuration of nested mappings, as files and JSON give them.

    Args:
        values: by field.
        kind: the dataclass.
        path: of the mapping in the whole, ending in a dot, for messages.

    Returns:
        A `kind`.

    Raises:
        UsageError: for a field that there is not, with the nearest one, or a value that
            is not of its type.
    """
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise UsageError(f"{path}{name}: no such field; {nearest(name, hints)}")
    read = {
        name: _value(value, hints[name], f"{path}{name}")
        for name, value in values.items()
    }
    try:
        return kind(**read)
    except UsageError:
        raise
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path.rstrip('.') or 'config'}: {error}") from None


def _value(value, hint, path):
    """A value of a field's type."""
    choices = [hint]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        choices = list(typing.get_args(hint))
    if value is None and types.NoneType in choices:
        return None
    for choice in choices:
        if dataclasses.is_dataclass(choice) and isinstance(value, Mapping):
            return from_dict(value, choice, f"{path}.")
        if _fits(value, choice):
            return _converted(value, choice)
    wanted = " or ".join(getattr(c, "__name__", str(c)) for c in choices)
    raise UsageError(f"{path} {value!r}: must be {wanted.replace('NoneType', 'None')}")


def _fits(value, kind):
    origin = typing.get_origin(kind) or kind
    if origin is typing.Literal:
        return value in typing.get_args(kind)
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(origin, type) and issubclass(origin, typing.Sequence | tuple):
        if issubclass(origin, str):
            return isinstance(value, str)
        return isinstance(value, list | tuple)
    return isinstance(origin, type) and isinstance(value, origin)


def _converted(value, kind):
    if isinstance(value, list | tuple):
        return tuple(_converted(v, None) for v in value)
    return float(value) if kind is float else value


def nearest(name: str, choices: Iterable[str]) -> str:
    """What was probably meant.

    Args:
        name: that there is not.
        choices: what there is.

    Returns:
        A clause for a message: a question, or all the choices.
    """
    near = difflib.get_close_matches(str(name), list(choices), n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}"
