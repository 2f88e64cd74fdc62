"""Which method of the paper's tables a network is."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from mtujax.config import PRESETS, ModelConfig
from mtujax.published import TABLES
from mtujax.tables import ABLATIONS, Measured

_LABELS = {row.key: row.label for n in (3, 4) for row in TABLES[n].rows}
_HALF = ("float16", "bfloat16")


class Method(NamedTuple):
    """A method in tables.

    Attributes:
        key: as `published.Reported.key` where the paper has it.
        label: what it is called.
    """

    key: str
    label: str


def method_of(name: str, config: ModelConfig | None) -> Method:
    """Finds a network among those of the paper.

    A file named as a configuration of Tables 1 and 2 (`table1_row2`) is that variant:
    its layers alone do not tell which losses trained it. Otherwise a network with the
    layers of a preset is that preset, in half precision the paper's MTU2-hp.

    Args:
        name: of the weights, without folder and suffix, or of results made elsewhere.
        config: the network that was run, with its dtype; None for results made
            elsewhere, which are found by name alone.

    Returns:
        The paper's method, or the name itself.
    """
    if name in ABLATIONS:
        return Method(name, name)
    if config is None:
        key = name.lower().replace("-", "_")
        return Method(key, _LABELS.get(key, name))
    preset = _preset(config)
    if preset is None:
        return Method(name, name)
    if config.dtype not in _HALF:
        return Method(preset, _LABELS.get(preset, preset))
    if preset == "mtu2":
        return Method("mtu2_hp", _LABELS["mtu2_hp"])
    return Method(f"{preset}_hp", f"{_LABELS.get(preset, preset)} {config.dtype}")


def _preset(config):
    """The preset with these layers in any precision, or None."""
    config = dataclasses.replace(config, dtype="float32")
    return next((name for name, one in PRESETS.items() if one == config), None)


def told_apart(found: Sequence[tuple[tuple, Measured]]) -> list[Measured]:
    """Labels networks that are the same method of the paper by their weights.

    Args:
        found: measured entries, each with name, precision and sha256 of its weights.

    Returns:
        The entries; where several of one method stand in the same table, they are
        labelled by name, and by precision and sha256 if need be.
    """
    groups = {}
    for weights, one in found:
        place = one.key, one.dataset, one.protocol
        groups.setdefault(place, set()).add(weights)
    labelled = []
    for weights, one in found:
        group = groups[one.key, one.dataset, one.protocol]
        if len(group) > 1:
            one = dataclasses.replace(one, label=_label(weights, group))
        labelled.append(one)
    return labelled


def _label(weights, group):
    """As much of name, precision and sha256 as no other of the group has."""
    for count in (1, 2, 3):
        others = [other for other in group if other[:count] == weights[:count]]
        if len(others) == 1:
            break
    name, *more = weights[:count]
    more = ", ".join(filter(None, more))
    return f"{name} ({more})" if more else name
