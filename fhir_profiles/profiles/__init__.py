"""Our own definitions, as FHIR JSON beside this module, and what the service reads of them.

https://hl7.org/fhir/R4/codesystem.html. The CodeSystem is the truth: a section that it does not list does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from fhir_profiles.text import Resource, loads

SECTION_SYSTEM: Final = "https://aggregator.example/fhir/CodeSystem/section"
WARNING_URL: Final = "https://aggregator.example/fhir/StructureDefinition/warning"
AMENDS_URL: Final = "https://aggregator.example/fhir/StructureDefinition/amends"
VERIFICATION_URL: Final = "https://aggregator.example/fhir/StructureDefinition/verification"
_SAID_HERE = frozenset({AMENDS_URL, VERIFICATION_URL})

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a vault with its own keys. de, en: what people call it. sensitive: a consent must name it."""

    name: str
    de: str
    en: str
    sensitive: bool


def definitions() -> tuple[Resource, ...]:
    """Every definition of ours, for those who serve or check them."""
    return tuple(loads(path.read_bytes()) for path in sorted(_HERE.glob("*-*.json")))


def _section(concept: dict[str, Any]) -> Section:
    names = {one["language"]: one["value"] for one in concept["designation"]}
    properties = {one["code"]: one["valueBoolean"] for one in concept["property"]}
    return Section(name=concept["code"], de=names["de"], en=names["en"], sensitive=properties["sensitive"])


def _sections() -> Mapping[str, Section]:
    system = next(one for one in definitions() if one["url"] == SECTION_SYSTEM)
    return MappingProxyType({concept["code"]: _section(concept) for concept in system["concept"]})


SECTIONS: Final = _sections()
"""Every section by its name, in the order in which people read them."""


def unclaimed(meta: Mapping[str, Any]) -> dict[str, Any]:
    """A resource's meta without what this service alone says there: what it amends, and how it was verified."""
    kept = [one for one in meta.get("extension", ()) if one.get("url") not in _SAID_HERE]
    others = {name: value for name, value in meta.items() if name != "extension"}
    return others | ({"extension": kept} if kept else {})
