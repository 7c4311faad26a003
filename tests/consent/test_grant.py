"""A grant: whom the key service opens it for, what it holds, and what its reader then sees."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from aggregator.consent.decide import Party
from aggregator.consent.grant import compile_grants, open_grant
from aggregator.errors import Refused, Tampered
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical
from aggregator.vault.keys import Root
from fhir_profiles.profiles import SECTION_SYSTEM
from tests.vault.world import DR_B, LABORATORY, START, TABLE, World, consent
from tests.weaken import weakens

RESULTS: dict[str, Any] = {"class": [{"system": SECTION_SYSTEM, "code": "results"}]}
STRANGER = Party("nobody-asked-for")


def edited(row: tables.Grant, **changed: Any) -> tables.Grant:
    return tables.Grant(**{**row.model_dump(), **changed})


def refused(world: World, row: tables.Grant, party: Party = DR_B) -> str:
    """The kind of error with which opening this row ends."""
    with pytest.raises((Refused, Tampered)) as raised:
        open_grant(row, world.ring, world.ticket(party), world.opening(), world.clock())
    return raised.type.__name__


def test_it_holds_seeds_consents_and_whom_they_are_about(world: World) -> None:
    given = world.permit(DR_B, **RESULTS)
    opened = world.opened()
    assert (opened.version, opened.patient, opened.consents) == (1, world.owner.patient, [given])
    assert {name: seed.seed for name, seed in opened.seeds.items()} == {
        name: world.owner.root.section(world.owner.sections[name]).seed for name in ("results", "directory")
    }
    assert opened.verification_key == world.owner.root.verification_key


@pytest.mark.attack(3, 9)
def test_a_party_that_no_consent_names_has_none(world: World) -> None:
    with world.store.read() as session:
        vault = session.get_one(tables.Vault, world.vault)
    told = (world.owner.root, world.ring, world.owner.sections, world.owner.patient, [consent([DR_B])])
    assert compile_grants(vault, *told, [STRANGER, LABORATORY], world.clock()) == []
    (made,) = compile_grants(vault, *told, [STRANGER, DR_B], world.clock())
    assert made.grantee == world.ring.handle("party", DR_B.id)


@pytest.mark.attack(4)
def test_the_key_service_opens_it_for_its_grantee_alone(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    for mine, theirs in ((DR_B, LABORATORY), (LABORATORY, DR_B)):
        assert world.opened(mine).seeds
        assert refused(world, world.grant(theirs), mine) == "Refused"


@pytest.mark.attack(27)
@weakens("aggregator.vault.grant_keys", "_is_grantee", lambda *_: True)
def test_a_row_renamed_to_another_grantee_opens_for_nobody_new(world: World) -> None:
    world.permit(DR_B)
    row = world.grant()
    assert refused(world, edited(row, grantee=world.ring.handle("party", "labor-c")), LABORATORY) == "Refused"


@pytest.mark.attack(27)
@weakens("aggregator.vault.grant_keys", "verify", lambda *_: None)
def test_a_certificate_that_names_another_grantee_is_not_the_patients(world: World) -> None:
    world.permit(DR_B)
    row = world.grant()
    stated = orjson.loads(row.certificate) | {"grantee": b64(world.ring.handle("party", "labor-c"))}
    forged = canonical(stated)
    own = Root.generate().sign(b"PRA1/grant" + forged)
    for signature in (row.signature, own):
        assert refused(world, edited(row, certificate=forged, signature=signature), LABORATORY) == "Tampered"


@pytest.mark.attack(18)
def test_its_reader_decides_for_party_purpose_and_time_and_ends_with_the_period(world: World) -> None:
    period = {"start": "2026-11-01", "end": "2026-11-30"}
    world.permit(DR_B, period=period, **RESULTS)
    opened = world.opened()
    result, diagnosis = {"resourceType": "Observation"}, {"resourceType": "Condition"}
    cases = {
        (DR_B, "TREAT", 0, "results"): True,
        (DR_B, "HMARKT", 0, "results"): False,
        (LABORATORY, "TREAT", 0, "results"): False,
        (DR_B, "TREAT", 10, "results"): False,
    }
    for (party, purpose, days, section), expected in cases.items():
        reader = opened.reader(party, purpose, START + timedelta(days=days), TABLE)
        assert reader.permits is not None
        assert reader.permits(section, result | {"category": _laboratory()}) is expected
        assert not reader.permits("problems", diagnosis)
    until = opened.reader(DR_B, "TREAT", START, TABLE).until
    assert until is not None
    assert START < until <= START + timedelta(days=10)


def _laboratory() -> list[dict[str, Any]]:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return [{"coding": [{"system": system, "code": "laboratory"}]}]


def test_two_readers_of_one_grant_share_no_image(world: World) -> None:
    world.permit(DR_B)
    opened = world.opened()
    first, second = (opened.reader(DR_B, purpose, START, TABLE) for purpose in ("TREAT", "HPAYMT"))
    assert first.id != second.id
    assert world.opened().image_key == opened.image_key
    world.permit(LABORATORY)
    assert world.opened().image_key != opened.image_key
