"""_sort: matches in the order of what the index holds. https://hl7.org/fhir/R4/search.html#sort

Of several values the first counts, or the last where the order descends; a period by its beginning, or by its end. Text
is compared as searches compare it, without case and accents, a code by its code, a reference by the id, a quantity by
its number whatever its unit. A resource that has no value comes last in both directions, and what is equal comes in the
order (type, id), so every order is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aggregator.fhir.clause import Values
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.page import Place, Value
from aggregator.fhir.parameters import SPANS, Kind, Parameter, parameter

SORT = "_sort"
MOST_KEYS = 8

LONGEST = 64
"""Characters of a text that are compared: a page link holds them."""

_TERMS = f"""
    SELECT p.rid AS rid, substr(t.text, 1, {LONGEST}) AS value FROM term t CROSS JOIN posting p ON p.tid = t.tid
    WHERE t.scope IN ({{scopes}}) AND '{{only}}' IN ('', t.system)
"""  # noqa: S608  # numbers and names of our own
_LINKS = """
    SELECT l.rid AS rid, x.local AS value FROM link l CROSS JOIN resource x ON x.rid = l.target
    WHERE l.scope IN ({scopes})
    AND ('{only}' = '' OR EXISTS (SELECT 1 FROM kind WHERE type = '{only}' AND l.target BETWEEN first AND last))
"""
_TEXTS = "LEFT JOIN (SELECT rid, {first}(value) AS value FROM ({texts}) GROUP BY rid) {key} ON {key}.rid = r.rid"
_SPANS = "(SELECT {first}(v.{end}) FROM span v WHERE v.scope IN ({scopes}) AND v.rid = r.rid)"
_COLUMNS = {"_id": "local", "_lastUpdated": "updated"}
_COLUMN = "(SELECT x.{column} FROM resource x WHERE x.rid = r.rid)"

_TERM_KINDS = frozenset({Kind.TOKEN, Kind.STRING, Kind.REFERENCE, Kind.URI})


@dataclass(frozen=True, slots=True)
class Key:
    """One of the keys: a parameter, and whether it descends."""

    name: str
    descends: bool

    def column(self, resource_type: str, place: int) -> tuple[str, str]:
        """(what is joined to a resource r, the expression of its value). place: its number among the keys."""
        if self.name in _COLUMNS:
            return "", _COLUMN.format(column=_COLUMNS[self.name])
        found = parameter(resource_type, self.name)
        if found is None:
            return "", "NULL"
        first, end, scopes = *(("max", "high") if self.descends else ("min", "low")), _scopes(found)
        if found.kind in SPANS:
            return "", _SPANS.format(first=first, end=end, scopes=scopes)
        tables = [_TERMS, _LINKS] if found.kind is Kind.REFERENCE else [_TERMS]
        texts = " UNION ALL ".join(table.format(scopes=scopes, only=found.only) for table in tables)
        return _TEXTS.format(first=first, texts=texts, key=f"k{place}"), f"k{place}.value"

    def behind(self, column: str, value: Value, further: str, marks: Values) -> tuple[str, Values]:
        """What comes behind this value of a column; of what has the same value, what is further behind."""
        if value is None:
            return f"({column} IS NULL AND {further})", marks
        sign = "<" if self.descends else ">"
        text = f"({column} {sign} ? OR {column} IS NULL OR ({column} = ? AND {further}))"
        return text, [value, value, *marks]

    def order(self, column: str) -> str:
        """The terms of ORDER BY: no value last."""
        return f"{column} IS NULL, {column} DESC" if self.descends else f"{column} IS NULL, {column}"


def parse(resource_types: Sequence[str], value: str) -> tuple[Key, ...]:
    """`-date,code`: the keys. Raises BadQuery for what none of the types can be sorted by."""
    keys = tuple(Key(name.removeprefix("-"), name.startswith("-")) for name in value.split(","))
    if len(keys) > MOST_KEYS:
        raise BadQuery(SORT, f"more than {MOST_KEYS} keys")
    for key in keys:
        if key.name not in _COLUMNS and not any(map(_sorts, _found(resource_types, key.name))):
            raise BadQuery(SORT, "not by a search parameter of this type")
    return keys


def _found(resource_types: Sequence[str], name: str) -> Iterator[Parameter]:
    return filter(None, (parameter(resource_type, name) for resource_type in resource_types))


def _sorts(found: Parameter) -> bool:
    return found.kind in _TERM_KINDS | SPANS


def _scopes(found: Parameter) -> str:
    return ", ".join(map(str, found.scopes))


def behind(keys: Sequence[Key], place: Place) -> tuple[str, Values]:
    """What comes behind a place in the order. Columns are v0, v1 ..."""
    text, marks = "rid >= ?", Values([place.rid])
    for number, (key, value) in reversed([*enumerate(zip(keys, place.values, strict=True))]):
        text, marks = key.behind(f"v{number}", value, text, marks)
    return text, marks
