"""Conditions on other resources: chains and `_has`. https://hl7.org/fhir/R4/search.html#chaining.

    subject:Patient.name=erika            the resource refers to one that has it
    _has:Observation:encounter:code=718-7  one that has it refers to the resource

A reference to a resource of the view is a link of its image. So a chain is a join of links: what is not in the view is
named by no chain, hidden or never there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aggregator.fhir.clause import Clause, Condition, Values, scoped
from aggregator.fhir.outcome import BadQuery
from aggregator.fhir.parameters import Kind, Parameter, parameter
from aggregator.fhir.view import View
from fhir_profiles.structure import RESOURCES

Inner = Callable[[str, str], Condition | None]
"""(resource type, parameter's name) -> what is asked at a chain's other end; None: no such parameter."""

HAS = "_has:"
MOST_STEPS = 4

_REVERSED = "SELECT l.target FROM link l WHERE {scoped} AND l.target >= ? AND l.target < ? AND l.rid IN ({rows})"
_ROWS = "SELECT s.rid FROM {table} s WHERE s.rid >= ? AND s.rid < ? AND {holds}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A type that a reference names, and what is asked of the resource at its other end."""

    target: str
    asked: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Chained:
    """The resource refers over one of these links. scopes: the reference's."""

    name: str
    resource_type: str
    scopes: tuple[int, ...]
    links: tuple[Link, ...]

    @property
    def alternatives(self) -> int:
        """Those of all links."""
        return sum(link.asked.alternatives for link in self.links)

    def clause(self, view: View) -> Clause:
        """The links to what something is asked of."""
        texts, values = list[str](), Values()
        for link in self.links:
            rows, inner = _rows(view, link.target, link.asked)
            if rows:
                texts.append(rows)
                values += inner
        size = view.image.count(self.resource_type) if texts else 0
        holds = f"{scoped(self.scopes)} AND {{row}}.target IN ({' UNION ALL '.join(texts)})"
        return Clause(table="link", holds=holds, values=values, size=size, many=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversed:
    """Another resource, of which more is asked, refers to the resource. source: its type. scopes: the reference's."""

    name: str
    resource_type: str
    source: str
    scopes: tuple[int, ...]
    asked: Condition

    @property
    def alternatives(self) -> int:
        """Those of what is asked."""
        return self.asked.alternatives

    def clause(self, view: View) -> Clause:
        """The resources to which the others have a link."""
        rids = view.image.kinds.get(self.resource_type, range(0))
        rows, inner = _rows(view, self.source, self.asked)
        reversed_ = _REVERSED.format(scoped=scoped(self.scopes).format(row="l"), rows=rows)
        holds = f"{{row}}.rid IN ({reversed_})"
        values = [rids.start, rids.stop, *inner]
        return Clause(table="resource", holds=holds, values=values, size=len(rids) if rows else 0, many=True)


def types(asked: Condition) -> Iterator[str]:
    """The types that a condition looks at beside the resource's own."""
    if isinstance(asked, Chained):
        for link in asked.links:
            yield link.target
            yield from types(link.asked)
    elif isinstance(asked, Reversed):
        yield asked.source
        yield from types(asked.asked)


def _rows(view: View, resource_type: str, asked: Condition) -> tuple[str, Values]:
    """The rids of a type for which a condition holds, as a SELECT; empty where there is none."""
    rids = view.image.kinds.get(resource_type)
    clause = asked.clause(view) if rids else None
    if rids is None or clause is None or not (clause.size or clause.negated):
        return "", []
    table, holds = ("resource", clause.asked()) if clause.negated else (clause.table, clause.holds)
    text = _ROWS.format(table=table, holds=holds.format(row="s"))
    return text, [rids.start, rids.stop, *clause.values]


def chained(resource_type: str, name: str, inner: Inner) -> Condition | None:
    """`reference.parameter` or `reference:Type.parameter`. None where one of the names is none. Raises BadQuery."""
    head, _, rest = name.partition(".")
    bare, _, only = head.partition(":")
    found = parameter(resource_type, bare)
    if found is None:
        return None
    if found.kind is not Kind.REFERENCE:
        raise BadQuery(name, "only a reference can be followed")
    if name.count(".") > MOST_STEPS:
        raise BadQuery(name, f"more than {MOST_STEPS} steps")
    links = tuple(_links(found, only, rest, inner))
    made = Chained(name=name, resource_type=resource_type, scopes=found.scopes, links=links)
    return made if links else None


def _links(found: Parameter, only: str, rest: str, inner: Inner) -> Iterator[Link]:
    named = targets(found) or tuple(sorted(RESOURCES))
    for target in named:
        asked = inner(target, rest) if only in ("", target) else None
        if asked is not None:
            yield Link(target=target, asked=asked)


def has(resource_type: str, name: str, inner: Inner) -> Condition | None:
    """`_has:Type:reference:parameter`. None where one of the names is none. Raises BadQuery."""
    source, _, further = name.removeprefix(HAS).partition(":")
    bare, _, rest = further.partition(":")
    if name.count(HAS) > MOST_STEPS:
        raise BadQuery(name, f"more than {MOST_STEPS} steps")
    found = parameter(source, bare) if source in RESOURCES else None
    if found is None:
        return None
    if found.kind is not Kind.REFERENCE:
        raise BadQuery(name, "only a reference can be followed")
    asked = inner(source, rest)
    if asked is None or (targets(found) and resource_type not in targets(found)):
        return None
    return Reversed(name=name, resource_type=resource_type, source=source, scopes=found.scopes, asked=asked)


def targets(found: Parameter) -> tuple[str, ...]:
    """The types that a reference may name; none: any."""
    return (found.only,) if found.only else found.targets
