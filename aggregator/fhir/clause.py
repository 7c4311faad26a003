"""What a search asks of a resource, as a piece of SQL over an image's tables.

Every condition of a query gives one Clause; `plan.py` puts them together to one SELECT. The text of a statement is made
of templates of this package; what was sent goes into its marks alone. In a template `{row}` is the row's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from aggregator.fhir.view import View

Values = list[int | float | str]
"""What fills the marks of a statement, in their order."""

_ASKED = "EXISTS (SELECT 1 FROM {table} {{row}}s WHERE {{row}}s.rid = {{row}}.rid AND {holds})"
_GATHERED = "{{row}}.rid IN (SELECT {{row}}s.rid FROM {table} {{row}}s WHERE {holds})"

_MANY = 8  # with more numbers than these a condition's rows are gathered once instead of asked for one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """What must hold of a row of a table, each of which names its resource as `rid`.

    size: in how many rows it can at most; distinct: and exactly that many resources have one. many: asking row by row
    would be slow. negated: what must hold of no row of the resource's, so that one without any satisfies it.
    """

    table: str
    holds: str
    values: Values
    size: int
    distinct: bool = False
    many: bool = False
    negated: bool = False

    def asked(self) -> str:
        """The condition on another table's row, a template again."""
        template = _GATHERED if self.many else _ASKED
        text = template.format(table=self.table, holds=self.holds.replace("{row}", "{row}s"))
        return f"NOT {text}" if self.negated else text


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


@dataclass(frozen=True, slots=True)
class Not:
    """A condition that must not hold."""

    condition: Condition

    @property
    def name(self) -> str:
        """The condition's."""
        return self.condition.name

    @property
    def alternatives(self) -> int:
        """The condition's."""
        return self.condition.alternatives

    def clause(self, view: View) -> Clause:
        """The condition's, turned round."""
        found = self.condition.clause(view)
        return replace(found, negated=not found.negated)


def among(table: str, column: str, numbers: Sequence[int], size: int) -> Clause:
    """The column is one of these numbers; many of them travel as one value, for a statement has room for few marks."""
    many = len(numbers) > _MANY
    listed = "SELECT value FROM json_each(?)" if many else ", ".join("?" * len(numbers))
    holds = f"{{row}}.{column} IN ({listed})"
    return Clause(table=table, holds=holds, values=[str([*numbers])] if many else [*numbers], size=size, many=many)


def either(clauses: Sequence[Clause]) -> Clause:
    """One of these must hold: a clause on the resource itself."""
    if len(clauses) == 1:
        return clauses[0]
    return Clause(
        table="resource",
        holds=f"({' OR '.join(clause.asked() for clause in clauses) or 'FALSE'})",
        values=[value for clause in clauses for value in clause.values],
        size=sum(clause.size for clause in clauses),
    )


def scoped(scopes: Sequence[int]) -> str:
    """The row is of one of these scopes, which are this service's own numbers."""
    return f"{{row}}.scope IN ({', '.join(map(str, scopes))})"
