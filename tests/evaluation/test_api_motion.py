"""Motion of an evaluation beside the exact flow that lies by a filmed set's frames."""

import csv
import dataclasses
import json
import shutil

import evaluated
import jax
import numpy as np
import pytest
from networks import SMALLEST

from mtujax.data.flow import write_npz
from mtujax.data.frames import VideoInfo
from mtujax.errors import UserError
from mtujax.evaluation.api import evaluate
from mtujax.evaluation.results import read_results
from mtujax.evaluation.scores import Tally
from mtujax.metrics.motion import end_point_error
from mtujax.metrics.protocols import PROTOCOLS
from mtujax.model.network import MTUNet, init_params
from mtujax.model.stream import Stream
from mtujax.synthesis.sets import Filming, filmed, write_set

network = evaluated.network
SIDE = dict(width=56, height=48)


@pytest.fixture(scope="module")
def clips():
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    return list(filmed({"a": photo}, Filming(clips=2, frames=3, **SIDE)))


@pytest.fixture
def filmed_set(clips, tmp_path):
    write_set(iter(clips), tmp_path / "set", about={}, split="test", flow=True)
    return tmp_path / "set"


def expected(network, clip):
    """End-point errors of a clip, restored as a stream does."""
    stream = Stream(*network)
    steps = [s for frame in clip.blurry for s in stream.advance(frame)]
    steps += stream.finish()
    for k in range(1, len(clip.blurry)):
        given = clip.flow[k][None].astype(np.float16), clip.valid[k][None]
        yield float(end_point_error(steps[k].displacement[None], *given)[0])


@pytest.mark.slow
def test_a_network_of_patches_is_measured_on_the_same_frames(filmed_set, tmp_path):
    model = MTUNet(dataclasses.replace(SMALLEST, patch=2, activation="leaky"))
    params = init_params(model, jax.random.key(1))
    options = dict(dataset="pairs", path=filmed_set, out=tmp_path, motion=True)
    found = evaluate((model, params), protocols=["rt-paper"], **options).motion_total
    assert (found.pairs, found.known) == (4, 4)
    assert all(np.isfinite(value) for value in found.means.values())


def test_the_end_point_error_is_that_of_the_flow_beside_the_frames(
    network, clips, filmed_set, tmp_path
):
    shutil.rmtree(filmed_set / "test" / clips[1][0] / "flow")
    out = tmp_path / "out"
    options = dict(dataset="pairs", path=filmed_set, out=out, motion=True)
    found = evaluate(network, protocols=["rt-paper"], **options)
    errors = list(expected(network, clips[0][1]))
    total = found.motion_total
    assert (total.pairs, total.known) == (4, 2)
    assert total.means["end_point_error"] == pytest.approx(np.mean(errors), rel=1e-3)
    told = json.loads((out / "results.json").read_text())["motion"]
    assert told["end_point_error"] == total.means["end_point_error"]
    assert read_results(out / "results.json") == found
    with open(out / "frames.csv", newline="") as file:
        cells = [row["motion end_point_error"] for row in csv.DictReader(file)]
    assert [bool(cell) for cell in cells] == [False, True, True] + [False] * 3
    assert float(cells[2]) == pytest.approx(errors[1], rel=1e-3)
    with open(out / "videos.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[1]["motion end_point_error"] == "" and rows[1]["motion known"] == "0"
    assert float(rows[1]["motion psnr"]) > 0
    assert rows[2]["motion end_point_error"] == rows[0]["motion end_point_error"] != ""
    text = (out / "table.md").read_text()
    assert "end-point error |" in text and "over 2 pairs whose exact flow" in text


def test_without_flow_there_is_no_end_point_error(network, clips, tmp_path):
    write_set(iter(clips), tmp_path / "set", about={}, split="test")
    out = tmp_path / "out"
    options = dict(dataset="pairs", path=tmp_path / "set", out=out, motion=True)
    evaluate(network, protocols=["rt-paper"], **options)
    told = json.loads((out / "results.json").read_text())["motion"]
    assert told["end_point_error"] is None and told["psnr"] > 0
    assert "end_point_error" not in (out / "frames.csv").read_text()
    assert "ind-point" not in (out / "table.md").read_text()


def test_flow_that_is_not_of_the_frames_is_refused(
    network, clips, filmed_set, tmp_path
):
    options = dict(dataset="pairs", path=filmed_set, out=tmp_path / "out", motion=True)
    flow = filmed_set / "test" / clips[0][0] / "flow"
    (flow / "0002.npz").unlink()
    with pytest.raises(UserError, match="0002.npz .*missing"):
        evaluate(network, **options)
    write_npz(flow / "0002.npz", np.zeros((8, 8, 2)), np.ones((8, 8), bool))
    with pytest.raises(UserError, match="0002.npz: is 8x8, but its frames are 56x48"):
        evaluate(network, **options)
    assert not (tmp_path / "out").exists()


def test_pairs_that_match_without_an_error_are_counted():
    tally = Tally(VideoInfo("a", 3, 48, 56), (PROTOCOLS["rt-paper"],), {})
    for number, psnr in enumerate((20.0, np.inf, 30.0)):
        scores = {"psnr": np.float64(psnr), "ssim": np.float64(1)}
        motion = scores | {"share": np.float64(1)}
        tally.add(str(number), {"rt-paper": scores, "motion": motion})
    sums = tally.record().motion
    assert (sums.pairs, sums.infinite, sums.psnr) == (2, 1, 130.0)
