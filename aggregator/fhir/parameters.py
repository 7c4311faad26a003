"""The search parameters there are: a table, from which index, search and CapabilityStatement are all made.

https://hl7.org/fhir/R4/searchparameter-registry.html. `search_parameters.tsv` is the part of R4's own definitions that
this service indexes; `_id` and `_lastUpdated` need no index and belong to every type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files


class Kind(StrEnum):
    """The search parameter types of https://hl7.org/fhir/R4/valueset-search-param-type.html that are understood."""

    TOKEN = "token"  # noqa: S105  # a search parameter type, no password
    DATE = "date"
    REFERENCE = "reference"
    STRING = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """Where a parameter's values lie: property names from the resource down, and the datatype found there.

    detail: the only target type of a reference that counts, or the code system that a code implies; else empty.
    """

    path: tuple[str, ...]
    datatype: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A search parameter of one resource type. scope: its number in the index; 0 where it needs none."""

    resource_type: str
    name: str
    kind: Kind
    scope: int
    elements: tuple[Element, ...]


def parameter(resource_type: str, name: str) -> Parameter | None:
    """The parameter of that name, or None where the type has none."""
    return of_type(resource_type).get(name)


def of_type(resource_type: str) -> Mapping[str, Parameter]:
    """The parameters of a resource type, by name."""
    return _TABLE.get(resource_type) or _common(resource_type)


def indexed() -> Iterator[Parameter]:
    """Every parameter that has rows in the index."""
    return (parameter for table in _TABLE.values() for parameter in table.values() if parameter.scope)


def _common(resource_type: str) -> dict[str, Parameter]:
    kinds = {"_id": Kind.TOKEN, "_lastUpdated": Kind.DATE}
    return {
        name: Parameter(resource_type=resource_type, name=name, kind=kind, scope=0, elements=())
        for name, kind in kinds.items()
    }


def _element(text: str) -> Element:
    path, _, rest = text.partition(":")
    datatype, _, detail = rest.partition("=")
    return Element(path=tuple(path.split(".")), datatype=datatype, detail=detail)


def _load() -> dict[str, dict[str, Parameter]]:
    table = dict[str, dict[str, Parameter]]()
    text = files(__package__).joinpath("search_parameters.tsv").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for scope, line in enumerate(lines, 1):  # a line's place is its scope: to move one is to raise the index version
        resource_type, name, kind, elements = line.split("\t")
        table.setdefault(resource_type, _common(resource_type))[name] = Parameter(
            resource_type=resource_type,
            name=name,
            kind=Kind(kind),
            scope=scope,
            elements=tuple(map(_element, elements.split(" "))),
        )
    return table


_TABLE = _load()
