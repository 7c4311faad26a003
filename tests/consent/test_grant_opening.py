"""What the key service asks before it opens a grant, whatever the service and the database tell it: one by one."""

from __future__ import annotations

import secrets
from typing import Any

import orjson
import pytest

from aggregator.consent.decide import Party
from aggregator.consent.grant import open_grant, signed
from aggregator.errors import Refused, Tampered
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical
from aggregator.vault.key_service import Admission, SignedGrant, Ticket
from aggregator.vault.keys import Root
from tests.vault.world import DR_B, ERIKA, LABORATORY, World
from tests.weaken import weakens

GRANT_KEYS = "aggregator.vault.grant_keys"
FORGER = Root(bytes(range(32)))


def yes(*_: object) -> bool:
    return True


def believed(_: object, certificate: SignedGrant, __: bytes) -> Any:
    """A key service that takes every certificate at its word."""
    return orjson.loads(certificate.certificate)


OPEN: list[World] = []
"""Where `as_the_database_says` looks."""


def as_the_database_says(_: object, vault: str) -> bytes:
    with OPEN[0].store.read() as session:
        return session.get_one(tables.Vault, vault).verification_key


def refused(
    world: World,
    row: tables.Grant | None = None,
    party: Party = DR_B,
    *,
    ticket: Ticket | None = None,
    opening: bytes | None = None,
) -> bool:
    """Is this opening refused; Dr B's own, where nothing else is said."""
    try:
        one = row or world.grant()
        mine = ticket or world.ticket(party)
        open_grant(one, world.ring, mine, world.opening() if opening is None else opening, world.clock())
    except (Refused, Tampered):
        return True
    return False


def ticket(world: World, purpose: str) -> Ticket:
    token = secrets.token_urlsafe(32)
    expires = int(world.clock().timestamp()) + 300
    return Ticket(token, world.ring.admit(token, Admission(party=DR_B.id, purpose=purpose, scopes=(), expires=expires)))


def forged(row: tables.Grant, **changed: Any) -> tables.Grant:
    """The row with another certificate, signed by somebody else."""
    certificate = canonical(orjson.loads(row.certificate) | changed)
    told = {"certificate": certificate, "signature": FORGER.sign(b"PRA1/grant" + certificate)}
    return tables.Grant(**{**row.model_dump(), **told})


@pytest.mark.attack(4, 27)
@weakens(GRANT_KEYS, "_is_grantee", yes)
def test_another_partys_token(world: World) -> None:
    world.permit(DR_B)
    assert not refused(world)
    assert refused(world, party=LABORATORY)


@pytest.mark.attack(4)
@weakens("aggregator.vault.tickets", "_is_over", lambda *_: False)
def test_a_token_that_has_expired(world: World) -> None:
    world.permit(DR_B)
    old = world.ticket(minutes=5)
    world.clock.advance(minutes=4, seconds=59)
    assert not refused(world, ticket=old)
    world.clock.advance(seconds=1)
    assert refused(world, ticket=old)


@pytest.mark.attack(27)
@weakens("aggregator.vault.tickets", "unwrap", lambda key, head, box: box)  # noqa: ARG005 - a ticket's row that nobody sealed
def test_a_ticket_that_nobody_admitted(world: World) -> None:
    world.permit(DR_B)
    told = {"party": DR_B.id, "purpose": "TREAT", "scopes": [], "expires": 2**40}
    try:
        world.ring.identify(Ticket("made-up", orjson.dumps(told)), world.clock())
    except (Refused, Tampered):
        return
    pytest.fail("a row that the key service did not seal stands for somebody")


@weakens(GRANT_KEYS, "_is_occasion", yes)
def test_another_purpose(world: World) -> None:
    world.permit(DR_B, purpose=[{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT"}])
    assert not refused(world, ticket=ticket(world, "TREAT"))
    assert refused(world, ticket=ticket(world, "HPAYMT"))


@pytest.mark.attack(18)
@weakens(GRANT_KEYS, "_is_occasion", yes)
@pytest.mark.parametrize("days", [-1, 2], ids=["before", "after"])
def test_before_and_after_the_period(world: World, days: int) -> None:
    world.permit(DR_B, period={"start": "2026-11-21", "end": "2026-11-22"})
    assert not refused(world)
    world.clock.advance(days=days)
    assert refused(world)


@pytest.mark.attack(27)
@weakens(GRANT_KEYS, "verify", lambda *_: None)
def test_a_certificate_that_the_patient_did_not_sign(world: World) -> None:
    world.permit(DR_B)
    theirs = forged(world.grant(), grantee=b64(world.ring.handle("party", LABORATORY.id)))
    assert refused(world, theirs, LABORATORY)


@pytest.mark.attack(22)
@weakens("aggregator.vault.ring_rows.RingRows", "verification_key", as_the_database_says)
def test_a_verification_key_replaced_in_the_database(world: World) -> None:
    """The weakened key service takes the key that the database says."""
    OPEN[:] = [world]
    world.permit(DR_B)
    theirs = forged(world.grant(), grantee=b64(world.ring.handle("party", LABORATORY.id)))
    world.sql("UPDATE vault SET verification_key = ? WHERE id = ?", FORGER.verification_key, world.vault)
    assert refused(world, theirs, LABORATORY)


@pytest.mark.attack(21)
@weakens(f"{GRANT_KEYS}.GrantKeys", "_check", believed)
def test_a_grant_of_another_vault(world: World) -> None:
    """One that another patient signed is registered for nobody else's vault; nor does its row open there."""
    world.permit(DR_B)
    row = world.grant()
    other = world.accounts.sign_up("uwe", "Ein anderes Wort", ERIKA).owner.vault
    assert refused(world, tables.Grant(**{**row.model_dump(), "vault": other}))
    moved = SignedGrant(other, "0" * 32, row.certificate, row.signature)
    with pytest.raises((Refused, Tampered)):
        world.ring.register_grant(moved, b"{}")


@pytest.mark.attack(21, 27)
@weakens(GRANT_KEYS, "_is_about", yes, about=(21, 27))
def test_a_payload_that_is_not_the_signed_one(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    mine, theirs = world.grant(DR_B), world.grant(LABORATORY)
    assert refused(world, tables.Grant(**{**mine.model_dump(), "box": theirs.box}))
    again = signed(tables.Grant(**{**mine.model_dump(), "id": "0" * 32}))
    with pytest.raises((Refused, Tampered)):
        world.ring.register_grant(again, b"another payload")


@pytest.mark.attack(31)
@weakens("aggregator.vault.openings.Openings", "use", yes)
def test_an_opening_without_its_receipt(world: World) -> None:
    world.permit(DR_B)
    told = world.opening()
    assert refused(world, opening=secrets.token_bytes(16))
    assert not refused(world, opening=told)
    assert refused(world, opening=told)  # once


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None)
def test_a_row_from_before_the_revocation(world: World) -> None:
    world.permit(DR_B)
    row = world.grant()
    world.grants.end(world.owner, DR_B.id)
    assert refused(world, row)
