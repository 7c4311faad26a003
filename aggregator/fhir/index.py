"""What of a resource is searched: its values for each search parameter, as the rows an image holds.

https://hl7.org/fhir/R4/search.html. Extraction is compiled from the table of parameters when a type is first seen: a
resource is walked by the members it has, and each value gives the rows of its search type (`search_types`):

    terms   token, string, uri      system and text
    links   reference               type and id
    spans   date, number, quantity  low and high, and the unit
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Final

from aggregator.fhir.entry import frame
from aggregator.fhir.parameters import PRESENT, STEP, Place, places
from aggregator.fhir.paths import RESOURCE, Enter, Find, Leaf, leaves
from aggregator.fhir.search_types import TYPES
from aggregator.vault.index_rows import PART_BITS, Frame, Rows

VERSION: Final = 3
"""Rises with every change of the table, of its order, of a datatype's rows or of the zone of dates."""


class SearchIndex:
    """The indexer of an image, for the parameters of `search_parameters.tsv`."""

    def __init__(self, base_url: str) -> None:
        """base_url: of the FHIR service, without a slash at the end."""
        self._base_url = base_url
        self.version = zlib.crc32(f"{VERSION} {base_url}".encode())

    def frame(self, vault: str) -> Frame:
        """That of a searchset's entry."""
        return frame(self._base_url, vault)

    def rows(self, resource_type: str, resource: Mapping[str, Any]) -> Rows:
        """What is searched in a resource. What is not of its datatype's shape gives no row."""
        extraction, rows = _extraction(resource_type), Rows()
        for name in ("", *resource):
            for extractor in extraction.by_member.get(name, ()):
                extractor.enter(resource, rows)
        for parted in extraction.parted:
            parted.enter(resource, rows)
        return rows


@dataclass(frozen=True, slots=True)
class _Extractor:
    """One leaf of a place. rows: None where its datatype is not searched in this way."""

    scope: int
    leaf: Leaf
    rows: Enter | None

    def enter(self, node: Mapping[str, Any], into: Rows) -> None:
        """The rows of each value, and of one without rows that it is there."""
        for value in self.leaf.find(node):
            if not (self.rows and self.rows(value, self.leaf, self.scope, into)):
                into.terms.add((self.scope + PRESENT, "", ""))


@dataclass(frozen=True, slots=True)
class _Parted:
    """Elements whose values belong together, and what is searched in each: no words, since no modifier asks for them.

    of_resource: what lies above them.
    """

    find: Find
    of_element: list[_Extractor]
    of_resource: list[_Extractor]

    def enter(self, resource: Mapping[str, Any], into: Rows) -> None:
        """A part of the rows for each element."""
        for number, element in enumerate(islice(self.find(resource), 2**PART_BITS)):
            if isinstance(element, dict):
                part = into.parts.setdefault(number, Rows())
                for extractor in self.of_element:
                    extractor.enter(element, part)
                for extractor in self.of_resource:
                    extractor.enter(resource, part)
                part.terms.difference_update([term for term in part.terms if term[0] % STEP])


@dataclass(frozen=True, slots=True)
class _Extraction:
    """Of one type. by_member: by the name that an expression begins with."""

    by_member: dict[str, list[_Extractor]]
    parted: list[_Parted]


@cache
def _extraction(resource_type: str) -> _Extraction:
    made, bases = _Extraction({}, []), dict[str, list[Place]]()
    for place in places(resource_type):
        if place.nested:
            bases.setdefault(place.base, []).append(place)
            continue
        for extractor in _extractors(resource_type, place.expression, place):
            made.by_member.setdefault(extractor.leaf.head, []).append(extractor)
    made.parted.extend(_parted(resource_type, base, lie) for base, lie in bases.items())
    return made


def _extractors(start: str, expression: str, place: Place) -> Iterator[_Extractor]:
    rows = TYPES[place.kind].rows
    return (_Extractor(place.scope, leaf, rows.get(leaf.datatype)) for leaf in leaves(start, expression))


def _parted(resource_type: str, base: str, lie: list[Place]) -> _Parted:
    (element,) = leaves(resource_type, base.removeprefix(f"{resource_type}."))
    made = _Parted(element.find, [], [])
    for place in lie:
        above = place.expression.startswith(RESOURCE)
        start = resource_type if above else element.datatype
        found = _extractors(start, place.expression.removeprefix(RESOURCE), place)
        (made.of_resource if above else made.of_element).extend(found)
    return made
