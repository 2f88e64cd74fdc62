"""The documentation's generated pages say all that there is, and leave no gap."""

import dataclasses
import importlib
import re
import tokenize

import pytest
import typer
import yaml
from places import ROOT
from typer.testing import CliRunner

pytest.importorskip("ml_collections")

from mtujax.cli.app import app
from mtujax.training.config import RunConfig
from scripts import diagrams, notebook_page, reference

PACKAGE = reference.PACKAGE
PAGES = reference.pages()
IN_THE_PAPER = {  # from its text, Sec. 3.2 to 4.1
    "batch": 8,
    "data.crop": 256,
    "data.frames": 13,
    "model.initial_features": "zero",
    "model.last_unit_reads_warped": True,
    "model.lookahead": 0,
    "model.lookback": 1,
    "model.motion_compensation": True,
    "model.residual_learning": True,
    "model.structure_injection": True,
    "train.drops": ((1_000_000, 0.25), (1_250_000, 0.25)),
    "train.learning_rate": 1e-4,
    "train.motion_weight": 0.01,
    "train.optimizer": "adam",
    "train.schedule": "drops",
    "train.scheme": "paper",
    "train.steps": 1_300_000,
}


def test_everything_is_described():
    assert not reference.gaps()


def test_what_is_not_described_is_named(monkeypatch):
    other = typer.Typer()

    @other.command()
    def silent(size: int = 3, said: int = typer.Option(4, help="Number of it.")):
        pass

    @other.command()
    def spoken():
        """Says something."""

    @dataclasses.dataclass
    class Part:
        """A part.

        Attributes:
            said: something.
        """

        said: int = 1
        silent: int = 2

    @dataclasses.dataclass
    class Tally:
        said: int = 0  # number of it
        silent: int = 0
        # Sum of what
        # was found
        above: int = 0

    nameless = [("SLOPE", "mtujax.config.LEAKY_SLOPE"), ("no", "mtujax.config.no")]
    nameless += [("PRESETS", "mtujax.config.PRESETS"), ("FAST", "mtujax.config._FAST")]
    monkeypatch.setattr(reference, "exported", lambda face: nameless)
    monkeypatch.setattr(reference, "app", other)
    parts = [("said", Part, "said"), ("part.silent", Part, "silent")]
    monkeypatch.setattr(reference, "fields", lambda: parts)
    monkeypatch.setattr(reference, "_sums", lambda: [Tally])
    found = reference.gaps()
    without = ["mtujax.config.LEAKY_SLOPE", "mtujax.config._FAST", "mtujax.config.no"]
    assert [f for f in found if "silent" not in f] == ["mtujax", *without]
    assert "mtujax silent" in found and "mtujax silent --size INTEGER" in [
        re.sub("<int>", "INTEGER", f) for f in found
    ]
    assert {"--config.part.silent", "Tally.silent"} <= {*found}


@pytest.mark.parametrize("words", ["deblur", "train", "data synthesize", "export"])
def test_a_command_has_every_option_of_its_help(words):
    shown = CliRunner().invoke(app, [*words.split(), "--help"]).output
    # Of the fields and texts, only what begins a line of the list is an option.
    options = set(re.findall(r"^ +(--[a-z_-]+)", shown, re.M)) - {"--help"}
    page = PAGES["reference/cli.md"]
    section = page.split(f"\n## mtujax {words}\n")[1].split("\n## ")[0]
    assert len(options) >= 5
    assert not {name for name in options if f"`{name}" not in section}


def test_deblur_shows_both_of_its_forms():
    usage = "mtujax deblur [OPTIONS] {INPUT OUTPUT | INPUT... --to FOLDER}"
    assert usage in PAGES["reference/cli.md"]


def rows_of(page):
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", PAGES[page], re.M)
    return {name: re.split(r" (?<!\\)\| ", rest) for name, rest in rows}


def leaves(kind, path=""):
    for field in dataclasses.fields(kind):
        inner = next(
            (
                part
                for part in reference.field_types(kind).items()
                if part[0] == field.name and dataclasses.is_dataclass(part[1])
            ),
            None,
        )
        if inner:
            yield from leaves(inner[1], f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}"


def test_the_configuration_has_every_field_with_its_default():
    rows = rows_of("reference/configuration.md")
    assert sorted(rows) == sorted(leaves(RunConfig))
    assert rows["batch"][:3] == ["`int`", "`8`", "`8` (4.1)"]
    assert rows["model.lookahead"][:3] == ["`int`", "`2`", "`0` (3.2)"]
    assert rows["train.steps"][1:3] == ["", "`1,300,000` (4.1)"]
    assert rows["data.shake.scale"][3] == "photograph pixels per frame pixel."


def test_the_papers_values_are_those_of_its_text():
    assert {*reference.PAPER} == {*IN_THE_PAPER}
    for path, value in IN_THE_PAPER.items():
        assert reference.paper_value(path) == value, path


def test_every_exported_name_is_described_once():
    text = "\n".join(text for name, text in PAGES.items() if "/mtujax" in name)
    described = re.findall(r"^::: (\S+)$", text, re.M)
    assert len(described) == len({*described})
    for face in reference.faces():
        names = importlib.import_module(face).__all__
        handed_on = dict(reference.exported(face))
        assert sorted(handed_on) == sorted(names), face
        assert {*handed_on.values()} <= {*described}, face


def keys_of_an_evaluation():
    from mtujax.evaluation import results

    scored = results.Scored("gopro", "test", None, ())
    found = results.Evaluation(results.Method("none"), scored, {})
    return results.to_json(found)


def test_the_files_of_results_have_every_value_that_is_written():
    page = PAGES["reference/results-files.md"]
    evaluation, rest = page.split("\n## A run directory\n")
    timing = rest.split("\n## A timing\n")[1].split("\n## A report\n")[0]
    for name in keys_of_an_evaluation():
        assert re.search(rf"\b{name}\b", evaluation), name
    with tokenize.open(ROOT / "mtujax/bench/run.py") as file:
        written = file.read().split("\ndef run(")[1].split("\ndef ")[0]
    names = re.findall(r'^        "(\w+)": ', written, re.M)
    assert len(names) > 10
    for name in [*names, "kind", "version", "step_ms", "frames_per_second"]:
        assert re.search(rf"\b{name}\b", timing), name


@pytest.mark.parametrize("path, picture", diagrams.PICTURES.items())
def test_pictures_are_as_their_script_draws_them(path, picture):
    """If not: python scripts/diagrams.py."""
    assert (ROOT / path).read_text("utf-8") == picture().svg()


def test_the_site_leads_to_every_page():
    def listed(part):
        if isinstance(part, str):
            return [part]
        parts = part if isinstance(part, list) else part.values()
        return [page for inner in parts for page in listed(inner)]

    nav = listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    docs = ROOT / "docs"
    pages = {p.relative_to(docs).as_posix() for p in docs.rglob("*.md")} | {*PAGES}
    pages.add(notebook_page.PAGE)
    assert sorted(nav) == sorted(pages)


def test_contributing_names_files_and_names_that_exist():
    text = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    count = 0
    for item in re.split(r"\n\n|\n(?=\d\. |- )", text):
        quoted = re.findall(r"`([^`]+)`", item)
        files = [q for q in quoted if re.fullmatch(r"[a-z_/0-9]+\.py", q)]
        assert all((ROOT / f).exists() or (PACKAGE / f).exists() for f in files), files
        paths = [ROOT / f if (ROOT / f).exists() else PACKAGE / f for f in files]
        code = "".join(path.read_text("utf-8") for path in paths)
        for name in quoted:
            if not paths or (ROOT / name).exists():
                continue
            if re.fullmatch(r"[A-Za-z_]\w*(\.\w+|\[.*\])?", name):
                words = re.findall(r"\w+", name)
                assert all(re.search(rf"\b{w}\b", code) for w in words), (files, name)
                count += 1
    assert count > 30
