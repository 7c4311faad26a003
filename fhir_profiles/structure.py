"""The structure of FHIR R4: every type with its elements, as HL7's StructureDefinitions give it.

https://hl7.org/fhir/R4/structuredefinition.html; the tables in codes/ are compiled from the packages by
`codes/generate.py`. They, and not the models of fhir.resources, are the source: those are R4B (no
MedicinalProduct, no SubstanceSpecification; Ingredient and 12 more that R4 does not know), cut their lists of codes
short, and hold no order of elements that is R4's. They serve as the second opinion in `model.py`.

Types are built when first asked for, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

_CODES = Path(__file__).parent / "codes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element as it is written in JSON: a choice gives one for each of its types.

    type: "string", "Quantity", "Observation.component", or "Resource" for any resource.
    most: the upper bound, 0 for none. choice: "value[x]" where this is one of its forms, else "".
    value_set: the value set of a required binding, else "". attribute: an attribute in XML, so without `_name` in JSON.
    summary: https://hl7.org/fhir/R4/search.html#summary shows it. modifier: it changes what the others mean.
    """

    name: str
    type: str
    least: int
    most: int
    choice: str
    value_set: str
    attribute: bool
    summary: bool
    modifier: bool

    @property
    def many(self) -> bool:
        """Whether JSON writes it as a list."""
        return self.most != 1

    @property
    def has_sibling(self) -> bool:
        """Whether JSON may hold `_name` beside it: it is a primitive, and an element in XML too."""
        return self.type in PRIMITIVES and self.type != "xhtml" and not self.attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A data type, resource or nested element; `elements` by JSON name, in the order of XML, inherited ones first.

    bases: what it inherits from, nearest first: ("DomainResource", "Resource").
    """

    name: str
    kind: str
    bases: tuple[str, ...]
    elements: Mapping[str, Element]


@cache
def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads((_CODES / name).read_bytes())
    return loaded


def _elements(rows: Mapping[str, list[Any]]) -> Iterator[Element]:
    for marked, (types, least, most, value_set, marks) in rows.items():
        name = marked.lstrip("@")
        stem = name.removesuffix("[x]")
        for one in types.split("|"):
            yield Element(
                name=name if stem == name else stem + one[0].upper() + one[1:],
                type=one,
                least=least,
                most=most,
                choice="" if stem == name else name,
                value_set=value_set or "",
                attribute=marked != name,
                summary="s" in marks,
                modifier="m" in marks,
            )


@cache
def type_of(name: str) -> Type:
    """The type of this name. Raises KeyError where R4 has none."""
    row = _load("structure.json")[name]
    base = type_of(row["base"]) if row["base"] else None
    inherited = dict(base.elements) if base else {}
    own = {element.name: element for element in _elements(row["elements"])}
    bases = (base.name, *base.bases) if base else ()
    return Type(name=name, kind=row["kind"], bases=bases, elements=inherited | own)


def _names(kind: str) -> frozenset[str]:
    return frozenset(name for name, row in _load("structure.json").items() if row["kind"] == kind)


NAMES = frozenset(_load("structure.json"))
PRIMITIVES = _names("primitive-type")
RESOURCES = _names("resource") - {"Resource", "DomainResource"}


@cache
def compartment() -> Mapping[str, tuple[str, ...]]:
    """Resource type -> the search parameters that put a resource into a patient's compartment.

    https://hl7.org/fhir/R4/compartmentdefinition-patient.html
    """
    return {name: tuple(parameters) for name, parameters in _load("compartment.json").items()}


@cache
def concepts(value_set: str) -> frozenset[tuple[str, str]]:
    """(system, code) of a required value set; empty where it is open (media types, UCUM)."""
    systems = _load("required.json")[value_set]
    return frozenset((system, code) for system, listed in systems.items() for code in listed.split(" "))


@cache
def codes(value_set: str) -> frozenset[str]:
    """The codes of a required value set; empty where it is open."""
    return frozenset(code for _, code in concepts(value_set))


_name = re.compile(r"_?[a-z][A-Za-z0-9]{0,48}").fullmatch


def looks_like_a_name(name: str) -> bool:
    """Whether a name from outside has the form of an element's, so that a message may repeat it."""
    return _name(name) is not None
