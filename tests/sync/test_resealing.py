"""A new worker key: everything a worker holds lies under it, nothing else changes, and the old one opens nothing."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import orjson
import pytest
from sqlalchemy import LargeBinary
from sqlmodel import SQLModel, select

from aggregator.audit import chain
from aggregator.errors import OperatorError, Tampered
from aggregator.sync import resealing, routes
from aggregator.sync.tables import Connection
from aggregator.vault import epochs, grant_version, key_files, snapshot
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.ring_folder import FILES
from aggregator.vault.seal import read_header
from aggregator.vault.store import Store
from aggregator.vault.tables import Mandate
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Reason
from tests.sync.sync_world import KilledHere, SyncWorld, batch, broken_commits, observation, patient, skipped
from tests.sync.test_feeds import report
from tests.vault.world import ERIKA
from tests.weaken import weakens

ALL = {"mandate": 2, "settings": 2, "state": 3, "verification": 1, "quarantine": 2, "activation": 1}
"""Boxes that are sealed to the worker, in the installation below."""


@pytest.fixture
def filled(syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch) -> SyncWorld:
    """A row in every place that is sealed to the worker; each batch is one row."""
    monkeypatch.setattr(resealing, "_AT_ONCE", 1)
    syncing.clinic.says([batch(patient(), observation(), skipped("file/a"), cursor="7")])
    syncing.run(syncing.connect())
    syncing.verify()
    broken = skipped("file/broken.ldt", Reason.TRUNCATED, b"0138000")
    syncing.feed.says([batch(*report(ERIKA, "erika"), broken, cursor="8")])
    syncing.run_feed()
    syncing.connections.issue_code("labor", ERIKA)
    assert opened(syncing.store, syncing.world.worker) == ALL
    return syncing


def opened(store: Store, keys: WorkerKeys) -> Counter[str]:
    """Kinds of the sealed boxes of the whole database that these keys open, wherever they lie."""
    told: Counter[str] = Counter()
    for table in SQLModel.metadata.sorted_tables:
        columns = [column for column in table.columns if isinstance(column.type, LargeBinary)]
        with store.read() as session:
            rows = session.connection().execute(select(*columns)).all() if columns else []
        for box in itertools.chain.from_iterable(rows):
            if box and box[:4] == b"PRS1":
                head = orjson.loads(read_header(box))
                try:
                    keys.open({name: value for name, value in head.items() if name != "suite"}, box)
                except Tampered:
                    continue
                told[head["kind"]] += 1
    return told


def rotate(syncing: SyncWorld) -> resealing.Resealed:
    with syncing.world.ring.changing_worker_key() as keys:
        return resealing.reseal(syncing.store, keys)


def restart(syncing: SyncWorld) -> WorkerKeys:
    """The next process: it opens the ring anew, and whatever the worker does, it does with these."""
    syncing.world.ring.close()
    ring = syncing.world.ring = KeyRing(syncing.world.folder / "keys")
    syncing.store.follow(
        ring,
        snapshot.extends(ring.verification_key),
        chain.extends,
        epochs.extends(ring.verification_key),
        grant_version.extends(ring.handle),
    )
    keys = syncing.world.worker = ring.worker_keys()
    syncing.worker = replace(syncing.worker, keys=keys, key_service=ring)
    syncing.connections = type(syncing.connections)(syncing.worker)
    return keys


def works(syncing: SyncWorld) -> bool:
    """Every connection is synced on from where it stood, and what is new finds its person."""
    with syncing.store.read() as session:
        (own, fed) = session.exec(select(Connection).order_by(Connection.is_feed)).all()
    syncing.clinic.says([batch(patient(), observation(value=8), cursor="9")])
    syncing.feed.says([batch(*report(ERIKA, "erika"), cursor="9")])
    outcomes = (syncing.run(own.id), *syncing.run_feed())
    with syncing.store.read() as session:
        known = routes.tags_of(session, syncing.world.worker, fed.id)
    return bool(known) and {one.status for one in outcomes} == {"fresh"} and syncing.clinic.cursors[-1] in ("7", "9")


@pytest.mark.attack(29)
@weakens("aggregator.vault.worker_keys.WorkerKeys", "reseal", lambda _keys, _head, box: box)
def test_a_stolen_worker_key_opens_nothing_once_it_was_replaced(filled: SyncWorld) -> None:
    """Who has the old key has today's database; certificates, routes and records are as they were."""
    stolen, before = filled.world.worker, filled.record()
    notes = [one["locator"] for one in filled.opened()]
    made = rotate(filled)
    assert (made.rows, made.lost) == (sum(ALL.values()), 0)
    assert opened(filled.store, stolen) == {}
    assert opened(filled.store, restart(filled)) == ALL
    assert (filled.record(), [one["locator"] for one in filled.opened()]) == (before, notes)
    assert works(filled)
    assert opened(filled.store, stolen) == {}
    assert {path.name for path in (filled.world.folder / "keys").iterdir()} >= set(FILES)
    assert not list((filled.world.folder / "keys").glob("*.new"))


@pytest.mark.attack(48)
@pytest.mark.parametrize("number", range(1, 20, 3))
def test_killed_between_two_batches_every_row_opens_and_the_next_time_goes_on(filled: SyncWorld, number: int) -> None:
    with broken_commits(number), pytest.raises(KilledHere):
        rotate(filled)
    both = restart(filled)
    assert both.changing
    assert opened(filled.store, both) == ALL
    assert works(filled)
    rotate(filled)
    assert not restart(filled).changing
    assert opened(filled.store, filled.world.worker) == ALL


@pytest.mark.attack(48)
@pytest.mark.parametrize(
    "place",
    [
        "aggregator.vault.key_files.write_key",
        "aggregator.vault.destroyed.DestroyedList.append",
        "aggregator.vault.ring_rows.RingRows.apply",
        "aggregator.vault.worker_keys.settle",
        "aggregator.vault.key_files.sync_folder",
    ],
)
def test_killed_at_each_step_of_the_files(filled: SyncWorld, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(place, _killed)
        with pytest.raises(KilledHere):
            rotate(filled)
    assert opened(filled.store, restart(filled)) == ALL
    assert works(filled)
    rotate(filled)
    assert opened(filled.store, restart(filled)) == ALL
    assert not filled.world.worker.changing


def _killed(*_: object) -> None:
    raise KilledHere


def test_while_somebody_uses_the_ring_its_worker_key_stays(filled: SyncWorld) -> None:
    """A server would seal to the old key until its end, and nobody would open that."""
    other = KeyRing(filled.world.folder / "keys")
    with pytest.raises(OperatorError, match="is in use; end what uses it"):
        rotate(filled)
    assert not filled.world.ring.worker_keys().changing
    with pytest.raises(OperatorError, match="is in use"):  # nor did the first one's end let go of its own share
        other.rotate_master()
    other.close()
    assert rotate(filled).rows == sum(ALL.values())


@pytest.mark.attack(29)
@weakens("aggregator.vault.ring_rows.RingRows", "retired", lambda *_: False)
def test_an_old_worker_key_that_is_put_back_seals_nothing(filled: SyncWorld) -> None:
    keys = filled.world.folder / "keys"
    old = key_files.read_key(keys / "worker.key")
    rotate(filled)
    key_files.write_key(keys / "worker.key", old)
    with pytest.raises(OperatorError, match=r"was replaced since.*rotate --worker"):
        filled.world.ring.worker_keys()
    made = rotate(filled)  # the newer one is gone: what lay under it is lost, and said to be
    assert (made.rows, made.lost) == (0, sum(ALL.values()))
    assert not restart(filled).changing


def test_a_deposits_mandate_is_not_the_workers(filled: SyncWorld) -> None:
    deposit = Mandate(
        vault=filled.world.vault, id="d" * 32, certificate=b"", signature=b"", box=b"two locks", grantee=b"b"
    )
    with filled.store.write() as session:
        session.add(deposit)
    made = rotate(filled)
    assert (made.rows, made.lost) == (sum(ALL.values()), 0)
    with filled.store.read() as session:
        assert session.get_one(Mandate, (filled.world.vault, "d" * 32)).box == b"two locks"


def test_a_row_that_was_moved_is_not_made_good_by_it(filled: SyncWorld) -> None:
    with filled.store.write() as session:
        own, fed = session.exec(select(Connection).order_by(Connection.is_feed)).all()
        own.settings, fed.settings = fed.settings, own.settings
    assert rotate(filled).lost == 2
    restart(filled)
    for row in (own, fed):
        with pytest.raises(Tampered):
            filled.worker.settings(row)
