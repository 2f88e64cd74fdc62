"""What a report reads: files of results, which of them, and what is told of each."""

import dataclasses
import json
import re
import shutil

import evaluated
import pytest
from reported import bench, evaluation, method, scores

from mtujax.common.text import markdown
from mtujax.config import PRESETS, ModelConfig
from mtujax.errors import UserError
from mtujax.report.efficiency import efficiency_points
from mtujax.report.inputs import method_of, read_measured
from mtujax.report.tables import paper_tables

whole = evaluated.whole


def test_a_time_joins_the_scores_of_its_method(tmp_path):
    files = [evaluation(tmp_path / "e.json"), bench(tmp_path / "b.json")]
    first, second = read_measured(files)
    assert (first.protocol, second.protocol) == ("rt-paper", "koehler")
    assert (first.key, first.dataset) == ("mtu2", "dvd")
    assert (first.psnr, first.ssim) == pytest.approx((30.5, 0.925))
    assert first.parameters == pytest.approx(1.037325)
    assert (first.motion_psnr, first.motion_ssim) == (26.0, 0.85)
    assert first.milliseconds == second.milliseconds == 4.25
    text = " ".join(first.notes)
    assert "mtu2 (sha256 abababababab) in float32 on cpu." in text
    assert "990 frames of 10 videos." in text
    assert "Time: median step, 1280x720 on NVIDIA H100 (b.json)." in text


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


def test_a_time_joins_only_the_scores_of_its_own_weights_and_precision(tmp_path):
    halves = {
        f"{name} {dtype}": method(name, dtype=dtype) | {"sha256": digit * 64}
        for name, digit in (("one", "1"), ("two", "2"))
        for dtype in ("float16", "bfloat16")
    }
    for number, about in enumerate(halves.values()):
        evaluation(tmp_path / f"e{number}.json", about)
    bench(tmp_path / "b.json", halves["two bfloat16"] | {"name": "a copy"})
    drawn = {"sha256": None}
    bench(tmp_path / "c.json", halves["one float16"] | drawn, step_ms={"p50": 8.0})
    found = [one for one in read_measured([tmp_path]) if one.protocol == "rt-paper"]
    times = {one.label: one.milliseconds for one in found}
    assert times == {
        "one (float16)": 8.0,
        "one (bfloat16)": None,
        "two (float16)": 8.0,
        "two (bfloat16)": 4.25,
    }


def test_a_time_of_another_size_is_told_and_not_entered(tmp_path):
    files = [evaluation(tmp_path / "e.json"), bench(tmp_path / "b.json", size=(64, 48))]
    first = read_measured(files)[0]
    assert first.milliseconds is None
    assert "Timed at 64x48 on NVIDIA H100 (b.json): not entered" in first.notes[-1]


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


def test_a_time_of_a_batch_is_told_and_not_entered(tmp_path):
    files = [evaluation(tmp_path / "e.json"), bench(tmp_path / "b.json", batch=4)]
    first = read_measured(files)[0]
    assert first.milliseconds is None
    assert "Timed at 1280x720, 4 frames at once on NVIDIA H100" in first.notes[-1]
    files[1] = bench(tmp_path / "b.json", form="plain")
    note = read_measured(files)[0].notes[-1]
    assert note == "Time: median step, 1280x720 on NVIDIA H100, plain form (b.json)."


def test_of_several_times_the_first_that_fits_is_entered_and_all_are_named(tmp_path):
    evaluation(tmp_path / "e.json")
    bench(tmp_path / "a.json", size=(640, 360), step_ms={"p50": 1.0})
    bench(tmp_path / "b.json", batch=2, step_ms={"p50": 2.0})
    bench(tmp_path / "c.json", batch=1, step_ms={"p50": 3.0})
    bench(tmp_path / "d.json", device="cpu", step_ms={"p50": 900.0})
    first = read_measured([tmp_path])[0]
    assert first.milliseconds == 3.0
    time, *others = first.notes[2:]
    assert time == "Time: median step, 1280x720 on NVIDIA H100 (c.json)."
    assert [re.search(r"\((.)\.json\)", note)[1] for note in others] == ["a", "b", "d"]
    assert others[-1].endswith("on cpu (d.json): not entered, as c.json comes first.")


def test_networks_of_one_preset_are_labelled_by_their_weights(tmp_path):
    names = ("bundled", "mine", "mine")
    for number, name in enumerate(names):
        about = method(name) | {"sha256": f"{number}" * 64}
        evaluation(tmp_path / f"{number}.json", about)
    evaluation(tmp_path / "half.json", method("half", dtype="float16"))
    found = [one for one in read_measured([tmp_path]) if one.protocol == "rt-paper"]
    labels = [one.label for one in found]
    assert labels == [
        "bundled",
        "mine (float32, 11111111)",
        "mine (float32, 22222222)",
        "MTU2-hp",
    ]
    text = markdown(paper_tables(found))
    assert "- MTU2: bundled (sha256 000000000000)" in text
    assert "- mine (float32, 11111111): mine (sha256 111111111111)" in text
    timed = [dataclasses.replace(one, milliseconds=9.0) for one in found]
    shown = [p.label for p in efficiency_points("dvd", timed) if p.kind == "measured"]
    assert shown == labels


def of_set(path, videos, blurry=None, about=None):
    """Results on a set `pairs` of videos of 99 frames each."""
    listed = [{"name": n, "frames": 99, "height": 48, "width": 64} for n in videos]
    found = scores(30.5, 0.925)
    if blurry is not None:
        for one in found["by_video"].values():
            one |= {"blurry": one["frames"], "blurry_psnr": blurry * one["frames"]}
    path.parent.mkdir(exist_ok=True)
    evaluation(path, about, protocols={"rt-paper": found})
    data = json.loads(path.read_text())
    data["dataset"] |= {"name": "pairs", "variant": "default", "videos": listed}
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("videos", "blurry"), [("ab", (None, None)), ("abc", (25.0, 27.0))]
)
def test_sets_of_one_name_with_other_frames_have_tables_of_their_own(
    tmp_path, videos, blurry
):
    here, there = blurry
    of_set(tmp_path / "first.json", "abc", here)
    of_set(tmp_path / "again.json", "abc", here and here + 0.01)
    of_set(tmp_path / "other" / "results.json", videos, there)
    tables = paper_tables(read_measured([tmp_path]))
    assert {table.slug: [c.name for c in table.columns[1:]] for table in tables} == {
        "pairs-default-as-in-again-rt-paper": [
            "mtu2 (float32, abababab, again)",
            "mtu2 (float32, abababab, first)",
        ],
        "pairs-default-as-in-other-rt-paper": ["MTU2"],
    }


def test_results_of_older_versions_are_of_the_set_with_the_same_videos(tmp_path):
    of_set(tmp_path / "a.json", "abc", 25.0, method("old"))
    of_set(tmp_path / "b.json", "abc", None, method("new"))
    (table,) = paper_tables(read_measured([tmp_path]))
    assert table.slug == "pairs-default-rt-paper"
    assert [column.name for column in table.columns[1:]] == ["old", "new"]


def test_a_set_without_counted_frames_is_blank_with_a_note(tmp_path):
    path = evaluation(tmp_path / "e.json", dataset="bsd", frames=0)
    undefined = {"pairs": 3, "undefined": 3}
    data = json.loads(path.read_text())
    data["motion"] = {"by_video": {"video 0": undefined}}
    path.write_text(json.dumps(data))
    first = read_measured([path])[0]
    assert (first.psnr, first.ssim, first.motion_psnr) == (None, None, None)
    text = markdown(paper_tables([first]))
    assert "NaN" not in text and "No frame counts." in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"psnr": "abc"}, "psnr 'abc': must be float"),
        ({"psnr": [1]}, "psnr [1]: must be float"),
        ({"frames": "all"}, "frames 'all': must be int"),
    ],
)
def test_scores_of_a_wrong_type_are_one_line(tmp_path, changes, words):
    one = scores(30.5, 0.925)
    one["by_video"]["video 3"] |= changes
    path = evaluation(tmp_path / "e.json", protocols={"rt-paper": one})
    where = f"{path}: damaged (protocols.rt-paper.by_video.video 3.sums.{words})"
    with pytest.raises(UserError, match=re.escape(where)) as e:
        read_measured([path])
    assert e.value.status == 1


@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (evaluation, {"about": method(name=["a"])}),
        (evaluation, {"about": method() | {"sha256": 5}}),
        (evaluation, {"about": method() | {"parameters": "many"}}),
        (evaluation, {"about": method() | {"config": {"channels": "x"}}}),
        (evaluation, {"about": method() | {"config": 7}}),
        (evaluation, {"dataset": 5}),
        (evaluation, {"motion": {"by_video": {"video 0": {"psnr": {}}}}}),
        (bench, {"size": 720}),
        (bench, {"size": ["wide", "high"]}),
        (bench, {"batch": "two"}),
        (bench, {"step_ms": {"p50": "fast"}}),
        (bench, {"step_ms": {"p50": None}}),
        (bench, {"about": method() | {"parameters": {}}}),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, make, changes):
    path = make(tmp_path / "x.json", **changes)
    with pytest.raises(UserError) as caught:
        read_measured([path])
    assert str(caught.value).startswith(f"{path}: damaged (")
    assert "\n" not in str(caught.value) and caught.value.status == 1


def test_a_folder_of_evaluations_gives_their_results(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        evaluation(tmp_path / name / "results.json", method(name, preset=None))
        (tmp_path / name / "settings.json").write_text("{}")
    bench(tmp_path / "time.json")
    found = {one.label for one in read_measured([tmp_path])}
    assert found == {"one", "two", "MTU2"}
    again = read_measured([tmp_path / "one", tmp_path / "one" / "results.json"])
    assert [one.label for one in again] == ["one", "one"]  # of two protocols
    (tmp_path / "one" / "results.json").unlink()
    with pytest.raises(UserError, match="one: this evaluation is not finished"):
        read_measured([tmp_path / "one"])


def test_what_an_evaluation_writes_is_what_a_report_reads(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "results" / "X")
    for place in ("results", "results/X"):
        found = read_measured([tmp_path / place])
        assert [one.protocol for one in found] == ["rt-paper", "koehler"]
        psnr, _ = whole[0].protocols["rt-paper"].means
        assert found[0].psnr == pytest.approx(psnr)
    settings = tmp_path / "results" / "X" / "settings.json"
    with pytest.raises(UserError, match="settings.json: not results of eval.py"):
        read_measured([settings])
