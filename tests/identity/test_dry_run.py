"""What would Dr B see? The same as Dr B's view then really holds, and the difference before it is signed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from sqlalchemy.exc import NoResultFound

from aggregator.consent.decide import Reason
from aggregator.errors import Refused
from aggregator.fhir.outcome import NotValid
from aggregator.identity.dry_run import DryRun, Told
from fhir_profiles import codes
from fhir_profiles.check import check
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource, loads
from tests.consent.test_decide_laws import _roots
from tests.vault.world import DR_B, LABORATORY, TABLE, World, consent
from tests.weaken import weakens

HBA1C = {"code": {"text": "HbA1c", "coding": [{"system": codes.LOINC, "code": "4548-4"}]}}
HBA1C_OF_MARCH = HBA1C | {"effectiveDateTime": "2026-03-02"}
DEPRESSION = {"code": {"coding": [{"system": codes.ICD_10_GM, "code": "F32.1", "display": "Depression"}]}}
RESULTS = {"class": [{"system": SECTION_SYSTEM, "code": "results"}]}


@pytest.fixture
def record(world: World) -> World:
    """Two results, one of them with its practice, and a depression."""
    performer = {"performer": [world.reference("Organization/1")]}
    world.append("results", world.put("Observation/1", HBA1C), world.put("Observation/2", HBA1C_OF_MARCH | performer))
    world.append("mental-health", world.put("Condition/1", DEPRESSION))
    world.append("directory", world.put("Organization/1", {"name": "Praxis"}), world.put("Organization/2"))
    return world


def ask(world: World, proposed: Resource | None = None, **asked: Any) -> Told:
    run = DryRun(world.store, world.grants, TABLE, world.clock)
    return run.ask(world.owner, asked.get("party", DR_B), asked.get("purpose", "TREAT"), proposed)


def names(world: World, *source_ids: str) -> set[str]:
    return {world.reference(one)["reference"] for one in source_ids}


def really(world: World, current: set[str]) -> set[str]:
    """What of these the party's view holds, opened by the key service; not a Patient that is a bare id."""
    try:
        image = world.open(world.grantee()).image
    except (Refused, NoResultFound):
        return set()
    kinds = ("Condition", "Observation", "Organization", "Patient")
    found = [record for kind in kinds for local in image.locals(kind) if (record := image.read(kind, local))]
    whole = {record for record in found if loads(record.body).keys() > {"resourceType", "id"}}
    return {f"{one.resource_type}/{world.vault}.{one.local}" for one in whole} & current


def test_as_signed_nobody_sees_anything(record: World) -> None:
    told = ask(record)
    assert (told.now.seen, told.then) == (frozenset(), None)
    assert dict(told.now.reasons()) == {Reason.NO_CONSENT: 4}


def test_the_difference_that_a_change_would_make(record: World) -> None:
    told = ask(record, consent([DR_B], **RESULTS))
    assert told.gained == names(record, "Observation/1", "Observation/2", "Organization/1")
    assert told.lost == set()
    assert told.then is not None
    assert dict(told.then.reasons()) == {Reason.NOT_OPENED: 2}
    march = told.items[record.reference("Observation/2")["reference"]]
    assert (march.section, march.title, march.when) == ("results", "HbA1c", "2026-03-02")


def test_a_narrower_consent_and_its_end(record: World) -> None:
    signed = record.permit(DR_B, **RESULTS)
    narrower = signed | {"provision": signed["provision"] | {"dataPeriod": {"start": "2026"}}}
    assert ask(record, narrower).lost == names(record, "Observation/1")
    assert ask(record, signed | {"status": "inactive"}).lost == names(
        record, "Observation/1", "Observation/2", "Organization/1"
    )


def test_of_another_party_and_another_purpose_nothing_is_open(record: World) -> None:
    record.permit(DR_B, **RESULTS)
    assert dict(ask(record, party=LABORATORY).now.reasons()) == {Reason.NOT_NAMED: 4, Reason.OWNER_ONLY: 1}
    assert dict(ask(record, purpose="HMARKT").now.reasons()) == {Reason.PURPOSE: 4, Reason.OWNER_ONLY: 1}


@weakens("aggregator.identity.grants.Grants", "_ended", lambda *_: frozenset())
def test_who_was_ended_sees_nothing_until_named_anew(record: World) -> None:
    record.permit(DR_B, **RESULTS)
    record.grants.end(record.owner, DR_B.id)
    assert ask(record).now.seen == frozenset()
    assert ask(record, consent([LABORATORY])).gained == frozenset()
    assert ask(record, consent([DR_B], **RESULTS)).gained


def test_nothing_is_changed_by_asking(record: World) -> None:
    record.permit(DR_B, **RESULTS)
    before = record.truth().vault.model_dump()
    ask(record, consent([DR_B]))
    assert record.truth().vault.model_dump() == before


def test_what_could_not_be_signed_is_refused(record: World) -> None:
    with pytest.raises(NotValid):
        ask(record, {"resourceType": "Observation"})


# Each example signs twice, which takes 0.1 seconds: few, and a failure is not shrunk for minutes.
@settings(
    max_examples=12,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(_roots())
def test_it_says_what_the_view_then_holds(record: World, root: Resource) -> None:
    root["actor"] = consent([DR_B])["provision"]["actor"]
    proposed = consent([DR_B]) | {"provision": {"type": "permit"} | root}
    assume(not any(issue.severity == "error" for issue in check(proposed)))
    told = ask(record, proposed)
    assert told.then is not None
    stored, _ = record.signing.save_consent(record.owner, proposed)
    signed = loads(stored)
    assert told.then.seen == really(record, set(told.items))
    record.signing.save_consent(record.owner, signed | {"status": "inactive"}, signed["id"].partition(".")[2])
