"""A resource in a few words, for its owner: what it is about, and when it was."""

from __future__ import annotations

from aggregator.fhir.patient_summary_cells import concept, when
from fhir_profiles.text import Resource

__all__ = ["title", "when"]

_ABOUT = (
    "code",
    "vaccineCode",
    "medicationCodeableConcept",
    "title",
    "description",
    "name",
    "type",
    "class",
    "category",
)
"""Where a resource says what it is about, the most telling element first."""


def title(resource: Resource) -> str:
    """Its own words, else the name of its first code, else that code; empty where it says none of them."""
    return next(filter(None, map(_said, (resource.get(element) for element in _ABOUT))), "")


def _said(value: object) -> str:
    if isinstance(value, list):
        return next(filter(None, map(_said, value)), "")
    if isinstance(value, dict):
        return concept(value) or _name(value)
    return value if isinstance(value, str) else ""


def _name(value: dict[str, object]) -> str:
    """A HumanName, or a Coding."""
    given = value.get("given")
    parts = [*(given if isinstance(given, list) else ()), value.get("family")]
    name = " ".join(part for part in parts if isinstance(part, str))
    told = (value.get("text"), name, value.get("display"), value.get("code"))
    return next((one for one in told if isinstance(one, str) and one), "")
