"""Results of an evaluation as a file: read back, refused, and read by the report."""

import json
import math

import pytest
from networks import SMALLEST
from places import ROOT

from mtujax.data.frames import VideoInfo
from mtujax.errors import UserError
from mtujax.evaluation.results import (
    Evaluation,
    Method,
    Scored,
    read_results,
    to_json,
    write_results,
)
from mtujax.evaluation.scores import (
    ConsistencySums,
    MotionSums,
    ProtocolScores,
    Sums,
    VideoScores,
)
from mtujax.report.inputs import read_measured

# Uneven videos: a mean of frames is not the mean of the videos' means.
LONG, SHORT = Sums(4, 120.0, 3.6), Sums(1, 20.0, 0.5, infinite=0, unaligned=1)


def scores(average="frames", short=SHORT):
    by_video = {"b": VideoScores((1, 5), LONG), "a": VideoScores((1, 2), short)}
    return ProtocolScores(average, by_video)


@pytest.fixture
def found():
    videos = VideoInfo("a", 2, 64, 80), VideoInfo("b", 5, 80, 64)
    return Evaluation(
        Method("mine", "ab" * 32, 1234, SMALLEST),
        Scored("gopro", "test", "blur_gamma", videos),
        {"rt-paper": scores(), "kair-python": scores("videos")},
        motion={"a": MotionSums(1, 25.0, 0.5, 0.75), "b": MotionSums(4, 60, 2, 3, 1)},
        consistency={"a": ConsistencySums(1, 0.5, 0.25), "b": ConsistencySums(4, 1, 2)},
        machine={"device": "cpu", "devices": 2, "jax": "1.2.3"},
        seconds={"all": 1.5},
    )


def test_a_file_gives_back_what_was_written(found, tmp_path):
    path = tmp_path / "results.json"
    write_results(path, found)
    assert read_results(path) == found
    bare = Evaluation(Method("elsewhere"), found.dataset, found.protocols)
    write_results(path, bare)
    assert read_results(path) == bare


def test_means_are_over_frames_or_over_videos_as_the_protocol_says(found):
    told = to_json(found)["protocols"]
    assert told["rt-paper"]["psnr"] == pytest.approx((120 + 20) / 5)
    assert told["kair-python"]["psnr"] == pytest.approx((120 / 4 + 20 / 1) / 2)
    assert told["kair-python"]["ssim"] == pytest.approx((3.6 / 4 + 0.5) / 2)
    counts = {"frames": 5, "videos": 2, "unaligned": 1, "infinite": 0, "invalid": 0}
    assert told["rt-paper"] | counts == told["rt-paper"]
    assert told["rt-paper"]["by_video"]["b"]["counted"] == [1, 5]


def test_blurry_frames_have_a_mean_where_all_were_scored():
    one = Sums(4, 120.0, 3.6, blurry_psnr=100.0, blurry=4)
    other = Sums(1, 20.0, 0.5, blurry_psnr=10.0, blurry=1)
    by_video = {"a": VideoScores((0, 4), one), "b": VideoScores((0, 1), other)}
    assert ProtocolScores("frames", by_video).blurry_mean == pytest.approx(110 / 5)
    assert ProtocolScores("videos", by_video).blurry_mean == pytest.approx(35 / 2)
    # A video that an older version scored.
    by_video |= {"c": VideoScores((1, 2), SHORT)}
    for average in ("frames", "videos"):
        assert ProtocolScores(average, by_video).blurry_mean is None


def test_pairs_that_are_undefined_are_counted_and_enter_no_mean(found):
    told = to_json(found)
    motion, steady = told["motion"], told["consistency"]
    assert (motion["pairs"], motion["undefined"]) == (5, 1)
    assert motion["psnr"] == pytest.approx((25 + 60) / 4)
    assert motion["share"] == pytest.approx((0.75 + 3) / 4)
    assert steady["restored"] == pytest.approx(1.5 / 5)
    assert all(math.isnan(value) for value in MotionSums(2, undefined=2).means.values())


def test_a_mean_with_an_invalid_frame_is_nan_also_in_the_file(found, tmp_path):
    spoilt = scores(short=Sums(1, invalid=1))
    path = tmp_path / "results.json"
    write_results(path, Evaluation(found.method, found.dataset, {"kair": spoilt}))
    told = json.loads(path.read_text())["protocols"]["kair"]
    assert (told["psnr"], told["ssim"], told["invalid"]) == ("nan", "nan", 1)
    assert math.isnan(read_results(path).protocols["kair"].means[0])


def test_a_report_reads_the_file(found, tmp_path):
    path = tmp_path / "results.json"
    write_results(path, found)
    first, second = read_measured([path])
    assert (first.protocol, second.protocol) == ("rt-paper", "kair-python")
    assert first.psnr == pytest.approx(28)
    assert first.motion_psnr == pytest.approx(85 / 4)
    assert first.parameters == pytest.approx(1234e-6)


KEPT = sorted((ROOT / "benchmarks/results").glob("bundled-*.json"))


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_results_of_older_versions_are_read(file, tmp_path):
    kept = json.loads(file.read_text())["evaluations"]
    assert kept
    for name, values in kept.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(values))
        found = read_results(path)
        # What was averaged then is what the sums give now.
        for protocol, scores in values["protocols"].items():
            means = found.protocols[protocol].means
            assert means == pytest.approx((scores["psnr"], scores["ssim"]), rel=1e-12)
        for kind in ("motion", "consistency"):
            if values[kind] is not None:
                summary = getattr(found, f"{kind}_total").summary
                for name, value in values[kind].items():
                    if name != "by_video" and value is not None:
                        assert summary[name] == pytest.approx(value, rel=1e-12)
                    elif value is None:
                        assert summary[name] is None
        assert len(read_measured([path])) == len(values["protocols"])


def without(*names):
    def cut(values):
        for name in names[:-1]:
            values = values[name]
        del values[names[-1]]

    return cut


def with_value(value, *names):
    def put(values):
        for name in names[:-1]:
            values = values[name]
        values[names[-1]] = value

    return put


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_value("bench", "kind"), "not results of eval.py"),
        (with_value(2, "version"), "results of version 2, this mtujax reads version 1"),
        (without("dataset"), "damaged, lacks dataset"),
        (without("protocols", "rt-paper", "by_video"), "damaged, lacks by_video"),
        (
            with_value("x", "protocols", "rt-paper", "by_video", "a", "psnr"),
            "damaged .*rt-paper.by_video.a.sums.psnr 'x'",
        ),
        (
            with_value("median", "protocols", "rt-paper", "average"),
            "average 'median': must be 'frames' or 'videos'",
        ),
        (with_value([], "motion"), "damaged"),
        (with_value({"channels": 0}, "method", "config"), "damaged"),
        (with_value(1, "dataset", "videos", 0, "name"), "damaged .*name 1"),
    ],
)
def test_what_is_no_result_is_refused_with_the_file_named(
    found, tmp_path, change, words
):
    path = tmp_path / "results.json"
    write_results(path, found)
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=f"results.json: .*{words}"):
        read_results(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(UserError, match="results.json: no such file"):
        read_results(path)
    path.write_text('{"kind": "mtujax eval')
    with pytest.raises(UserError, match="results.json: damaged, not JSON"):
        read_results(path)
    path.write_text("[]")
    with pytest.raises(UserError, match="not results of eval.py"):
        read_results(path)


def test_a_disk_that_refuses_leaves_the_old_file(found, tmp_path, monkeypatch):
    path = tmp_path / "results.json"
    path.write_text("old")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_text", full)
    with pytest.raises(OSError, match="No space left.*results.json"):
        write_results(path, found)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
