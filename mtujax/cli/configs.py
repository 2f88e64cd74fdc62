"""The options `--config` and `--config.FIELD=VALUE`, and what the help lists of them.

A configuration is a Python file whose `get_config()` returns a `ConfigDict`; a mistake
in it, or in a field, is one line. Heavy imports wait until a file is read.
"""

import ast
import dataclasses
import importlib.util
import inspect
import os
import re
import runpy
import sys
import traceback
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from mtujax import training
from mtujax.common.dataclass_json import field_types
from mtujax.common.text import closest, nearest
from mtujax.errors import UsageError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

Config = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE",
        help="A configuration of those below, or a Python file whose get_config() "
        "returns one. --config.FIELD=VALUE changes one field of it; None where a field "
        "may have it.",
    ),
]
TAKES_FIELDS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Settings of a command that passes what is left over to `read_config`."""

_OFTEN = (
    "run data.name data.path data.teacher validation.path batch train.steps "
    "train.motion_weight model.dtype init_from max_minutes"
).split()
_BOOLEANS = dict.fromkeys(("true", "t", "1"), True) | dict.fromkeys(
    ("false", "f", "0"), False
)


def read_config(
    files: Sequence[str] | None, rest: Sequence[str], params: Iterable = ()
) -> "training.RunConfig | None":
    """Reads --config and the words that no option takes; None without any."""
    # `params` are the command's, of which a mistyped one may be.
    options = ["--config.FIELD=VALUE", *(name for one in params for name in one.opts)]
    fields = _fields(list(rest), options) if rest else {}
    if not any(files or ()):
        if fields:
            raise UsageError("give the configuration as --config=NAME|FILE; see --help")
        return None
    if len(files) > 1:
        raise UsageError("--config: give it once")
    config = _load(*_find(files[0]))
    # References to a field follow it; the types are checked below, by the dataclasses.
    with config.unlocked(), config.ignore_type():
        for path, value in fields.items():
            section, (*parts, last) = config, path.split(".")
            for part in parts:
                section = section.get(part)
                if section is None:
                    raise UsageError(
                        f"--config.{path}: cannot be set, as {part} is None"
                    )
            section[last] = value
    return training.from_config_dict(config)


def _fields(words, options):
    """Values by dotted names of fields; refuses everything else."""
    types, values = field_types(training.RunConfig), {}
    while words:
        word = words.pop(0)
        found = re.fullmatch(r"--(no)?config\.([^=]*)(?:=(.*))?", word, re.DOTALL)
        if not found or found[1] and found[3] is not None:
            _refuse(word, options, types)
        off, path, text = found.groups()
        _check_field(path, types)
        if text is None and (off or types[path] is bool):
            text = str(not off)
        elif text is None:
            if not words or words[0].startswith("--"):
                raise UsageError(f"{word}: needs a value")
            text = words.pop(0)
        values[path] = _value(text, types[path])
    return values


def _check_field(path, types):
    """Refuses what is no dotted name of a field, with the nearest that is."""
    if path in types:
        return
    if path in training.RENAMED:
        raise UsageError(
            f"--config.{path}: is called --config.{training.RENAMED[path]} now"
        )
    part, _, last = path.rpartition(".")
    parts = {name.rpartition(".")[0] for name in types}
    leaves = [name for name in types if name not in parts]
    same = [name for name in leaves if name.split(".")[-1] == last]
    if near := same[0] if same else closest(path, leaves):
        meant = f"did you mean --config.{near}?"
    else:
        part = part if part in parts else ""
        siblings = [name for name in types if name.rpartition(".")[0] == part]
        meant = f"there are {', '.join(siblings)}"
    raise UsageError(f"--config.{path}: no such field; {meant}")


def _refuse(word, options, types):
    if not word.startswith("-"):
        setting = word if "=" in word else "FIELD=VALUE"
        raise UsageError(f"{word}: unexpected; a setting is --config.{setting}")
    name = word.partition("=")[0]
    field = name.lstrip("-")
    hint = f"did you mean --config.{field}?" if field in types else None
    raise UsageError(f"{word}: no such flag; {hint or nearest(name, options)}")


def _value(text, kind):
    """What the text of a field means, where it means anything; checked later."""
    if text.lower() == "none":
        return None
    if kind is bool:
        return _BOOLEANS.get(text.lower(), text)
    if kind is str or typing.get_origin(kind) is typing.Literal:
        return text
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, ValueError):
        return text


def configs_folder() -> Path:
    """The folder of the configurations: in the wheel, or at the top of the clone."""
    package = Path(__file__).parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_titles() -> dict[str, str]:
    """Titles (first docstring lines) of the configurations, by name."""
    titles = {}
    for path in sorted(configs_folder().glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        titles[path.stem] = text.split("\n")[0].rstrip(".")
    return titles


def _find(given):
    """The file of a configuration, and the arguments of its `get_config`."""
    name, *form = given.split(":", 1)
    if Path(name).is_file():
        return name, form
    path = configs_folder() / f"{name}.py"
    if re.fullmatch(r"\w+", name) and path.is_file():
        return os.path.relpath(path), form
    if Path(name).exists():
        raise UsageError(f"--config={name}: is a folder, give a file")
    hint = nearest(Path(name).stem, config_titles())
    raise UsageError(f"--config={name}: no such file; {hint}")


def _load(path, form) -> "ConfigDict":
    """What a file's `get_config` returns."""
    from ml_collections import ConfigDict

    _make_importable(configs_folder())
    try:
        get_config = runpy.run_path(path).get("get_config")
        if get_config is None:
            raise UsageError(f"{path}: has no get_config()")
        try:
            inspect.signature(get_config).bind(*form)
        except TypeError as error:
            hint = "; its name takes nothing after a colon" if form else ""
            raise UsageError(f"{path}: get_config(): {error}{hint}") from None
        config = get_config(*form)
    except UsageError:
        raise
    except Exception as error:
        if (line := _line(error, path)) is not None:
            raise UsageError(f"{path}, line {line}: {_words(error)}") from error
        if isinstance(error, SyntaxError | ValueError):  # an older Python's: ValueError
            raise UsageError(
                f"{path}: is not a Python file ({_words(error)})"
            ) from error
        raise
    if not isinstance(config, ConfigDict):
        given = type(config).__name__
        raise UsageError(f"{path}: get_config() returns no ConfigDict but {given}")
    return config


def _make_importable(folder):
    """Lets configuration files import each other, as `from configs import default`."""
    there = sys.modules.get("configs")
    if str(folder) in getattr(there, "__path__", ()):
        return
    spec = importlib.util.spec_from_file_location(
        "configs", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules["configs"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _line(error, path):
    """Number of the last line of a file that an error passed through, or None."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno
    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno for f in reversed(frames) if f.filename == path), None)


def _words(error):
    text = " ".join(str(getattr(error, "msg", error)).split())
    # ml_collections lists every value of the section before this.
    meant = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
    unknown = re.search(r'Key "(\w+)" does not exist', text)
    if meant or unknown:
        name = meant[2] if meant else unknown[1]
        for old, new in training.RENAMED.items():
            if old.rpartition(".")[2] == name:
                return f"{old}: is called {new} now"
        hint = f"; did you mean {meant[1]}?" if meant else ""
        return f"{name}: no such field{hint}"
    return f"{type(error).__name__}: {text.split(' Other fields present')[0]}"


def command_with(*sections: Callable[[], tuple[str, list]]) -> type[TyperCommand]:
    """A kind of command whose help ends with sections: titles, and lists of pairs."""

    class Command(TyperCommand):
        def format_epilog(self, ctx, formatter):
            for section in sections:
                title, rows = section()
                with formatter.section(title):
                    formatter.write_dl(rows)

    return Command


def listed_configs() -> tuple[str, list]:
    """The configurations, for the help."""
    return "Configurations", list(config_titles().items())


def listed_fields() -> tuple[str, list]:
    """Fields of a configuration that are often changed, for the help."""
    types, rows = field_types(training.RunConfig), []
    for path in _OFTEN:
        part, _, name = path.rpartition(".")
        owner, kind = types[part] if part else training.RunConfig, types[path]
        facts = inspect.formatannotation(kind).removeprefix("Literal")
        default = {field.name: field.default for field in dataclasses.fields(owner)}
        if default[name] is not dataclasses.MISSING:
            facts += f"; default: {default[name]!r}"
        short = meaning(owner, name).split(". ")[0].rstrip(".")
        rows.append((f"--config.{path}", f"{short} [{facts}]"))
    return "Fields that are often changed", rows


def meaning(owner: type, name: str) -> str:
    """What a dataclass's docstring says of a field; LookupError if nothing."""
    pattern = rf"^    {name}: (.*(?:\n {{8}}.*)*)"
    found = re.search(pattern, inspect.getdoc(owner) or "", re.MULTILINE)
    if not found:
        raise LookupError(f"{owner.__name__}.{name}: no description")
    return " ".join(found[1].split())
