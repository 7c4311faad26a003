"""Whole folders of Synthea Bundles, as `aggregator demo --data` loads them.

What matters to the demo: nothing is refused, ids are the same in every run, and each entry of a patient's Bundle can be
had with that patient's token, by a search in the compartment or by following references from there.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aggregator.demo.clinic import Clinic
from aggregator.demo.fhir_server.bundle import Loaded
from aggregator.demo.fhir_server.compartment import PATIENT_PATHS
from fhir_profiles.text import Resource, loads
from tests.demo.clinic_world import Clock, World, running

_DATA = Path(os.environ.get("AGGREGATOR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "fhir-synthea"

# Entries of the Bundles with a Patient, by type.
_ENTRIES = {
    "smart-generated-sample-data-r4": {
        "CarePlan": 24,
        "Claim": 241,
        "Condition": 94,
        "DiagnosticReport": 96,
        "Encounter": 206,
        "ExplanationOfBenefit": 206,
        "Goal": 15,
        "ImagingStudy": 1,
        "Immunization": 173,
        "MedicationRequest": 35,
        "Observation": 1464,
        "Organization": 32,
        "Patient": 23,
        "Practitioner": 32,
        "Procedure": 64,
    },
    "samply-blaze-r4": {
        "AllergyIntolerance": 1,
        "CarePlan": 54,
        "CareTeam": 54,
        "Claim": 353,
        "Condition": 149,
        "DiagnosticReport": 367,
        "DocumentReference": 276,
        "Encounter": 276,
        "ExplanationOfBenefit": 276,
        "ImagingStudy": 3,
        "Immunization": 190,
        "Medication": 13,
        "MedicationAdministration": 13,
        "MedicationRequest": 77,
        "Observation": 1839,
        "Patient": 16,
        "Procedure": 128,
        "Provenance": 16,
    },
}


@dataclass(frozen=True, slots=True)
class _Folder:
    clinic: Clinic
    others: list[Loaded]
    patients: list[list[Loaded]]


def _load(name: str, clock: Clock) -> _Folder:
    folder = _DATA / name
    if not folder.is_dir():
        pytest.skip("the test data are not there")
    bundles: dict[str, Resource] = {path.name: loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}
    personal = {file for file, each in bundles.items() if _patients(each)}
    clinic = Clinic(clock)
    others = [one for file, each in bundles.items() if file not in personal for one in clinic.load(each, file)]
    return _Folder(clinic, others, [clinic.load(each, file) for file, each in bundles.items() if file in personal])


def _patients(each: Resource) -> int:
    return sum(entry["resource"]["resourceType"] == "Patient" for entry in each["entry"])


def _paths(loaded: list[Loaded]) -> set[str]:
    return {f"{one.resource_type}/{one.id}" for one in loaded}


@pytest.mark.outside
@pytest.mark.parametrize("name", _ENTRIES)
def test_nothing_is_refused(name: str) -> None:
    folder = _load(name, Clock())
    entries = [one for patient in folder.patients for one in patient]
    assert dict(sorted(Counter(one.resource_type for one in entries).items())) == _ENTRIES[name]
    assert {one.status for one in entries + folder.others} == {"201 Created"}
    assert len(_paths(entries + folder.others)) == len(entries) + len(folder.others)


@pytest.mark.outside
@pytest.mark.parametrize("name", _ENTRIES)
def test_ids_and_dates_are_the_same_in_every_run(name: str) -> None:
    later = Clock()
    later.now = later.now.replace(year=2030)
    first, second = _load(name, Clock()), _load(name, later)
    assert (first.others, first.patients) == (second.others, second.patients)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(link := node.get("reference"), str):
            yield link
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


def _compartment(world: World, token: str, types: set[str]) -> Iterator[Resource]:
    for kind in types:
        for page in world.pages(f"/fhir/{kind}?_count=200", token):
            yield from (entry["resource"] for entry in page.get("entry", []))


def _reachable(world: World, token: str, types: set[str]) -> tuple[set[str], set[str]]:
    """What the token brings, and the references that it does not open."""
    todo, found, closed = list(_compartment(world, token, types)), set[str](), set[str]()
    while todo:
        resource = todo.pop()
        found.add(f"{resource['resourceType']}/{resource['id']}")
        for link in set(_references(resource)) - found - closed:
            answer = world.ask("GET", f"/fhir/{link}", token) if not link.startswith("#") else None
            if answer is not None and answer.status_code == 200:
                found.add(link)
                todo.append(answer.json())
            elif answer is not None:
                closed.add(link)
    return found, closed


@pytest.mark.outside
@pytest.mark.parametrize("name", _ENTRIES)
def test_each_entry_of_a_patient_can_be_had_with_the_patients_token(name: str) -> None:
    folder = _load(name, Clock())
    types = {one.resource_type for patient in folder.patients for one in patient} & {"Patient", *PATIENT_PATHS}
    everything = _paths([one for patient in folder.patients for one in patient])
    others = _paths(folder.others)
    with running(folder.clinic) as world:
        for loaded in folder.patients:
            patient = next(str(one.id) for one in loaded if one.resource_type == "Patient")
            world.server.access.allow(patient, patient)
            found, closed = _reachable(world, patient, types)
            assert found & everything == _paths(loaded)
            assert found - everything <= others
            assert not closed
