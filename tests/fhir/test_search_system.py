"""Searches of several types and of a patient's compartment; what they look at; what R4 has and is refused by name."""

from __future__ import annotations

import pytest

from aggregator.fhir.outcome import BadQuery, Unsupported
from aggregator.fhir.refused import REFUSED
from aggregator.fhir.search import search, types
from fhir_profiles.text import Resource, loads
from tests.fhir.world import BASE, LINKS, assert_golden, entries, handmade, next_query, pairs, view_of

VIEW = view_of(handmade())


def places(bundle: Resource) -> list[str]:
    return [f"{one['resourceType']}/{one['id'].removeprefix('k3.')}" for one in entries(bundle)]


FOUND: dict[str, list[str]] = {
    "_type=Patient,Organization": ["Organization/labor", "Patient/erika", "Patient/klinik"],
    "_type=Organization&_type=Organization": ["Organization/labor"],
    "_type=Patient,MedicationRequest&_sort=_lastUpdated": [
        "Patient/klinik",
        "Patient/erika",
        "MedicationRequest/metformin",
    ],
    "_type=Patient,Organization&_sort=-_id": ["Organization/labor", "Patient/klinik", "Patient/erika"],
    "_type=Observation,MedicationRequest&code=A10BA02": ["MedicationRequest/metformin"],
    "_type=Observation,MedicationRequest&code=K,A10BA02&_sort=-code": [
        "Observation/potassium",
        "MedicationRequest/metformin",
    ],
    "_lastUpdated=ge2026-11-05": ["Encounter/stay", "MedicationRequest/metformin"],
    "_id=k3.erika,k3.labor": ["Organization/labor", "Patient/erika"],
    "_type=Device": [],
}


@pytest.mark.parametrize("query", FOUND)
def test_several_types(query: str) -> None:
    bundle = loads(search(VIEW, "", pairs(query), LINKS, strict=True).body)
    assert places(bundle) == FOUND[query]
    assert bundle["total"] == len(FOUND[query])


def test_every_type_there_is() -> None:
    bundle = loads(search(VIEW, "", [], LINKS, strict=True).body)
    assert len(places(bundle)) == len(handmade())
    assert bundle["link"] == [{"relation": "self", "url": BASE}]


def test_a_parameter_that_not_every_type_has_is_ignored_and_named() -> None:
    bundle = loads(search(VIEW, "", pairs("_type=Patient,Observation&code=K"), LINKS).body)
    assert len(places(bundle)) == 7
    assert bundle["link"][0]["url"] == f"{BASE}?_type=Patient%2CObservation"
    assert entries(bundle, "outcome")[0]["issue"][0]["diagnostics"].startswith("code: ignored")


@pytest.mark.parametrize("query", ["", "_sort=-_lastUpdated", "_type=Observation,Patient&_sort=_id"])
def test_pages_together_are_the_whole(query: str) -> None:
    whole = places(loads(search(VIEW, "", pairs(query), LINKS).body))
    found, at = list[str](), [*pairs(query), ("_count", "2")]
    while at:
        bundle = loads(search(VIEW, "", at, LINKS).body)
        found += places(bundle)
        at = next_query(bundle) or []
    assert found == whole


COMPARTMENT: dict[tuple[str, str], list[str]] = {
    ("Observation", ""): ["Observation/hba1c-2024", "Observation/potassium"],
    ("Observation", "code=K"): ["Observation/potassium"],
    ("Organization", ""): [],
    ("Patient", ""): ["Patient/erika", "Patient/klinik"],  # klinik is linked to erika
    ("", "_type=MedicationRequest,Patient"): ["MedicationRequest/metformin", "Patient/erika", "Patient/klinik"],
    ("", "_summary=count&_type=Observation"): [],
}


@pytest.mark.parametrize(("resource_type", "query"), COMPARTMENT)
def test_a_compartment(resource_type: str, query: str) -> None:
    bundle = loads(search(VIEW, resource_type, pairs(query), LINKS, strict=True, patient="k3.erika").body)
    assert places(bundle) == COMPARTMENT[resource_type, query]


def test_whole_answers() -> None:
    asked = pairs("_type=Patient&_count=2&_elements=gender")
    assert_golden(search(VIEW, "", asked, LINKS, patient="k3.erika").body, "search_compartment")


@pytest.mark.attack(1)
@pytest.mark.parametrize("patient", ["k3.none", "x9.erika", "erika", "k3.", "none"])
def test_the_compartment_of_nobody_is_empty(patient: str) -> None:
    for resource_type in ("Observation", "Patient", ""):
        bundle = loads(search(VIEW, resource_type, [], LINKS, patient=patient).body)
        assert (bundle["total"], "entry" in bundle) == (0, False)


@pytest.mark.parametrize("value", ["SECRET", "", "Patient,", "Patient:x", "OperationOutcome"])
def test_what_is_no_list_of_types(value: str) -> None:
    with pytest.raises(BadQuery, match=r"^_type: not a list of resource types$"):
        search(VIEW, "", [("_type", value)], LINKS)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name_with_the_reason(name: str, strict: bool) -> None:
    with pytest.raises(Unsupported) as caught:
        search(VIEW, "Observation", [(f"{name}:exact", "SECRET")], LINKS, strict=strict)
    assert str(caught.value) == f"{name}: {REFUSED[name]}"
    assert (caught.value.status, caught.value.code) == (400, "not-supported")


LOOKED_AT: dict[tuple[str, str], set[str]] = {
    ("Observation", "code=x&_sort=date"): {"Observation"},
    ("", "_type=Patient,Observation"): {"Patient", "Observation"},
    ("", "_lastUpdated=2026"): {"*"},
    ("Observation", "subject:Patient.name=x"): {"Observation", "Patient"},
    ("Observation", "patient._has:Device:patient:status=active"): {"Observation", "Patient", "Device"},
    ("Patient", "_has:Observation:patient:code=x"): {"Patient", "Observation"},
    ("Observation", "_include=Observation:subject:Patient"): {"Observation", "Patient"},
    ("Observation", "_include=Observation:subject"): {"Observation", "Patient", "Group", "Device", "Location"},
    ("Observation", "_include=Observation:focus"): {"Observation", "*"},
    ("Patient", "_revinclude=Observation:subject"): {"Patient", "Observation"},
    ("Patient", "_revinclude=*"): {"Patient", "*"},
}


@pytest.mark.attack(42)
@pytest.mark.parametrize(("resource_type", "query"), LOOKED_AT)
def test_what_a_search_looks_at(resource_type: str, query: str) -> None:
    assert types(resource_type, pairs(query), BASE) == LOOKED_AT[resource_type, query]
