"""The log: what was appended comes back in order; a gap, an edit, a missing end or another order is found."""

from __future__ import annotations

import pytest

from aggregator.errors import Tampered
from aggregator.vault import log, tables
from aggregator.vault.log import Entry, first_link, link
from tests.vault.world import World
from tests.weaken import weakens

ENVELOPES = [b"one", b"two", b"three", b"four"]


@pytest.fixture
def start(world: World) -> tuple[int, bytes]:
    """Four envelopes in the log; gives position and chain value before them."""
    with world.store.read() as session:
        before = session.get_one(tables.Vault, world.vault)
        place = before.log_position, before.chain
    world.append_raw(*ENVELOPES)
    return place


def after(world: World, position: int, chain: bytes) -> list[Entry]:
    with world.store.read() as session:
        return log.after(session, session.get_one(tables.Vault, world.vault), position, chain)


def test_what_was_appended_comes_back(world: World, start: tuple[int, bytes]) -> None:
    position, chain = start
    whole = [Entry(position + number, envelope) for number, envelope in enumerate(ENVELOPES, 1)]
    assert after(world, position, chain) == whole
    assert after(world, position + 1, link(chain, b"one")) == whole[1:]


def test_appending_nothing_changes_nothing(world: World) -> None:
    with world.store.write() as session:
        row = session.get_one(tables.Vault, world.vault)
        before = row.log_position, row.chain
        assert log.append(session, row, []) == before[0]
        assert (row.log_position, row.chain) == before


def test_the_first_link_is_the_vaults_own() -> None:
    assert first_link("a") != first_link("b")


TAMPERING = {
    "an edit": "UPDATE log SET envelope = x'00' WHERE position = 3",
    "an edited link": "UPDATE log SET chain = zeroblob(32) WHERE position = 3",
    "a gap": "DELETE FROM log WHERE position = 3",
    "a missing beginning": "DELETE FROM log WHERE position = 2",
    "a missing end": "DELETE FROM log WHERE position = 5",
    "an order exchanged": "UPDATE log SET envelope = CASE position WHEN 3 THEN x'7468726565' ELSE x'74776f' END"
    " WHERE position IN (3, 4)",
    "all positions moved": "UPDATE log SET position = position + 100 WHERE position > 1",
    "positions exchanged": "UPDATE log SET position = position + 100 WHERE position = 3",
    "one appended past the head": "INSERT INTO log SELECT vault, 6, chain, envelope FROM log WHERE position = 5",
    "a head put back": "UPDATE vault SET chain = (SELECT chain FROM log WHERE position = 4) WHERE id <> 'system'",
}


@pytest.mark.parametrize("case", TAMPERING)
@pytest.mark.attack(21, 24)
def test_tampering_is_found(world: World, start: tuple[int, bytes], case: str) -> None:
    world.sql(TAMPERING[case])
    with pytest.raises(Tampered, match="a vault's log"):
        after(world, *start)


@pytest.mark.attack(24)
@weakens("aggregator.vault.log", "link", lambda *_: bytes(32))
def test_a_chain_written_anew_from_the_edit_on_is_found_by_a_snapshot_alone(
    world: World, start: tuple[int, bytes]
) -> None:
    """The chain has no key: it finds accidents and careless edits. What is behind a signed snapshot is bound by it."""
    position, chain = start
    world.sql("DELETE FROM log WHERE position > ?", position)
    world.sql("UPDATE vault SET log_position = ?, chain = ? WHERE id = ?", position, chain, world.vault)
    world.append_raw(b"another history")
    assert [entry.envelope for entry in after(world, position, chain)] == [b"another history"]
    with pytest.raises(Tampered, match="gap or an edit"):
        after(world, position, link(chain, b"what a snapshot has signed"))


def test_forgetting_keeps_what_is_behind(world: World, start: tuple[int, bytes]) -> None:
    position, chain = start
    with world.store.write() as session:
        log.forget(session, world.vault, position + 2)
    kept = after(world, position + 2, link(link(chain, b"one"), b"two"))
    assert [entry.envelope for entry in kept] == [b"three", b"four"]
