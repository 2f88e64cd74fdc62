"""The cards of the bundled weights: the field's form, and figures as measured."""

import hashlib
import json
import re

import pytest
import yaml
from places import ROOT

from mtujax.weights.files import bundled

CARDS = ROOT / "docs" / "reference" / "weights"
SET, REAL = "fixed validation set of mtujax", "four real scenes of DVD"
SECTIONS = ["Intended use", "Training", "Evaluation", "Limitations"]


def record(name, sha256):
    pattern = f"bundled-{name}-{sha256[:8]}-*.json"
    *_, path = sorted((ROOT / "benchmarks" / "results").glob(pattern))
    return json.loads(path.read_text())


def scores(evaluation, protocol):
    found = evaluation["protocols"][protocol]
    return found["psnr"], found["ssim"]


@pytest.fixture(params=bundled(), ids=lambda entry: entry.name)
def entry(request):
    return request.param


@pytest.fixture
def card(entry):
    _, head, text = (CARDS / f"{entry.name}.md").read_text("utf-8").split("---\n", 2)
    return yaml.safe_load(head), " ".join(text.split()), text


def test_it_has_the_fields_and_sections_of_a_model_card(entry, card):
    fields, _, text = card
    assert fields["license"] == entry.metadata["license"].lower()
    for field in ("library_name", "pipeline_tag"):
        assert fields[field] == entry.metadata[field]
    assert ", ".join(fields["tags"]) == entry.metadata["tags"]
    assert "model-index" in fields
    assert re.findall(r"^## (.+)$", text, re.M) == SECTIONS
    assert text.count("\n") <= 60  # about a screen


def test_its_figures_are_those_that_were_measured(entry, card):
    fields, words, _ = card
    sha256 = hashlib.sha256(entry.path.read_bytes()).hexdigest()
    found = record(entry.name, sha256)
    assert f"sha256 `{sha256[:8]}…`" in words
    assert f"{entry.parameters:,} parameters" in words
    sets = found["evaluations"], found["real"]
    (index,) = fields["model-index"]
    assert index["name"] == entry.name
    for result, name, kinds, protocol in zip(
        index["results"], (SET, REAL), sets, ("rt-paper", "kair"), strict=True
    ):
        psnr, ssim = scores(kinds["restored"], protocol)
        blurry, blurry_ssim = scores(kinds["blurry"], protocol)
        assert result["dataset"]["name"] == name
        values = {one["type"]: one["value"] for one in result["metrics"]}
        assert values["psnr"] == round(psnr, 2)
        assert values.get("ssim", round(ssim, 4)) == round(ssim, 4)
        row = f"{blurry:.2f} dB | {psnr:.2f} dB | +{psnr - blurry:.2f} dB |"
        assert f"PSNR (`{protocol}`) | {row}" in words
    row = f"{scores(sets[0]['blurry'], 'rt-paper')[1]:.4f} | "
    row += f"{scores(sets[0]['restored'], 'rt-paper')[1]:.4f} |"
    assert f"fixed set, SSIM (`rt-paper`) | {row}" in words
    sharp, _ = scores(sets[0]["sharp"], "rt-paper")
    assert f"sharp frames against themselves, PSNR | | {sharp:.2f} dB |" in words
    steady = [sets[0][k]["consistency"]["restored"] for k in ("restored", "blurry")]
    assert f"blurry frames | 1 | {steady[0] / steady[1]:.3f} |" in words
    table = (ROOT / "docs" / "models.md").read_text("utf-8")
    (line,) = re.findall(rf"^\| \[`{entry.name}`\].*$", table, re.M)
    for kinds, protocol in zip(sets, ("rt-paper", "kair"), strict=True):
        gain = scores(kinds["restored"], protocol)[0]
        gain -= scores(kinds["blurry"], protocol)[0]
        assert f"| {gain:.2f} dB |" in line


def test_every_card_is_of_bundled_weights():
    assert {p.stem for p in CARDS.iterdir()} == {entry.name for entry in bundled()}
