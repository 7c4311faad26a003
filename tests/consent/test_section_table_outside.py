"""Where records from outside land, by section, and how few of them nobody can judge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aggregator.consent.section_table import SectionTable
from fhir_profiles.text import NotJson, Resource, loads

pytestmark = pytest.mark.storeless

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
        "results": 10,
        "sexual-health": 3,
    },
    "fhir-de": {
        "care-plans": 39,
        "communication": 5,
        "directory": 272,
        "documents": 91,
        "encounters": 21,
        "genetics": 52,
        "identity": 98,
        "imaging": 3,
        "insurance": 85,
        "medications": 156,
        "mental-health": 7,
        "problems": 37,
        "procedures": 25,
        "results": 162,
        "sexual-health": 9,
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


# What nobody can judge by any code or name in it, and so is the owner's alone until the operator maps its codes:
# packages under trade names, codes of projects and devices, and "unknown".
UNJUDGED: dict[str, dict[str, int]] = {
    "fhir-synthea": {},
    "fhir-ips": {"Observation": 2},
    "fhir-de": {"Medication": 39, "MedicationDispense": 4, "Observation": 9, "Procedure": 3},
}


@pytest.mark.outside
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}")
@pytest.mark.parametrize("folder", EXPECTED)
def test_where_they_land(folder: str) -> None:
    table = SectionTable.load()
    placed = [(table.section_of(one).section, str(one["resourceType"])) for one in _resources(folder)]
    clinical = [(section, kind) for section, kind in placed if kind not in NOT_CLINICAL]
    assert Counter(kind for section, kind in clinical if section == "unsorted") == UNJUDGED[folder]
    judged = Counter(section for section, _ in clinical if section != "unsorted")
    assert dict(sorted(judged.items())) == EXPECTED[folder]
