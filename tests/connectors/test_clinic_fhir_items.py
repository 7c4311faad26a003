"""Whose a resource is, what it refers to, and that nothing a server says can break the reading of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import fhir_items
from connectors.contract import Found, Reason, Skipped
from connectors.patient_compartment import DIRECTORY, PATIENT_PARAMETER, SUBJECT_ELEMENTS
from fhir_profiles import text
from fhir_profiles.text import Number
from tests.connectors.fhir_source import BASE, NOW

ACCOUNT = fhir_items.Account(
    base=f"{BASE}/", patient_id="erika", types=frozenset({"Patient", *PATIENT_PARAMETER, *DIRECTORY})
)

_REFERENCES = st.sampled_from(
    [
        "Patient/erika",
        "Patient/otto",
        f"{BASE}/Encounter/e1",
        f"{BASE}/Encounter/e1/_history/2",
        "#p",
        "urn:uuid:1",
        "x",
    ]
)
_KEYS = st.sampled_from(["reference", "subject", "patient", "resourceType", "id", "actor", "participant", "for", "a"])
_SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.just(Number("0.40")) | st.text(max_size=5) | _REFERENCES
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4))
_RESOURCES = st.builds(
    lambda kind, rest: {**rest, "resourceType": kind, "id": "r1"},
    st.sampled_from(["Observation", "Appointment", "Task", "Coverage", "Patient", "Raumschiff"]),
    st.dictionaries(_KEYS, _JSON, max_size=5),
)


@given(_JSON | _RESOURCES)
def test_anything_becomes_an_item_and_nothing_but_references_changes(value: Any) -> None:
    item = fhir_items.item(ACCOUNT, value, NOW)
    if isinstance(item, Found):
        shortened = text.dumps(item.resource)
        assert shortened == text.dumps(value).replace(f'"reference":"{BASE}/'.encode(), b'"reference":"')
        assert len(list(fhir_items.references(item.resource))) <= shortened.count(b'"reference"')
    else:
        assert isinstance(item, Skipped)
        assert item.raw == (b"" if item.reason is Reason.OTHER_PERSON else text.dumps(value))


@given(_JSON)
def test_making_references_relative_twice_is_making_them_once(value: Any) -> None:
    once = fhir_items.relative(ACCOUNT.base, value)
    assert fhir_items.relative(ACCOUNT.base, once) == once


@given(_JSON)
def test_any_history_entry_can_be_read(entry: Any) -> None:
    fhir_items.history_target(ACCOUNT, entry)
    fhir_items.gone(ACCOUNT, entry, NOW)


ERIKA, OTTO = {"reference": "Patient/erika"}, {"reference": "Patient/otto"}


@pytest.mark.attack(57)
@pytest.mark.parametrize(
    ("resource", "hers"),
    [
        ({"resourceType": "Patient", "id": "erika"}, True),
        ({"resourceType": "Patient", "id": "otto"}, False),
        ({"resourceType": "Observation", "subject": ERIKA}, True),
        ({"resourceType": "Observation", "subject": OTTO}, False),
        ({"resourceType": "Observation", "subject": {"reference": "Patient/erika/_history/3"}}, True),
        ({"resourceType": "Observation", "subject": {"reference": "https://other.example/Patient/erika"}}, False),
        ({"resourceType": "Observation", "subject": {"reference": "#p"}}, True),
        ({"resourceType": "Observation", "subject": {"reference": "Device/d"}}, True),
        ({"resourceType": "Observation", "subject": {"identifier": {"value": "1"}}}, True),
        ({"resourceType": "Observation"}, True),
        ({"resourceType": "AllergyIntolerance", "patient": OTTO}, False),
        ({"resourceType": "Account", "subject": [OTTO, ERIKA]}, True),
        ({"resourceType": "Account", "subject": [OTTO]}, False),
        ({"resourceType": "Appointment", "participant": [{"actor": {"reference": "Practitioner/p"}}]}, True),
        (
            {"resourceType": "Appointment", "participant": [{"actor": OTTO}, {"actor": {"reference": "Location/l"}}]},
            False,
        ),
        ({"resourceType": "Appointment", "participant": [{"actor": OTTO}, {"actor": ERIKA}]}, True),
        ({"resourceType": "AppointmentResponse", "actor": OTTO}, False),
        ({"resourceType": "Coverage", "policyHolder": OTTO, "beneficiary": ERIKA}, True),
        ({"resourceType": "Coverage", "policyHolder": ERIKA, "beneficiary": OTTO}, False),
        ({"resourceType": "Task", "for": OTTO, "owner": ERIKA}, False),
        ({"resourceType": "Device", "patient": OTTO}, False),
        ({"resourceType": "Organization"}, True),
    ],
)
def test_whose_a_resource_is(resource: dict[str, Any], hers: bool) -> None:
    assert fhir_items.is_of("erika", resource) is hers


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        ("Encounter/e1", "Encounter/e1"),
        ("Encounter/e1/_history/2", "Encounter/e1"),
        (f"{BASE}/Encounter/e1", "Encounter/e1"),
        (f"{BASE}/Encounter/e1/_history/2", "Encounter/e1"),
        ("https://other.example/Encounter/e1", None),
        ("#p", None),
        ("urn:uuid:0c3151bd-1cbf-4d64-b04d-cd9187a4c6e0", None),
        ("Practitioner?identifier=1", None),
        ("Encounter/" + "e" * 65, None),
        ("", None),
    ],
)
def test_what_a_reference_means_here(reference: str, target: str | None) -> None:
    assert fhir_items.local(ACCOUNT.base, reference) == target


@pytest.mark.parametrize(
    ("entry", "gone"),
    [
        ({"request": {"method": "DELETE", "url": "Task/t1"}}, True),
        ({"request": {"method": "DELETE", "url": f"{BASE}/Task/t1/_history/4"}}, True),
        ({"request": {"method": "DELETE", "url": "https://other.example/Task/t1"}}, False),
        ({"request": {"method": "DELETE"}}, False),
        ({"request": {"method": "PUT", "url": "Task/t1"}}, False),
        ({"request": {"method": "PUT", "url": "Task/t1"}, "resource": {"for": OTTO}}, False),
        ({"resource": {"resourceType": "Task", "id": "t1", "for": ERIKA}}, False),
        ({"resource": {"resourceType": "Task", "id": "t1", "for": {"reference": f"{BASE}/Patient/erika"}}}, False),
        ({"resource": {"resourceType": "Task", "id": "t1", "for": OTTO}}, True),
        ({"resource": {"resourceType": "Task", "id": "t1"}}, False),
    ],
)
def test_what_a_history_takes_away(entry: dict[str, Any], gone: bool) -> None:
    told = fhir_items.gone(ACCOUNT, entry, NOW)
    assert (told is not None) is gone
    assert told is None or (told.resource_type, told.origin.source_id) == ("Task", "Task/t1")


def test_a_base_that_begins_like_another_is_not_taken_for_it() -> None:
    other = {"reference": f"{BASE}-test/Encounter/e1"}
    assert fhir_items.relative(ACCOUNT.base, other) == other


def test_the_tables_name_types_once() -> None:
    assert not PATIENT_PARAMETER.keys() & set(DIRECTORY)
    assert SUBJECT_ELEMENTS.keys() <= PATIENT_PARAMETER.keys()
