"""The demo: a clip no training saw comes out measurably sharper."""

import av
import cv2
import numpy as np
import pytest

from mtujax import demo
from mtujax.errors import UserError


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
        "sharp",
        "side_by_side.mp4",
        "side_by_side.png",
    ]
    picture = cv2.imread(str(tmp_path / "demo" / "side_by_side.png"))
    assert picture.shape == (2 * 120 + 2, 2 * 160 + 2, 3)
    with av.open(str(tmp_path / "demo" / "side_by_side.mp4")) as video:
        frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    assert np.shape(frames) == (6, 120, 322, 3)
