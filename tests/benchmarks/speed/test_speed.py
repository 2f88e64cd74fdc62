"""The speed benchmark: what is timed, and what becomes of a row; never how fast."""

import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measured import quick_run
from networks import SMALLEST, timed

from benchmarks.speed import growth, speed, speed_floor, speed_row as row
from mtujax.bench.timing import STAGES, measure
from mtujax.model.operations import compiled_bytes

SHAPE = (1, 16, 24, 3)


@pytest.fixture(scope="module")
def network():
    return timed(SMALLEST, SHAPE)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Where to write one that Python finds by its name."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "a_module.py"


def test_the_floor_is_the_longer_of_two_times():
    floor = speed_floor.floor
    assert floor(4e9, 1e9, 1e12, 1e11) == (10.0, "memory")
    assert floor(4e10, 1e9, 1e12, 1e11) == (40.0, "products")
    assert floor(4e9, None, 1e12, 1e11) == (4.0, "products")


def test_the_best_of_all_that_was_tried_is_the_rate(monkeypatch):
    monkeypatch.setattr(speed_floor, "torch_module", lambda: None)
    found = speed_floor.rates(["float32", "bfloat16"], quick=True)
    for dtype in ("float32", "bfloat16"):
        tried = [p for p in found["products"] if p["dtype"] == dtype]
        assert {p["size"] for p in tried} == {64, 128}
        best = found["flops_per_s"][dtype]
        assert best == max(p["rate"] for p in tried) > 0
    assert found["bytes_per_s"] == max(c["rate"] for c in found["copies"]) > 0


def test_the_compiler_counts_the_bytes_of_a_sum():
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    compiled = jax.jit(lambda a, b: a + b).lower(x, x).compile()
    assert compiled_bytes(compiled) == 3 * 4000


def test_frames_need_not_be_pushed_at_a_stretch(network):
    frames = [np.zeros(SHAPE, np.uint8)]
    network.push = None  # who pushed would fail
    try:
        times = measure({"a": network}, frames, rounds=2, warm_up=1, at_a_stretch=False)
    finally:
        del network.push
    assert tuple(times["a"]) == STAGES[:-1]
    assert all(len(samples) == 2 for samples in times["a"].values())


def test_what_needs_more_memory_than_there_is_does_not_run(monkeypatch):
    monkeypatch.setattr(row, "available_bytes", lambda: 1000)
    with pytest.raises(row.TooLarge, match=r"needs \d+ MB, 0 MB are free"):
        row.ready(*row.both_forms(SMALLEST)["plain"], SHAPE, np.zeros(SHAPE, np.uint8))


@pytest.mark.parametrize(
    "code, limit, status, why",
    [
        ("import sys; sys.exit('no such thing')", 60.0, "failed", "no such thing"),
        ("import os; os.kill(os.getpid(), 9)", 60.0, "failed", "killed by signal 9"),
        ("import time; time.sleep(60)", 1.0, "not in time", "not done after 1 s"),
    ],
)
def test_a_row_that_comes_to_nothing_says_why(module, code, limit, status, why):
    module.write_text(code)
    found = speed.in_process(module.stem, [], limit)
    assert found == {"status": status, "why": why}


def gone(process):
    try:
        state = pathlib.Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True
    return state.split()[2] in "ZX"


def test_nothing_outlives_a_row_that_is_not_done_in_time(module, tmp_path):
    told = tmp_path / "worker"
    module.write_text(
        "import pathlib, subprocess, time\n"
        "worker = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(told)!r}).write_text(str(worker.pid))\n"
        "time.sleep(600)\n"
    )
    found = speed.in_process(module.stem, [], 10.0)
    assert found["status"] == "not in time"
    worker = told.read_text()
    for _ in range(1000):  # it is killed, and dies when the system comes to it
        if gone(worker):
            break
        time.sleep(0.01)
    assert gone(worker)


def test_a_trace_that_fails_leaves_the_times(monkeypatch):
    def fails(*_):
        raise ValueError("no such\noption")

    monkeypatch.setattr(row, "parts", fails)
    assert row.try_parts(None, None, SHAPE) == {"why": "ValueError: no such"}


def test_what_a_row_finds_is_handed_over(module):
    module.write_text("import sys; open(sys.argv[-1], 'w').write(sys.argv[1])")
    assert speed.in_process(module.stem, ['{"a": 1}'], 30) == {"a": 1}


def test_the_grid_has_every_combination():
    words = "--models mtu2 mtu1 --dtypes float32 bfloat16 --sizes 360p 2160p"
    args = speed.arguments([*words.split(), "--batches", "1", "8"])
    found = [tuple(case.values()) for case in speed.cases(args)]
    assert len(set(found)) == len(found) == 16
    assert ("mtu1", "bfloat16", (3840, 2160), 8) in found
    assert speed.one_row({}, args, 0.0)["status"] == "not in time"


ABOUT = {"preset": "mtu1", "dtype": "float32", "batch": 1}


@pytest.fixture
def partly(monkeypatch):
    """A benchmark of three sizes whose processes find what a test says."""
    asked, found = [], {}

    def in_process(module, words, limit):
        if module == "benchmarks.speed.speed_floor":
            return {"flops_per_s": dict.fromkeys(words[1:-1], 1e12)}
        size = tuple(json.loads(words[0])["size"])
        asked.append(size)
        return found[size]

    monkeypatch.setattr(speed, "in_process", in_process)
    monkeypatch.setattr(speed.speed_text, "verdicts", lambda results: [])
    words = "--models mtu1 --dtypes float32 --batches 1 --sizes 360p 720p 1080p"
    return speed, speed.arguments(words.split()), asked, found


def test_a_file_is_gone_on_with_and_saved_after_each_row(partly, tmp_path, capsys):
    speed, args, asked, found = partly
    small, middle, large = args.sizes
    failed = {"status": "failed", "why": "no luck"}
    fits_not = {"status": "does not fit", "why": "too large"}
    file = tmp_path / "found.json"
    results = {"machine": {"date": "1", "jax": "2"}, "rates": {}, "rows": []}
    found |= {small: fits_not, middle: failed}  # the third one breaks off
    with pytest.raises(KeyError):
        speed.fill(results, args, file)
    found |= {middle: fits_not, large: fits_not}
    results = speed.earlier(file, {"machine": {"date": "3", "jax": "2"}})
    assert [row["status"] for row in results["rows"]] == ["does not fit", "failed"]
    speed.fill(results, args, file)
    assert asked == [small, middle, large, middle, large]
    rows = json.loads(file.read_text())["rows"]
    assert [tuple(row["size"]) for row in rows] == list(args.sizes)
    assert rows == [ABOUT | {"size": list(s)} | fits_not for s in args.sizes]


@pytest.mark.parametrize(
    "content, said",
    [
        ("{", "no results of this benchmark"),
        ("[1]", "no results of this benchmark"),
        ('{"machine": {}, "rows": []}', "no results of this benchmark"),
        (
            '{"machine": {"jax": "1"}, "rates": {}, "rows": []}',
            "was measured with jax 1, not 2; name another file",
        ),
    ],
)
def test_a_file_that_cannot_be_gone_on_with_is_refused(tmp_path, content, said):
    file = tmp_path / "found.json"
    file.write_text(content)
    with pytest.raises(SystemExit, match=rf"error: \S+found.json: {said}$"):
        speed.earlier(file, {"machine": {"jax": "2"}})


def test_fits_find_the_curve_that_points_lie_on():
    fits = growth.fits
    power = fits([{"x": x, "y": 3 * x**1.5} for x in (1, 2, 5)])["power"]
    assert power["exponent"] == pytest.approx(1.5)
    assert power["factor"] == pytest.approx(3) and power["residual"] < 1e-9
    found = fits([{"x": x, "y": 7 + 2 * x} for x in (1, 2, 5)])
    line = found["line"]
    assert line["constant"] == pytest.approx(7) and line["slope"] == pytest.approx(2)
    assert line["residual"] < 1e-9 < found["power"]["residual"]


@pytest.mark.slow
def test_a_quick_run_measures_a_row(tmp_path):
    told, printed = quick_run("speed.speed", tmp_path)
    (found,) = told["rows"]
    assert found["status"] == "measured" and {"date", "jax"} <= told["machine"].keys()
    for form in found["forms"].values():
        assert form["step_ms"]["p50"] <= form["step_ms"]["p99"]
        assert form["memory_bytes"]["bytes"] > 0 and form["tflops_per_s"] > 0
        parts = dict(form["parts_ms"])
        assert sum(parts.values()) == pytest.approx(2 * parts["whole"])
    assert found["floor_ms"] > 0 and found["largest_difference"]["optimized"] <= 1
    assert "| MTU1 | float32 | 64x32 | 1 | optimized | " in printed
    if "twin" not in found["left_out"]:
        assert found["largest_difference"]["twin"] <= 1
        assert {"twin", "twin, without matching"} <= found["ratios"].keys()
        assert len(told["limits"]) == 2


@pytest.mark.slow
def test_a_quick_run_measures_growth(tmp_path):
    told, printed = quick_run("speed.growth", tmp_path)
    assert all(len(one["points"]) > 1 and one["fits"] for one in told["series"])
    names = [one["what"] for one in told["series"]]
    assert "time, channels" in names and "memory, pixels" in names
    assert "**Growth: " in printed
