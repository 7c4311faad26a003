"""What the patient is told that a grantee did not see: by section and type, as record and Consents were then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from aggregator.consent.withheld import Withheld
from aggregator.identity.grant_archive import archived
from aggregator.vault.envelope import Delete
from fhir_profiles import codes
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource
from tests.vault.world import DR_B, LABORATORY, START, TABLE, World

RESULTS: dict[str, Any] = {"class": [{"system": SECTION_SYSTEM, "code": "results"}]}
DEPRESSION = {"code": {"coding": [{"system": codes.ICD_10_GM, "code": "F32.1"}]}}
DIABETES = {"code": {"coding": [{"system": codes.ICD_10_GM, "code": "E11.90"}]}}
HBA1C = {"code": {"coding": [{"system": codes.LOINC, "code": "4548-4"}]}}


@pytest.fixture
def record(world: World) -> World:
    """Two results, a diagnosis, a depression, and a house in the directory."""
    world.append("results", world.put("Observation/1", HBA1C), world.put("Observation/2", HBA1C))
    world.append("problems", world.put("Condition/1", DIABETES))
    world.append("mental-health", world.put("Condition/2", DEPRESSION))
    world.append("directory", world.put("Organization/1"))
    return world


def withheld(world: World) -> Withheld:
    def consents(version: int) -> Sequence[Resource]:
        with world.store.read() as session:
            return archived(session, world.ring, world.owner, version)

    return Withheld(world.truth().state, consents, TABLE)


def position(world: World) -> int:
    return world.truth().vault.log_position


def told(
    world: World, *, version: int = 1, at: datetime = START, kind: str = "", place: int | None = None, **who: Any
) -> dict[str, int]:
    party, purpose = who.get("party", DR_B), who.get("purpose", "TREAT")
    return withheld(world).by_section(party, purpose, at, place or position(world), version, kind)


def test_it_counts_by_section_what_the_party_did_not_see(record: World) -> None:
    record.permit(DR_B, **RESULTS)
    assert told(record) == {"identity": 1, "mental-health": 1, "problems": 1, "unsorted": 1}


def test_who_saw_nothing_was_refused_everything(record: World) -> None:
    record.permit(DR_B)
    assert told(record, party=LABORATORY) == {
        "identity": 1,
        "mental-health": 1,
        "problems": 1,
        "results": 2,
        "unsorted": 1,
    }
    assert told(record, purpose="HMARKT") == told(record, party=LABORATORY)


def test_of_one_type_it_counts_that_type_alone(record: World) -> None:
    record.permit(DR_B, **RESULTS)
    assert told(record, kind="Condition") == {"mental-health": 1, "problems": 1}
    assert told(record, kind="Observation") == {}


def test_the_record_counts_as_it_was_then(record: World) -> None:
    record.permit(DR_B, **RESULTS)
    then = position(record)
    record.clock.advance(days=1)
    gone = Delete(
        local=record.local("Condition/1"), resource_type="Condition", version=2, updated="2026-11-22T00:00:00Z"
    )
    record.append("problems", gone)
    record.append("problems", record.put("Condition/3", DIABETES), record.put("Condition/4", DIABETES))
    assert told(record, kind="Condition", place=then) == {"mental-health": 1, "problems": 1}
    assert told(record, kind="Condition") == {"mental-health": 1, "problems": 2}


def test_the_consents_count_as_they_were_then(record: World) -> None:
    record.permit(DR_B, **RESULTS)
    record.permit(DR_B)
    assert told(record, version=1, kind="Condition") == {"mental-health": 1, "problems": 1}
    assert told(record, version=2, kind="Condition") == {"mental-health": 1}
    assert told(record, version=0, kind="Observation") == {"results": 2}


def test_ending_one_partys_grant_leaves_what_the_others_saw(record: World) -> None:
    record.permit(DR_B, LABORATORY, **RESULTS)
    record.grants.end(record.owner, LABORATORY.id)
    assert told(record, version=2, kind="Observation") == {}


@pytest.mark.attack(18, 50)
def test_two_receipts_of_one_hour_on_both_sides_of_a_period_differ(record: World) -> None:
    half_past = START + timedelta(minutes=15)
    record.permit(DR_B, period={"end": half_past.isoformat()}, **RESULTS)
    answers = withheld(record)
    place = position(record)
    minutes = [
        answers.by_section(DR_B, "TREAT", START + timedelta(minutes=m), place, 1, "Observation") for m in (0, 10, 20)
    ]
    assert minutes == [{}, {}, {"results": 2}]


def test_a_question_is_decided_once(record: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record.permit(DR_B, **RESULTS)
    answers, place, counted = withheld(record), position(record), []
    count = Withheld._count

    def counting(self: Withheld, *asked: Any) -> Any:
        counted.append(1)
        return count(self, *asked)

    monkeypatch.setattr(Withheld, "_count", counting)
    for kind in ("", "Condition", "Observation"):
        answers.by_section(DR_B, "TREAT", START, place, 1, kind)
    assert len(counted) == 1
