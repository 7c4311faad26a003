"""What every client of FHIR is asked to do here, and what it must have been told: the same by each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fhir_profiles.text import Resource
from tests.api.http_world import HttpWorld

IDENTIFIER = {"system": "http://e.example", "value": "1"}
SEARCH = {"identifier": "http://e.example|1", "status": "final"}
OBSERVATION: Resource = {
    "resourceType": "Observation",
    "status": "final",
    "identifier": [IDENTIFIER],
    "code": {"coding": [{"system": "http://loinc.org", "code": "2160-0"}]},
    "valueQuantity": {"value": 0.4},
}
TRANSACTION: Resource = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [
        {
            "fullUrl": "urn:uuid:3fdc72f4-a11d-4a9d-9260-a9f745779e1d",
            "resource": OBSERVATION | {"status": "preliminary"},
            "request": {"method": "POST", "url": "Observation"},
        }
    ],
}


def base(world: HttpWorld) -> str:
    return f"{world.service.base_url}/fhir"


def observations(world: HttpWorld) -> set[str]:
    """The ids of all that the owner has."""
    bundle = world.get("/fhir/Observation?_count=500", world.owner()).json()
    return {str(entry["resource"]["id"]) for entry in bundle["entry"]}


def readable(world: HttpWorld, who: Mapping[str, str]) -> dict[str, int]:
    """Type -> how many resources somebody may read, as an export counts them."""
    return dict(Counter(one["resourceType"] for one in world.everything(dict(who))))


def assert_told(told: dict[str, Any], before: set[str]) -> None:
    """What a client was told is the whole story. before: the ids of what there was besides."""
    paged = told.pop("paged")
    assert before < set(paged)
    assert len(paged) == len(set(paged)) == len(before) + 1
    assert told == {
        "created": ["1", 0.4],
        "read": ["1", 0.4],
        "updated": ["2", 0.5],
        "found": [["2", 0.5]],
        "together": ["201 Created"],
        "gone": True,
        "history": ["DELETE", "PUT", "POST"],
    }


def shown(resource: Mapping[str, Any]) -> list[Any]:
    """A resource's version and value."""
    return [resource["meta"]["versionId"], resource["valueQuantity"]["value"]]
