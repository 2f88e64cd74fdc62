"""Pictures of the report: crops from folders, and networks that cannot be shown."""

import cv2
import jax
import numpy as np
import pytest

from mtujax.config import ModelConfig
from mtujax.errors import UserError
from mtujax.model.network import MTUNet, init_params
from mtujax.report.crops import (
    compute_views,
    draw_folders,
    read_folders,
)
from mtujax.weights.files import save_weights


@pytest.fixture
def folders(tmp_path):
    """Frames of an input, of 8 bits, and of a method, of 16."""
    rng = np.random.default_rng(0)
    for name, dtype in (("in", np.uint8), ("method", np.uint16)):
        (tmp_path / name).mkdir()
        for number in range(3):
            top = np.iinfo(dtype).max
            frame = rng.integers(0, top, (24, 32, 3), dtype, endpoint=True)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), frame)
    return tmp_path


def test_crops_come_from_folders_of_frames(folders):
    both = [("input", folders / "in"), ("method", folders / "method")]
    files = draw_folders(read_folders(both, 1), folders, number=1)
    assert [f.name for f in files] == [
        f"crops_of_folders.{e}" for e in ("pdf", "png", "txt")
    ]
    assert all(file.stat().st_size > 50 for file in files)
    text = " ".join(files[-1].read_text().split())
    assert "input, method. Frames 1 and 2" in text


def test_frames_that_are_not_there_are_one_line(folders):
    both = [("a", folders / "in"), ("b", folders / "method")]
    with pytest.raises(UserError, match="in: has no frames 2 and 3"):
        read_folders(both, 2)
    with pytest.raises(UserError, match="frame -1: counted from 0"):
        read_folders(both, -1)
    with pytest.raises(UserError, match="none: no such folder"):
        read_folders([("a", folders / "none")], 0)


def test_pictures_need_a_photograph_that_is_large_enough(folders):
    small = folders / "in" / "0.png"
    with pytest.raises(UserError, match="0.png: 32x24 is smaller than the frames"):
        compute_views(["fast"], print, photo=small)
    with pytest.raises(UserError, match="x.png: not an image that can be read"):
        compute_views(["fast"], print, photo=folders / "x.png")


def test_without_takes_a_network_without_injection(folders):
    with pytest.raises(UserError, match="fast: is a network with structure injection"):
        compute_views(["fast"], print, without="fast", size=(64, 48))


def test_a_network_without_motion_cannot_show_it(tmp_path):
    still = tmp_path / "still.safetensors"
    config = ModelConfig(num_units=1, channels=4, motion_compensation=False)
    save_weights(still, config, init_params(MTUNet(config), jax.random.key(0)))
    with pytest.raises(UserError, match="estimates no motion"):
        compute_views([str(still)], print, size=(64, 48))
