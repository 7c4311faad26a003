"""What of a resource a decision looks at, and the stretches of time that dates mean."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from aggregator.consent.decide import Facts
from aggregator.consent.facts import FIRST, LAST, period
from fhir_profiles import codes
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource
from tests.consent.decide_world import SERTRALINE, confidentiality, facts, resource

pytestmark = pytest.mark.storeless


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_facts_of_a_prescription_in_full() -> None:
    medicine = {(codes.ATC, code) for code in ("N06AB06", "N06AB0", "N06AB", "N06A", "N06", "N0", "N")}
    mental_health = {(codes.ACT_CODE, "MH"), (codes.ACT_CODE, "PSY")}
    assert facts(SERTRALINE) == Facts(
        resource_type="MedicationRequest",
        id="r1",
        section="mental-health",
        labels=frozenset(mental_health | {(codes.CONFIDENTIALITY, "N")}),
        codes=frozenset(medicine),
        dates=(_at("2024-06-01T00:00+02:00"), _at("2024-06-02T00:00+02:00")),
        claims=frozenset({"mental-health", "medications"}),
        needs=frozenset({frozenset(mental_health | {(SECTION_SYSTEM, "mental-health")})}),
        mentioned=frozenset(medicine | {(codes.ICD_10_GM, code) for code in ("F32.1", "F32", "F3", "F")}),
    )


@pytest.mark.parametrize(
    ("carried", "level"), [([], "N"), (["U"], "U"), (["L", "R"], "R"), (["V", "U", "N"], "V"), (["?"], "N")]
)
def test_one_confidentiality_the_highest(carried: list[str], level: str) -> None:
    labels = facts(resource(meta={"security": confidentiality(*carried)})).labels
    assert labels == {(codes.CONFIDENTIALITY, level)}


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2026", "2026-01-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("2024-02", "2024-02-01T00:00+01:00", "2024-03-01T00:00+01:00"),
        ("2026-12", "2026-12-01T00:00+01:00", "2027-01-01T00:00+01:00"),
        ("2026-03-29", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),  # 23 hours: summer time begins
        ("2026-10-25", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),  # 25 hours
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00Z", "2026-10-25T00:30:01Z"),
        ("2026-01-01T10:00:00.5Z", "2026-01-01T10:00:00.5Z", "2026-01-01T10:00:00.501Z"),
    ],
)
def test_a_date_is_a_stretch(text: str, low: str, high: str) -> None:
    assert period(text) == (_at(low), _at(high))


@pytest.mark.parametrize(
    "value",
    [
        *("", "2026-1", "2026-02-30", "0000", "2026-01-01T10:00:00", "2026-01-01T24:00:00Z"),
        *(2026, None, [], {}),
        *({"start": 1}, {"start": "2026", "end": "x"}, {"start": "2026", "end": "2025"}),
    ],
)
def test_what_is_no_stretch(value: Any) -> None:
    assert period(value) is None


def test_an_open_end_reaches_all_the_way() -> None:
    assert period({"start": "2026"}) == (_at("2026-01-01T00:00+01:00"), LAST)
    assert period({"end": "2026"}) == (FIRST, _at("2027-01-01T00:00+01:00"))


@pytest.mark.parametrize(
    ("elements", "low", "high"),
    [
        ({"onsetDateTime": "2020", "abatementDateTime": "2022"}, "2020-01-01T00:00+01:00", "2023-01-01T00:00+01:00"),
        ({"performedDateTime": "2020", "recorded": "2025"}, "2020-01-01T00:00+01:00", "2021-01-01T00:00+01:00"),
        ({"authoredOn": "2025"}, "2025-01-01T00:00+01:00", "2026-01-01T00:00+01:00"),
    ],
)
def test_when_it_happened_goes_before_when_it_was_written(elements: Resource, low: str, high: str) -> None:
    assert facts(resource(**elements)).dates == (_at(low), _at(high))


@pytest.mark.parametrize("elements", [{}, {"onsetDateTime": "2020", "abatementDateTime": "soon"}, {"period": {}}])
def test_without_a_date_that_can_be_read_there_is_none(elements: Resource) -> None:
    assert facts(resource(**elements)).dates is None


@pytest.mark.parametrize("element", ["code", "category", "type"])
@pytest.mark.parametrize("broken", [None, 1, "x", [None], [{"coding": "x"}], {"coding": [1, {"code": "x"}]}])
def test_content_never_raises(element: str, broken: Any) -> None:
    assert facts(resource(**{element: broken})).codes == frozenset()


HAPPENED = (
    *("billablePeriod", "period", "started", "start", "end", "whenHandedOver", "whenPrepared", "receivedTime"),
    *("effectiveInstant", "performedPeriod", "occurrenceTiming", "onsetDateTime", "abatementDateTime"),
    *("servicedDate", "createdDate", "collectedDateTime"),
)
WRITTEN = ("authoredOn", "recordedDate", "dateAsserted", "date", "issued", "recorded", "created", "sent", "authored")
CLASSIFYING = ("category", "code", "type", "class", "serviceType", "vaccineCode", "medicationCodeableConcept")


@pytest.mark.parametrize("element", [*HAPPENED, *WRITTEN])
def test_each_element_that_dates_a_resource(element: str) -> None:
    year = (_at("2020-01-01T00:00+01:00"), _at("2021-01-01T00:00+01:00"))
    assert facts(resource(**{element: "2020"})).dates == year


@pytest.mark.parametrize("element", HAPPENED)
def test_when_it_was_written_does_not_date_what_says_when_it_happened(element: str) -> None:
    assert facts(resource(**{element: "2020", "issued": "2025"})).dates == facts(resource(**{element: "2020"})).dates


@pytest.mark.parametrize("element", [*CLASSIFYING, "procedureCode", "modality"])
def test_each_element_that_says_what_a_resource_is(element: str) -> None:
    coded = {"coding": [{"system": codes.LOINC, "code": "2339-0"}]}
    assert (codes.LOINC, "2339-0") in facts(resource(**{element: coded})).codes
