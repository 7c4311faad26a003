"""What an owner signs: who they are, Consents, and what becomes of the grants at every change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlmodel import select

from aggregator.consent.grant import open_grant
from aggregator.consent.mandate import Person
from aggregator.errors import CallerError, Changed, OperatorError, Refused, Tampered, UnlockNeeded
from aggregator.fhir.outcome import NotValid
from aggregator.identity import patient, signing
from aggregator.identity.signing import Signing, archived
from aggregator.vault import tables, view
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.keys import Writer
from fhir_profiles.profiles import SECTION_SYSTEM
from fhir_profiles.text import Resource, dumps, loads
from tests.vault.world import DR_B, ERIKA, INDEX, LABORATORY, World, consent
from tests.weaken import weakens
from tests.weakened import Plain, all_is_the_owners

RESULTS: dict[str, Any] = {"class": [{"system": SECTION_SYSTEM, "code": "results"}]}


class Killed(BaseException):
    """The process ends here."""


def local(consent: Resource) -> str:
    return str(consent["id"].partition(".")[2])


def grants(world: World) -> dict[str, tables.Grant]:
    """Party -> its grant."""
    names = {world.ring.handle("party", party.id): party.id for party in (DR_B, LABORATORY)}
    with world.store.read() as session:
        return {names[row.grantee]: row for row in session.exec(select(tables.Grant))}


def version(world: World) -> int:
    with world.store.read() as session:
        return session.get_one(tables.Vault, world.vault).grant_version


def intents(world: World) -> int:
    with world.store.read() as session:
        return len(session.exec(select(tables.GrantIntent)).all())


def archive(world: World, number: int) -> list[str]:
    """Ids of the Consents in force with a grant version."""
    with world.store.read() as session:
        return [one["id"] for one in archived(session, world.ring, world.owner, number)]


# --- who the patient is


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


# --- what is no Consent of the owner's

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
@weakens("aggregator.identity.signing", "_own_consent", lambda versions: bool(versions))
@weakens("aggregator.vault.truth", "fold", all_is_the_owners)
def test_an_active_consent_that_a_source_delivered_permits_nothing_and_is_not_written_over(world: World) -> None:
    mandate = world.connect()
    delivered = world.put("Consent/c1", consent([DR_B]))
    world.append("unsorted", delivered, writer=mandate.writer)
    with pytest.raises(CallerError, match="there is no such Consent of yours"):
        world.signing.save_consent(world.owner, consent([DR_B]), delivered.local)
    world.permit(LABORATORY)
    assert set(grants(world)) == {"labor-c"}
    assert len(archive(world, 1)) == 1


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


# --- grants


def test_a_consent_is_stored_with_id_version_and_patient(world: World) -> None:
    stored, new = world.signing.save_consent(world.owner, consent([DR_B]))
    made = loads(stored)
    assert new
    assert made["patient"] == {"reference": world.patient}
    assert made["meta"] == {"versionId": "1", "lastUpdated": "2026-11-21T20:30:00.000Z"}
    again, new = world.signing.save_consent(world.owner, made | {"language": "de"}, local(made))
    assert (new, loads(again)["id"], loads(again)["meta"]["versionId"]) == (False, made["id"], "2")


def test_each_party_whom_a_consent_opens_something_has_one_grant(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    world.permit(DR_B)
    assert set(grants(world)) == {DR_B.id, LABORATORY.id}
    assert {orjson.loads(row.certificate)["version"] for row in grants(world).values()} == {2}
    assert version(world) == 2


def test_a_grant_holds_the_seeds_of_the_sections_it_opens_and_no_other(world: World) -> None:
    world.permit(LABORATORY, **RESULTS)
    assert set(world.opened(LABORATORY).seeds) == {"results", "directory"}


def test_a_consent_that_is_not_active_opens_nothing(world: World) -> None:
    for status in ("draft", "proposed", "rejected", "inactive", "entered-in-error"):
        world.signing.save_consent(world.owner, consent([DR_B]) | {"status": status})
    assert grants(world) == {}


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None)
def test_revoking_takes_the_row_and_the_key_so_that_an_old_copy_opens_nothing(world: World) -> None:
    given = world.permit()
    old, ticket = world.grant(), world.ticket()
    open_grant(old, world.ring, ticket, world.opening(), world.clock())
    world.signing.save_consent(world.owner, given | {"status": "inactive"}, local(given))
    assert (grants(world), intents(world)) == ({}, 0)
    with pytest.raises(Refused, match="the key service holds no such key"):
        open_grant(old, world.ring, ticket, world.opening(), world.clock())
    assert f"grant {world.vault} {old.id} " in (world.folder / "keys" / "destroyed").read_text()


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None)
def test_what_is_compiled_anew_ends_the_grant_before_it(world: World) -> None:
    world.permit()
    old = world.grant()
    world.permit(LABORATORY)
    assert world.grant().id != old.id
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(), world.opening(), world.clock())


@pytest.mark.attack(48)
@weakens("aggregator.identity.signing.Signing", "finish_revocations", lambda _: None)
def test_a_crash_between_commit_and_destroying_is_finished_at_the_next_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = world.permit()
    old = world.grant()

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(world.ring, "destroy_grant", killed)
        with pytest.raises(Killed):
            world.signing.save_consent(world.owner, given | {"status": "inactive"}, local(given))
    assert (grants(world), intents(world)) == ({}, 1)
    Signing(world.store, world.ring, world.accounts, [DR_B], world.clock).finish_revocations()
    assert intents(world) == 0
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(), world.opening(), world.clock())


@pytest.mark.attack(48)
def test_a_crash_before_the_commit_changes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    given = world.permit()

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("aggregator.identity.signing.compile_grants", killed)
        with pytest.raises(Killed):
            world.signing.save_consent(world.owner, given | {"status": "inactive"}, local(given))
    assert (version(world), intents(world)) == (1, 0)
    assert world.opened().version == 1


# --- ending a grant at once


def test_ending_a_grant_needs_no_fresh_unlock_and_spares_the_others(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    old = world.grant()
    assert world.signing.end_grant(world.owner, DR_B.id) == 1
    assert set(grants(world)) == {LABORATORY.id}
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(), world.opening(), world.clock())
    assert set(world.opened(LABORATORY).seeds)
    assert (version(world), intents(world)) == (2, 0)


def test_ending_what_is_not_there_is_told_to_the_archive_all_the_same(world: World) -> None:
    """The table alone could be made to forget it."""
    world.permit()
    assert world.signing.end_grant(world.owner, LABORATORY.id) == 0
    assert world.signing.end_grant(world.owner, "nobody") == 0
    assert (version(world), set(grants(world))) == (3, {DR_B.id})
    with world.store.read() as session:
        ended = signing.archive(session, world.ring, world.owner, 3).ended
    assert ended == {world.ring.handle("party", one).hex() for one in (LABORATORY.id, "nobody")}


END = {
    "by the owner": lambda world: world.signing.end_grant(world.owner, DR_B.id),
    "by the operator": lambda world: world.signing.stop_grant(world.vault, DR_B.id),
}


@contextmanager
def hidden(world: World) -> Iterator[tables.Grant]:
    """Whoever has the database takes Dr B's row away meanwhile, and puts it back when all is done."""
    row = world.grant()
    world.sql('DELETE FROM "grant" WHERE id = ?', row.id)
    yield row
    world.sql('DELETE FROM "grant" WHERE grantee = ?', row.grantee)
    world.sql("DELETE FROM ended_grantee")
    with world.store.write() as session:
        session.add(tables.Grant(**row.model_dump()))


def opens(world: World) -> bool:
    try:
        world.opened()
    except Refused:
        return False
    return True


@pytest.mark.attack(24, 25, 27)
@pytest.mark.parametrize("by", END)
@weakens("aggregator.vault.key_ring.KeyRing", "grants", lambda *_: {}, about=(24, 25, 27))
def test_a_row_that_is_hidden_while_its_grant_ends_opens_nothing_afterwards(world: World, by: str) -> None:
    world.permit(DR_B, LABORATORY)
    with hidden(world):
        assert END[by](world) == 1
    assert not opens(world)
    assert world.opened(LABORATORY).version == 1 if by == "by the operator" else world.epoch == 2
    world.permit(LABORATORY)
    assert (set(grants(world)), world.epoch) == ({LABORATORY.id}, 2)  # it stays ended, and the keys have changed


@pytest.mark.attack(24, 25, 27)
@weakens("aggregator.vault.key_ring.KeyRing", "grants", lambda *_: {}, about=(24, 25, 27))
def test_a_row_that_is_hidden_while_a_consent_is_signed_opens_nothing_afterwards(world: World) -> None:
    """No section is taken away by it, but nothing is open behind its end: that stands in the new grant alone."""
    given = world.permit(DR_B)
    period = {"period": {"end": (world.clock() + timedelta(minutes=1)).isoformat()}}
    with hidden(world):
        world.signing.save_consent(world.owner, given | {"provision": given["provision"] | period}, local(given))
    assert not opens(world)


@pytest.mark.attack(24, 25)
@pytest.mark.parametrize("by", END)
@weakens("aggregator.identity.signing.Signing", "_outlived", lambda *_: False)
def test_an_end_that_was_cut_off_and_whose_intent_is_hidden_comes_with_the_next_owner_session(
    world: World, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    with hidden(world), monkeypatch.context() as patch:
        patch.setattr(world.signing, "_destroy", lambda _: None)  # as far as a process comes that dies before it
        END[by](world)
    world.sql("DELETE FROM grant_intent")
    world.signing.settle(replace(world.owner, unlocked_at=world.clock()))
    assert list(world.ring.grants(world.vault).values()) == [world.ring.handle("party", LABORATORY.id)]
    assert (set(grants(world)), world.epoch) == ({LABORATORY.id}, 2)


@pytest.mark.attack(24, 25)
def test_an_archive_that_is_gone_stays_gone_when_a_grant_ends(world: World) -> None:
    """Else the end of one grant would hide that nobody can say who was ended before."""
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    world.signing.end_grant(world.owner, DR_B.id)
    world.sql("DELETE FROM grant_archive")
    world.sql("DELETE FROM ended_grantee")
    world.signing.end_grant(world.owner, LABORATORY.id)
    world.sql("DELETE FROM ended_grantee")
    world.signing.settle(replace(world.owner, unlocked_at=world.clock()))
    assert (grants(world), world.epoch) == ({}, 2)


def _destroyed_unasked(ring: KeyRing, vault: str, grant: str, *, ended: bool = True) -> None:
    ring._rows.destroy("grant", vault, grant, "0", "ended" if ended else "replaced")


@pytest.mark.attack(27)
@pytest.mark.parametrize("grant", ["a b c", "a\n0 vault", "", "a" * 5000, "ä"])
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", _destroyed_unasked)
def test_an_intent_made_by_sql_writes_no_line_of_its_own(world: World, grant: str) -> None:
    """Else one row, written once, would leave a list of destroyed keys with which no key ring ever starts again."""
    world.sql('INSERT INTO grant_intent (vault, "grant", ended) VALUES (?, ?, ?)', world.vault, grant, True)
    before = list_of_destroyed(world)
    try:
        world.signing.finish_revocations()
    except OperatorError:
        pytest.fail("the list holds a line that no version knows")
    assert (intents(world), list_of_destroyed(world)) == (0, before)


def list_of_destroyed(world: World) -> bytes:
    file = world.folder / "keys" / "destroyed"
    return file.read_bytes() if file.exists() else b""


def test_what_was_ended_comes_back_only_with_a_consent_that_names_it(world: World) -> None:
    world.permit(DR_B)
    world.signing.end_grant(world.owner, DR_B.id)
    world.permit(LABORATORY)
    assert set(grants(world)) == {LABORATORY.id}
    world.permit(DR_B)
    world.permit(LABORATORY)
    assert set(grants(world)) == {DR_B.id, LABORATORY.id}


def test_every_grant_version_stays_in_the_archive(world: World) -> None:
    first = world.permit()
    second = world.permit(LABORATORY)
    world.signing.end_grant(world.owner, DR_B.id)
    world.signing.save_consent(world.owner, first | {"status": "inactive"}, local(first))
    both = sorted((first["id"], second["id"]))
    assert [sorted(archive(world, number)) for number in range(7)] == [[], [first["id"]], *[both] * 4, []]
    with world.store.read() as session:
        statuses = [one["status"] for one in archived(session, world.ring, world.owner, 5) if one["id"] == first["id"]]
    assert statuses == ["inactive"]


@pytest.mark.attack(20)
@weakens("aggregator.vault.seal", "AESGCM", Plain)
def test_nothing_of_a_consent_lies_open(world: World) -> None:
    world.permit(**RESULTS)
    stored = world.raw()
    assert not any(canary in stored for canary in (b"praxis-b", b"results", b"OPTIN", b"provision"))


def test_images_of_an_ended_grant_go_with_it(world: World) -> None:
    world.permit()
    view.open_view(world.store, world.vault, world.grantee(), INDEX)
    world.open()
    with world.store.read() as session:
        readers = {row.reader.partition("/")[0] for row in session.exec(select(tables.ImageRow))}
    assert readers == {"owner", world.grant().id}
    world.clock.advance(minutes=20)  # no fresh unlock: with one the keys change, and no image outlasts that
    world.signing.end_grant(world.owner, DR_B.id)
    with world.store.read() as session:
        assert {row.reader for row in session.exec(select(tables.ImageRow))} == {"owner"}


def test_numbers_of_a_consent_stay_as_written(world: World) -> None:
    given = consent([DR_B]) | {"extension": [{"url": "urn:x", "valueDecimal": 0}]}
    text = dumps(given).replace(b'"valueDecimal":0', b'"valueDecimal":0.40')
    stored, _ = world.signing.save_consent(world.owner, loads(text))
    assert b'"valueDecimal":0.40' in stored


# --- the operator's emergency stop


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None)
def test_the_operator_ends_a_grant_without_the_owner_and_the_others_stay(world: World) -> None:
    given = world.permit(DR_B, LABORATORY)
    old = grants(world)[DR_B.id]
    assert world.signing.stop_grant(world.vault, DR_B.id) == 1
    assert (list(grants(world)), version(world), intents(world)) == ([LABORATORY.id], 2, 0)
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(DR_B), world.opening(), world.clock())
    assert archive(world, 2) == [given["id"]]
    assert world.signing.stop_grant(world.vault, DR_B.id) == 0
    assert world.signing.settle(world.owner)  # the keys change, and the stop holds
    assert list(grants(world)) == [LABORATORY.id]
    world.permit(LABORATORY)
    assert list(grants(world)) == [LABORATORY.id]
    world.permit(DR_B)
    assert set(grants(world)) == {DR_B.id, LABORATORY.id}


@pytest.mark.attack(24)
def test_a_stop_is_the_key_services_word_for_one_version(world: World) -> None:
    """Who has the database writes none, and moves none to a later version."""
    world.permit(DR_B, LABORATORY)
    world.signing.stop_grant(world.vault, DR_B.id)
    with world.store.write() as session:
        stopped = session.get_one(tables.GrantArchive, (world.vault, 2)).box
    world.permit(DR_B)
    world.sql("UPDATE grant_archive SET box = ? WHERE vault = ? AND version = 3", stopped, world.vault)
    with pytest.raises(Tampered):
        archive(world, 3)


@pytest.mark.attack(48)
@pytest.mark.parametrize("place", ["destroy_grant", "advance"])
def test_a_stop_that_was_cut_off_is_finished_at_the_start(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    world.permit(DR_B)
    old = grants(world)[DR_B.id]

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(type(world.ring), place, killed)
        with pytest.raises(Killed):
            world.signing.stop_grant(world.vault, DR_B.id)
    assert (grants(world), intents(world)) == ({}, 1)
    world.signing.finish_revocations()
    assert intents(world) == 0
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(DR_B), world.opening(), world.clock())
