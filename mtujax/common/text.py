"""Tables as text: Markdown to read, LaTeX (booktabs) to print; words for messages."""

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

CHECK = "✓"
"""Cell text for a component that a variant has."""


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


class Column(NamedTuple):
    """A column's header."""

    name: str
    group: str = ""  # second header, shared with its neighbours
    align: str = "r"  # "l", "c" or "r"


class Table(NamedTuple):
    """A table whose numbers are already text."""

    slug: str  # in names of files and labels; letters, digits, "-", "_"
    caption: str  # one paragraph with dataset and protocol
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]  # cells, "" for a blank
    breaks: tuple[int, ...] = ()  # indices of the rows that a rule precedes
    notes: tuple[str, ...] = ()  # sentences below the table


def markdown(tables: Sequence[Table]) -> str:
    """Formats tables as GitHub Markdown, with a line break at the end."""
    lines = []
    for table in tables:
        lines += [f"**{_plain(table.caption)}**", "", _line(_flat_heads(table.columns))]
        lines.append(_line(_RULES[column.align] for column in table.columns))
        lines += [*map(_line, table.rows), *[""] * bool(table.notes)]
        lines += [*(f"- {_plain(note)}" for note in table.notes), ""]
    return "\n".join(lines)


def _flat_heads(columns):
    """One header per column, with its group only where its name is not unique."""
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
    # Between letters or digits an underscore is one.
    return re.sub(r"([*<`]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def latex(table: Table) -> str:
    """Formats a table as a LaTeX `table*`; needs booktabs, graphicx and amssymb."""
    body = [r"\toprule", *_heads(table.columns), r"\midrule"]
    for number, row in enumerate(table.rows):
        body += [r"\addlinespace"] if number in table.breaks else []
        body.append(" & ".join(map(_escaped, row)) + r" \\")
    body.append(r"\bottomrule")
    notes = [r"\par\smallskip\footnotesize " + _escaped(" ".join(table.notes))]
    # A table wider than the text is scaled down to it.
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
    """A standalone LaTeX document that inputs table files from its own folder."""
    return _DOCUMENT % "\n".join(rf"\input{{{name}}}" for name in names)


def _heads(columns):
    """One row of headers, or two where columns share a group."""
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
    """Suggests the closest choice for a message, or lists all choices."""
    choices = list(choices)
    near = closest(name, choices)
    return f"did you mean {near}?" if near else f"there are {', '.join(choices)}"


def closest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that is most like a name; None if all are very different."""
    return next(iter(difflib.get_close_matches(str(name), choices, n=1)), None)


def readable(count: int) -> str:
    """Formats a number of bytes, as "3.1 GB" or "31 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def listed(names: Iterable, most: int = 6, between: str = ", ") -> str:
    """Joins names for a message, as "a, b and 3 more"."""
    names = list(map(str, names))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def counted(count: int, noun: str) -> str:
    """A number of things, as "1 frame" or "2 frames"."""
    return f"{count} {noun}{'s'[: count != 1]}"


def printable(text: str) -> str:
    """Text for a message: what cannot be shown, such as bytes of no UTF-8, escaped."""
    text = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def pace_text(speed: float | None, left: float | None, unit: str) -> str:
    """As "148.2 updates/s, 0:33 h left", rounded up, or "34 s left"."""
    parts = []
    if speed is not None:
        parts.append(f"{speed:.{1 if speed >= 1 else 3}f} {unit}/s")
    if left and left <= 60:
        parts.append(f"{math.ceil(left)} s left")
    elif left:
        hours, minutes = divmod(math.ceil(left / 60), 60)
        parts.append(f"{hours}:{minutes:02d} h left")
    return ", ".join(parts)
