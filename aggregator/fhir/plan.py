"""A query's conditions as one SELECT on an image.

Every condition holds for the rows of one table. The rarest is walked, in the order of the resources, and the others are
asked about each of its rows, until the page is full. So a page costs what it holds, not what the record holds.
The text of a statement is made of the templates here; what was sent goes into its marks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from aggregator.fhir.parameters import Kind
from aggregator.fhir.query import Condition, Query, SpanTest, TermTest
from aggregator.fhir.view import View, local_id
from aggregator.vault.image import Image, Served

_Values = list[int | str]

_ROWS = "{table} r WHERE r.rid >= ? AND r.rid < ? AND {holds}"
_PAGE = """
SELECT p.rid, x.local, x.start, x.size FROM (SELECT DISTINCT r.rid FROM {rows} ORDER BY r.rid LIMIT ?) p
CROSS JOIN resource x ON x.rid = p.rid
"""
_COUNT = "SELECT count(DISTINCT r.rid) FROM {rows}"
_ASKED = "EXISTS (SELECT 1 FROM {table} s WHERE s.rid = r.rid AND {holds})"
_GATHERED = "r.rid IN (SELECT s.rid FROM {table} s WHERE {holds})"
_TERM = "SELECT tid, size FROM term WHERE scope = ?"

_MANY = 8  # with more numbers than these a condition's rows are gathered once instead of asked for one by one

_CONTAINED = "({low} >= ? AND {high} <= ?)"
_COMPARED: dict[str, tuple[str, tuple[str, ...]]] = {
    "eq": (_CONTAINED, ("low", "high")),
    "ne": (f"NOT {_CONTAINED}", ("low", "high")),
    "gt": ("{high} > ?", ("high",)),
    "ge": (f"({{high}} > ? OR {_CONTAINED})", ("high", "low", "high")),
    "lt": ("{low} < ?", ("low",)),
    "le": (f"({{low}} < ? OR {_CONTAINED})", ("low", "low", "high")),
    "sa": ("{low} >= ?", ("high",)),
    "eb": ("{high} <= ?", ("low",)),
}
"""How a resource's stretch must lie to the query's, which fills the marks with these of its ends. High is excluded.

https://hl7.org/fhir/R4/search.html#prefix by the letter: `ge` and `le` take what reaches beyond the query's stretch or
lies within it, so a stay that ends on the day asked for is not `ge` that day.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Clause:
    """What must hold of a row of a table.

    holds: with `{row}` for the row. size: in how many rows it can at most. many: asking row by row would be slow.
    """

    table: str
    holds: str
    values: _Values
    size: int
    many: bool = False

    def asked(self) -> str:
        """The condition on another table's row r."""
        template = _GATHERED if self.many else _ASKED
        return template.format(table=self.table, holds=self.holds.format(row="s"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The rows r that satisfy a query. rids: where they lie; rows: FROM and WHERE, its first two marks the range."""

    rids: range
    rows: str
    values: _Values

    def page(self, image: Image, start: int, most: int) -> list[Served]:
        """The first resources from the rid `start` on, ascending."""
        within = [max(start, self.rids.start), self.rids.stop]
        return image.show(image.select(_PAGE.format(rows=self.rows), [*within, *self.values, most]))

    def count(self, image: Image) -> int:
        """How many there are in all."""
        within = [self.rids.start, self.rids.stop]
        total: int = image.select(_COUNT.format(rows=self.rows), [*within, *self.values])[0][0]
        return total


def plan(view: View, query: Query) -> Plan:
    """The way through the image that answers a query."""
    rids = view.image.kinds.get(query.resource_type, range(0))
    clauses = [_CLAUSES[_basis(condition)](view, condition, len(rids)) for condition in query.conditions]
    every = _Clause(table="resource", holds="TRUE", values=[], size=len(rids))
    rarest, *others = sorted(clauses, key=lambda clause: clause.size) or [every]
    holds = [rarest.holds.format(row="r"), *(clause.asked() for clause in others)]
    return Plan(
        rids=rids if rarest.size else range(0),
        rows=_ROWS.format(table=rarest.table, holds=" AND ".join(holds)),
        values=[value for clause in (rarest, *others) for value in clause.values],
    )


def _basis(condition: Condition) -> str:
    """Where a condition's rows are: `_id` and `_lastUpdated` are columns of the resource, the others have an index."""
    parameter = condition.parameter
    return parameter.kind if parameter.scope else parameter.name


def _id(view: View, condition: Condition, _: int) -> _Clause:
    resource_type = condition.parameter.resource_type
    found = (view.image.find(resource_type, local) for whole in condition.ids if (local := local_id(view, whole)))
    rids = [rid for rid in found if rid is not None]
    return _among("resource", "rid", rids, len(rids))


def _updated(_: View, condition: Condition, size: int) -> _Clause:
    compared, values = _compared(condition.spans, low="{row}.updated", high="({row}.updated + 1)")
    return _Clause(table="resource", holds=compared, values=values, size=size)


def _span(_: View, condition: Condition, size: int) -> _Clause:
    compared, values = _compared(condition.spans, low="{row}.low", high="{row}.high")
    values = [condition.parameter.scope, *values]
    return _Clause(table="span", holds=f"{{row}}.scope = ? AND {compared}", values=values, size=size)


def _compared(tests: Sequence[SpanTest], *, low: str, high: str) -> tuple[str, _Values]:
    texts, values = list[str](), _Values()
    for test in tests:
        text, ends = _COMPARED[test.prefix]
        texts.append(text.format(low=low, high=high))
        values.extend(getattr(test, end) for end in ends)
    return f"({' OR '.join(texts)})", values


def _term(view: View, condition: Condition, _: int) -> _Clause:
    scope = condition.parameter.scope
    sizes = dict(found for test in condition.terms for found in _terms(view.image, scope, test))
    return _among("posting", "tid", [*sizes], sum(sizes.values()))


def _among(table: str, column: str, numbers: list[int], size: int) -> _Clause:
    """The column is one of these numbers; many of them travel as one value, for a statement has room for few marks."""
    many = len(numbers) > _MANY
    among = "SELECT value FROM json_each(?)" if many else ", ".join("?" * len(numbers))
    holds = f"{{row}}.{column} IN ({among})"
    return _Clause(table=table, holds=holds, values=[str(numbers)] if many else [*numbers], size=size, many=many)


def _terms(image: Image, scope: int, test: TermTest) -> Iterator[tuple[int, int]]:
    """Number of each term that passes, and in how many resources it is."""
    text, values = _TERM, _Values([scope])
    if test.text is not None and test.begins:
        text += " AND text BETWEEN ? AND ?"
        values += [test.text, f"{test.text}\U0010ffff"]  # no character, so nothing that begins so lies behind it
    elif test.text is not None:
        text += " AND text = ?"
        values.append(test.text)
    if test.system is not None:
        text += " AND system = ?"
        values.append(test.system)
    yield from image.select(text, values)


_CLAUSES: dict[str, Callable[[View, Condition, int], _Clause]] = {
    "_id": _id,
    "_lastUpdated": _updated,
    Kind.TOKEN: _term,
    Kind.REFERENCE: _term,
    Kind.STRING: _term,
    Kind.DATE: _span,
}
