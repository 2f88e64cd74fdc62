"""Modules that a reader opens, transitively, to follow one entry point.

    python tests/helpers/opened.py

Late imports count, and a name that a folder hands on counts as the module it is from.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "mtujax"
ENTRIES = {
    "deblur_video": "mtujax.deblur.api",
    "train": "mtujax.training.run",
    "evaluate": "mtujax.evaluation.api",
}
"""Public functions and the modules that define them."""


def _named(path):
    return ".".join(path.relative_to(PACKAGE.parent).parts).removesuffix(".py")


def _imports(path):
    """(module, name) of what a file or a face imports, or takes of a folder."""
    folders = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            folder = _named(path.parent) if node.level else ""
            module = ".".join(filter(None, (folder, node.module)))
            yield from ((module, alias.name) for alias in node.names)
            folders |= {alias.name for alias in node.names if module == "mtujax"}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in folders:  # as synthesis.make_clips
                yield f"mtujax.{node.value.id}", node.attr


def opened(entry: str) -> set[str]:
    """Names of all modules that `entry` leads to, with itself; no `__init__`."""
    modules = {_named(path): path for path in PACKAGE.rglob("*.py")}
    handed = {
        (_named(face.parent), name): module
        for face in PACKAGE.rglob("__init__.pyi")
        for module, name in _imports(face)
    }
    found, due = set(), [entry]
    while due:
        if (module := due.pop()) in found or module not in modules:
            continue
        found.add(module)
        for target, name in _imports(modules[module]):
            whole = f"{target}.{name}"
            due.append(
                whole if whole in modules else handed.get((target, name), target)
            )
    return found


if __name__ == "__main__":
    for name, entry in ENTRIES.items():
        found = opened(entry)
        folders = {module.split(".")[1] for module in found if module.count(".") > 1}
        print(f"{name}: {len(found)} modules in {len(folders)} folders")
