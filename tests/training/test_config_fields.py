"""No setting is a switch that does nothing: something reads each field of a run."""

import ast
import dataclasses
import functools
import pathlib
import types
import typing

import pytest

import mtujax
from mtujax.config import ModelConfig
from mtujax.synthesis.settings import Exposure, Objects, Shake
from mtujax.training.config import DataConfig, RunConfig, TrainConfig, ValidationConfig

PACKAGE = pathlib.Path(mtujax.__file__).parent

# The names by which a value of each kind goes in the package; `size` alone would be
# found in many places, `wanted.size` and `objects.size` are settings.
CALLED = {
    RunConfig: {"config"},
    TrainConfig: {"config", "train"},
    ModelConfig: {"config", "cfg", "model"},
    DataConfig: {"data"},
    ValidationConfig: {"validation", "wanted"},
    Shake: {"shake"},
    Objects: {"objects"},
    Exposure: {"exposure"},
}


def reads(text):
    """(receiver, attribute) of each attribute that a module reads."""
    tree = ast.parse(text)
    found = {
        (receiver(node.value), node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            found |= reads_by_name(function)
    return found


def reads_by_name(function):
    """What `getattr(exposure, name)` may read: names that stand in the function."""
    nodes = list(ast.walk(function))
    names = {n.value for n in nodes if isinstance(n, ast.Constant)}
    return {
        (receiver(node.args[0]), name)
        for node in nodes
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr"
        for name in names
        if isinstance(name, str)
    }


def receiver(node):
    """Whose attribute it is: `data` for `data`, `config.data` and `self._data`."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.lstrip("_")
        case ast.BoolOp(values=[first, *_]):  # `(exposure or Exposure()).longest`
            return receiver(first)
    return None


def unread(kind, called, read):
    """Fields of a dataclass that are not among the reads, under no name of its own."""
    names = [field.name for field in dataclasses.fields(kind)]
    return [n for n in names if not any((who, n) in read for who in called)]


@functools.cache
def package_reads(part=""):
    """Reads of all modules; `self` is left out, as checks of a field's value use it."""
    texts = (path.read_text() for path in (PACKAGE / part).rglob("*.py"))
    return {(who, name) for text in texts for who, name in reads(text) if who != "self"}


def kinds(kind):
    """A dataclass and those that it is made of."""
    yield kind
    for hint in typing.get_type_hints(kind).values():
        union = isinstance(hint, types.UnionType)
        for choice in typing.get_args(hint) if union else (hint,):
            if dataclasses.is_dataclass(choice):
                yield from kinds(choice)


def test_no_part_of_a_run_is_forgotten_here():
    assert set(kinds(RunConfig)) == set(CALLED)


@pytest.mark.parametrize("kind", CALLED, ids=lambda kind: kind.__name__)
def test_every_field_is_read(kind):
    assert unread(kind, CALLED[kind], package_reads()) == []


@pytest.mark.parametrize("kind", [Shake, Objects, Exposure], ids=lambda k: k.__name__)
@pytest.mark.parametrize("part", ["synthesis/host", "synthesis/device"])
def test_blur_is_made_by_the_same_settings_on_the_host_and_on_the_device(kind, part):
    assert unread(kind, CALLED[kind], package_reads(part)) == []


@pytest.mark.parametrize("kind", CALLED, ids=lambda kind: kind.__name__)
def test_a_field_that_nothing_reads_would_be_found(kind):
    fields = [field.name for field in dataclasses.fields(kind)]
    more = dataclasses.make_dataclass("More", [*fields, "unheard_of"])
    assert unread(more, CALLED[kind], package_reads())[-1] == "unheard_of"


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        ("def f(config): return config.data.noise", True),
        ("class A:\n    def f(self): return self._data.noise", True),
        ("def f(data): return [getattr(data, n) for n in ('noise', 'turn')]", True),
        ("def f(data): return (data or DataConfig()).noise", True),
        ("def f(spec): return spec.noise", False),
        ("def f(data): data.noise = 1.0", False),
        ("def f(data): return DataConfig(noise=1.0)", False),
        ("def f(data): '''Adds data.noise.'''", False),
        ("NAMES = ('noise',)\ndef f(data): return getattr(data, 'turn')", False),
    ],
)
def test_what_counts_as_reading(text, is_read):
    kind = dataclasses.make_dataclass("Data", ["noise"])
    assert unread(kind, {"data"}, reads(text)) == ([] if is_read else ["noise"])
