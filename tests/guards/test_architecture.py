"""The house: who may import whom, and how public names are documented."""

import ast
import collections
import dataclasses
import functools
import graphlib
import importlib
import importlib.metadata
import inspect
import pathlib
import re
import subprocess
import sys

import pytest
from floors import FLOORS, MOST, NO_JAX, ONLY
from opened import ENTRIES, opened
from optional import NEEDED
from places import TESTS

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


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


def imports(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def floor(name):
    part = name.split(".")[0]
    return next((n for n, names in enumerate(FLOORS) if part in names.split()), None)


def within(name, places):
    return any(f"{name}.".startswith(f"{place}.") for place in places.split())


def arrows():
    """Who imports whom, among the package's modules and its faces."""
    names = {name for name, _ in modules()}
    names |= {face.partition(".")[2] for face in faces()} - {""}
    for name, path in modules():
        for node in ast.walk(parsed(path)):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            if node.module.split(".")[0] != "mtujax":
                continue
            target = node.module.partition(".")[2]
            for alias in node.names:
                whole = f"{target}.{alias.name}".strip(".")
                yield name, whole if whole in names else target, alias.name


def test_every_folder_stands_on_a_floor():
    parts = {name.split(".")[0] for name, _ in modules()}
    assert parts == set(" ".join(FLOORS).split())


def test_folders_import_lower_floors_only():
    upward = {
        f"{name} imports {other}"
        for name, other, _ in arrows()
        if name.split(".")[0] != other.split(".")[0] and floor(other) >= floor(name)
    }
    assert not upward


def test_no_imports_go_in_circles():
    graph = {name: set() for name, _ in modules()}
    for name, other, _ in arrows():
        graph[name].add(other)
        # A face imports whatever module of its folder is asked for.
        graph.setdefault(other, {m for m in graph if m.startswith(f"{other}.")})
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "entry, most",
    [
        ("deblur_video", 41),  # three of them for `runtime="openvino"` alone
        ("train", 65),
        ("evaluate", 51),
    ],
)
def test_few_modules_are_to_be_opened_for(entry, most):
    found = opened(ENTRIES[entry])
    assert 20 < len(found) <= most, f"{entry}: {len(found)} modules"


def test_private_names_stay_in_their_folder():
    foreign = {
        f"{name} imports {other}.{what}"
        for name, other, what in arrows()
        if what.startswith("_") and name.rpartition(".")[0] != other.rpartition(".")[0]
    }
    assert not foreign


def test_a_folder_holds_at_most_18_modules():
    folders = collections.Counter(name.rpartition(".")[0] for name, _ in modules())
    assert folders["common"] == 8
    assert not {folder for folder, count in folders.items() if count > MOST}


@pytest.mark.parametrize("name, path", modules())
def test_walls_stand(name, path):
    roots = {target.split(".")[0] for target in imports(path)}
    for library, allowed in ONLY.items():
        assert library not in roots or within(name, allowed), f"{name}: {library}"
    if within(name, NO_JAX):
        assert not roots & {"jax", "flax", "optax"}
    if within(name, "ops"):
        assert not roots & {"flax", "optax"}


def test_data_and_video_load_no_jax():
    names = [name for name, _ in modules() if within(name, NO_JAX)]
    code = "import sys\n" + "".join(
        f"try: import mtujax.{name}\nexcept ModuleNotFoundError: pass\n"
        for name in names
        if name not in ("data.builders", "data.pipeline")  # TFDS and Grain may use it
    )
    code += "print({'jax', 'flax', 'optax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stdout + done.stderr


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
        "import sys, mtujax; "
        "[getattr(mtujax, n) for n in mtujax.__all__ if n != 'train']; "
        "print({'optax', 'torch', 'grain', 'ml_collections', 'tensorflow_datasets', "
        "'array_record', 'orbax'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


CONTRACT = (
    "ModelConfig PRESETS MTUNet initial_state restore_clip Stream load deblur_video "
    "match backward_warp cost_volume psnr ssim restoration_loss motion_loss evaluate "
    "train RunConfig DataConfig TrainConfig ValidationConfig UserError UsageError"
).split()


def test_the_promised_names_are_public():
    assert set(CONTRACT) <= set(mtujax.__all__) <= set(dir(mtujax))
    with pytest.raises(AttributeError, match="attribute nonsense"):
        _ = mtujax.nonsense


def test_the_package_tells_its_version():
    assert mtujax.__version__ == importlib.metadata.version("mtujax")


def faces():
    """The package and its folders that hand on names."""
    for stub in sorted(PACKAGE.rglob("__init__.pyi")):
        yield ".".join(("mtujax", *stub.parent.relative_to(PACKAGE).parts))


def exported():
    """(name, object) of everything that users may rely on, and public methods of it."""
    for face in faces():
        if face in NEEDED:
            pytest.importorskip(NEEDED[face])
        module = importlib.import_module(face)
        for name in module.__all__:
            value = getattr(module, name)
            yield f"{face}.{name}", value
            if inspect.isclass(value):
                yield from (
                    (f"{face}.{name}.{key}", method)
                    for key, method in vars(value).items()
                    if not key.startswith("_") and inspect.isfunction(method)
                )


def test_no_module_bears_the_name_of_what_its_folder_hands_on():
    """Importing the one would hide the other."""
    modules_of = {face: importlib.import_module(face).__path__ for face in faces()}
    for face, (path,) in modules_of.items():
        inside = {p.stem for p in pathlib.Path(path).iterdir()}
        assert not inside & set(importlib.import_module(face).__all__), face


def test_every_exported_name_says_what_it_takes_and_gives():
    """Arguments, results, shapes of arrays, and errors that it raises itself."""
    missing = []
    for name, value in exported():
        text = inspect.getdoc(value) or ""
        function = inspect.unwrap(value)
        if inspect.isclass(value):
            fields = dataclasses.is_dataclass(value) and dataclasses.fields(value)
            wanted = [f.name for f in fields or [] if f.name not in ("parent", "name")]
        elif not callable(value):
            continue
        else:
            signature = inspect.signature(function)
            wanted = [p for p in signature.parameters if p not in ("args", "self")]
            if text.count("\n") > 2 and wanted:
                missing += [f"{name}: no Args"] * ("Args:" not in text)
            source = inspect.getsource(function)
            raising = re.search(r"^\s+raise \w+\(", source, re.M)
            missing += [f"{name}: no Raises"] * bool(raising and "Raises:" not in text)
            arrays = "Array" in str(signature)
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


def test_every_test_file_is_of_a_module():
    """Beside those of whole programs, benchmarks and rules, which have no module."""
    names = {name.replace(".", "/") for name, _ in modules()}
    astray = []
    for path in TESTS.rglob("test_*.py"):
        folder = path.parent.relative_to(TESTS).as_posix().removeprefix(".")
        if folder.split("/")[0] in ("end_to_end", "benchmarks", "guards"):
            continue
        words = path.stem.removeprefix("test_").split("_")
        ways = ("_".join(words[:n]) for n in range(1, len(words) + 1))
        if not any(f"{folder}/{way}".lstrip("/") in names for way in ways):
            astray.append(str(path))
    assert not astray


BANNED = (
    "anew|go(es|ing)? on|begun|way out|lies (in|at|under)|told|tells|at hand|by and by|"
    "hands on|under way|(is|are|was|were) asked|(can|may|to) be had|ours is 1|at work|"
    "what cannot is|leaves at once|was said|is said|said so"
)
"""Of a dialect that this project had; house words: resume, again, start over, is in."""


def test_messages_are_in_the_words_of_the_field():
    found = []
    folders = "benchmarks configs examples scripts".split()
    others = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for name, path in [*modules(), *((path.name, path) for path in others)]:
        if "node_modules" in path.parts:  # of others
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if re.search(rf"\b({BANNED})\b", node.value):
                    found.append(f"{name}:{node.lineno}: {node.value[:80]!r}")
    assert not found, "\n".join(found)


def test_pages_are_in_the_words_of_the_field():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line[:80]}"
        for path in pages
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(rf"\b({BANNED})\b", line)
    ]
    assert len(pages) > 30 and not found, "\n".join(found)


def test_errors_are_one_line():
    """As is what a message is made of, unless that comes from elsewhere."""
    found = []
    for name, path in modules():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Raise) and node.exc is not None:
                texts = [
                    inner.value
                    for inner in ast.walk(node.exc)
                    if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
                ]
                if any("\n" in text for text in texts):
                    found.append(f"{name}:{node.lineno}")
    assert not found, "\n".join(found)
