"""A person as a grantee: who has the root of their own vault, and nobody else."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from aggregator.consent.decide import Party
from aggregator.consent.grant import Opened, open_grant
from aggregator.errors import Refused, Tampered
from aggregator.identity import persons
from aggregator.identity.accounts import Owner
from aggregator.vault import tables
from aggregator.vault.encoding import canonical
from aggregator.vault.key_service import Admission, Proof
from aggregator.vault.keys import Root
from fhir_profiles.codes import RECORD
from fhir_profiles.text import Resource
from tests.vault.world import DR_B, ERIKA, World, consent
from tests.weaken import weakens

TICKETS = "aggregator.vault.tickets"


def carer(world: World, login: str = "mutter") -> Owner:
    return world.accounts.sign_up(login, "Ein anderes Wort", ERIKA).owner


def names(vault: str) -> Resource:
    """A Consent that permits the person whose vault this is."""
    made = consent([DR_B])
    made["provision"]["actor"][0]["reference"] = {"identifier": {"system": RECORD, "value": vault}}
    return made


def let(world: World, who: Owner) -> None:
    world.signing.save_consent(world.owner, names(who.vault))


def grants(world: World) -> list[tables.Grant]:
    with world.store.read() as session:
        return list(session.exec(select(tables.Grant)))


def opened(world: World, who: Owner) -> Opened:
    ticket = persons.ticket(who, world.ring, world.clock())
    return open_grant(world.grant(persons.party(who.vault)), world.ring, ticket, world.opening(), world.clock())


def proof(world: World, who: Owner, token: str = "token", **changed: Any) -> Proof:
    """A right one, but for what is changed."""
    told = {"kind": "proof", "vault": who.vault, "token": hashlib.sha256(token.encode()).hexdigest()}
    told |= {"purpose": "FAMRQT", "expires": int(world.clock().timestamp()) + 60} | changed
    statement = canonical(told)
    return Proof(who.vault, statement, who.root.sign(b"PRA1/proof" + statement))


def admitted(world: World, made: Proof) -> bool:
    try:
        world.ring.admit_person("token", made, world.clock())
    except (Refused, Tampered):
        return False
    return True


def test_a_consent_gives_the_person_a_grant(world: World) -> None:
    mother = carer(world)
    let(world, mother)
    assert {"results", "directory"} <= opened(world, mother).seeds.keys()


def test_who_has_no_account_or_is_the_owner_gets_none(world: World) -> None:
    for vault in ("a" * 26, "not a vault", world.vault):
        world.signing.save_consent(world.owner, names(vault))
    assert grants(world) == []


def test_a_person_is_not_named_by_a_reference_like_a_clients(world: World) -> None:
    mother = carer(world)
    world.permit(Party(f"person/{mother.vault}"), Party(mother.vault))
    assert grants(world) == []


@pytest.mark.attack(27)
@weakens(TICKETS, "verify", lambda *_: None)
def test_a_proof_takes_the_persons_own_root(world: World) -> None:
    mother = carer(world)
    assert admitted(world, proof(world, mother))
    assert not admitted(world, proof(world, replace(mother, root=world.owner.root)))
    assert not admitted(world, proof(world, replace(mother, root=Root.generate())))


@pytest.mark.attack(27)
@weakens(TICKETS, "_proves", lambda *_: True)
@pytest.mark.parametrize(
    "changed",
    [{"kind": "hold"}, {"vault": "a" * 26}, {"token": "0" * 64}, {"purpose": "TREAT"}],
    ids=["another statement", "another vault", "another token", "another purpose"],
)
def test_a_proof_is_for_this_token_vault_and_purpose(world: World, changed: dict[str, str]) -> None:
    assert not admitted(world, proof(world, carer(world), **changed))


@pytest.mark.attack(50)
@weakens(TICKETS, "_is_of_now", lambda *_: True)
@pytest.mark.parametrize("seconds", [0, -1, 301])
def test_a_proof_is_of_these_minutes(world: World, seconds: int) -> None:
    made = proof(world, carer(world), expires=int(world.clock().timestamp()) + seconds)
    assert not admitted(world, made)


@pytest.mark.attack(27)
@weakens(f"{TICKETS}.Tickets", "admit", lambda self, token, admission: self._admit(token, admission))
def test_nobody_is_admitted_as_a_person_without_a_proof(world: World) -> None:
    """Not by a service that is asked to, either: who runs the clients' sign-in cannot make somebody's parent."""
    mother = carer(world)
    let(world, mother)
    expires = int(world.clock().timestamp()) + 60
    admission = Admission(party=f"person/{mother.vault}", purpose="FAMRQT", scopes=(), expires=expires)
    with pytest.raises(Refused):
        world.ring.admit("token", admission)


@pytest.mark.attack(1, 4)
@weakens("aggregator.vault.grant_keys", "_is_grantee", lambda *_: True)
def test_one_carers_ticket_opens_no_other_ones_grant(world: World) -> None:
    mother, stranger = carer(world), carer(world, "fremde")
    let(world, mother)
    ticket = persons.ticket(stranger, world.ring, world.clock())
    with pytest.raises(Refused):
        open_grant(world.grant(persons.party(mother.vault)), world.ring, ticket, world.opening(), world.clock())


@pytest.mark.attack(26)
@weakens("aggregator.vault.ring_rows.RingRows", "_apply", lambda *_: None)
def test_a_carer_whose_own_record_was_erased_is_nobody(world: World) -> None:
    mother = carer(world)
    let(world, mother)
    world.ring.destroy_vault(mother.vault)
    with pytest.raises(Refused):
        opened(world, mother)


@pytest.mark.attack(25)
def test_an_ended_carer_stays_ended_until_named_anew(world: World) -> None:
    mother = carer(world)
    let(world, mother)
    assert world.grants.end(world.owner, f"person/{mother.vault}") == 1
    world.permit(DR_B)
    assert [row.grantee for row in grants(world)] == [world.ring.handle("party", DR_B.id)]
    let(world, mother)
    assert opened(world, mother).seeds
