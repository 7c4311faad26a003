"""A query's conditions as one SELECT on an image.

Every condition holds for the rows of one table. The rarest is walked, in the order of the resources, and the others are
asked about each of its rows, until the page is full. So a page costs what it holds, not what the record holds. What
holds of all resources of the type, as `patient` mostly does, is not asked about any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from aggregator.fhir.clause import Clause, Condition, Values
from aggregator.fhir.view import View
from aggregator.vault.image import Image, Served

_ROWS = "{table} r WHERE r.rid >= ? AND r.rid < ? AND {holds}"
_PAGE = """
SELECT p.rid, x.local, x.start, x.size FROM (SELECT DISTINCT r.rid FROM {rows} ORDER BY r.rid LIMIT ?) p
CROSS JOIN resource x ON x.rid = p.rid
"""
_COUNT = "SELECT count(DISTINCT r.rid) FROM {rows}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The rows r that satisfy a query. rids: where they lie; rows: FROM and WHERE, its first two marks the range."""

    resource_type: str
    rids: range
    rows: str
    values: Values
    _page: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_page", _PAGE.format(rows=self.rows))  # asked again and again

    def page(self, image: Image, start: int, most: int) -> list[Served]:
        """The first resources from the rid `start` on, ascending."""
        within = [max(start, self.rids.start), self.rids.stop]
        return image.show(image.select(self._page, [*within, *self.values, most]))

    def count(self, image: Image) -> int:
        """How many there are in all."""
        within = [self.rids.start, self.rids.stop]
        total: int = image.select(_COUNT.format(rows=self.rows), [*within, *self.values])[0][0]
        return total


def plan(view: View, resource_type: str, conditions: Sequence[Condition]) -> Plan:
    """The way through the image to the resources of a type that satisfy all conditions."""
    rids = view.image.kinds.get(resource_type, range(0))
    clauses = [one for one in (condition.clause(view) for condition in conditions) if not _holds_of_all(one, len(rids))]
    every = Clause(table="resource", holds="TRUE", values=[], size=len(rids))
    walkable = [clause for clause in clauses if not clause.negated]
    rarest = min(walkable, key=lambda clause: clause.size, default=every)
    others = [clause for clause in clauses if clause is not rarest]
    holds = " AND ".join([rarest.holds, *(clause.asked() for clause in others)])
    return Plan(
        resource_type=resource_type,
        rids=rids if rarest.size else range(0),
        rows=_ROWS.format(table=rarest.table, holds=holds.format(row="r")),
        values=[value for clause in (rarest, *others) for value in clause.values],
    )


def _holds_of_all(clause: Clause, resources: int) -> bool:
    return clause.distinct and not clause.negated and clause.size == resources
