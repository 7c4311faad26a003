"""What a search asks of a resource, as a piece of SQL over an image's tables.

Every condition of a query gives one Clause; `plan.py` puts them together to one SELECT. The text of a statement is made
of templates of this package; what was sent goes into its marks alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aggregator.fhir.view import View

Values = list[int | float | str]
"""What fills the marks of a statement, in their order."""

_ASKED = "EXISTS (SELECT 1 FROM {table} s WHERE s.rid = r.rid AND {holds})"
_GATHERED = "r.rid IN (SELECT s.rid FROM {table} s WHERE {holds})"

_MANY = 8  # with more numbers than these a condition's rows are gathered once instead of asked for one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """What must hold of a row of a table, each of which names its resource as `rid`.

    holds: with `{row}` for the row. size: in how many rows it can at most. many: asking row by row would be slow.
    """

    table: str
    holds: str
    values: Values
    size: int
    many: bool = False

    def asked(self) -> str:
        """The condition on another table's row r."""
        template = _GATHERED if self.many else _ASKED
        return template.format(table=self.table, holds=self.holds.format(row="s"))


class Condition(Protocol):
    """One parameter of a query, understood."""

    @property
    def name(self) -> str:
        """The parameter as it was asked, with its modifier."""

    @property
    def alternatives(self) -> int:
        """How many values it may have: what it costs."""

    def clause(self, view: View) -> Clause:
        """What it asks of a resource in this view."""


def among(table: str, column: str, numbers: Sequence[int], size: int) -> Clause:
    """The column is one of these numbers; many of them travel as one value, for a statement has room for few marks."""
    many = len(numbers) > _MANY
    listed = "SELECT value FROM json_each(?)" if many else ", ".join("?" * len(numbers))
    holds = f"{{row}}.{column} IN ({listed})"
    return Clause(table=table, holds=holds, values=[str([*numbers])] if many else [*numbers], size=size, many=many)
