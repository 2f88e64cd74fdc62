"""Configuration files: conversion between ml_collections' dicts and dataclasses."""

import dataclasses
import difflib
import types
import typing

from ml_collections import ConfigDict, config_dict

from mtujax.common.dataclass_json import from_dict
from mtujax.errors import UsageError
from mtujax.training.config import RENAMED, RunConfig


def to_config_dict(config: RunConfig) -> ConfigDict:
    """Converts a configuration to the dict that a configuration file changes.

    Args:
        config: of a run, or a part of it.

    Returns:
        A locked dict of the same structure, which refuses mistyped fields. A field
        that may be None keeps the type of its other values.
    """
    hints, values = typing.get_type_hints(type(config)), {}
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if dataclasses.is_dataclass(value):
            value = to_config_dict(value)
        elif (kind := _without_none(hint)[0]) != hint and isinstance(kind, type):
            value = config_dict.FieldReference(value, field_type=kind)
        values[field.name] = value
    return ConfigDict(values).lock()


def from_config_dict(config: ConfigDict) -> RunConfig:
    """Converts the dict of a configuration file to a configuration.

    Args:
        config: of the structure of a `RunConfig`.

    Returns:
        The configuration.

    Raises:
        UsageError: naming the field that cannot be used.
    """
    return from_dict(config.to_dict(), RunConfig, renamed=RENAMED)


def check_field(path: str) -> None:
    """Raises a `UsageError` with the nearest name if `path` is no dotted field name."""
    fields = field_types(RunConfig)
    if path in fields:
        return
    if path in RENAMED:
        raise UsageError(f"--config.{path}: is called --config.{RENAMED[path]} now")
    part, _, last = path.rpartition(".")
    parts = {name.rpartition(".")[0] for name in fields}
    leaves = [name for name in fields if name not in parts]
    near = [name for name in leaves if name.split(".")[-1] == last]
    near = near or difflib.get_close_matches(path, leaves, n=1)
    if near:
        meant = f"did you mean --config.{near[0]}?"
    else:
        part = part if part in parts else ""
        siblings = [name for name in fields if name.rpartition(".")[0] == part]
        meant = f"there are {', '.join(siblings)}"
    raise UsageError(f"--config.{path}: no such field; {meant}")


def field_types(kind: type, path: str = "") -> dict[str, type]:
    """Types of all fields, None aside, by dotted name: a part, then its own fields."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        (choice,) = _without_none(hint)
        found[f"{path}{name}"] = choice
        if dataclasses.is_dataclass(choice):
            found |= field_types(choice, f"{path}{name}.")
    return found


def _without_none(hint):
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    choices = typing.get_args(hint) if union else (hint,)
    return [choice for choice in choices if choice is not types.NoneType]
