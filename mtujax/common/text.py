"""A table as text: Markdown to read, LaTeX (booktabs) to print."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Sequence
from itertools import groupby

CHECK = "✓"
"""The cell of a part that a variant has."""


_RULES = {"l": "---", "c": ":---:", "r": "---:"}
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "…": r"\ldots{}",
    CHECK: r"\checkmark{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}
_DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[margin=2cm]{geometry}
\usepackage{amssymb,booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


@dataclasses.dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        name: its own.
        group: what it has in common with its neighbours, "" for nothing.
        align: "l", "c" or "r": how its cells stand.
    """

    name: str
    group: str = ""
    align: str = "r"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose numbers are text already.

    Attributes:
        slug: names it in files and in LaTeX's label; letters, digits, "-", "_".
        caption: one paragraph: what it shows, dataset and protocol.
        columns: their heads.
        rows: the cells of each row, as many as there are columns; "" for a blank.
        breaks: numbers of the rows that a rule precedes.
        notes: sentences below it.
    """

    slug: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    breaks: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def markdown(tables: Sequence[Table]) -> str:
    """Writes tables as Markdown, as GitHub shows it.

    Args:
        tables: in their order.

    Returns:
        The text, with a line break at its end.
    """
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table):
    lines = [f"**{_plain(table.caption)}**", ""]
    rules = [_RULES[column.align] for column in table.columns]
    lines += [_line(_flat_heads(table.columns)), _line(rules)]
    lines += [_line(row) for row in table.rows]
    if table.notes:
        lines += ["", *(f"- {_plain(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def _flat_heads(columns):
    """One head a column, with its group only where its name alone does not tell."""
    names = [column.name for column in columns]
    return [
        f"{column.group}, {column.name}"
        if column.group and names.count(column.name) > 1
        else column.name
        for column in columns
    ]


def _line(cells):
    return "| " + " | ".join(_plain(cell).replace("|", r"\|") for cell in cells) + " |"


def _plain(text):
    return re.sub(r"([*_<`])", r"\\\1", text)


def latex(table: Table) -> str:
    """Writes a table as LaTeX to `input`; it needs booktabs, graphicx and amssymb.

    Args:
        table: any; one wider than the text is scaled down to it.

    Returns:
        A `table*` environment with caption and label.
    """
    body = [r"\toprule", *_heads(table.columns), r"\midrule"]
    for number, row in enumerate(table.rows):
        body += [r"\addlinespace"] if number in table.breaks else []
        body.append(" & ".join(map(_escaped, row)) + r" \\")
    body.append(r"\bottomrule")
    notes = [r"\par\smallskip\footnotesize " + _escaped(" ".join(table.notes))]
    lines = [
        r"\begin{table*}[tbp]",
        r"\centering",
        r"\setlength{\belowcaptionskip}{6pt}",
        rf"\caption{{{_escaped(table.caption)}}}",
        rf"\label{{tab:{table.slug}}}",
        r"\small\setlength{\tabcolsep}{3.5pt}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{''.join(c.align for c in table.columns)}}}",
        *body,
        r"\end{tabular}}",
        *(notes if table.notes else []),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def document(names: Sequence[str]) -> str:
    """A LaTeX document that compiles by itself and shows tables.

    Args:
        names: files that `latex` wrote, beside it.

    Returns:
        The document.
    """
    return _DOCUMENT % "\n".join(rf"\input{{{name}}}" for name in names)


def _heads(columns):
    """One row of heads, or two where columns have something in common."""
    names = " & ".join(_centred(column.name, 1) for column in columns)
    if not any(column.group for column in columns):
        return [names + r" \\"]
    cells, rules, place = [], [], 1
    for group, members in groupby(columns, key=lambda column: column.group):
        count = len(list(members))
        cells.append(_centred(group, count) if group else "& " * (count - 1))
        if group:
            rules.append(rf"\cmidrule(lr){{{place}-{place + count - 1}}}")
        place += count
    return [" & ".join(cells) + r" \\", "".join(rules), names + r" \\"]


def _centred(text, columns):
    return rf"\multicolumn{{{columns}}}{{c}}{{{_escaped(text)}}}"


def _escaped(text):
    escaped = "".join(_ESCAPES.get(letter, letter) for letter in text)
    return re.sub(r"\bL\\_(\w+)", r"$L_{\\mathrm{\1}}$", escaped)


def nearest(name: str, choices: Iterable[str]) -> str:
    """What was probably meant.

    Args:
        name: that there is not.
        choices: what there is.

    Returns:
        A clause for a message: a question, or all the choices.
    """
    near = difflib.get_close_matches(str(name), list(choices), n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}"


def readable(count: int) -> str:
    """Bytes as people say them.

    Args:
        count: bytes.

    Returns:
        As "3.1 GB", or "31 MB".
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def counted(count: int, noun: str) -> str:
    """A number of things, as "1 frame" or "2 frames"."""
    return f"{count} {noun}{'s'[: count != 1]}"
