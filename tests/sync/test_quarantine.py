"""What stands aside: what the operator sees of it, and who can open the rest."""

from __future__ import annotations

from dataclasses import asdict

import orjson
import pytest
from sqlmodel import select

from aggregator.errors import Tampered
from aggregator.sync import quarantine
from aggregator.sync.tables import Quarantine
from aggregator.vault.seal import header
from tests.sync.sync_world import SyncWorld, batch, observation, patient, skipped
from tests.weaken import weakens
from tests.weakened import any_header

SECRET = "F32.1 im Freitext"


@pytest.fixture
def standing(syncing: SyncWorld) -> SyncWorld:
    wrong = observation(value="seven") | {"note": [{"text": SECRET}]}
    syncing.clinic.says([batch(patient(), wrong, skipped("file/a", raw=SECRET.encode()))])
    syncing.run(syncing.connect())
    return syncing


def rows(syncing: SyncWorld) -> list[Quarantine]:
    with syncing.store.read() as session:
        return list(session.exec(select(Quarantine).order_by(Quarantine.item)))


def test_the_operator_sees_reason_connection_and_time_and_nothing_else(standing: SyncWorld) -> None:
    (row, _) = quarantine.standing(standing.store)
    assert set(asdict(row)) == {"connection", "item", "reason", "at"}
    assert row.at == standing.clock()
    told = {(one.connection, one.reason) for one in quarantine.standing(standing.store)}
    (connection,) = {one.connection for one in rows(standing)}
    assert told == {(connection, "invalid"), (connection, "checksum")}


@pytest.mark.attack(20)
def test_no_payload_lies_open(standing: SyncWorld) -> None:
    stored = standing.raw()
    assert not any(canary in stored for canary in (SECRET.encode(), b"file/a", b"Observation/o1"))


@pytest.mark.attack(29)
def test_the_worker_opens_where_it_came_from_and_not_what_it_is(standing: SyncWorld) -> None:
    for row in rows(standing):
        head = header("quarantine", row.owner, name=row.item)
        note = orjson.loads(standing.world.worker.open(head, row.note))
        assert note["source"] == "klinik"
        assert row.payload is not None
        with pytest.raises(Tampered):
            standing.world.worker.open(head, row.payload)


def test_the_patient_opens_all_of_it(standing: SyncWorld) -> None:
    assert sorted(one["raw"] for one in standing.opened() if one["raw"] == SECRET) == [SECRET]
    assert [SECRET in one["raw"] for one in standing.opened()] == [True, True]


@pytest.mark.attack(21)
@weakens("aggregator.vault.seal", "_split", any_header)
def test_a_payload_put_under_another_item_does_not_open(standing: SyncWorld) -> None:
    first, second = rows(standing)
    with standing.store.write() as session:
        session.merge(Quarantine(**{**first.model_dump(), "payload": second.payload}))
    with pytest.raises(Tampered):
        standing.opened()
