"""Ending a grant at once: by its owner without a fresh unlock, by the operator without the owner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import select

from aggregator.consent.grant import open_grant
from aggregator.errors import OperatorError, Refused, Tampered
from aggregator.identity.grant_archive import archive
from aggregator.vault import tables, view
from aggregator.vault.key_ring import KeyRing
from tests.identity.granted import Killed, grants, in_force, intents, local, version
from tests.vault.world import DR_B, INDEX, LABORATORY, World
from tests.weaken import weakens


def test_ending_a_grant_needs_no_fresh_unlock_and_spares_the_others(world: World) -> None:
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    old = world.grant()
    assert world.grants.end(world.owner, DR_B.id) == 1
    assert set(grants(world)) == {LABORATORY.id}
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(), world.opening(), world.clock())
    assert set(world.opened(LABORATORY).seeds)
    assert (version(world), intents(world)) == (2, 0)


def test_ending_what_is_not_there_is_told_to_the_archive_all_the_same(world: World) -> None:
    """The table alone could be made to forget it."""
    world.permit()
    assert world.grants.end(world.owner, LABORATORY.id) == 0
    assert world.grants.end(world.owner, "nobody") == 0
    assert (version(world), set(grants(world))) == (3, {DR_B.id})
    with world.store.read() as session:
        ended = archive(session, world.ring, world.owner, 3).ended
    assert ended == {world.ring.handle("party", one).hex() for one in (LABORATORY.id, "nobody")}


END = {
    "by the owner": lambda world: world.grants.end(world.owner, DR_B.id),
    "by the operator": lambda world: world.grants.stop(world.vault, DR_B.id),
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
@weakens("aggregator.identity.grants.Grants", "_outlived", lambda *_: False, about=(24, 25))
def test_an_end_that_was_cut_off_and_whose_intent_is_hidden_comes_with_the_next_owner_session(
    world: World, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    with hidden(world), monkeypatch.context() as patch:
        patch.setattr(world.grants, "destroy", lambda _: None)  # as far as a process comes that dies before it
        END[by](world)
    world.sql("DELETE FROM grant_intent")
    world.grants.settle(replace(world.owner, unlocked_at=world.clock()))
    assert list(world.ring.grants(world.vault).values()) == [world.ring.handle("party", LABORATORY.id)]
    assert (set(grants(world)), world.epoch) == ({LABORATORY.id}, 2)


@pytest.mark.attack(24, 25)
def test_an_archive_that_is_gone_stays_gone_when_a_grant_ends(world: World) -> None:
    """Else the end of one grant would hide that nobody can say who was ended before."""
    world.permit(DR_B, LABORATORY)
    world.clock.advance(minutes=20)
    world.grants.end(world.owner, DR_B.id)
    world.sql("DELETE FROM grant_archive")
    world.sql("DELETE FROM ended_grantee")
    world.grants.end(world.owner, LABORATORY.id)
    world.sql("DELETE FROM ended_grantee")
    world.grants.settle(replace(world.owner, unlocked_at=world.clock()))
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
        world.grants.finish_revocations()
    except OperatorError:
        pytest.fail("the list holds a line that no version knows")
    assert (intents(world), list_of_destroyed(world)) == (0, before)


def list_of_destroyed(world: World) -> bytes:
    file = world.folder / "keys" / "destroyed"
    return file.read_bytes() if file.exists() else b""


def test_what_was_ended_comes_back_only_with_a_consent_that_names_it(world: World) -> None:
    world.permit(DR_B)
    world.grants.end(world.owner, DR_B.id)
    world.permit(LABORATORY)
    assert set(grants(world)) == {LABORATORY.id}
    world.permit(DR_B)
    world.permit(LABORATORY)
    assert set(grants(world)) == {DR_B.id, LABORATORY.id}


def test_images_of_an_ended_grant_go_with_it(world: World) -> None:
    world.permit()
    view.open_view(world.store, world.vault, world.grantee(), INDEX)
    world.open()
    with world.store.read() as session:
        readers = {row.reader.partition("/")[0] for row in session.exec(select(tables.ImageRow))}
    assert readers == {"owner", world.grant().id}
    world.clock.advance(minutes=20)  # no fresh unlock: with one the keys change, and no image outlasts that
    world.grants.end(world.owner, DR_B.id)
    with world.store.read() as session:
        assert {row.reader for row in session.exec(select(tables.ImageRow))} == {"owner"}


@pytest.mark.attack(25)
@weakens("aggregator.vault.key_ring.KeyRing", "destroy_grant", lambda *_, **__: None)
def test_the_operator_ends_a_grant_without_the_owner_and_the_others_stay(world: World) -> None:
    given = world.permit(DR_B, LABORATORY)
    old = grants(world)[DR_B.id]
    assert world.grants.stop(world.vault, DR_B.id) == 1
    assert (list(grants(world)), version(world), intents(world)) == ([LABORATORY.id], 2, 0)
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(DR_B), world.opening(), world.clock())
    assert in_force(world, 2) == [given["id"]]
    assert world.grants.stop(world.vault, DR_B.id) == 0
    assert world.grants.settle(world.owner)  # the keys change, and the stop holds
    assert list(grants(world)) == [LABORATORY.id]
    world.permit(LABORATORY)
    assert list(grants(world)) == [LABORATORY.id]
    world.permit(DR_B)
    assert set(grants(world)) == {DR_B.id, LABORATORY.id}


@pytest.mark.attack(24)
def test_a_stop_is_the_key_services_word_for_one_version(world: World) -> None:
    """Who has the database writes none, and moves none to a later version."""
    world.permit(DR_B, LABORATORY)
    world.grants.stop(world.vault, DR_B.id)
    with world.store.write() as session:
        stopped = session.get_one(tables.GrantArchive, (world.vault, 2)).box
    world.permit(DR_B)
    world.sql("UPDATE grant_archive SET box = ? WHERE vault = ? AND version = 3", stopped, world.vault)
    with pytest.raises(Tampered):
        in_force(world, 3)


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
            world.grants.stop(world.vault, DR_B.id)
    assert (grants(world), intents(world)) == ({}, 1)
    world.grants.finish_revocations()
    assert intents(world) == 0
    with pytest.raises(Refused):
        open_grant(old, world.ring, world.ticket(DR_B), world.opening(), world.clock())
