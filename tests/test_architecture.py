"""The house: who may import whom, and how public names are documented."""

import ast
import dataclasses
import importlib.metadata
import inspect
import pathlib
import re
import subprocess
import sys

import pytest
from floors import FLOORS, INSIDE, ONLY

import mtujax

PACKAGE = pathlib.Path(mtujax.__file__).parent
ROOT = PACKAGE.parent


def modules():
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        if not name.endswith("__init__"):
            found.append((name, path))
    return found


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def floor(name):
    if name == "video":  # the folder, from which a module is imported by its name
        return 1
    return next((n for n, names in FLOORS.items() if name in names), None)


def test_every_module_stands_on_a_floor():
    assert {name for name, _ in modules()} == set().union(*FLOORS.values())


@pytest.mark.parametrize("name, path", modules())
def test_a_module_imports_from_lower_floors_only(name, path):
    for target in imports(path):
        if not target.startswith("mtujax."):
            continue
        other = target.removeprefix("mtujax.")
        drawn = (name, other) in INSIDE
        assert floor(other) < floor(name) or drawn, f"{name} imports {other}"


@pytest.mark.parametrize("name, path", modules())
def test_walls_stand(name, path):
    roots = {target.split(".")[0] for target in imports(path)}
    for library, allowed in ONLY.items():
        assert library not in roots or name in allowed, f"{name} imports {library}"
    if name.startswith(("data.", "video.")):
        assert not roots & {"jax", "flax", "optax"}
    if name.startswith("ops."):
        assert not roots & {"flax", "optax"}


def test_no_file_is_over_450_lines():
    folders = "mtujax", "configs", "tests", "benchmarks", "examples", "scripts"
    files = [
        *ROOT.glob("*.py"),
        *(f for d in folders for f in (ROOT / d).rglob("*.py")),
    ]
    lengths = {f.relative_to(ROOT): len(f.read_text().splitlines()) for f in files}
    assert files and not {f for f, n in lengths.items() if n > 450}


def test_inference_needs_no_training_stack():
    code = (
        "import sys, mtujax; [getattr(mtujax, n) for n in mtujax.__all__]; "
        "print({'optax', 'torch', 'grain', 'ml_collections', 'tensorflow_datasets', "
        "'array_record', 'orbax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


CONTRACT = (
    "ModelConfig PRESETS MTUNet initial_state restore_clip Stream load deblur_video "
    "match backward_warp cost_volume psnr ssim restoration_loss motion_loss"
).split()


def test_the_promised_names_are_public():
    assert set(CONTRACT) <= set(mtujax.__all__) <= set(dir(mtujax))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mtujax.nonsense


def test_the_package_tells_its_version():
    assert mtujax.__version__ == importlib.metadata.version("mtujax")


def public():
    """(name, object) of every public function, class and method of the package."""
    for name, _ in modules():
        # Docstrings of commands are help texts.
        if name == "__main__" or (name in ONLY["typer"] and "_command" in name):
            continue
        if name.startswith("torch"):
            pytest.importorskip("torch")
        module = __import__(f"mtujax.{name}", fromlist=["_"])
        for key, value in vars(module).items():
            if (
                key.startswith("_")
                or getattr(value, "__module__", "") != module.__name__
            ):
                continue
            if inspect.isclass(value) or callable(value):
                yield f"{name}.{key}", value


def test_every_public_name_says_what_it_takes_and_gives():
    """Arguments, results, shapes of arrays, and errors that it raises itself."""
    missing = []
    for name, value in public():
        text = inspect.getdoc(value) or ""
        function = inspect.unwrap(value)
        if inspect.isclass(value):
            fields = dataclasses.is_dataclass(value) and dataclasses.fields(value)
            wanted = [f.name for f in fields or [] if f.name not in ("parent", "name")]
        else:
            wanted = [
                p for p in inspect.signature(function).parameters if p not in ("args",)
            ]
            if text.count("\n") > 2 and wanted:
                missing += [f"{name}: no Args"] * ("Args:" not in text)
            source = inspect.getsource(function)
            raising = re.search(r"^\s+raise \w+\(", source, re.M)
            missing += [f"{name}: no Raises"] * bool(raising and "Raises:" not in text)
            arrays = "Array" in str(inspect.signature(function))
            missing += [f"{name}: no shapes"] * bool(arrays and "[" not in text)
        if not text:
            missing.append(f"{name}: no docstring")
        elif "\n\n" in text:
            missing += [f"{name}: {w} not named" for w in wanted if f"{w}" not in text]
    assert not missing, "\n".join(missing)


def test_the_text_speaks_of_the_product_alone():
    pattern = re.compile(r"/(home|root|work)/[a-z]")
    for path in [*ROOT.glob("*.md"), *PACKAGE.rglob("*.py")]:
        assert not pattern.search(path.read_text()), path
