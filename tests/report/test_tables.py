"""Tables as the paper has them: reported numbers, places of measured ones, text."""

import dataclasses
import importlib
import math
import re

import pytest

from mtujax.common.text import Column, Table, document, latex, markdown
from mtujax.config import PRESETS
from mtujax.errors import UserError
from mtujax.model.network import expected_shapes
from mtujax.report.paper import TABLES, table_of
from mtujax.report.tables import Measured, ablation, comparison, paper_tables

# The rows of the paper's text, copied line by line (the code has them by column).
TABLE_3 = """
PSNR 29.56 30.20 30.05 30.75 30.97 31.21 31.89 32.15 30.21 31.00 31.41 31.90 30.99 32.27
SSIM 0.913 0.922 0.920 0.930 0.931 0.935 0.944 0.949 0.921 0.933 0.937 0.943 0.932 0.947
Params 75.92 3.76 15.31 1.67 2.23 5.37 10.51 16.19 0.54 1.04 2.04 5.03 1.04 13.80
Time 1790 560 581 82 116 216 231 2250 32 54 84 178 33 421
"""
TABLE_4 = """
PSNR 28.74 29.80 29.83 31.11 31.55 31.59 29.00 29.91 30.34 31.14 29.90 31.92
SSIM 0.912 0.926 0.924 0.943 0.948 0.952 0.915 0.928 0.933 0.942 0.928 0.950
Params 75.92 1.67 2.23 10.51 23.36 16.19 0.54 1.04 2.04 5.03 1.04 13.80
Time 1788 83 113 238 585 2241 33 53 86 171 33 416
"""
ABLATIONS = {
    1: """29.42 0.909 26.21 0.842
          ✓ 29.97 0.917 25.09 0.804
          ✓ 30.07 0.920 27.26 0.863
          ✓ ✓ 29.84 0.915 27.24 0.862""",
    2: """✓ 29.97 0.917 25.09 0.804
          ✓ ✓ 30.18 0.921 25.73 0.831
          ✓ ✓ ✓ 29.84 0.915 27.24 0.862
          ✓ ✓ ✓ ✓ 30.30 0.923 27.25 0.864""",
}
MTU2 = Measured(
    "mtu2",
    "my weights",
    "dvd",
    "rt-paper",
    psnr=30.123,
    ssim=0.9126,
    parameters=1.037325,
    milliseconds=4.266,
    notes=("On a CPU.",),
)


@pytest.mark.parametrize("number, text", [(3, TABLE_3), (4, TABLE_4)])
def test_reported_comparisons_are_those_of_the_paper(number, text):
    fields = ("psnr", "ssim", "parameters", "milliseconds")
    for field, line in zip(fields, text.split("\n")[1:-1], strict=True):
        printed = [float(word) for word in line.split()[1:]]
        assert [getattr(row, field) for row in TABLES[number].rows] == printed


@pytest.mark.parametrize("number", [1, 2])
def test_reported_ablations_are_those_of_the_paper(number):
    lines = ABLATIONS[number].splitlines()
    for row, line in zip(TABLES[number].rows, lines, strict=True):
        assert sum(row.parts) == line.count("✓")
        scores = [row.psnr, row.ssim, row.motion_psnr, row.motion_ssim]
        assert scores == [float(word) for word in line.replace("✓", "").split()]
    assert len({row.parts for row in TABLES[number].rows}) == 4


@pytest.mark.parametrize("number", [1, 2])
def test_a_variant_is_trained_by_the_configuration_of_its_name(number):
    for row in TABLES[number].rows:
        module = importlib.import_module(f"configs.{row.key}")
        text = " ".join(module.__doc__.split())
        assert f"{row.psnr:.2f} dB, SSIM {row.ssim:.3f}" in text
        assert f"{row.motion_psnr:.2f} dB, {row.motion_ssim:.3f}" in text
        config = module.get_config()
        parts = dict(zip(TABLES[number].parts, row.parts, strict=True))
        switches = {
            "Residual learning": config.model.residual_learning,
            "Motion module": config.model.motion_compensation,
            "Structure injection": config.model.structure_injection,
        }
        trained = config.train.motion_weight > 0
        switches["L_motion"] = trained
        switches["Motion module + L_motion"] = switches["Motion module"] and trained
        switches["L_deblur"] = True
        if not switches["Motion module"]:
            switches["Structure injection"] = False
        assert parts == {name: switches[name] for name in parts}


def test_reported_sizes_are_those_of_the_presets():
    reported = {row.key: row.parameters for row in TABLES[3].rows}
    for name in ("mtu1", "mtu2"):  # tests of the network pin all of them
        shapes = expected_shapes(PRESETS[name])
        count = sum(math.prod(shape) for shape in shapes.values())
        assert round(count / 1e6, 2) == reported[name]


def cell(table, row, column):
    heads = [head.name for head in table.columns]
    return next(r for r in table.rows if r[0] == row)[heads.index(column)]


@pytest.mark.parametrize(
    "time, text",
    [
        (4.27, "4.27"),
        (9.994, "9.99"),
        (9.996, "10"),
        (10.04, "10"),
        (12.34, "12.3"),
        (99.94, "99.9"),
        (99.96, "100"),
        (123.4, "123"),
    ],
)
def test_a_time_has_three_digits(time, text):
    table = comparison(
        "dvd", "rt-paper", [dataclasses.replace(MTU2, milliseconds=time)]
    )
    assert cell(table, "Time (ms), measured", "MTU2") == text


def test_a_measured_number_stands_under_the_reported_one():
    table = comparison("dvd", "rt-paper", [MTU2])
    assert "Table 3 of the paper" in table.caption and "rt-paper" in table.caption
    assert cell(table, "PSNR (dB), paper", "MTU2") == "31.00"
    assert cell(table, "PSNR (dB), measured", "MTU2") == "30.12"
    assert cell(table, "SSIM, measured", "MTU2") == "0.913"
    assert cell(table, "Params (M), measured", "MTU2") == "1.04"
    assert cell(table, "Time (ms), paper", "MTU2") == "54"
    assert cell(table, "Time (ms), measured", "MTU2") == "4.27"
    assert "MTU2: On a CPU." in table.notes


def test_what_was_not_measured_is_blank():
    table = comparison("dvd", "rt-paper", [MTU2])
    for row in table.rows:
        filled = [c for c, head in zip(row, table.columns, strict=True) if head.name]
        if "measured" in row[0]:
            assert sum(map(bool, filled)) == 1
        else:
            assert all(filled)


def test_methods_that_the_paper_does_not_have_get_a_column():
    other = Measured("ours", "STDAN", "dvd", "rt-paper", psnr=33.05)
    again = Measured("mtu2", "bundled", "dvd", "rt-paper", psnr=29.0)
    table = comparison("dvd", "rt-paper", [MTU2, other, again])
    assert [head.name for head in table.columns[-2:]] == ["STDAN", "bundled"]
    assert cell(table, "PSNR (dB), measured", "MTU2") == "30.12"
    assert cell(table, "PSNR (dB), measured", "bundled") == "29.00"
    assert cell(table, "PSNR (dB), paper", "STDAN") == ""


def test_reported_numbers_stand_beside_their_own_protocol_and_dataset_only():
    koehler = Measured("mtu2", "mtu2", "dvd", "koehler", psnr=31.5)
    own = Measured("mtu2", "mtu2", "my set", "rt-paper", psnr=27.0)
    for one in (koehler, own):
        table = comparison(one.dataset, one.protocol, [one, MTU2])
        assert [head.name for head in table.columns] == ["", "mtu2"]
        assert "31.00" not in markdown([table]) and "may be compared" in table.caption
    assert table_of("my set") is None


def test_an_ablation_goes_to_its_row_of_both_tables():
    one = Measured(
        "table1_row2",
        "table1_row2",
        "dvd",
        "rt-paper",
        psnr=28.0,
        ssim=0.9,
        motion_psnr=24.0,
        motion_ssim=0.8,
    )
    first, second = paper_tables([one])
    assert (first.slug, second.slug) == ("table1", "table2")
    measured = ("29.97", "28.00", "0.917", "0.900", "25.09", "24.00", "0.804", "0.800")
    assert first.rows[1] == ("✓", "", *measured)
    assert second.rows[0] == ("✓", "", "", "", *measured)
    assert first.rows[0][2:4] == ("29.42", "")
    assert ablation(1, "dvd", "rt-paper", [MTU2]) is None


def test_an_ablation_of_another_dataset_stands_without_reported_numbers():
    quality = dict(psnr=27.0, ssim=0.8, motion_psnr=22.0, motion_ssim=0.7)
    one = Measured("table1_row2", "table1_row2", "my pairs", "koehler", **quality)
    again = dataclasses.replace(one, label="table1_row2 (float16)")
    beside = Measured("mtu2", "mtu2", "my pairs", "koehler", psnr=29.0)
    first, second, third = paper_tables([one, again, beside])
    slugs = ["table1-my-pairs-koehler", "table2-my-pairs-koehler", "my-pairs-koehler"]
    assert [table.slug for table in (first, second, third)] == slugs
    assert first.rows[1] == ("✓", "", "27.00", "0.800", "22.00", "0.700")
    assert first.rows[0] == ("", "", "", "", "", "")
    assert second.rows[0][0] == "✓" and second.rows[0][-1] == "0.700"
    assert "none of its numbers may be compared" in first.caption
    assert "29.97" not in markdown([first, second])
    assert first.notes[-1].endswith("each variant has one row: table1_row2 (float16).")
    assert [head.name for head in third.columns] == ["", "mtu2"]


def test_a_method_whose_name_begins_as_a_table_is_none_of_the_ablations():
    one = Measured("tablecloth", "tablecloth", "dvd", "rt-paper", psnr=27.0)
    (table,) = paper_tables([one])
    assert table.slug == "dvd-rt-paper" and table.columns[-1].name == "tablecloth"


def test_tables_come_in_the_order_of_the_paper():
    sets = [("x", "rt-paper"), ("gopro", "koehler"), ("gopro", "rt-paper")]
    sets.append(("dvd", "rt-paper"))
    found = [Measured("mtu1", "mtu1", *names, psnr=1.0) for names in sets]
    slugs = [table.slug for table in paper_tables(found)]
    assert slugs == ["dvd-rt-paper", "gopro-rt-paper", "x-rt-paper", "gopro-koehler"]
    with pytest.raises(UserError, match="no results"):
        paper_tables([])


@pytest.mark.parametrize(
    "time, text", [(2250.4, "2250"), (53.96, "54"), (53.8, "53.8"), (4.266, "4.27")]
)
def test_short_times_keep_their_digits(time, text):
    one = Measured("mtu1", "mtu1", "dvd", "rt-paper", milliseconds=time)
    table = comparison("dvd", "rt-paper", [one])
    assert cell(table, "Time (ms), measured", "MTU1") == text


def test_a_mean_over_broken_frames_shows():
    one = Measured("mtu1", "mtu1", "dvd", "rt-paper", psnr=math.nan)
    table = comparison("dvd", "rt-paper", [one])
    assert cell(table, "PSNR (dB), measured", "MTU1") == "NaN"


ODD = Table(
    slug="odd",
    caption="100 % of my_set & more",
    columns=(Column("", align="l"), Column("a|b", "both"), Column("c", "both")),
    rows=(("L_motion", "✓", ""), ("x", "1", "2")),
    breaks=(1,),
    notes=("A_note.",),
)


def test_markdown_has_a_cell_for_every_column():
    lines = markdown([ODD]).splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line[:1] == "|"]
    assert [len(row) for row in rows] == [3] * 4
    assert rows[1] == [" --- ", " ---: ", " ---: "]
    assert rows[2] == [" L_motion ", " ✓ ", "  "]
    assert lines[-1] == "- A_note."


def test_markdown_names_the_group_where_heads_are_alike():
    twice = (Column("PSNR", "one"), Column("PSNR", "two"), Column("x", "two"))
    text = markdown([Table("t", "t", twice, (("1", "2", "3"),))])
    assert "| one, PSNR | two, PSNR | x |" in text


def test_latex_is_balanced_and_escaped():
    text = latex(ODD)
    assert r"\caption{100 \% of my\_set \& more}" in text
    assert r"$L_{\mathrm{motion}}$ & \checkmark{} &  \\" in text
    assert r"\multicolumn{2}{c}{both}" in text and r"\cmidrule(lr){2-3}" in text
    assert text.index(r"\addlinespace") < text.index("x & 1 & 2")
    braces = text.replace(r"\{", "").replace(r"\}", "")
    assert braces.count("{") == braces.count("}")
    begun, ended = (
        re.findall(rf"\\{word}{{(\w+\*?)}}", text) for word in ("begin", "end")
    )
    assert begun == ended[::-1] == ["table*", "tabular"]
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    for line in body.splitlines():
        if line.endswith(r"\\"):
            spans = [int(n) for n in re.findall(r"\\multicolumn{(\d+)}", line)]
            ands = len(re.findall(r"(?<!\\)&", line))
            assert ands + 1 + sum(n - 1 for n in spans) == 3, line


def test_rules_reach_over_the_columns_of_their_group():
    text = latex(comparison("dvd", "rt-paper", [MTU2]))
    assert re.findall(r"\\cmidrule\(lr\){([0-9-]+)}", text) == ["2-3", "4-9", "10-15"]


def test_the_document_brings_what_the_tables_need():
    text = document(["odd.tex"])
    for package in ("booktabs", "graphicx", "amssymb"):
        assert package in text[: text.index(r"\begin{document}")]
    assert r"\input{odd.tex}" in text
