"""`mtujax report`: what it reads, what it joins, what it writes and what it refuses."""

import dataclasses
import json
import re

import cv2
import jax
import pytest
import typer
from typer.testing import CliRunner

from mtujax import report_style
from mtujax.config import PRESETS, ModelConfig
from mtujax.errors import UsageError, UserError
from mtujax.mappings import to_dict
from mtujax.network import MTUNet, init_params
from mtujax.report import write_tables
from mtujax.report_command import report
from mtujax.report_inputs import read_measured
from mtujax.report_methods import method_of
from mtujax.tables import paper_tables
from mtujax.weights import save_weights

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(report)


def method(name="mtu2", preset="mtu2", dtype="float32", parameters=1_037_325):
    config = None
    if preset:
        config = to_dict(dataclasses.replace(PRESETS[preset], dtype=dtype))
    about = {"name": name, "sha256": "ab" * 32, "config": config}
    return about | {"parameters": parameters}


def evaluation(path, about=None, dataset="dvd", variant=None, frames=990, **changes):
    scores = {"psnr": 30.5, "ssim": 0.925, "frames": frames, "videos": 10}
    data = {
        "kind": "mtujax evaluation",
        "version": 1,
        "device": "cpu",
        "method": about or method(),
        "dataset": {"name": dataset, "split": "test", "variant": variant},
        "protocols": {"rt-paper": scores, "koehler": scores | {"psnr": 31.5}},
        "motion": {"psnr": 26.0, "ssim": 0.85},
    }
    path.write_text(json.dumps(data | changes))
    return path


def bench(path, about=None, size=(1280, 720), **changes):
    data = {
        "kind": "mtujax bench",
        "version": 1,
        "device": "NVIDIA H100",
        "method": about or method(),
        "size": size,
        "step_ms": {"p50": 4.25, "p95": 4.5},
    }
    path.write_text(json.dumps(data | changes))
    return path


def test_a_time_joins_the_scores_of_its_method(tmp_path):
    files = [evaluation(tmp_path / "e.json"), bench(tmp_path / "b.json")]
    first, second = read_measured(files)
    assert (first.protocol, second.protocol) == ("rt-paper", "koehler")
    assert (first.key, first.dataset, first.psnr, first.ssim) == (
        "mtu2",
        "dvd",
        30.5,
        0.925,
    )
    assert first.parameters == pytest.approx(1.037325)
    assert (first.motion_psnr, first.motion_ssim) == (26.0, 0.85)
    assert first.milliseconds == second.milliseconds == 4.25
    text = " ".join(first.notes)
    assert "mtu2 (sha256 abababababab) in float32 on cpu." in text
    assert "990 frames of 10 videos." in text
    assert "Time: median step, 1280x720 on NVIDIA H100." in text


def test_a_time_of_another_precision_is_another_method(tmp_path):
    half = method(dtype="float16")
    bench(tmp_path / "b.json", half)
    evaluation(tmp_path / "e.json")
    found = read_measured([tmp_path])  # all files of a folder
    assert [(one.key, one.milliseconds) for one in found] == [
        ("mtu2", None),
        ("mtu2", None),
        ("mtu2_hp", 4.25),
        ("mtu2_hp", 4.25),
    ]
    assert [one.dataset for one in found[2:]] == ["dvd", "gopro"]


def test_a_time_of_another_size_is_told_and_not_entered(tmp_path):
    files = [evaluation(tmp_path / "e.json"), bench(tmp_path / "b.json", size=(64, 48))]
    first = read_measured(files)[0]
    assert first.milliseconds is None
    assert "Timed at 64x48 on NVIDIA H100: not entered" in first.notes[-1]


@pytest.mark.parametrize(
    "dataset, variant, name",
    [
        ("gopro", "blur_gamma", "gopro"),
        ("gopro", "blur", "gopro blur"),
        ("dvd", None, "dvd"),
        ("bsd", "2ms16ms", "bsd 2ms16ms"),
    ],
)
def test_another_kind_of_blur_is_another_dataset(tmp_path, dataset, variant, name):
    frames = 1100 if dataset == "gopro" else 990
    more = dict(dataset=dataset, variant=variant, frames=frames)
    path = evaluation(tmp_path / "e.json", **more)
    assert read_measured([path])[0].dataset == name


def test_a_part_of_a_known_set_does_not_stand_beside_reported_numbers(tmp_path):
    path = evaluation(tmp_path / "e.json", frames=42)
    first, second = read_measured([path])
    assert first.dataset == "dvd (42 frames, the whole set has 990)"
    tables = paper_tables([first, second])
    assert [len(table.columns) for table in tables] == [2, 2]
    slug = tables[0].slug
    assert slug == "dvd-42-frames-the-whole-set-has-990-rt-paper"
    assert "none of its numbers may be compared" in tables[0].caption


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_known_by_its_layers(name):
    assert method_of("step_1000", PRESETS[name]).key == name
    half = dataclasses.replace(PRESETS[name], dtype="bfloat16")
    wanted = "mtu2_hp" if name == "mtu2" else f"{name}_hp"
    assert method_of("step_1000", half).key == wanted


def test_other_networks_and_results_made_elsewhere_keep_their_names():
    assert method_of("small", ModelConfig(channels=4)) == ("small", "small")
    assert method_of("table1_row2", PRESETS["mtu2"]).key == "table1_row2"
    assert method_of("PVD-L", None) == ("pvd_l", "PVD-L")
    assert method_of("stdan", None) == ("stdan", "stdan")


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
    assert "torn.json: cannot be read" in refused(torn, "--out", out)
    for other in ("[]", '{"kind": "x"}', "{}"):
        torn.write_text(other)
        assert "torn.json: not results of eval.py" in refused(torn, "--out", out)
    lacking = evaluation(tmp_path / "lacking.json", dataset="x", method={"name": "a"})
    assert "lacking.json: lacks method.config" in refused(lacking, "--out", out)
    wrong = evaluation(tmp_path / "wrong.json", protocols=[])
    assert "wrong.json: protocols is no mapping" in refused(wrong, "--out", out)
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
