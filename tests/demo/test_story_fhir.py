"""What the clinic and the insurer hold: valid but for the marked faults, coherent in time, every reference at home."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from aggregator.demo.story import Person, clinic_bundle, clinic_faults, insurer_bundle, people
from aggregator.demo.story_facts import Stay, parse, resource
from aggregator.demo.story_people import wall
from aggregator.demo.story_values import flag
from fhir_profiles.check import check
from fhir_profiles.text import Number, Resource, loads

GOLDEN = Path(__file__).parent / "story"
TODAY = date(2026, 11, 21)
FIRST = date(2019, 1, 1)
EVERYONE = pytest.mark.parametrize("person", people(), ids=lambda person: person.id)
# Facts from before the sources knew the person, as a doctor notes them.
REMEMBERED = ("onsetDateTime", "birthDate")
# Agreed or planned, so not yet past: a goal's day, and how long a plan or cover runs.
AHEAD = ("dueDate",)


def entries(bundle: Resource) -> dict[str, Resource]:
    """By `Type/id`; proves that no two share one."""
    named = {entry["request"]["url"]: entry["resource"] for entry in bundle["entry"]}
    assert len(named) == len(bundle["entry"])
    return named


def sources(person: Person) -> Iterator[dict[str, Resource]]:
    yield entries(clinic_bundle(person))
    yield entries(insurer_bundle(person))


def members(node: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar under its member's name."""
    if isinstance(node, dict):
        for key, child in node.items():
            yield from members(child, key)
    elif isinstance(node, list):
        for child in node:
            yield from members(child, name)
    else:
        yield name, node


def days(found: Resource) -> Iterator[tuple[str, date]]:
    """The dates of a resource that are whole days or moments, by member."""
    told = ("Date", "DateTime", "date", "start", "end", "issued", "sent", "created", "authoredOn", "creation")
    for name, value in members(found):
        if name.endswith(told) and isinstance(value, str) and len(value) >= len("2019-01-01"):
            yield name, date.fromisoformat(value[:10])


@EVERYONE
def test_all_but_the_marked_faults_pass_the_check(person: Person) -> None:
    for named in sources(person):
        failing = {name for name, found in named.items() if any(issue.severity == "error" for issue in check(found))}
        assert failing == named.keys() & set(clinic_faults(person))


def test_each_fault_fails_for_a_reason_of_its_own() -> None:
    found = [entries(clinic_bundle(person))[name] for person in people() for name in clinic_faults(person)]
    assert [(issue.code, issue.expression) for fault in found for issue in check(fault)] == [
        ("structure", "Observation.valueQuantity.value"),
        ("code-invalid", "Observation.status"),
        ("value", "Observation.effectiveDateTime"),
    ]


@EVERYONE
def test_a_story_is_told_the_same_whatever_became_of_it_before(person: Person) -> None:
    first, second = clinic_bundle(person), clinic_bundle(person)
    for entry in first["entry"]:
        entry["resource"]["meta"] = {"versionId": "1"}
    assert second == clinic_bundle(person) != first


@EVERYONE
def test_every_entry_is_put_under_its_own_name(person: Person) -> None:
    for named in sources(person):
        assert all(name == f"{found['resourceType']}/{found['id']}" for name, found in named.items())


@EVERYONE
def test_every_reference_leads_to_something_in_the_same_source(person: Person) -> None:
    for named in sources(person):
        targets = {value for found in named.values() for key, value in members(found) if key == "reference"}
        assert targets <= named.keys()


@EVERYONE
def test_everything_is_about_the_person_or_is_the_house(person: Person) -> None:
    directory = {"Organization", "Practitioner", "PractitionerRole", "Location", "Patient"}
    for named in sources(person):
        patients = {name for name in named if name.startswith("Patient/")}
        assert len(patients) == 1
        for found in named.values():
            leads = {value for key, value in members(found) if key == "reference"}
            assert found["resourceType"] in directory or patients <= leads


def test_two_people_share_nothing_but_the_house() -> None:
    seen: set[str] = set()
    for person in people():
        own = {name for name in entries(clinic_bundle(person)) if person.clinic_id in name}
        assert not own & seen
        seen |= own
        others = {other.family for other in people() if other != person}
        assert not others & {value for _, value in members(clinic_bundle(person)) if isinstance(value, str)}


@EVERYONE
def test_the_history_lies_between_2019_and_today_and_after_birth(person: Person) -> None:
    for named in sources(person):
        for name in named.keys() - set(clinic_faults(person)):
            for key, day in days(found := named[name]):
                assert day >= person.birth_date, name
                assert key in AHEAD or day <= TODAY, name
                assert key in REMEMBERED or found["resourceType"] == "Coverage" or day >= FIRST, name


@EVERYONE
def test_what_happened_at_a_visit_lies_within_it(person: Person) -> None:
    named = entries(clinic_bundle(person))
    for found in named.values():
        happened = found.get("effectiveDateTime") or found.get("authoredOn") or found.get("performedDateTime")
        if happened and "encounter" in found:
            period = named[found["encounter"]["reference"]]["period"]
            assert moment(period["start"]) <= moment(happened) <= moment(period["end"]), found["id"]


@EVERYONE
def test_a_visit_is_for_conditions_that_were_noted_by_then(person: Person) -> None:
    named = entries(clinic_bundle(person))
    for visit in (found for found in named.values() if found["resourceType"] == "Encounter"):
        noted = [named[reason["condition"]["reference"]]["recordedDate"] for reason in visit["diagnosis"]]
        assert max(noted) <= visit["period"]["end"], visit["id"]


@EVERYONE
def test_periods_run_forward_and_what_is_over_is_not_active(person: Person) -> None:
    for found in entries(clinic_bundle(person)).values():
        period = found.get("period", {})
        assert period.get("start", "") <= period.get("end", "9999")
        if "abatementDateTime" in found:
            assert found["clinicalStatus"]["coding"][0]["code"] in {"resolved", "inactive", "remission"}
            assert found["onsetDateTime"] <= found["abatementDateTime"]


@EVERYONE
def test_a_score_is_the_sum_of_its_items(person: Person) -> None:
    for found in entries(clinic_bundle(person)).values():
        if found.get("component") and "valueQuantity" in found:
            points = [part["valueQuantity"]["value"] for part in found["component"]]
            assert sum(points) == found["valueQuantity"]["value"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def values(person: Person, code: str) -> list[str]:
    found = [entry for entry in entries(clinic_bundle(person)).values() if entry["resourceType"] == "Observation"]
    marked = set(clinic_faults(person))
    own = [entry for entry in found if f"Observation/{entry['id']}" not in marked]
    series = sorted(
        (entry["effectiveDateTime"], entry["valueQuantity"]["value"])
        for entry in own
        if entry["code"]["coding"][0]["code"] == code
    )
    return [value.text if isinstance(value, Number) else str(value) for _, value in series]


def test_the_three_courses_are_as_they_were_written() -> None:
    erika, aylin, jonas = people()
    assert values(erika, "4548-4") == ["9.1", "7.3", "8.2", "7.0", "7.9", "8.6", "7.1", "6.80"]
    assert values(aylin, "718-7") == ["12.4", "10.2", "10.6", "11.0", "8.4", "11.9", "13.1"]
    assert values(jonas, "44261-6") == ["17", "11", "5", "3", "21", "17", "13", "13", "14", "7", "6", "4", "3"]


def sensitive(person: Person) -> set[str]:
    labels = [
        label["code"]
        for named in sources(person)
        for found in named.values()
        for label in found.get("meta", {}).get("security", ())
    ]
    return set(labels)


def test_sensitive_things_carry_the_labels_of_their_sources() -> None:
    assert [sensitive(person) for person in people()] == [
        set(),
        {"R", "STD", "SEX", "PREGNANT"},
        {"R", "PSY", "PSYTHPN", "ETHUD"},
    ]


def test_some_sensitive_things_carry_none_so_that_codes_must_tell() -> None:
    named = entries(clinic_bundle(people()[2]))
    assert "meta" not in named["Condition/jonas-schlaf"]
    assert named["Condition/jonas-schlaf"]["code"]["coding"][0]["code"] == "F51.0"


@EVERYONE
def test_claims_have_gaps_and_totals_that_add_up(person: Person) -> None:
    claims = [
        found for found in entries(insurer_bundle(person)).values() if found["resourceType"] == "ExplanationOfBenefit"
    ]
    undecided = [item for claim in claims for item in claim["item"] if len(item.get("adjudication", ())) < 2]
    assert undecided
    for claim in claims:
        lines = [part for item in claim["item"] for part in item.get("adjudication", ())]
        assert {kind(total): cents(total) for total in claim["total"]} == added(lines)


def kind(part: Resource) -> str:
    code: str = part["category"]["coding"][0]["code"]
    return code


def cents(part: Resource) -> int:
    return int(part["amount"]["value"].text.replace(".", ""))


def added(lines: list[Resource]) -> dict[str, int]:
    return {name: sum(cents(line) for line in lines if kind(line) == name) for name in {kind(line) for line in lines}}


def test_one_visit_whole() -> None:
    """The foot clinic of September 2022: an encounter and all kinds of facts in it."""
    named = entries(clinic_bundle(people()[0]))
    visit = [found for found in named.values() if "-20220920" in found["id"]]
    assert visit == loads((GOLDEN / "visit.json").read_bytes())


def test_one_claim_whole() -> None:
    named = entries(insurer_bundle(people()[0]))
    assert named["ExplanationOfBenefit/nk-100417-20220920-professional"] == loads((GOLDEN / "claim.json").read_bytes())


@pytest.mark.parametrize(
    ("row", "value", "found"),
    [
        ({"low": "4.0", "high": "6.0"}, "3.99", "L"),
        ({"low": "4.0", "high": "6.0"}, "6.0", "N"),
        ({"high": "6.0"}, "6.01", "H"),
        ({"low": "60"}, "60", "N"),
        ({}, "negativ", ""),
    ],
)
def test_a_value_is_judged_by_its_range(row: dict[str, str], value: str, found: str) -> None:
    assert flag(row, value) == found


def test_a_kind_of_fact_that_nobody_knows_is_refused() -> None:
    fact = parse("09:00 | wunder | geheilt", wall("2020-01-01T08:00"))
    with pytest.raises(KeyError, match="wunder"):
        resource(_some_stay(), fact)


def test_a_report_on_what_was_never_measured_is_refused() -> None:
    fact = parse("09:00 | report | lab | hba1c | Ohne Messung.", wall("2020-01-01T08:00"))
    with pytest.raises(ValueError, match="empty"):
        resource(_some_stay(), fact)


def _some_stay() -> Stay:
    return Stay(
        person=people()[0], encounter="besuch", doctor="scholz", department="Ambulanz", security="", prose="", facts=()
    )
