"""The paper's Tables 1 to 4 with measured numbers next to the reported ones.

Tables 3 and 4 (and those of any other dataset or protocol) have a column per method,
Tables 1 and 2 a row per variant, as in the paper. A number that was not measured is
left blank. Reported numbers appear only under their own protocol and dataset. In the
folder are:

    tables.md           all tables that something was measured for
    tables.tex          a LaTeX document with the same
    table1.tex, table2-DATASET-PROTOCOL.tex
                        a table of variants, as in the paper, or of other numbers
    DATASET-PROTOCOL.tex
                        a table of methods
    NAME.pdf, .png, .txt
                        with --figures, a figure and its caption: efficiency, features,
                        alignment, search_radius, crops, crops_of_folders
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

from mtujax.common.files import make_folder, whole_output
from mtujax.common.text import CHECK, Column, Table, document, latex, markdown
from mtujax.errors import UserError
from mtujax.report.paper import HARDWARE, SOURCE, TABLES, PaperTable, Reported, table_of

DATASETS = {"dvd": "DVD", "gopro": "GoPro", "reds": "REDS", "bsd": "BSD"}
"""Names of datasets in print."""


ABLATIONS = {row.key for number in (1, 2) for row in TABLES[number].rows}
"""Methods of Tables 1 and 2."""


_FAMILIES = {"image": "Single image", "video": "Video", "mtu": "Multi-task units"}
_ADDED = "Measured only"

# A field of `Reported` and `Measured`, its name, and its digits after the point.
_LINES = (
    ("psnr", "PSNR (dB)", 2),
    ("ssim", "SSIM", 3),
    ("parameters", "Params (M)", 2),
    ("milliseconds", "Time (ms)", 0),
)
_QUALITIES = (
    ("psnr", "Deblurring PSNR", 2),
    ("ssim", "Deblurring SSIM", 3),
    ("motion_psnr", "Motion PSNR", 2),
    ("motion_ssim", "Motion SSIM", 3),
)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Measurements of one method on one dataset under one protocol."""

    key: str  # as `report.paper.Reported.key` if the paper has the method
    label: str  # if the paper does not have it
    dataset: str  # as `mtujax data` names it, with the kind of blur if several
    protocol: str
    psnr: float | None = None  # dB
    ssim: float | None = None  # of the restored frames
    parameters: float | None = None  # millions
    milliseconds: float | None = None  # per frame
    motion_psnr: float | None = None  # dB of the aligned sharp frames
    motion_ssim: float | None = None  # likewise
    notes: tuple[str, ...] = ()  # sentences on how it was measured


def paper_tables(measured: Sequence[Measured]) -> list[Table]:
    """Makes all tables with measurements: the paper's first, then others."""
    if not measured:
        raise UserError("no results: a table needs at least one measured number")
    papers = {(p.dataset, p.protocol): p.number for p in (TABLES[3], TABLES[4])}
    sets = list(dict.fromkeys((m.dataset, m.protocol) for m in measured))
    sets.sort(key=lambda pair: papers.get(pair, math.inf))  # others stay in order
    tables = []
    for pair in sets:
        tables += [ablation(number, *pair, measured) for number in (1, 2)]
        tables.append(comparison(*pair, measured))
    return [table for table in tables if table is not None]


def comparison(
    dataset: str, protocol: str, measured: Sequence[Measured]
) -> Table | None:
    """A dataset's table with a column per method; None if all are of Tables 1 and 2."""
    found = [m for m in measured if (m.dataset, m.protocol) == (dataset, protocol)]
    paper = table_of(dataset)
    if paper is not None and paper.protocol != protocol:
        paper = None
    rows = paper.rows if paper else ()
    shown = [m for m in found if m.key not in ABLATIONS]
    if not shown:
        return None
    matched, added = _matched(rows, shown)
    return Table(
        slug=_slug(dataset, protocol),
        caption=_caption(paper, dataset, protocol),
        columns=(
            Column("", align="l"),
            *(Column(row.label, _FAMILIES[row.family]) for row in rows),
            *(Column(one.label, _ADDED if rows else "") for one in added),
        ),
        rows=tuple(_metric_rows(rows, matched, added)),
        breaks=(2, 4, 6) if rows else (),
        notes=(*_notes(rows, matched.values()), *_notes((), added)),
    )


def ablation(
    number: int, dataset: str, protocol: str, measured: Sequence[Measured]
) -> Table | None:
    """Table 1 or 2, with a row per variant; None if none of them was measured."""
    paper = TABLES[number]
    own = (dataset, protocol) == (paper.dataset, paper.protocol)
    found = [m for m in measured if (m.dataset, m.protocol) == (dataset, protocol)]
    matched, others = _matched(paper.rows, found)
    if not matched:
        return None
    heads = [Column(name, align="c") for name in paper.parts]
    rows = []
    for row in paper.rows:
        cells = [CHECK if part else "" for part in row.parts]
        for field, _, digits in _QUALITIES:
            pair = _pair(row, matched.get(row.key), field, digits)
            cells += pair if own else pair[1:]
        rows.append(tuple(cells))
    for _, name, _ in _QUALITIES:
        heads += (
            [Column(who, name) for who in ("paper", "measured")]
            if own
            else [Column(name)]
        )
    more = ", ".join(one.label for one in others if one.key in ABLATIONS)
    left_out = (f"Not shown, as each variant has one row: {more}.",) if more else ()
    slug = f"table{number}" if own else f"table{number}-{_slug(dataset, protocol)}"
    caption = _caption(paper if own else None, dataset, protocol)
    return Table(
        slug=slug,
        caption=caption
        if own
        else f"Variants of Table {number} of the paper. {caption}",
        columns=tuple(heads),
        rows=tuple(rows),
        notes=(*_notes((), matched.values()), *left_out),
    )


def _slug(dataset, protocol):
    return re.sub(r"[^A-Za-z0-9_]+", "-", f"{dataset}-{protocol}")


def _matched(rows, found):
    """{key: the first measurement of each reported method}, and all others."""
    keys, matched, added = {row.key for row in rows}, {}, []
    for one in found:
        if one.key in keys and one.key not in matched:
            matched[one.key] = one
        else:
            added.append(one)
    return matched, added


def _metric_rows(rows: Sequence[Reported], matched, added):
    """Yields a row of reported over a row of measured numbers, per metric."""
    for field, name, digits in _LINES:
        pairs = [_pair(row, matched.get(row.key), field, digits) for row in rows]
        pairs += [("", _number(getattr(one, field), digits)) for one in added]
        reported, measured = zip(*pairs, strict=True)
        if rows:
            yield (f"{name}, paper", *reported)
        yield (f"{name}, measured" if rows else name, *measured)


def _pair(row, one, field, digits):
    """The reported and the measured number as text."""
    measured = None if one is None else getattr(one, field)
    return _number(getattr(row, field), digits), _number(measured, digits)


def _number(value, digits):
    """Blank for None; three digits for a short time, as 4.27 ms is not 4."""
    if value is None:
        return ""
    if math.isnan(value):
        return "NaN"
    if digits == 0 and value < 100:
        digits = 1 if round(value, 2) >= 10 else 2
        return f"{value:.{digits}f}".removesuffix(".0")
    return f"{value:.{digits}f}"


def _caption(paper: PaperTable | None, dataset, protocol):
    name = DATASETS.get(dataset, dataset)
    if paper is None:
        return (
            f"{name}, protocol {protocol}. The paper has no numbers of just these "
            "frames by this protocol; none of its numbers may be compared with them."
        )
    where = name if paper.stated else f"{name} (the paper does not name the dataset)"
    return (
        f"As Table {paper.number} of the paper: {paper.title}. Dataset {where}, "
        f"protocol {protocol}. Reported: {SOURCE}"
        + ("" if paper.parts else f"; its times are of an {HARDWARE}")
        + ". Blank: not measured."
    )


def _notes(rows, measured):
    cited = [f"{row.label} [{row.citation}]" for row in rows if row.citation]
    notes = [f"Methods as the paper cites them: {', '.join(cited)}."] if cited else []
    labels = {row.key: row.label for row in rows}
    for one in measured:
        if one.notes:
            label = labels.get(one.key, one.label)
            notes.append(f"{label}: {' '.join(one.notes)}")
    return tuple(notes)


def write_tables(measured: Sequence[Measured], folder: Path) -> list[Path]:
    """Writes `tables.md`, a .tex file per table, and `tables.tex` with all of them."""
    tables = paper_tables(measured)
    texts = {f"{table.slug}.tex": latex(table) for table in tables}
    texts["tables.tex"] = document(list(texts))
    texts["tables.md"] = markdown(tables)
    make_folder(folder, "give another to --out")
    for name, text in texts.items():
        with whole_output(folder / name, folder=False) as temporary:
            temporary.write_text(text, "utf-8")
    return [folder / name for name in texts]
