"""What the speed benchmark says of its figures, which are made up here."""

import json
import re

import pytest

from benchmarks.speed import growth, speed, speed_text as text
from mtujax.config import PRESETS
from mtujax.model.operations import needed_operations


def times(p50):
    names = ("p50", "p95", "p99", "mean", "min", "max", "count")
    return {
        "step_ms": dict.fromkeys(names, p50),
        "frames_per_second": 1e3 / p50,
    }


def row(preset, size, dtype="float32", *, ours=10.0, ratio=2.0, alone=0.5):
    """Made-up figures: PyTorch takes `ratio` times as long, and `alone` unmatched."""
    form = {
        **times(ours),
        "parameters_dtype": dtype,
        "compile_s": {"trace_s": 1.0, "compile_s": 2.0},
        "memory_bytes": {"bytes": 5_000_000},
        "multiply_adds": {"convolutions": 5e9, "matching": 0},
        "compiler_bytes": 1e6,
        "parts_ms": dict.fromkeys(
            ("convolutions", "matcher", "warp", "rest", "idle", "whole"), 1.5
        ),
    }
    more = dict(form, multiply_adds={"convolutions": 6e9, "matching": 1e9})
    found = {
        **dict(preset=preset, dtype=dtype, size=size, batch=1, status="measured"),
        "forms": {"optimized": form, "plain": more},
        "others": {
            "without matching": times(ours),
            "twin": times(ratio * ours),
            "twin compiled": times(3 * ratio * ours),
            "twin, without matching": times(alone * ours),
        },
        "left_out": {"twin compiled, without matching": "OSError: no compiler"},
        "ratios": {
            "twin": ratio,
            "twin compiled": 3 * ratio,
            "twin, without matching": alone,
        },
        "largest_difference": {"twin": 1, "twin compiled": 2},
        "matcher": {
            "mtujax": {"ms": 1.0, "ratio": 1.0},
            "twin banded": {"ms": 4.0, "ratio": 4.0},
        },
    }
    best = {"flops_per_s": {dtype: 5e12}, "bytes_per_s": 1e12}
    speed.add_floor(found, best)
    return found, best


def results(backend="cpu", rows=()):
    found, best = row("mtu2", [640, 360])
    about = {"date": "2000-01-02", "device": "made-up H100", "cpu": "made-up CPU"}
    return {
        "machine": {**about, "threads": 2, "jax": "1.2"},
        "backend": backend,
        "rates": best,
        "rows": [found, *rows],
    }


def test_the_floor_is_that_of_the_work_that_is_needed():
    found, _ = row("mtu2", [640, 360])
    needed = found["needed_multiply_adds"]
    assert needed == needed_operations(PRESETS["mtu2"], 1, 360, 640)
    assert found["floor_ms"] == pytest.approx(2e3 * needed / 5e12)
    assert found["floor_by"] == "products"
    for form in found["forms"].values():
        assert form["of_floor"] == pytest.approx(found["floor_ms"] / 10)
        assert form["tflops_per_s"] == pytest.approx(2 * needed / 1e-2 / 1e12)
    assert found["forms"]["plain"]["gbytes_per_s"] == pytest.approx(0.1)


def test_company_on_a_cpu_is_told():
    found = results() | {"load_average": 0.4}
    assert "load average" not in text.all_tables([found])
    found["load_average"] = 3.7
    assert "load average was 3.7 on 2" in text.all_tables([found])


def test_rows_that_were_not_measured_are_named_in_the_tables():
    lost = dict(preset="mtu10", dtype="float32", size=[1280, 720], batch=8)
    lost |= {"status": "does not fit", "why": "needs 9.0 GB, 1.0 GB are free"}
    tables = text.all_tables([results(rows=[lost])])
    assert "| MTU10 | float32 | 1280x720 | 8 | does not fit | " in tables
    assert "| does not fit: needs 9.0 GB, 1.0 GB are free | " in tables
    assert "does not fit (needs" in text.line(lost)


def test_a_gpus_columns_are_blank_without_its_file():
    alone = text.all_tables([results()]).splitlines()
    measured = next(one for one in alone if one.startswith("| MTU2 | float32"))
    assert "| 10.0 | 100 | 20.0 | 2.00 | 13.0 |" + "  |" * 5 in measured
    blank = next(one for one in alone if one.startswith("| MTU2 | bfloat16"))
    assert set(blank.split("| 1 |")[1]) == {" ", "|"}
    both = [results(), results("gpu")]
    table = text.device_table(both)
    assert table.rows[0][4:9] == table.rows[0][9:]
    assert "GPU: made-up H100; 2000-01-02, jax 1.2." in table.notes


def test_what_is_asked_is_reached_or_missed_by_so_much():
    found = {one["what"]: one["verdict"] for one in text.verdicts(results())}
    name = "mtu2 float32 640x360 batch 1"
    assert found == {
        # PyTorch takes half of our time, so that we take twice its.
        f"{name}, without matching: time over PyTorch's": "falls short by 0.500",
        f"{name}, matcher: time over PyTorch's": "reached",
    }
    half, _ = row("mtu2", [1280, 720], "bfloat16", ours=4.0)
    large, _ = row("mtu10_l", [1280, 720], "bfloat16", ours=10.0)
    of_gpu = results("gpu", [half, large])
    found = {one["what"]: one["verdict"] for one in text.verdicts(of_gpu)}
    name = "mtu2 bfloat16 1280x720 batch 1"
    assert found[f"{name}: step"] == "falls short by 1.000 ms"
    assert found[f"{name}: times the floor"] == "reached"
    assert found[f"{name}: times faster than PyTorch"] == "falls short by 1.000"
    assert found["mtu10_l bfloat16 1280x720 batch 1: frames/s"] == "reached"


def test_the_faster_twin_counts():
    found, _ = row("mtu2", [640, 360])
    assert text.fastest_twin(found)["name"] == "twin"
    found["ratios"]["twin compiled"] = 1.5
    assert text.fastest_twin(found)["name"] == "twin compiled"
    found["others"] = {}
    assert text.fastest_twin(found) is None


def test_a_page_gets_tables_and_a_chart_from_the_file_alone(tmp_path):
    file, page = tmp_path / "speed.json", tmp_path / "page.md"
    made_up = results()
    file.write_text(json.dumps(made_up))
    page.write_text("before\n<!-- speed -->\nold\n<!-- speed -->\nafter\n")
    speed.show_tables(speed.arguments(["--table", str(file), "--page", str(page)]))
    told = page.read_text()
    assert told.startswith("before\n<!-- speed -->\n\n**Speed of one step**")
    assert told.endswith("<!-- speed -->\nafter\n") and "old" not in told
    speed.show_tables(speed.arguments(["--table", str(file), "--page", str(page)]))
    assert page.read_text() == told  # the second time changes nothing
    assert told.count("**Speed of one step**") == 1
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("script, entry", [("speed", "rows"), ("growth", "series")])
def test_what_no_page_can_be_made_from_is_one_line(tmp_path, script, entry):
    file, page = tmp_path / "results.json", tmp_path / "page.md"
    page.write_text("no marks")
    made_up = results() | {"dtype": "float32", "series": []}

    def fails(match, *, path=file, page=page):
        read = {"speed": speed, "growth": growth}[script]
        words = ["--table", str(path), "--page", str(page)]
        with pytest.raises(SystemExit, match=f"^error: {re.escape(match)}$"):
            read.show_tables(read.arguments(words))
        assert not list(tmp_path.glob("*.png"))

    fails(f"{file}: No such file or directory")
    for content in (
        "{",
        "[1]",
        json.dumps({k: made_up[k] for k in made_up if k != entry}),
    ):
        file.write_text(content)
        fails(f"{file}: no results of this benchmark")
    file.write_text(json.dumps(made_up))
    mark = f"<!-- {script} -->"
    fails(f"{page}: must hold {mark} twice, not 0 times")
    fails(f"{tmp_path}: Is a directory", path=tmp_path)
    fails(f"{page}.md: No such file or directory", page=f"{page}.md")
