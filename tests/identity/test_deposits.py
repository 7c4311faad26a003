"""A deposit mandate: signed beside the grant, opened like one, ended with it, and blind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from sqlmodel import select

from aggregator.consent import deposit
from aggregator.consent.decide import Party, PartyKind
from aggregator.consent.deposit import Deposit, open_deposit
from aggregator.errors import Refused, Tampered
from aggregator.identity import deposits
from aggregator.sync import resealing
from aggregator.vault import tables
from aggregator.vault.encoding import b64
from aggregator.vault.key_service import DEPOSIT, GRANT, SignedGrant
from aggregator.vault.keys import OWNER
from aggregator.vault.seal import header
from tests.vault.world import DR_B, LABORATORY, World, consent
from tests.weaken import weakens

GRANT_KEYS = "aggregator.vault.grant_keys"
ACTION = "http://terminology.hl7.org/CodeSystem/consentaction"


class Killed(BaseException):
    """The process ends here."""


def action(*codes: str) -> dict[str, Any]:
    return {"action": [{"coding": [{"system": ACTION, "code": code}]} for code in codes]}


def rows(world: World) -> list[tables.Mandate]:
    with world.store.read() as session:
        return [row for row in session.exec(select(tables.Mandate)) if row.grantee]


def standing(world: World, party: Party = DR_B) -> list[tables.Mandate]:
    with world.store.read() as session:
        return list(deposits.of(session, world.vault, world.ring.handle("party", party.id)))


def opened(world: World, row: tables.Mandate, party: Party = DR_B, *, receipt: bool = True) -> Deposit:
    opening = world.opening() if receipt else bytes(16)
    return open_deposit(row, world.ring, world.ticket(party), opening, world.clock())


def add(world: World, made: Deposit, source_id: str = "Observation/1") -> None:
    """Append as the deposit's writer."""
    world.append("results", world.put(source_id), writer=made.mandate.writer)


def grantees(world: World) -> int:
    with world.store.read() as session:
        return len(session.exec(select(tables.Grant)).all())


@pytest.mark.parametrize(
    ("criteria", "adds", "reads"),
    [
        ({}, 0, 1),
        (action("collect"), 1, 0),
        (action("collect", "access"), 1, 1),
        (action("access"), 0, 1),
        (action("use"), 0, 0),
        ({"action": [{"text": "collect"}]}, 0, 0),
        ({"type": "deny", **action("collect")}, 0, 0),
    ],
)
def test_what_is_signed_for_which_actions(world: World, criteria: dict[str, Any], adds: int, reads: int) -> None:
    world.permit(DR_B, **criteria)
    assert (len(standing(world)), grantees(world)) == (adds, reads)


def test_only_a_provider_adds() -> None:
    permit = consent([DR_B], **action("collect"))
    for kind in PartyKind:
        party = Party(DR_B.id, kind=kind)
        assert deposit.parties([permit], [party]) == ([party] if kind is PartyKind.PROVIDER else [])


@pytest.mark.attack(29)
def test_it_holds_no_seed_and_opens_nothing_that_it_wrote(world: World) -> None:
    world.permit(DR_B, **action("collect"))
    (row,) = standing(world)
    made = opened(world, row)
    add(world, made)
    assert made.mandate.sections == world.owner.sections
    seeds = [world.owner.root.section(id_, world.epoch).seed for id_ in world.owner.sections.values()]
    told = world.ring.open_grant(
        SignedGrant(row.vault, row.id, row.certificate, row.signature, row.box, DEPOSIT),
        world.ticket(),
        world.opening(),
        world.clock(),
    )
    secrets = [*seeds, world.owner.root.secret, world.owner.root.owner_key(), world.owner.root.image_key()]
    assert not any(b64(secret).encode() in told or secret in told for secret in secrets)
    assert set(orjson.loads(told)) == {
        *("vault", "authority", "account", "source", "patient", "sections", "ids", "ledger", "tags", "writer"),
        *("occasions", "consents"),
    }


@pytest.mark.attack(28)
def test_what_it_wrote_is_the_partys_and_counts(world: World) -> None:
    world.permit(DR_B, **action("collect"))
    (row,) = standing(world)
    add(world, opened(world, row))
    ((version,),) = world.truth().state.sections["results"].values()
    assert version.writer == world.owner.root.source(f"party/{DR_B.id}", "").hex() != OWNER


@pytest.mark.attack(27)
@weakens(GRANT_KEYS, "_is_grantee", lambda *_: True)
def test_another_partys_token_opens_none(world: World) -> None:
    world.permit(DR_B, **action("collect"))
    (row,) = standing(world)
    with pytest.raises(Refused):
        opened(world, row, LABORATORY)


@pytest.mark.attack(31)
@weakens("aggregator.vault.openings.Openings", "use", lambda *_: True)
def test_it_opens_behind_a_receipt_alone(world: World) -> None:
    world.permit(DR_B, **action("collect"))
    (row,) = standing(world)
    with pytest.raises(Refused):
        opened(world, row, receipt=False)


@pytest.mark.attack(18)
@weakens(GRANT_KEYS, "_is_occasion", lambda *_: True)
def test_it_ends_with_its_period(world: World) -> None:
    world.permit(DR_B, period={"start": "2026-11-21", "end": "2026-11-22"}, **action("collect"))
    (row,) = standing(world)
    assert opened(world, row)
    world.clock.advance(days=2)
    with pytest.raises(Refused):
        opened(world, row)


@pytest.mark.attack(21, 27)
def test_a_grant_and_a_deposit_do_not_stand_for_each_other(world: World) -> None:
    world.permit(DR_B, **action("collect", "access"))
    (row,), grant = standing(world), world.grant()
    swapped = [
        SignedGrant(row.vault, row.id, row.certificate, row.signature, row.box, GRANT),
        SignedGrant(grant.vault, grant.id, grant.certificate, grant.signature, grant.box, DEPOSIT),
    ]
    for one in swapped:
        with pytest.raises((Refused, Tampered)):
            world.ring.open_grant(one, world.ticket(), world.opening(), world.clock())


@pytest.mark.attack(27)
def test_a_connections_mandate_is_no_deposit(world: World) -> None:
    """Its certificate names no grantee, whatever a compromised service registers it as."""
    world.connect()
    with world.store.read() as session:
        row = session.exec(select(tables.Mandate)).one()
    body = world.worker.open(header("mandate", row.vault, name=row.id), row.box)
    with pytest.raises(Refused):
        world.ring.register_grant(SignedGrant(row.vault, row.id, row.certificate, row.signature, kind=DEPOSIT), body)


def test_each_signing_compiles_it_anew_and_ends_the_one_before(world: World) -> None:
    world.permit(DR_B, **action("collect"))
    (old,) = standing(world)
    world.permit(LABORATORY)
    (new,) = standing(world)
    assert new.id != old.id
    assert ["until" in orjson.loads(row.certificate) for row in rows(world) if row.id == old.id] == [True]
    with pytest.raises(Refused):
        opened(world, old)
    assert opened(world, new)


@pytest.mark.attack(25, 28)
@weakens("aggregator.consent.mandate", "end", lambda *_: None, about=(25, 28))
def test_nothing_counts_that_is_written_after_its_end(world: World) -> None:
    """Not even by who kept the writer's key: the certificate has an end, which every fold looks at."""
    world.permit(DR_B, **action("collect"))
    (row,) = standing(world)
    kept = opened(world, row)
    assert world.grants.end(world.owner, DR_B.id) == 1
    with pytest.raises(Refused):
        opened(world, row)
    add(world, kept)
    assert world.truth().state.sections.get("results", {}) == {}


@pytest.mark.attack(25)
def test_after_the_operators_stop_the_next_signing_ends_the_certificate(world: World) -> None:
    world.permit(DR_B, **action("collect"))
    (row,) = standing(world)
    kept = opened(world, row)
    assert world.grants.stop(world.vault, DR_B.id) == 1
    assert standing(world) == []
    with pytest.raises(Refused):
        opened(world, row)
    world.permit(LABORATORY)
    assert standing(world) == []
    add(world, kept)
    assert world.truth().state.sections.get("results", {}) == {}
    world.permit(DR_B, **action("collect"))
    assert len(standing(world)) == 1


@pytest.mark.attack(48)
@pytest.mark.parametrize("place", ["destroy_grant", "advance"])
@pytest.mark.parametrize("act", ["end", "sign"])
def test_an_end_that_was_cut_off_is_finished_at_the_start(
    world: World, monkeypatch: pytest.MonkeyPatch, place: str, act: str
) -> None:
    world.permit(DR_B, **action("collect"))
    (old,) = standing(world)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(type(world.ring), place, killed)
        with pytest.raises(Killed):
            world.grants.end(world.owner, DR_B.id) if act == "end" else world.permit(LABORATORY)
    world.grants.finish_revocations()
    with pytest.raises(Refused):
        opened(world, old)
    assert len(standing(world)) == (0 if act == "end" else 1)


def test_its_end_changes_no_keys(world: World) -> None:
    """It held no seed: nothing that lies there can be read with what was kept of it."""
    world.permit(DR_B, **action("collect"))
    world.grants.end(world.owner, DR_B.id)
    assert (world.epoch, world.ring.rotation_due(world.vault)) == (1, 0)


def test_a_forged_row_keeps_nobody_from_signing(world: World) -> None:
    world.permit(DR_B, **action("collect"))
    (row,) = standing(world)
    for number, certificate in enumerate((b"no JSON", row.certificate)):
        forged = {**row.model_dump(), "id": str(number) * 32, "certificate": certificate, "signature": bytes(64)}
        with world.store.write() as session:
            session.add(tables.Mandate(**forged))
    world.permit(LABORATORY)
    (row,) = standing(world)
    assert opened(world, row)


def test_a_new_worker_key_leaves_it_as_it_is(world: World) -> None:
    world.connect()
    world.permit(DR_B, **action("collect"))
    made = resealing.reseal(world.store, world.worker)
    assert (made.rows, made.lost) == (1, 0)
    (row,) = standing(world)
    assert opened(world, row)


@pytest.mark.attack(24, 25, 27)
@weakens("aggregator.vault.key_ring.KeyRing", "grants", lambda *_: {}, about=(24, 25, 27))
def test_one_that_is_hidden_while_it_ends_opens_nothing_afterwards(world: World) -> None:
    """Whoever has the database takes the row away meanwhile, and puts it back when all is done."""
    world.permit(DR_B, **action("collect"))
    (row,) = standing(world)
    world.sql("DELETE FROM mandate WHERE id = ?", row.id)
    assert world.grants.end(world.owner, DR_B.id) == 1
    with world.store.write() as session:
        session.add(tables.Mandate(**row.model_dump()))
    with pytest.raises(Refused):
        opened(world, row)
