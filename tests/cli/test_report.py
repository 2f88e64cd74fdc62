"""`mtujax report`: what it writes and what it refuses."""

import re
import sys

import cv2
import jax
import numpy as np
import pytest
import typer
from reported import evaluation
from typer.testing import CliRunner

from mtujax.cli.app import main
from mtujax.cli.report import report
from mtujax.config import ModelConfig
from mtujax.errors import UsageError, UserError
from mtujax.model.network import MTUNet, init_params
from mtujax.report import style as report_style
from mtujax.report.inputs import read_measured
from mtujax.report.tables import write_tables
from mtujax.weights.files import save_weights

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(report)


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_writes_tables_of_what_was_measured(tmp_path):
    one = evaluation(tmp_path / "e.json")
    out = tmp_path / "deep" / "report"
    done = run(one, "--out", out)
    assert done.exit_code == 0, done.output
    names = ["dvd-koehler.tex", "dvd-rt-paper.tex", "tables.md", "tables.tex"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert sorted(done.output.split()) == [str(out / name) for name in names]
    text = (out / "tables.md").read_text()
    assert "Table 3 of the paper" in text and "| 30.50 |" in text
    assert "protocol koehler" in text and "| 31.50 |" in text
    document = (out / "tables.tex").read_text()
    for name in names[:2]:
        assert rf"\input{{{name}}}" in document
        assert "bottomrule" in (out / name).read_text()


def refused(*words):
    done = run(*words)
    assert isinstance(done.exception, UserError), done.exception
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_results_that_cannot_be_used_are_one_line(tmp_path):
    out = tmp_path / "out"
    newer = evaluation(tmp_path / "newer.json", version=2)
    text = refused(newer, "--out", out)
    assert text.startswith(
        f"{newer}: results of version 2, this mtujax reads version 1"
    )
    (tmp_path / "empty").mkdir()
    assert "empty: no results" in refused(tmp_path / "empty", "--out", out)
    assert "none.json: no such file" in refused(tmp_path / "none.json", "--out", out)
    torn = tmp_path / "torn.json"
    torn.write_text('{"kind": "mtujax ev')
    assert "torn.json: damaged, not JSON" in refused(torn, "--out", out)
    for other in ("[]", '{"kind": "x"}', "{}"):
        torn.write_text(other)
        assert "torn.json: not results of eval.py" in refused(torn, "--out", out)
    lacking = evaluation(tmp_path / "lacking.json", motion={"psnr": 1})
    assert "lacking.json: damaged, lacks by_video" in refused(lacking, "--out", out)
    wrong = evaluation(tmp_path / "wrong.json", protocols=[])
    assert "wrong.json: damaged (" in refused(wrong, "--out", out)
    assert not out.exists()
    good = evaluation(tmp_path / "good.json")
    assert "good.json: not a folder" in refused(good, "--out", good)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--weights", "mtu2"], "--weights: only with --figures"),
        (["--figures", "--crop", "here"], "--crop here: must be LABEL=FOLDER"),
        (["--figures", "--crop", "a=b", "--box", "1,2"], "--box 1,2: must be X,Y"),
        (["--figures", "--box", "1,2,3,4"], "--box 1,2,3,4: only with --crop"),
    ],
)
def test_options_that_cannot_work_are_refused(tmp_path, words, message):
    one = evaluation(tmp_path / "e.json")
    done = run(one, "--out", tmp_path / "out", *words)
    assert isinstance(done.exception, UsageError)
    assert str(done.exception).startswith(message)
    assert not (tmp_path / "out").exists()


def test_nothing_measured_writes_nothing(tmp_path):
    with pytest.raises(UserError, match="no results"):
        write_tables([], tmp_path / "out")
    with pytest.raises(UserError, match="no results"):
        read_measured([])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--weights", "none"], "unknown weights 'none'"),
        (["--without", "fast"], "fast: is a network with structure injection"),
        (["--photo", "none.jpg"], "none.jpg: not an image"),
        (["--size", "wide"], "size 'wide': give width x height"),
        (["--crop", "a=none", "--crop", "b=none"], "none: no such folder"),
        (["--crop", "a={folder}"], "1 to show side by side: give 2 to 8"),
        (
            ["--crop", "a={folder}", "--crop", "b={folder}", "--box", "0,0,99,9"],
            "box 0,0,99,9: does not lie in frames of 32x24",
        ),
        (["--crop", "a={folder}", "--crop", "b={folder}", "--frame", "7"], "{folder}"),
    ],
)
def test_a_figure_that_cannot_be_drawn_leaves_nothing_behind(tmp_path, words, message):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((24, 32, 3), np.uint8))
    one = evaluation(tmp_path / "e.json")
    words = [word.format(folder=folder) for word in words]
    said = refused(one, "--out", tmp_path / "out", "--figures", *words)
    assert message.format(folder=folder) in said
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_one_line_says_how_to_install_it(
    tmp_path, monkeypatch, capsys
):
    one = evaluation(tmp_path / "e.json")
    monkeypatch.delattr("mtujax.report.crops", raising=False)
    for name in ("mtujax.report.crops", "matplotlib.patches"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as done:
        main(["report", str(one), "--out", str(tmp_path / "out"), "--figures"])
    said = "matplotlib is not installed; in a clone, pip install '.[plots]'"
    assert done.value.code == 1
    assert capsys.readouterr().err == f"mtujax: error: {said}\n"
    assert not (tmp_path / "out").exists()


def tiny(path, seed, **changes):
    """Weights of a network that compiles at once."""
    small = dict(num_units=1, channels=4, num_blocks=1, search_radius=3)
    config = ModelConfig(**small, **changes)
    save_weights(path, config, init_params(MTUNet(config), jax.random.key(seed)))
    return path


@pytest.mark.slow
def test_the_command_draws_every_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(report_style, "_DPI", 60)  # another test writes all of it
    monkeypatch.setattr(report_style, "FORMATS", (".png",))
    one = evaluation(tmp_path / "e.json")
    weights = tiny(tmp_path / "small.safetensors", 0)
    without = dict(structure_injection=False, motion_layer=False)
    plain = tiny(tmp_path / "plain.safetensors", 1, **without)
    options = ["--figures", "--weights", weights, "--without", plain, "--size", "64x48"]
    done = run(one, "--out", tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    names = ("efficiency", "alignment", "search_radius", "features", "crops")
    for name in names:
        assert cv2.imread(str(tmp_path / "out" / f"{name}.png")).std() > 20
    captions = {n: (tmp_path / "out" / f"{n}.txt").read_text() for n in names}
    captions = {name: " ".join(text.split()) for name, text in captions.items()}
    assert "network: small" in captions["alignment"]
    assert "trained without structure injection. Filmed" in captions["features"]
    assert "blurry, small, sharp." in captions["crops"]
    motions = re.findall(r"moving ([0-9.]+) pixels", captions["search_radius"])
    assert float(motions[1]) > 3 * float(motions[0])
