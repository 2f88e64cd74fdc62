"""What README, and the page about JAX, show is done as it stands there."""

import dataclasses
import re

import media
import numpy as np
import pytest
import releases
from places import ROOT
from serving import serving

import mtujax
from mtujax.cli.app import main
from mtujax.fetch.sources import WEIGHTS

pytestmark = pytest.mark.slow
README = (ROOT / "README.md").read_text("utf-8")


def run(command):
    assert command in README
    with pytest.raises(SystemExit) as ended:
        main(command.split()[1:])
    assert not ended.value.code


@pytest.fixture(autouse=True)
def clip(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    media.h264_mp4(tmp_path / "shaky.mp4", media.scene(4))
    return tmp_path


def test_the_first_command_and_the_python(clip):
    run("mtujax deblur shaky.mp4 sharp.mp4")
    (clip / "sharp.mp4").rename(clip / "first.mp4")
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    camera, shown = media.scene(4), []
    exec(code, {"camera": camera, "show": shown.append})
    assert (clip / "sharp.mp4").read_bytes() == (clip / "first.mp4").read_bytes()
    assert [frame.shape for frame in shown] == [frame.shape for frame in camera]
    assert np.stack(shown).dtype == np.uint8


def test_the_python_of_the_page_about_jax(clip):
    page = (ROOT / "docs" / "how-to" / "jax.md").read_text("utf-8")
    names = {}
    for code in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S):
        exec(code, names)
    parts = np.concatenate([names["first"], names["rest"]], axis=1)
    np.testing.assert_allclose(parts, names["restored"], rtol=0, atol=1e-5)
    assert names["pictures"].dtype == np.uint8
    assert np.isfinite(names["value"]) and names["both"].shape == (2, 1, 2, 64, 96, 3)
    count = mtujax.model.parameter_count(names["fresh"])
    assert f"parameter_count(fresh)  # {count}\n" in page
    shapes = {name: np.shape(array) for name, array in names["outputs"].items()}
    assert shapes == {
        "restored": (1, 64, 96, 3),
        "displacement": (1, 16, 24, 2),
        "intermediate": (1, 2, 64, 96, 3),
        "cost_volume": (1, 1, 16, 24, 441),
    }
    assert mtujax.load("mine.safetensors")[0].config == names["three"].config


def test_the_authors_weights(clip, monkeypatch):
    """Of MTU1, as recorded, from a server of our own, in place of the authors'."""
    pytest.importorskip("torch")
    monkeypatch.setenv("MTUJAX_CACHE", str(clip / "cache"))
    monkeypatch.setattr("mtujax.cli.fetch._ask", lambda text: "AGPL-3.0" in text)
    members = {"MTU2_GoPro.pytorch": releases.checkpoint("MTU2")}
    members["MTU1_DVD.pytorch"] = releases.checkpoint("MTU1")
    with serving(releases.packed(members)) as served:
        source = dataclasses.replace(WEIGHTS, url=served.url)
        monkeypatch.setattr("mtujax.fetch.weights.WEIGHTS", source)
        run("mtujax fetch mtu2-gopro")
        run("mtujax fetch mtu1-dvd")
    assert "--weights mtu2-gopro" in README
    for name in ("mtu2-gopro", "mtu1-dvd"):
        model, _ = mtujax.load(name)
        assert model.config == mtujax.PRESETS[name.partition("-")[0]]


def test_the_table_of_networks():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+).*? \| ([\d,]+) \|", README, re.M)
    assert {name for name, *_ in rows} == {*mtujax.PRESETS}
    for name, units, channels, parameters in rows:
        config = mtujax.PRESETS[name]
        assert (config.num_units, config.channels) == (int(units), int(channels))
        shapes = mtujax.model.network.expected_shapes(config).values()
        assert sum(np.prod(s, dtype=int) for s in shapes) == int(
            parameters.replace(",", "")
        )
