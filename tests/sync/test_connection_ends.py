"""A connection that ended, or was made anew: the root signs to which log position its mandate holds."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest
from sqlmodel import select

from aggregator.consent.mandate import Mandate, open_mandate
from aggregator.errors import Stale, Tampered
from aggregator.vault import tables
from aggregator.vault.keys import Root
from tests.sync.sync_world import SyncWorld, batch, observation, patient
from tests.weaken import weakens
from tests.weakened import without_its_end

ENDINGS: dict[str, Callable[[SyncWorld, str], object]] = {
    "ended": lambda syncing, connection: syncing.end(connection),
    "made anew": lambda syncing, _: syncing.connect(),
}


def rows(syncing: SyncWorld) -> list[tables.Mandate]:
    with syncing.store.read() as session:
        return list(session.exec(select(tables.Mandate).order_by(tables.Mandate.ended.desc())))  # type: ignore[attr-defined] - a column


def opened(syncing: SyncWorld, row: tables.Mandate) -> Mandate:
    return open_mandate(row, syncing.world.worker, syncing.world.owner.root.verification_key)


@pytest.mark.attack(28, 29)
@pytest.mark.parametrize("how", ENDINGS)
@weakens("aggregator.vault.keys.Certificate", "covers", lambda *_: True, about=(28,))
def test_what_its_writer_signs_afterwards_is_refused(syncing: SyncWorld, how: str) -> None:
    """With the worker's key, the old mandate, and the whole database: the flag in the row is not what is asked."""
    syncing.clinic.says([batch(patient(), observation())])
    connection = syncing.connect()
    syncing.run(connection)
    kept = opened(syncing, rows(syncing)[0])
    ENDINGS[how](syncing, connection)
    syncing.world.sql("UPDATE mandate SET ended = FALSE")
    position = syncing.world.append("results", syncing.world.put("Observation/o2"), writer=kept.writer)
    told = syncing.world.truth()
    assert told.refused == {position: "its author had no mandate for that section"}
    assert syncing.local("Observation/o1") in told.state.sections["results"]  # what it wrote in its time stays


@pytest.mark.attack(29)
@pytest.mark.parametrize("how", ENDINGS)
@weakens("aggregator.consent.mandate", "_certificate", without_its_end)
def test_no_worker_takes_it_up_again(syncing: SyncWorld, how: str) -> None:
    connection = syncing.connect()
    ENDINGS[how](syncing, connection)
    ended = rows(syncing)[0]
    assert ended.ended
    with pytest.raises(Stale, match="this mandate has ended"):
        opened(syncing, ended)


def test_it_ends_where_the_log_ends_and_the_next_begins_behind(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation())], [batch(patient(), observation(value=9))])
    connection = syncing.connect()
    syncing.run(connection)
    syncing.connect()
    ended, stands = (orjson.loads(row.certificate) for row in rows(syncing))
    assert (ended["until"], stands["from"], "until" in stands) == (stands["from"] - 1, ended["until"] + 1, False)
    assert ended["source"] == stands["source"]
    syncing.run(connection)
    told = syncing.world.truth()
    assert told.refused == {}
    assert syncing.versions("Observation/o1") == {"results": ["1", "2"]}


@pytest.mark.attack(22, 28)
@weakens("aggregator.consent.mandate", "verify", lambda *_: None, about=(28,))
def test_a_forged_mandate_gets_no_signature_by_being_ended(syncing: SyncWorld) -> None:
    """Whoever has the database puts a certificate of their own in the row, and waits for the patient to disconnect."""
    connection = syncing.connect()
    forged = orjson.loads(rows(syncing)[0].certificate) | {"from": 0}
    syncing.world.sql("UPDATE mandate SET certificate = ?", orjson.dumps(forged))
    syncing.end(connection)
    (row,) = rows(syncing)
    assert (row.ended, orjson.loads(row.certificate)) == (True, forged)
    with pytest.raises(Tampered):
        opened(syncing, row)


@pytest.mark.attack(24)
def test_an_ending_that_the_database_withholds_is_not_found_yet(syncing: SyncWorld) -> None:
    """FORMAT.md section 11: it takes the worker's keys and the row from before. The next version's counters find it."""
    connection = syncing.connect()
    (before,) = rows(syncing)
    syncing.end(connection)
    syncing.world.sql("UPDATE mandate SET certificate = ?, signature = ?", before.certificate, before.signature)
    put = syncing.world.put("Observation/o2")
    syncing.world.append("results", put, writer=opened(syncing, before).writer)
    assert syncing.world.truth().refused == {}


def test_another_root_ends_nothing(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    (before,) = rows(syncing)
    syncing.connections.end(syncing.world.vault, connection, Root.generate())
    (row,) = rows(syncing)
    assert (row.certificate, row.signature) == (before.certificate, before.signature)
