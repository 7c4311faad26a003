"""Which patient a resource is about, by the table in compartment.toml.

https://hl7.org/fhir/R4/compartmentdefinition-patient.html
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fhir_profiles.text import Resource

_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
_UNKNOWN = ("subject", "patient")  # where a type that is not in the table would name its patient


def _by_type(elements: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    paths: dict[str, list[str]] = defaultdict(list)
    for path, types in elements.items():
        for each in types:
            paths[each].append(path)
    return {each: tuple(found) for each, found in paths.items()}


PATIENT_PATHS = _by_type(_TABLE["elements"])
"""Type -> the paths of the elements that may name its patient."""

DIRECTORY = frozenset(_TABLE["directory"])
"""Types that are nobody's, unless they name a patient."""

TYPES = frozenset({"Patient", *PATIENT_PATHS, *DIRECTORY})


def patients_of(resource: Resource) -> frozenset[str]:
    """The ids of the patients that this resource is about."""
    resource_type = resource["resourceType"]
    if resource_type == "Patient":
        return frozenset({str(resource.get("id"))})
    found = (link for path in PATIENT_PATHS.get(resource_type, _UNKNOWN) for link in _at(resource, path.split(".")))
    return frozenset(link.split("/")[1] for link in found if link.startswith("Patient/"))


def _at(node: Any, path: list[str]) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _at(item, path)
    elif isinstance(node, dict):
        if path:
            yield from _at(node.get(path[0]), path[1:])
        elif isinstance(link := node.get("reference"), str):
            yield link
