"""Draws parts of requests about one record: names, types, values, conditions, and what is said about the answer.

Values are those of the record itself, hidden or not: a query that looks for what is hidden is the one that may find it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from aggregator.fhir.parameters import Kind, Parameter, of_type
from aggregator.fhir.search_types import modifiers
from fhir_profiles.text import Resource
from tests.inference.record import DATES, NAMES, Ids, Thing
from tests.vault.world import INDEX

Pairs = list[tuple[str, str]]
TYPES = tuple(dict.fromkeys(name.partition("/")[0] for name in NAMES))

_FIXED: Mapping[Kind, Sequence[str]] = {
    Kind.DATE: [f"{prefix}{date[:10]}" for prefix in ("", "ge", "lt", "ne", "sa") for date in DATES],
    Kind.NUMBER: ("5", "lt100"),
    Kind.QUANTITY: ("gt5", "7.25||mg/dL", "le300|http://unitsofmeasure.org|mg/dL"),
    Kind.STRING: ("see", "muster", "praxis"),
    Kind.URI: ("urn:x",),
    Kind.SPECIAL: ("depressiv",),
}
"""Values where they are not taken from the record."""


class Drawer:
    """Draws parts of requests about one record."""

    def __init__(self, draw: st.DrawFn, ids: Ids, found: Sequence[Thing]) -> None:
        self._draw = draw
        self.ids = ids
        self.names = [ids.whole(one.name) for one in found] or [ids.subject]
        self._resources = [version for one in found for version in one.versions]
        self._rows = [(one["resourceType"], INDEX.rows(one["resourceType"], one)) for one in self._resources]

    def one(self, values: Sequence[Any]) -> Any:
        return self._draw(st.sampled_from(list(values)))

    def some(self, values: Sequence[Any], most: int) -> list[Any]:
        return self._draw(st.lists(st.sampled_from(list(values)), max_size=most, unique=True)) if values else []

    def yes(self) -> bool:
        return self._draw(st.booleans())

    def number(self, most: int) -> int:
        return self._draw(st.integers(0, most))

    def name(self) -> str:
        """`Type/id`: mostly of something that is or was in the record, else of something that never was."""
        return self.one(self.names) if self.number(3) else self.ids.whole(self.one(NAMES))

    def kind(self) -> str:
        return self.one(self.names).partition("/")[0] if self.number(3) else self.one(TYPES)

    def resource(self) -> Resource:
        return self.one(self._resources) if self._resources else {"resourceType": "Observation", "status": "final"}

    def values(self, kind: str, found: Parameter) -> list[str]:
        """What a parameter could be asked for: what any resource of the type has there."""
        rows = [rows for resource_type, rows in self._rows if resource_type == kind]
        rows += [part for one in rows for part in one.parts.values()]
        terms = {
            f"{system}|{text}" if system else text
            for one in rows
            for scope, system, text in one.terms
            if scope in found.scopes
        }
        links = {f"{target}/{whole}" for one in rows for scope, target, whole in one.links if scope in found.scopes}
        return sorted(terms | links) or list(_FIXED.get(found.kind, ("x",)))

    def value(self, kind: str, name: str) -> str:
        """Of a parameter, by its name without a modifier."""
        if name in ("_id", "_lastUpdated"):
            return self.one([one.partition("/")[2] for one in self.names] if name == "_id" else _FIXED[Kind.DATE])
        found = of_type(kind)[name]
        if found.kind is Kind.COMPOSITE:
            parts = [self.values(kind, part) for part in found.groups[0]] if found.groups else [["x"]]
            return "$".join(self.one(part) for part in parts)
        if found.kind in _FIXED and found.kind is not Kind.STRING:
            return self.one(_FIXED[found.kind])
        some = self.values(kind, found)
        return ",".join(self.some(some, 2) or some[:1])

    def parameter(self, kind: str, depth: int = 2) -> tuple[str, str]:
        """(name, value) of one condition: plain, with a modifier, chained or reversed."""
        way = self.number(5)
        if depth and way == 0:
            return self._chain(kind, depth)
        if depth and way == 1:
            return self._has(depth)
        name = self._used(kind)
        taken = modifiers(of_type(kind)[name]) if name in of_type(kind) else ("missing",)
        modifier = self.one(("", "", *taken)) if taken else ""
        if modifier == "missing":
            return f"{name}:missing", self.one(("true", "false"))
        value = self.value(kind, name)
        return (f"{name}:{modifier}" if modifier else name), value

    def _used(self, kind: str, only: Kind | None = None) -> str:
        """A parameter of the type: mostly one for which something in the record has a value."""
        known = [one for one in of_type(kind).values() if only in (None, one.kind)]
        if self.number(4):
            scopes = {row[0] for k, rows in self._rows if k == kind for row in (*rows.terms, *rows.links, *rows.spans)}
            known = [one for one in known if scopes & set(one.scopes)] or known
        return self.one(sorted(one.name for one in known) or ["_id"])

    def _chain(self, kind: str, depth: int) -> tuple[str, str]:
        target = self.kind()
        inner, value = self.parameter(target, depth - 1)
        return f"{self._used(kind, Kind.REFERENCE)}:{target}.{inner}", value

    def _has(self, depth: int) -> tuple[str, str]:
        source = self.kind()
        inner, value = self.parameter(source, depth - 1)
        return f"_has:{source}:{self._used(source, Kind.REFERENCE)}:{inner}", value

    def include(self, kind: str) -> tuple[str, str]:
        back, again = self.yes(), ":iterate" if self.yes() else ""
        source = self.kind() if back or again else kind
        value = self.one(("*", f"{source}:*", f"{source}:{self._used(source, Kind.REFERENCE)}"))
        return f"{'_revinclude' if back else '_include'}{again}", value

    def results(self, kind: str) -> Pairs:
        """What is said about the answer's form."""
        made: Pairs = [self.include(kind) for _ in range(self.one((0, 0, 1, 2)))]
        if self.yes():
            made.append(("_sort", ",".join(self.one(("", "-")) + self._used(kind) for _ in range(1 + self.number(1)))))
        further = {
            "_count": ("0", "1", "2", "3"),
            "_total": ("accurate", "none", "estimate"),
            "_summary": ("true", "count", "text", "data"),
            "_elements": ("code", "status,subject"),
            "_format": ("xml", "json"),
        }
        return made + [(name, self.one(further[name])) for name in self.some([*further], 2)]
