"""The search parameters there are: a table, from which index, search and CapabilityStatement are all made.

https://hl7.org/fhir/R4/searchparameter-registry.html. `search_parameters.tsv` holds R4's own definitions, each with its
expression; what lies at one place of a resource is indexed once, however many parameters look there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from importlib.resources import files

COMMON = "Resource"
"""The type whose parameters every type has."""

COLUMNS = frozenset({"_id", "_lastUpdated"})
"""Parameters about what is a column of every resource: they have no place in the index."""

STEP = 4  # scopes lie so far apart, for what else is told of the same place:
TEXT = 1  # the words beside a code
IDENTIFIER = 2  # an identifier by its type, or in a reference's stead
PRESENT = 3  # that something is there which cannot be searched


class Kind(StrEnum):
    """The search parameter types: https://hl7.org/fhir/R4/valueset-search-param-type.html."""

    TOKEN = "token"  # noqa: S105  # a search parameter type, no password
    DATE = "date"
    REFERENCE = "reference"
    STRING = "string"
    NUMBER = "number"
    QUANTITY = "quantity"
    URI = "uri"
    COMPOSITE = "composite"
    SPECIAL = "special"


SPANS = frozenset({Kind.DATE, Kind.NUMBER, Kind.QUANTITY})
"""The kinds whose values are spans, which are compared with what is asked one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where values of one kind lie.

    scope: its number in the index. base: where the expression begins, a type's name or a path from one. only: the
    target type of the references that count, "" where all do.
    """

    scope: int
    kind: Kind
    base: str
    expression: str
    only: str = ""

    @property
    def nested(self) -> bool:
        """Whether each element of its base has rows of its own."""
        return "." in self.base


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A search parameter of one resource type.

    targets: the types that a reference may name; none: any. groups: a composite's, for each expression its components,
    whose places all lie below one element.
    """

    resource_type: str
    name: str
    kind: Kind
    places: tuple[Place, ...] = ()
    targets: tuple[str, ...] = ()
    groups: tuple[tuple[Parameter, ...], ...] = ()

    @property
    def scopes(self) -> tuple[int, ...]:
        """Its places' numbers in the index."""
        return tuple(place.scope for place in self.places)

    @property
    def only(self) -> str:
        """The one target type of its references that counts, "" where all do. R4 has one for all of its places."""
        return self.places[0].only if self.places else ""


def parameter(resource_type: str, name: str) -> Parameter | None:
    """The parameter of that name, or None where the type has none."""
    return of_type(resource_type).get(name)


@cache
def of_type(resource_type: str) -> Mapping[str, Parameter]:
    """The parameters of a resource type, by name, with those that every type has."""
    common = {name: replace(one, resource_type=resource_type) for name, one in _TABLE.parameters[COMMON].items()}
    return common | _TABLE.parameters.get(resource_type, {})


def resource_types() -> Iterator[str]:
    """The types that have parameters of their own."""
    return (name for name in _TABLE.parameters if name != COMMON)


def places(resource_type: str) -> Iterator[Place]:
    """Where a resource of this type is searched, each place once."""
    return (place for place in all_places() if place.base.partition(".")[0] in (COMMON, resource_type))


def all_places() -> Iterator[Place]:
    """Every place that is indexed, in the order of their scopes."""
    return iter(_TABLE.places.values())


_CAST = re.compile(r"\(([\w.]+) as (\w+)\)|\b([\w.]+) as (\w+)\b")
_ONLY = re.compile(r"(.+)\.where\(resolve\(\) is (\w+)\)")


@dataclass(frozen=True, slots=True)
class _Table:
    """parameters: by type and name. places: by kind and whole expression, in the order of their scopes."""

    parameters: dict[str, dict[str, Parameter]] = field(default_factory=dict)
    places: dict[tuple[Kind, str, str], Place] = field(default_factory=dict)

    def place(self, kind: Kind, base: str, expression: str) -> Place:
        """A place's scope is its place in the order of the table: to move one is to raise the index version."""
        text = _CAST.sub(lambda found: f"{found[1] or found[3]}.as({found[2] or found[4]})", expression)
        only = _ONLY.fullmatch(text)
        text = only[1] if only else text
        new = Place(scope=STEP * (len(self.places) + 1), kind=kind, base=base, expression=text)
        found = self.places.setdefault((kind, base, text), new)
        return replace(found, only=only[2]) if only else found

    def parameter(self, resource_type: str, name: str, kind: Kind, expression: str, last: str) -> Parameter:
        """A line. last: a reference's targets or a composite's components."""
        bases = expression.split(" | ")
        if kind is Kind.COMPOSITE:
            groups = tuple(self.group(resource_type, base, last) for base in bases)
            return Parameter(resource_type=resource_type, name=name, kind=kind, groups=groups)
        if name in COLUMNS:
            return Parameter(resource_type=resource_type, name=name, kind=kind)
        found = tuple(self.place(kind, resource_type, _below(resource_type, base)) for base in bases)
        return Parameter(resource_type=resource_type, name=name, kind=kind, places=found, targets=tuple(last.split()))

    def group(self, resource_type: str, base: str, components: str) -> tuple[Parameter, ...]:
        """The components below one base, which stand in the table before the composite or lie below it."""
        return tuple(self.component(resource_type, base, text) for text in components.split(" $ "))

    def component(self, resource_type: str, base: str, text: str) -> Parameter:
        """Searched as the parameter that it names, where its own expression says."""
        name, _, expression = text.partition("=")
        found = self.parameters[resource_type][name]
        lie = tuple(self.place(found.kind, base, one) for one in expression.split(" | "))
        return replace(found, places=lie)


def _below(resource_type: str, expression: str) -> str:
    """Without the type's own name, which every expression begins with."""
    return expression.replace(f"{resource_type}.", "")


def _load() -> _Table:
    table = _Table()
    text = files(__package__).joinpath("search_parameters.tsv").read_text(encoding="utf-8")
    rows = [[*line.split("\t"), ""][:5] for line in text.splitlines() if not line.startswith("#")]
    for resource_type, name, kind, expression, last in sorted(rows, key=lambda row: row[2] == Kind.COMPOSITE):
        made = table.parameter(resource_type, name, Kind(kind), expression, last)
        table.parameters.setdefault(resource_type, {})[name] = made
    return table


_TABLE = _load()
