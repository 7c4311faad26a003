"""Where records from outside land, by section; nothing clinical is the owner's alone for want of a row."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.consent.section_table import SectionTable
from fhir_profiles.text import NotJson, Resource, loads

DATA = Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))

# What no patient's record needs to open: definitions, logs, bytes, and what is about consent itself.
NOT_CLINICAL = {
    *(
        "AuditEvent",
        "Basic",
        "Binary",
        "CapabilityStatement",
        "CodeSystem",
        "ConceptMap",
        "Consent",
        "ImplementationGuide",
    ),
    *("NamingSystem", "OperationDefinition", "OperationOutcome", "Parameters", "Provenance", "SearchParameter"),
    *("StructureDefinition", "Subscription", "ValueSet"),
}

EXPECTED: dict[str, dict[str, int]] = {
    "fhir-synthea": {
        "allergies": 1,
        "care-plans": 142,
        "directory": 1059,
        "documents": 276,
        "encounters": 475,
        "identity": 39,
        "imaging": 4,
        "immunizations": 363,
        "insurance": 1058,
        "medications": 112,
        "mental-health": 19,
        "problems": 239,
        "procedures": 185,
        "results": 3752,
        "sexual-health": 47,
        "substance-use": 2,
    },
    "fhir-ips": {
        "allergies": 3,
        "directory": 13,
        "documents": 2,
        "identity": 5,
        "imaging": 1,
        "immunizations": 3,
        "medications": 3,
        "problems": 2,
        "procedures": 2,
        "results": 12,
        "sexual-health": 3,
    },
    "fhir-de": {
        "care-plans": 39,
        "communication": 5,
        "directory": 316,
        "documents": 91,
        "encounters": 21,
        "genetics": 52,
        "identity": 98,
        "imaging": 3,
        "insurance": 85,
        "medications": 165,
        "mental-health": 2,
        "problems": 37,
        "procedures": 28,
        "results": 173,
        "sexual-health": 2,
        "substance-use": 4,
    },
}


def _resources(folder: str) -> Iterator[Resource]:
    for path in sorted((DATA / folder).rglob("*.json")):
        try:
            yield from _unbundled(loads(path.read_bytes()))
        except NotJson:
            continue


def _unbundled(node: Any) -> Iterator[Resource]:
    """What a Bundle of any kind but a document holds is stored one by one; so is a document's content, beside it."""
    if isinstance(node, dict) and node.get("resourceType") == "Bundle":
        for entry in node.get("entry", []):
            yield from _unbundled(entry.get("resource"))
    elif isinstance(node, dict) and "resourceType" in node:
        yield node


@pytest.mark.outside
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")
@pytest.mark.parametrize("folder", EXPECTED)
def test_where_they_land(folder: str) -> None:
    table = SectionTable.load()
    placed = [(table.section_of(one).section, str(one["resourceType"])) for one in _resources(folder)]
    assert {kind for section, kind in placed if section == "unsorted"} <= NOT_CLINICAL
    clinical = Counter(section for section, kind in placed if kind not in NOT_CLINICAL)
    assert dict(sorted(clinical.items())) == EXPECTED[folder]
