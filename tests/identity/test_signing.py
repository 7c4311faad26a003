"""What an owner signs: who they are, and Consents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aggregator.consent.mandate import Person
from aggregator.errors import CallerError, Changed, UnlockNeeded
from aggregator.fhir.outcome import NotValid
from aggregator.identity import patient
from aggregator.vault.keys import Writer
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource, dumps, loads
from tests.identity.granted import grants, in_force, local, version
from tests.vault.world import DR_B, ERIKA, LABORATORY, World, consent
from tests.weaken import weakens
from tests.weakened import Plain, all_is_the_owners

RESULTS: dict[str, Any] = {"class": [{"system": SECTION_SYSTEM, "code": "results"}]}


def introduce(world: World, person: Person, **changed: Any) -> bytes:
    said = patient.resource(world.owner.whole_patient, person) | changed
    return world.signing.introduce(world.owner, said)


def test_the_vaults_patient_says_who_the_owner_is(world: World) -> None:
    married = replace(ERIKA, family="Verheiratet")
    stored = loads(introduce(world, married))
    assert f"Patient/{stored['id']}" == world.patient
    assert world.signing.person(world.owner) == married
    (versions,) = world.truth().state.sections["identity"].values()
    assert [one.operation.version for one in versions] == [1, 2]


def test_somebody_without_an_insurance_number_is_somebody(world: World) -> None:
    introduce(world, replace(ERIKA, kvnr=None))
    assert world.signing.person(world.owner) == replace(ERIKA, kvnr=None)


@pytest.mark.parametrize(
    "person",
    [replace(ERIKA, given=""), replace(ERIKA, family=""), replace(ERIKA, birth_date="19570813")],
    ids=["no given name", "no family name", "a date of another form"],
)
def test_who_cannot_be_said_in_fhir_is_refused(world: World, person: Person) -> None:
    with pytest.raises(NotValid):
        introduce(world, person)
    assert world.signing.person(world.owner) == ERIKA


@pytest.mark.parametrize(
    "changed",
    [{"birthDate": "1957"}, {"birthDate": "2057-08-13"}, {"name": [{"text": "Erika"}]}, {"resourceType": "Person"}],
    ids=["a year", "in the future", "a name of one piece", "another type"],
)
def test_who_does_not_say_who_it_is_is_refused(world: World, changed: dict[str, Any]) -> None:
    with pytest.raises(CallerError):
        introduce(world, ERIKA, **changed)
    assert world.signing.person(world.owner) == ERIKA


def test_what_else_the_patient_says_stays_and_a_stale_version_is_refused(world: World) -> None:
    names = [{"use": "nickname", "given": ["Eri"]}, *patient.resource("x", ERIKA)["name"]]
    told = introduce(world, ERIKA, name=names, gender="female")
    assert b'"gender":"female"' in told
    assert world.signing.person(world.owner) == ERIKA
    with pytest.raises(Changed):
        world.signing.introduce(world.owner, loads(told), if_match=1)
    assert loads(world.signing.introduce(world.owner, loads(told), if_match=2))["meta"]["versionId"] == "3"


def test_no_birth_date_is_no_person() -> None:
    with pytest.raises(ValueError, match="Invalid isoformat string"):
        replace(ERIKA, birth_date="im August")


def test_everything_that_signs_needs_a_fresh_unlock(world: World) -> None:
    given = world.permit()
    world.clock.advance(minutes=6)
    for sign in (
        lambda: introduce(world, ERIKA),
        lambda: world.signing.signer(world.owner),
        lambda: world.permit(),
        lambda: world.signing.save_consent(world.owner, given, local(given)),
    ):
        with pytest.raises(UnlockNeeded):
            sign()
    assert version(world) == 1


WRONG: dict[str, tuple[Resource, str]] = {
    "another type": ({"resourceType": "Patient"}, "a Consent is expected here"),
    "nothing": ({}, "a Consent is expected here"),
    "no status": ({"status": None}, "Consent.status"),
    "a wrong status": ({"status": "signed"}, "Consent.status"),
    "another's patient": (
        {"patient": {"reference": "Patient/aaaa.bbbb"}},
        "Consent.patient: names somebody else than the owner of this vault",
    ),
}


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_signed_is_refused_and_opens_nothing(world: World, change: Resource, told: str) -> None:
    whole = "resourceType" not in change and bool(change)
    given = {**consent([DR_B]), **change} if whole else change
    given = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(NotValid) as raised:
        world.signing.save_consent(world.owner, given)
    assert told in str(raised.value)
    assert (version(world), grants(world)) == (0, {})


@pytest.mark.parametrize("case", ["never was", "the Patient", "another vault's"])
def test_an_id_that_is_no_consent_of_the_owners_is_not_written_over(world: World, case: str) -> None:
    names = {"never was": "a" * 26, "the Patient": world.owner.patient}
    if case == "another vault's":
        other = world.accounts.sign_up("uwe", "Ein anderes Wort", ERIKA).owner
        stored, _ = world.signing.save_consent(other, consent([DR_B]))
        names[case] = local(loads(stored))
    with pytest.raises(CallerError, match="there is no such Consent of yours"):
        world.signing.save_consent(world.owner, consent([DR_B]), names[case])


@pytest.mark.attack(56)
@weakens("aggregator.identity.signed_consents", "is_own", lambda versions: bool(versions))
@weakens("aggregator.vault.truth", "fold", all_is_the_owners)
def test_an_active_consent_that_a_source_delivered_permits_nothing_and_is_not_written_over(world: World) -> None:
    mandate = world.connect()
    delivered = world.put("Consent/c1", consent([DR_B]))
    world.append("unsorted", delivered, writer=mandate.writer)
    with pytest.raises(CallerError, match="there is no such Consent of yours"):
        world.signing.save_consent(world.owner, consent([DR_B]), delivered.local)
    world.permit(LABORATORY)
    assert set(grants(world)) == {"labor-c"}
    assert len(in_force(world, 1)) == 1


@pytest.mark.attack(56)
@weakens("aggregator.vault.truth", "fold", all_is_the_owners)
def test_a_writer_who_knows_a_consents_id_can_end_its_effect_and_never_begin_one(world: World) -> None:
    mandate = world.connect()
    revoked = world.permit()
    world.signing.save_consent(world.owner, revoked | {"status": "inactive"}, local(revoked))
    active = loads(world.put("Consent/x", consent([DR_B]), version=3).resource) | {"id": revoked["id"]}
    forged = replace(world.put("Consent/x", version=3), local=local(revoked), resource=dumps(active))
    world.append("unsorted", forged, writer=Writer(mandate.writer.id, mandate.writer.seed))
    world.permit(LABORATORY)
    assert set(grants(world)) == {"labor-c"}


def test_a_consent_is_stored_with_id_version_and_patient(world: World) -> None:
    stored, new = world.signing.save_consent(world.owner, consent([DR_B]))
    made = loads(stored)
    assert new
    assert made["patient"] == {"reference": world.patient}
    assert made["meta"] == {"versionId": "1", "lastUpdated": "2026-11-21T20:30:00.000Z"}
    again, new = world.signing.save_consent(world.owner, made | {"language": "de"}, local(made))
    assert (new, loads(again)["id"], loads(again)["meta"]["versionId"]) == (False, made["id"], "2")


@pytest.mark.attack(20)
@weakens("aggregator.vault.seal", "AESGCM", Plain)
def test_nothing_of_a_consent_lies_open(world: World) -> None:
    world.permit(**RESULTS)
    stored = world.raw()
    assert not any(canary in stored for canary in (b"praxis-b", b"results", b"OPTIN", b"provision"))


def test_numbers_of_a_consent_stay_as_written(world: World) -> None:
    given = consent([DR_B]) | {"extension": [{"url": "urn:x", "valueDecimal": 0}]}
    text = dumps(given).replace(b'"valueDecimal":0', b'"valueDecimal":0.40')
    stored, _ = world.signing.save_consent(world.owner, loads(text))
    assert b'"valueDecimal":0.40' in stored
