"""What `speed.py` found, as lines and Markdown tables, and its goals."""

import dataclasses
import math

from benchmarks.helpers.limits import Limit, limit_table
from benchmarks.speed.speed_trace import PARTS
from mtujax.bench.run import BUSY
from mtujax.common.text import Column, Table, markdown, readable

TWIN, COMPILED, ALONE = "twin", "twin compiled", "without matching"
MARK = "<!-- speed -->"
_HOW = (
    "Of less than 100 rounds a p99 is close to the largest, of less than 20 a p95. "
    "Memory: the device's peak, or what the compiler plans where the device does not "
    "tell. Compilation with tracing. GB/s are of the bytes that the compiler counts."
)
SHOWN = (  # rows of the table of devices that stand there though nothing filled them
    ("mtu2", "bfloat16", (1280, 720), 1),
    ("mtu10_l", "bfloat16", (1280, 720), 1),
)


def title(row):
    width, height = row["size"]
    return f"{row['preset']} {row['dtype']} {width}x{height} batch {row['batch']}"


def line(row):
    """One line about a row, for who watches."""
    if row["status"] != "measured":
        return f"{title(row)}: {row['status']} ({row['why']})"
    form, beside = row["forms"]["optimized"], fastest_twin(row)
    said = f"{title(row)}: {form['step_ms']['p50']:.1f} ms"
    said += f", plain {row['forms']['plain']['step_ms']['p50']:.1f} ms"
    said += f", {form['of_floor']:.0%} of the floor"
    if beside:
        said += f", PyTorch's time x{beside['ratio']:.2f} ({beside['name']})"
    for name, why in row["left_out"].items():
        said += f"; left out: {name} ({why})"
    return said


def fastest_twin(row, end=""):
    """The fastest twin of a row, {name, ms, ratio}; `end` names a kind; or None."""
    names = [name + end for name in (TWIN, COMPILED) if name + end in row["others"]]
    found = [
        {
            "name": name,
            "ms": row["others"][name]["step_ms"]["p50"],
            "ratio": row["ratios"][name],
        }
        for name in names
    ]
    return min(found, key=lambda twin: twin["ratio"], default=None)


def limits(results):
    """The goals of the rows of one file."""
    rows = [row for row in results["rows"] if row["status"] == "measured"]
    on_cpu = results["backend"] == "cpu"
    return [limit for row in rows for limit in (_cpu if on_cpu else _gpu)(row)]


def verdicts(results):
    """The limits as JSON has them."""
    return [
        dataclasses.asdict(limit) | {"verdict": limit.verdict}
        for limit in limits(results)
    ]


def _cpu(row):
    alone, whole = fastest_twin(row, f", {ALONE}"), fastest_twin(row)
    if not (alone and whole):
        return
    name = title(row)
    ours = 1 / alone["ratio"]
    yield Limit(f"{name}, without matching: time over PyTorch's", ours, 1.5, "", False)
    if (row["matcher"] or {}).get("twin banded"):
        matched = 1 / row["matcher"]["twin banded"]["ratio"]
        yield Limit(f"{name}, matcher: time over PyTorch's", matched, 1.0, "", False)


def _gpu(row):
    name, form = title(row), row["forms"]["optimized"]
    half = row["dtype"] == "bfloat16" and row["size"] == [1280, 720]
    half = half and row["batch"] == 1
    if half and row["preset"] == "mtu2":
        yield Limit(f"{name}: step", form["step_ms"]["p50"], 3.0, " ms", False)
    if half and row["preset"] == "mtu10_l":
        yield Limit(f"{name}: frames/s", form["frames_per_second"], 60.0)
    if half and row["preset"] == "mtu2" and row["matcher"]:
        alone = row["matcher"]["mtujax"]["ms"]
        yield Limit(f"{name}: matcher, float32", alone, 0.3, " ms", False)
    if row["dtype"] != "float32":
        for end, said in (("", ""), (f", {ALONE}", f", {ALONE}")):
            if beside := fastest_twin(row, end):
                what = f"{name}{said}: times faster than PyTorch"
                yield Limit(what, beside["ratio"], 3.0)
        yield Limit(f"{name}: times the floor", 1 / form["of_floor"], 3.0, "", False)


def all_tables(files):
    """Markdown of files of results, one of each device at most."""
    tables = [device_table(files)]
    for results in files:
        tables += [step_table(results), beside_table(results), part_table(results)]
        rows = limits(results)
        if rows:
            asked = limit_table(rows)
            caption = f"{asked.caption}: {device(results)}"
            tables.append(asked._replace(caption=caption))
    return markdown(tables)


def device(results):
    """Names what a file's rows were measured on."""
    about = results["machine"]
    if results["backend"] != "cpu":
        return about["device"]
    return f"{about['cpu']}, {about['threads']} threads"


def device_table(files):
    """Each row once, with a CPU's and a GPU's times beside each other."""
    by_kind = {"CPU": {}, "GPU": {}}
    for results in files:
        kind = "CPU" if results["backend"] == "cpu" else "GPU"
        by_kind[kind] |= {_key(row): row for row in results["rows"]}
    columns = [Column(n, align="l") for n in ("network", "precision", "size")]
    columns.append(Column("batch"))
    heads = ("ms", "frames/s", "PyTorch, ms", "PyTorch time / ours", "floor, ms")
    columns += [Column(f"{kind}: {head}") for kind in by_kind for head in heads]
    keys = dict.fromkeys([*by_kind["CPU"], *by_kind["GPU"], *SHOWN])
    lines = [
        (*_case(key), *(c for rows in by_kind.values() for c in _short(rows.get(key))))
        for key in keys
    ]
    remarks = [f"{kind_of(r)}: {device(r)}; {versions(r)}.{company(r)}" for r in files]
    remarks.append(
        "ms: the median step of the network, optimized form, 8-bit frames in and out, "
        "everything on the device; frames/s by it. PyTorch: the faster one of its "
        "forms. Blank: not measured."
    )
    return Table(
        "speed", "Speed of one step", tuple(columns), tuple(lines), notes=tuple(remarks)
    )


def company(results):
    """Says whether other work may show in the times of a CPU's rows."""
    threads = results["machine"].get("threads")
    # Once rows run, an average counts their own threads, too.
    others = results.get("load_average")
    if results["backend"] != "cpu" or others is None or others <= BUSY * threads:
        return ""
    return (
        f" The load average was {others:.1f} on {threads} threads before the first "
        "row: other work may show in the times, less in ratios."
    )


def kind_of(results):
    return "CPU" if results["backend"] == "cpu" else "GPU"


def versions(results):
    about = results["machine"]
    named = [f"{k} {about[k]}" for k in ("jax", "torch") if k in about]
    return ", ".join([about["date"], *named])


def _key(row):
    return row["preset"], row["dtype"], tuple(row["size"]), row["batch"]


def _case(key):
    preset, dtype, (width, height), batch = key
    return preset.upper(), dtype, f"{width}x{height}", str(batch)


def _short(row):
    if row is None:
        return ("",) * 5
    if row["status"] != "measured":
        return (row["status"], "", "", "", "")
    form, beside = row["forms"]["optimized"], fastest_twin(row)
    twin = (ms(beside["ms"]), f"{beside['ratio']:.2f}") if beside else ("", "")
    speed = ms(form["frames_per_second"])
    return ms(form["step_ms"]["p50"]), speed, *twin, ms(row["floor_ms"])


def ms(value):
    """Three digits that count, and all before the point; "" of None."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def step_table(results):
    """Each form of each row: percentiles, memory, compilation, rates."""
    names = ["network", "precision", "size", "batch", "form"]
    columns = [Column(name, align="l") for name in names]
    heads = ["rounds", "p50, ms", "p95", "p99", "frames/s", "memory", "compile, s"]
    heads += ["TFLOP/s", "GB/s", "floor, ms", "by", "of it"]
    columns += [Column(head) for head in heads]
    lines = []
    for row in results["rows"]:
        if row["status"] != "measured":
            lines.append((*_case(_key(row)), f"{row['status']}: {row['why']}"))
            lines[-1] += ("",) * len(heads)
            continue
        for name, form in row["forms"].items():
            cells = [str(form["step_ms"]["count"])]
            cells += [ms(form["step_ms"][p]) for p in ("p50", "p95", "p99")]
            cells.append(ms(form["frames_per_second"]))
            size = form["memory_bytes"]["bytes"]
            cells.append("" if size is None else readable(size))
            cells.append(ms(sum(form["compile_s"].values())))
            cells += [ms(form["tflops_per_s"]), ms(form["gbytes_per_s"])]
            cells += [ms(row["floor_ms"]), row["floor_by"], f"{form['of_floor']:.0%}"]
            lines.append((*_case(_key(row)), name, *cells))
    return Table(
        "steps",
        f"Both forms: {device(results)}",
        tuple(columns),
        tuple(lines),
        notes=(_best(results), _HOW),
    )


def _best(results):
    best = results["rates"]
    products = ", ".join(
        f"{dtype} {ms(rate / 1e12)} TFLOP/s"
        for dtype, rate in best["flops_per_s"].items()
    )
    return (
        f"Measured in the same run, for the floor: the best square matrix product, "
        f"{products}; the best copy, {ms(best['bytes_per_s'] / 1e9)} GB/s."
    )


def beside_table(results):
    """The PyTorch twins: milliseconds, and their time / ours."""
    columns = [Column(n, align="l") for n in ("network", "precision", "size", "batch")]
    heads = ["ours, ms", "PyTorch, ms", "ratio", "form", "largest difference"]
    alone = ["ours without matching, ms", "PyTorch without, ms", "ratio without"]
    matcher = ["matcher, ms", "PyTorch's, ms", "ratio of matchers"]
    columns += [Column(head) for head in [*heads, *alone, *matcher]]
    lines = []
    for row in results["rows"]:
        if row["status"] != "measured" or not fastest_twin(row):
            continue
        beside, other = fastest_twin(row), fastest_twin(row, f", {ALONE}")
        cells = [ms(row["forms"]["optimized"]["step_ms"]["p50"]), ms(beside["ms"])]
        cells += [f"{beside['ratio']:.2f}", beside["name"]]
        cells.append(f"{row['largest_difference'][beside['name']]} of 255")
        cells.append(ms(row["others"][ALONE]["step_ms"]["p50"]))
        cells += [ms(other["ms"]), f"{other['ratio']:.2f}"] if other else ["", ""]
        times = row["matcher"] or {}
        twin = times.get("twin banded", {"ms": None, "ratio": math.nan})
        cells += [ms(times.get("mtujax", twin)["ms"]), ms(twin["ms"])]
        cells.append("" if math.isnan(twin["ratio"]) else f"{twin['ratio']:.2f}")
        lines.append((*_case(_key(row)), *cells))
    note = (
        "Ratios are PyTorch time / ours, medians by rounds: above 1 ours is "
        "faster. Largest difference: between first frames, to our plain form's."
    )
    caption = f"Beside PyTorch: {device(results)}"
    return Table("beside", caption, tuple(columns), tuple(lines), notes=(note,))


def part_table(results):
    """Where the time of the optimized form goes, from its trace."""
    columns = [Column(n, align="l") for n in ("network", "precision", "size", "batch")]
    columns += [Column(f"{part}, ms") for part in (*PARTS, "whole")]
    lines = []
    for row in results["rows"]:
        found = row.get("forms", {}).get("optimized", {}).get("parts_ms") or {}
        if "whole" in found:
            cells = (ms(found[part]) for part in (*PARTS, "whole"))
            lines.append((*_case(_key(row)), *cells))
        elif "why" in found:
            blank = ("",) * len(PARTS)
            lines.append((*_case(_key(row)), found["why"], *blank))
    note = (
        "From a trace of the compiled step, which makes it somewhat slower. Idle: no "
        "operation runs. Convolutions with bias, ReLU and what is fused with them."
    )
    caption = f"Where the time goes, optimized form: {device(results)}"
    return Table("parts", caption, tuple(columns), tuple(lines), notes=(note,))
