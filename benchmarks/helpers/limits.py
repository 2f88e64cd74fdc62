"""Goals for a number that a benchmark measured, and a table of them."""

import dataclasses
import math

from mtujax.common.text import Column, Table


@dataclasses.dataclass(frozen=True)
class Limit:
    """The goal of a number: to be at least, or at most, a limit.

    Attributes:
        what: is measured.
        measured: the number found.
        limit: its goal.
        unit: of both, with a space before it.
        at_least: whether the limit is the least; else it is the most.
    """

    what: str
    measured: float
    limit: float
    unit: str = ""
    at_least: bool = True

    @property
    def missing(self):
        """By how much it falls short; 0 if it is reached, NaN if nothing is known."""
        missing = self.limit - self.measured
        return max(missing if self.at_least else -missing, 0.0)

    @property
    def verdict(self):
        """Reached, or by how much not."""
        if math.isnan(self.measured):
            return "not known"
        if not self.missing:
            return "reached"
        return f"falls short by {number(self.missing)}{self.unit}"


def number(value):
    """Three digits after the point, or three that count of what is small."""
    return f"{value:.3g}" if 0 < abs(value) < 0.01 else f"{value:.3f}"


def limit_table(rows):
    """A row for each goal."""
    columns = Column("goal", align="l"), Column("measured"), Column("limit")
    cells = (
        (
            row.what,
            number(row.measured) + row.unit,
            f"{'≥' if row.at_least else '≤'} {number(row.limit)}{row.unit}",
            row.verdict,
        )
        for row in rows
    )
    columns = (*columns, Column("", align="l"))
    return Table("limits", "Goals", columns, tuple(cells))
