"""Each envelope of a source's writer vouches for the one before, as far as the writer itself has signed that one."""

from __future__ import annotations

import pytest
from sqlmodel import col, select

from aggregator.consent.mandate import Mandate
from aggregator.sync.tables import Connection
from aggregator.vault import ledger, tables, vouching
from aggregator.vault.envelope import NONE, Signed, read_envelope
from aggregator.vault.keys import OWNER, Writer
from tests.sync.sync_world import KilledHere, SyncWorld, batch, broken_commits, condition, observation, patient
from tests.sync.test_sync_rotation import rotate, stepping_in
from tests.weaken import weakens


def written(syncing: SyncWorld) -> list[Signed]:
    """The log's envelopes but the owner's, from old to new."""
    with syncing.store.read() as session:
        rows = session.exec(select(tables.LogEntry.envelope).order_by(col(tables.LogEntry.position))).all()
    return [one for one in map(read_envelope, rows) if one.claim.writer != OWNER]


def mandate(syncing: SyncWorld, connection: str) -> Mandate:
    with syncing.store.read() as session:
        return syncing.worker.open(session, session.get_one(Connection, connection))


def assert_chained(envelopes: list[Signed]) -> None:
    assert [one.previous for one in envelopes] == [NONE, *(one.link for one in envelopes[:-1])]


def test_envelopes_are_chained_over_sections_batches_and_runs(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.clinic.says(
        [batch(patient(), observation("o1"), condition("I10")), batch(observation("o2"))],
        [batch(observation("o3"))],
    )
    syncing.run(connection)
    syncing.clock.advance(hours=24)
    syncing.run(connection)
    made = written(syncing)
    assert len({one.claim.section for one in made}) == 3
    assert [one.claim.number for one in made] == [1, 1, 1, 2, 3]
    assert_chained(made)


def test_a_batch_that_is_sealed_again_is_chained_to_what_was_committed(
    syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = syncing.connect()
    syncing.clinic.says([batch(patient(), observation("o1")), batch(observation("o2"))])
    stepping_in(monkeypatch, lambda number: rotate(syncing) if number in (1, 3) else None)
    assert syncing.run(connection).stored == 3
    assert_chained(written(syncing))


def test_a_commit_that_failed_leaves_no_name_behind(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.clinic.says([batch(patient(), observation("o1"))])
    for number in (1, 2, 3):
        with broken_commits(number) as begun, pytest.raises(KilledHere):
            syncing.run(connection, again=True)
        assert len(begun) == number
        syncing.clock.advance(hours=1)
    syncing.run(connection, again=True)
    syncing.clinic.says([batch(observation("o2"))])
    syncing.run(connection, again=True)
    assert_chained(written(syncing))


def test_another_mandate_of_the_same_source_begins_its_own_chain(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation("o1"))], [batch(observation("o2"))], [batch(observation("o3"))])
    syncing.run(syncing.connect())
    again = syncing.connect()
    for _ in range(2):
        syncing.run(again, again=True)
    made = written(syncing)
    before = made[0].claim.writer
    assert [one.claim.writer == before for one in made] == [True, True, False, False]
    assert_chained(made[:2])
    assert_chained(made[2:])
    assert syncing.world.truth().refused == {}


@pytest.mark.attack(24)
def test_a_ledgers_old_box_in_its_row_costs_a_verification_and_nothing_else(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.clinic.says([batch(patient(), observation("o1"))])
    syncing.run(connection)
    with syncing.store.read() as session:
        old = session.exec(select(tables.Ledger.box)).one()
    syncing.clinic.says([batch(observation("o2"))])
    syncing.run(connection, again=True)
    syncing.world.sql("UPDATE ledger SET box = ?", old)
    syncing.clinic.says([batch(observation("o3"))])
    syncing.run(connection, again=True)
    first, second, third, fourth = written(syncing)
    assert (second.previous, third.previous, fourth.previous) == (first.link, second.link, second.link)
    assert syncing.world.truth().refused == {}
    assert len(syncing.record()["results"]) == 3


@pytest.mark.attack(28)
@weakens("aggregator.vault.vouching", "previous", lambda last, _writer: last[:32])
def test_who_kept_an_ended_mandate_has_its_successor_vouch_for_nothing(syncing: SyncWorld) -> None:
    """The ledger's keys are the source's, and stay: with the database, its row is theirs to write."""
    syncing.clinic.says([batch(patient(), observation("o1"))])
    first = syncing.connect()
    syncing.run(first)
    stolen = mandate(syncing, first)
    second = syncing.connect()
    world, successor = syncing.world, mandate(syncing, second).writer.id
    forged = world.envelope("results", world.put("Observation/x"), writer=Writer(successor, stolen.writer.seed))
    position = world.append_raw(forged)
    with syncing.store.write() as session:
        books = ledger.load(session, world.vault, stolen.source, stolen.ledger_keys)
        books.last = vouching.last(forged)
        ledger.save(session, books)
    syncing.clinic.says([batch(observation("o2"))])
    syncing.run(second, again=True)
    assert world.truth().refused == {position: "the signature of a stored envelope is wrong"}
    assert len(syncing.record()["results"]) == 2
