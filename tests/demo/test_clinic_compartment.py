"""Whose a resource is."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.demo.fhir_server.compartment import DIRECTORY, PATIENT_PATHS, TYPES, patients_of
from fhir_profiles.structure import RESOURCES

_ERIKA, _JONAS = {"reference": "Patient/erika"}, {"reference": "Patient/jonas"}


@pytest.mark.parametrize(
    ("resource", "patients"),
    [
        ({"resourceType": "Patient", "id": "erika"}, {"erika"}),
        ({"resourceType": "Observation", "subject": _ERIKA, "performer": [_JONAS]}, {"erika"}),
        ({"resourceType": "Observation", "patient": _ERIKA}, set()),
        ({"resourceType": "Observation", "subject": {"reference": "Group/1"}}, set()),
        ({"resourceType": "Observation", "subject": {"reference": "https://other.example/Patient/erika"}}, set()),
        ({"resourceType": "Observation", "subject": {"display": "Erika"}}, set()),
        ({"resourceType": "Observation", "subject": "Patient/erika"}, set()),
        ({"resourceType": "Immunization", "patient": _ERIKA}, {"erika"}),
        ({"resourceType": "Coverage", "beneficiary": _ERIKA, "subscriber": _JONAS}, {"erika"}),
        (
            {"resourceType": "Appointment", "participant": [{"actor": _ERIKA}, {}, {"actor": _JONAS}]},
            {"erika", "jonas"},
        ),
        ({"resourceType": "Provenance", "target": [{"reference": "Observation/1"}, _ERIKA]}, {"erika"}),
        ({"resourceType": "AuditEvent", "agent": [{"who": _JONAS}], "entity": [{"what": _ERIKA}]}, {"erika", "jonas"}),
        ({"resourceType": "Task", "for": _ERIKA, "owner": _JONAS}, {"erika"}),
        ({"resourceType": "Device", "patient": _ERIKA}, {"erika"}),
        ({"resourceType": "Organization"}, set()),
        ({"resourceType": "Unheard", "subject": _ERIKA, "patient": _JONAS}, {"erika", "jonas"}),
    ],
)
def test_a_resource_names_its_patients(resource: dict[str, Any], patients: set[str]) -> None:
    assert patients_of(resource) == patients


def test_the_table_holds_types_of_r4_alone() -> None:
    assert not TYPES - RESOURCES


def test_only_a_device_is_in_both_lists() -> None:
    assert set(PATIENT_PATHS) & DIRECTORY == {"Device"}
