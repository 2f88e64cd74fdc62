"""The demo: what no training saw comes out sharper, what is sharp as it is."""

import hashlib
import importlib.resources
import json

import av
import cv2
import numpy as np
import pytest

import mtujax
from mtujax.cli import demo
from mtujax.config import DEFAULT_WEIGHTS
from mtujax.errors import UserError
from mtujax.synthesis.host.clip import synthesize
from mtujax.synthesis.photos import read_photo
from mtujax.synthesis.settings import BlurSettings, Exposure, Shake
from mtujax.weights.files import bundled


def test_a_file_in_the_way_of_the_demo_is_named(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(UserError, match="not a folder"):
        demo.run(path)


@pytest.mark.parametrize("name", ["mine.txt", "sharp/mine.txt"])
def test_the_demo_never_deletes_what_it_did_not_make(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UserError, match="mine.txt"):
        demo.run(tmp_path)
    assert path.read_text() == "mine"


def test_weights_that_do_not_load_leave_no_demo_behind(tmp_path):
    with pytest.raises(UserError, match="unknown weights 'nope'"):
        demo.run(tmp_path / "demo", weights="nope")
    assert not (tmp_path / "demo").exists()


@pytest.mark.slow
def test_the_demo_gains_and_shows_it(tmp_path, monkeypatch):
    """A shorter and smaller clip than the command's, or it would take a minute."""
    monkeypatch.setattr(demo, "_FRAMES", 6)
    monkeypatch.setattr(demo, "_HEIGHT", 120)
    monkeypatch.setattr(demo, "_WIDTH", 160)
    monkeypatch.setattr(demo, "_DETAIL", (slice(40, 80), slice(53, 107)))
    lines = []
    for _ in range(2):  # the second run replaces what the first one left
        gain = demo.run(tmp_path / "demo", say=lines.append)
    assert gain > 0.3
    assert f"({gain:+.2f} dB)" in "".join(lines)
    names = sorted(p.name for p in (tmp_path / "demo").iterdir())
    assert names == [
        "blurry",
        "restored",
        "scores.json",
        "sharp",
        "side_by_side.mp4",
        "side_by_side.png",
    ]
    told = json.loads((tmp_path / "demo" / "scores.json").read_text())
    assert told["restored"]["psnr"] - told["blurry"]["psnr"] == pytest.approx(gain)
    assert told["blurry"]["ssim"] < told["restored"]["ssim"] < 1
    (file,) = (file for file in bundled() if file.name == DEFAULT_WEIGHTS)
    digest = hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert told["weights"] == {"name": DEFAULT_WEIGHTS, "sha256": digest}
    picture = cv2.imread(str(tmp_path / "demo" / "side_by_side.png"))
    assert picture.shape == (2 * 120 + 2, 2 * 160 + 2, 3)
    with av.open(str(tmp_path / "demo" / "side_by_side.mp4")) as video:
        frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    assert np.shape(frames) == (6, 120, 322, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, least",
    [("fast", 33), ("fast_live", 33)],
)
def test_what_is_sharp_stays_as_it_is_though_it_moves(name, least):
    photo = importlib.resources.files("mtujax") / "assets" / "arches.jpg"
    made = synthesize(
        read_photo(str(photo)),
        np.random.default_rng(1),
        frames=6,
        height=96,
        width=160,
        blur=BlurSettings(
            Shake(speed=(8.0, 8.0), scale=(1.5, 1.5)),
            exposure=Exposure(sharp=1.0, shot=(0.0, 0.0), read=(0.0, 0.0)),
        ),
    )
    assert np.linalg.norm(made.flow[1:], axis=-1).mean() > 3  # pixels a frame
    blurry, sharp = (np.float32(x) / 255 for x in (made.blurry, made.sharp))
    model, params = mtujax.load(name)
    restored = mtujax.restore_clip(model, params, blurry[None])[1][0]
    assert mtujax.psnr(np.clip(restored, 0, 1), sharp).min() > least
