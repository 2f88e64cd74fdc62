"""Configuration files: conversion between ml_collections' dicts and dataclasses."""

import dataclasses
import typing

from ml_collections import ConfigDict, config_dict

from mtujax.common.dataclass_json import field_types, from_dict
from mtujax.training.config import RENAMED, RunConfig


def to_config_dict(config: RunConfig) -> ConfigDict:
    """Converts a configuration to the dict that a configuration file changes.

    Examples:
        >>> values = to_config_dict(RunConfig(PRESETS["mtu2"], TrainConfig(steps=1000)))
        >>> values.model.num_units
        2

    Args:
        config: of a run, or a part of it.

    Returns:
        A locked dict of the same structure, which refuses mistyped fields. A field
        that may be None keeps the type of its other values.
    """
    hints, types = typing.get_type_hints(type(config)), field_types(type(config))
    values = {}
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), types[field.name]
        if dataclasses.is_dataclass(value):
            value = to_config_dict(value)
        elif kind != hints[field.name] and isinstance(kind, type):
            value = config_dict.FieldReference(value, field_type=kind)
        values[field.name] = value
    return ConfigDict(values).lock()


def from_config_dict(config: ConfigDict) -> RunConfig:
    """Converts the dict of a configuration file to a configuration.

    Examples:
        >>> values = to_config_dict(RunConfig(PRESETS["mtu2"], TrainConfig(steps=1000)))
        >>> values.train.learning_rate = 1e-5
        >>> from_config_dict(values).train.learning_rate
        1e-05

    Args:
        config: of the structure of a `RunConfig`.

    Returns:
        The configuration.

    Raises:
        UsageError: naming the field that cannot be used.
    """
    return from_dict(config.to_dict(), RunConfig, renamed=RENAMED)
