"""The reference pages of the documentation, made from the program itself.

Commands and options come from the command line's parser, settings from the dataclasses
and their docstrings, names from the stubs of the package's faces, files of results from
the modules that write them. Nothing here is written down twice, so none of it can
become out of date; `gaps` names what lacks a description.
"""

import ast
import dataclasses
import inspect
import io
import itertools
import tokenize
from collections.abc import Iterator
from pathlib import Path

import typer

import mtujax
from mtujax.cli.app import app
from mtujax.cli.configs import config_titles, meaning
from mtujax.cli.evaluate import listed_protocols
from mtujax.common.dataclass_json import field_types
from mtujax.training.config import RunConfig

PACKAGE = Path(mtujax.__file__).parent

PAPER = {
    "batch": "4.1",
    "data.crop": "4.1",
    "data.frames": "4.1",
    "model.initial_features": "4.1",
    "model.last_unit_reads_warped": "3.3",
    "model.lookahead": "3.2",
    "model.lookback": "3.2",
    "model.motion_compensation": "3.3",
    "model.residual_learning": "3.3",
    "model.structure_injection": "3.3",
    "train.drops": "4.1",
    "train.learning_rate": "4.1",
    "train.motion_weight": "3.5",
    "train.optimizer": "4.1",
    "train.schedule": "4.1",
    "train.scheme": "3.5",
    "train.steps": "4.1",
}
"""Fields whose value the paper's text gives, and the section where it does."""

_SECTIONS = {
    "": "A run",
    "model": "The network",
    "train": "Updates of the weights",
    "data": "Training data",
    "data.shake": "Blur from photographs: the camera",
    "data.objects": "Blur from photographs: objects",
    "data.exposure": "Blur from photographs: exposure",
    "validation": "Validation",
}
_WRITERS = (
    ("An evaluation", "mtujax.evaluation.results"),
    ("A run directory", "mtujax.training.run_folder"),
    ("Log of a training run", "mtujax.training.logbook"),
    ("A timing", "mtujax.bench.run"),
    ("A report", "mtujax.report.tables"),
)


def pages() -> dict[str, str]:
    """All pages by their path under docs/, as Markdown."""
    named = {"cli": cli_page(), "configuration": configuration_page()}
    named |= {"results-files": results_page()} | api_pages()
    return {f"reference/{name}.md": text for name, text in named.items()}


def gaps() -> list[str]:
    """Names each command, option, field, name and sum that has no description."""
    found = []
    for path, command, context in commands():
        if not command.get_short_help_str():
            found.append(path)
        found += [
            f"{path} {name}"
            for name, text in _options(command, context)
            if not text.partition("[")[0].strip()
        ]
    for path, owner, name in fields():
        try:
            meaning(owner, name)
        except LookupError:
            found.append(f"--config.{path}")
    for kind in _sums():
        found += [f"{kind.__name__}.{n}" for n, text in _comments(kind) if not text]
    targets = {target for face in faces() for _, target in exported(face)}
    return found + sorted(one for one in targets if not docstring(one))


# Commands.


def commands() -> Iterator[tuple]:
    """(name as typed, command, context) of each command, those of groups included."""
    yield from _below(typer.main.get_command(app), None, "mtujax")


def _below(command, parent, name):
    # The width at which the parser breaks a usage line.
    settings = {**command.context_settings, "max_content_width": 100}
    context = command.context_class(
        command, info_name=name, parent=parent, terminal_width=100, **settings
    )
    yield context.command_path, command, context
    for inner, one in getattr(command, "commands", {}).items():
        yield from _below(one, context, inner)


def _options(command, context):
    """Names with their values, and help, of arguments and options in their order."""
    for one in command.get_params(context):
        if (record := one.get_help_record(context)) and one.name != "help":
            yield record[0], " ".join(record[1].split())
        elif one.name != "help" and not getattr(one, "hidden", False):
            yield one.human_readable_name, getattr(one, "help", None) or ""


def cli_page() -> str:
    """Every command with its usage, help and options."""
    parts = [
        "# Commands",
        "What `--help` of each command says. Exit status: 0, 2 for bad use, 1 for "
        "everything else that fails, 130 and 143 when interrupted. An error is one "
        "line on standard error.",
    ]
    for path, command, context in commands():
        usage = " ".join(command.get_usage(context).split())
        parts += [
            f"## {path}",
            inspect.cleandoc(command.help or ""),
            f"```text\n{usage.removeprefix('Usage: ')}\n```",
        ]
        if rows := list(_options(command, context)):
            rows = [(f"`{name}`", _cell(text)) for name, text in rows]
            parts.append(_table(("option", "meaning"), rows))
        if path in ("mtujax train", "mtujax eval"):
            parts.append(
                "`--config.FIELD=VALUE` sets a [field](configuration.md) of the "
                "configuration."
            )
    parts += ["## Protocols of `mtujax eval`", _pairs(listed_protocols()[1])]
    parts += ["## Configurations", _pairs(config_titles().items())]
    return _joined(parts)


def _pairs(rows):
    return _table(("name", "what it is"), [(f"`{n}`", _cell(text)) for n, text in rows])


# Configuration.


def fields() -> Iterator[tuple[str, type, str]]:
    """(dotted name, its dataclass, own name) of every field that holds a value."""
    types = {"": RunConfig} | field_types(RunConfig)
    for path, kind in types.items():
        if path and not dataclasses.is_dataclass(kind):
            part, _, name = path.rpartition(".")
            yield path, types[part], name


def paper_value(path: str):
    """A field's value in the paper's text, from configs/paper_text.py."""
    from configs import paper_text

    value = paper_text.get_config()
    for part in path.split("."):
        value = value[part]
    return value


def configuration_page() -> str:
    """Every field with its type, default, the paper's value and what it means."""
    parts = [
        "# Configuration",
        "A configuration is a Python file whose `get_config()` returns these fields "
        "([training runs](../how-to/training-runs.md)). On the command line each is "
        "`--config.FIELD=VALUE`; from Python they are fields of `mtujax.RunConfig`, "
        "`ModelConfig`, `TrainConfig`, `DataConfig` and `ValidationConfig`. "
        "*Default* is the dataclass's: `configs/default.py`, from which the other "
        "configurations start, changes some. *Paper* is what the paper's text says, "
        "with its section; blank where it says nothing.",
    ]
    for section, title in _SECTIONS.items():
        name = section or "run"
        heading = f"## {title}" + (f": `{section}`" if section else "")
        rows = [
            _field_row(path, owner, own)
            for path, owner, own in fields()
            if path.rpartition(".")[0] == section
        ]
        head = ("field", "type", "default", "paper", "meaning")
        parts += [f"{heading} {{ #{name.replace('.', '-')} }}", _about(section)]
        parts.append(_table(head, rows))
    return _joined(parts)


def _about(section):
    """What a part is, from the dataclass that holds it."""
    part, _, name = section.rpartition(".")
    owner = ({"": RunConfig} | field_types(RunConfig))[part]
    return f"`{section}` is {meaning(owner, name)}" if section else ""


def _field_row(path, owner, name):
    field = next(f for f in dataclasses.fields(owner) if f.name == name)
    kind = inspect.formatannotation(field.type).replace("typing.", "")
    given = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
    paper = f"`{_shown(path)}` ({PAPER[path]})" if path in PAPER else ""
    cells = (f"`{path}`", f"`{kind}`", given, paper, meaning(owner, name))
    return tuple(map(_cell, cells))


def _shown(path):
    value = paper_value(path)
    value = value.get() if hasattr(value, "get") else value
    return f"{value:,}" if isinstance(value, int) and value > 9999 else repr(value)


# Names.


def faces() -> list[str]:
    """The package and its folders that hand on names, the package first."""
    stubs = sorted(PACKAGE.rglob("__init__.pyi"), key=lambda p: (len(p.parts), p))
    return [".".join(("mtujax", *s.parent.relative_to(PACKAGE).parts)) for s in stubs]


def exported(face: str) -> list[tuple[str, str]]:
    """(name, where it is defined) of what a face exports, from its stub."""
    folder = PACKAGE.joinpath(*face.split(".")[1:])
    names = []
    for node in ast.parse((folder / "__init__.pyi").read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            base = face.split(".")[: len(face.split(".")) - node.level + 1]
            module = ".".join([*base, node.module])
            names += [(one.asname, f"{module}.{one.name}") for one in node.names]
    return names


def docstring(target: str) -> str | None:
    """The docstring of a class, function or constant; None if there is none."""
    module, _, name = target.rpartition(".")
    path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    body = ast.parse(path.read_text("utf-8")).body
    for node, after in itertools.zip_longest(body, body[1:]):
        if getattr(node, "name", None) == name:
            return ast.get_docstring(node)
        names = getattr(node, "targets", [getattr(node, "target", None)])
        inside = [n for one in names if one for n in ast.walk(one)]
        if name in [getattr(one, "id", None) for one in inside]:
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            return after.value.value if said else None
    return None


def api_pages() -> dict[str, str]:
    """A page for each face; a name that several hand on is described by the first."""
    described, made = {}, {}
    for face in faces():
        page = face.replace(".", "-")
        doc = ast.get_docstring(ast.parse(_init(face).read_text("utf-8"))) or ""
        # The package's is a title, and the conventions of all arrays.
        parts, again = [f"# `{face}`", doc], []
        for name, target in exported(face):
            if target in described:
                link = f"{described[target]}.md#{target}"
                again.append(f"- [`{face}.{name}`]({link})")
                continue
            described[target] = page
            parts.append(f"::: {target}")
        if again:
            parts += ["## Described elsewhere", "\n".join(again)]
        made[page] = _joined(parts)
    return made


def _init(face):
    return PACKAGE.joinpath(*face.split(".")[1:]) / "__init__.py"


# Files of results.


def _sums():
    from mtujax.evaluation import scores

    return scores.Sums, scores.MotionSums, scores.ConsistencySums


def results_page() -> str:
    """What the writers of results say of their files."""
    parts = [
        "# Files of results",
        "From the modules that write them. How to read scores is in "
        "[evaluation](../how-to/evaluate.md).",
    ]
    for title, module in _WRITERS:
        path = PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
        text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
        parts += [f"## {title}", f"```text\n{text}\n```"]
        if module.endswith("evaluation.results"):
            for kind in _sums():
                rows = [(f"`{name}`", _cell(text)) for name, text in _comments(kind)]
                about = inspect.getdoc(kind).split("\n")[0]
                parts += [f"### `{kind.__name__}`", about]
                parts.append(_table(("field", "meaning"), rows))
    return _joined(parts)


def _comments(kind) -> list[tuple[str, str]]:
    """Fields of a dataclass and the comments above or behind each, or ""."""
    source = inspect.cleandoc(inspect.getsource(kind))
    said = {
        token.start[0]: (token.string.lstrip("# "), token.line.strip()[0] == "#")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for node in ast.parse(source).body[0].body:
        if isinstance(node, ast.AnnAssign):
            line, above = node.lineno, []
            while (one := said.get(line - 1 - len(above))) and one[1]:
                above.insert(0, one[0])
            words = [*above, *[said[n][0] for n in (line,) if n in said]]
            found.append((node.target.id, " ".join(words)))
    return found


# Markdown.


def _cell(text):
    return text.replace("|", "\\|").replace("\n", " ")


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _joined(parts):
    return "\n\n".join(part for part in parts if part) + "\n"
