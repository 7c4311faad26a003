"""Patient/$summary: the document of the handmade record `patient_summary.ndjson`, whole; and what is true of all."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.fhir.outcome import BadQuery, NotFound, UnknownParameter
from aggregator.fhir.patient_summary import PROFILE, Making, check_parameters, summary
from aggregator.fhir.patient_summary_sections import SECTIONS
from aggregator.vault.image import Record
from aggregator.vault.mask import references
from fhir_profiles.check import check
from fhir_profiles.text import Resource, loads
from tests.fhir.world import BASE, assert_golden, pairs, record, view_of

RECORD = [record(line) for line in Path(__file__).with_name("patient_summary.ndjson").read_bytes().splitlines()]
MAKING = Making(
    base_url=BASE,
    now=datetime(2026, 11, 20, 3, 12, 44, tzinfo=ZoneInfo("Europe/Berlin")),
    id=uuid.UUID("6f3c1f0e-5d1e-4b6c-9a51-0a8c7f5f2c11"),
)


def document(records: Iterable[Record]) -> Resource:
    made: Resource = loads(summary(view_of(records), "k3.erika", MAKING).body)
    return made


def shown(bundle: Resource) -> set[str]:
    return {entry["fullUrl"].removeprefix(f"{BASE}/") for entry in bundle["entry"][2:]}


def test_the_document_whole() -> None:
    assert_golden(summary(view_of(RECORD), "k3.erika", MAKING).body, "patient_summary")


def test_of_a_record_that_says_nothing_nothing_is_claimed() -> None:
    """Not "no known allergies": nobody said that there are none."""
    bare = record(
        b'{"resourceType":"Patient","id":"k3.erika","meta":{"versionId":"1","lastUpdated":"2026-11-01T08:00:00Z"}}'
    )
    assert_golden(summary(view_of([bare]), "k3.erika", MAKING).body, "patient_summary_empty")


def test_how_many_it_shows() -> None:
    answer = summary(view_of(RECORD), "k3.erika", MAKING)
    assert answer.shown == len(loads(answer.body)["entry"]) - 2


@settings(max_examples=25)
@given(st.sets(st.sampled_from([one.local for one in RECORD if one.local != "erika"])))
def test_a_document_stands_for_itself(hidden: set[str]) -> None:
    """Whatever the view lacks: it is valid, its required sections are there, all that it can refer to is in it."""
    kept = [one for one in RECORD if one.local not in hidden]
    bundle = document(kept)
    assert check(bundle) == ()
    assert [one.code for one in SECTIONS if one.required] == [
        section["code"]["coding"][0]["code"] for section in bundle["entry"][0]["resource"]["section"][:3]
    ]
    there, inside = {f"{one.resource_type}/k3.{one.local}" for one in kept}, shown(bundle)
    for entry in bundle["entry"]:
        named = {target.removeprefix(f"{BASE}/") for target in references(entry["resource"])}
        assert named & there <= inside
    for section in bundle["entry"][0]["resource"]["section"]:
        assert ("entry" in section) != ("emptyReason" in section)
    assert inside <= there


def test_what_hidden_data_leaves_is_what_never_had_it() -> None:
    """The document is a function of the view alone: order and other resources change nothing of it."""
    kept = [one for one in RECORD if one.resource_type not in ("AllergyIntolerance", "DiagnosticReport")]
    assert document(kept) == document(reversed(kept))
    allergies = document(kept)["entry"][0]["resource"]["section"][1]
    assert allergies["emptyReason"]["coding"][0]["code"] == "unavailable"


def test_numbers_are_as_they_were_written() -> None:
    told = summary(view_of(RECORD), "k3.erika", MAKING).body
    assert b'"value":4.20' in told
    assert b"<td>4.20 mmol/l</td>" in told
    assert b"<td>2.50 mg, morgens</td>" in told


def test_a_stored_resource_is_served_as_it_is() -> None:
    bundle, stored = summary(view_of(RECORD), "k3.erika", MAKING).body, {one.local: one.body for one in RECORD}
    assert stored["penicillin"] in bundle
    assert stored["metformin"] not in bundle  # its profile demands since when it is taken, which nobody said


@pytest.mark.parametrize("query", ["", f"profile={PROFILE}", f"profile={PROFILE}|2.0.0", "_format=json", "graph=1"])
def test_parameters(query: str) -> None:
    check_parameters(pairs(query))


@pytest.mark.parametrize("query", ["profile=http://other.example", f"profile={PROFILE}|1.1.0", "profile=a&profile=b"])
def test_another_profile_is_refused(query: str) -> None:
    with pytest.raises(BadQuery):
        check_parameters(pairs(query))


def test_an_unknown_parameter_is_refused_under_strict() -> None:
    with pytest.raises(UnknownParameter):
        check_parameters(pairs("graph=1"), strict=True)


@pytest.mark.parametrize("whole", ["k3.nobody", "k4.erika", "erika"])
def test_another_patient_is_not_there(whole: str) -> None:
    with pytest.raises(NotFound):
        summary(view_of(RECORD), whole, MAKING)
