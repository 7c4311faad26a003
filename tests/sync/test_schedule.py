"""What a tick pulls, when it comes again, and that nothing is left running."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from sqlmodel import select, update

from aggregator.errors import OperatorError
from aggregator.sync.feeds import feed_id
from aggregator.sync.run import Worker
from aggregator.sync.schedule import Schedule, sync
from aggregator.sync.tables import Connection, Feed
from aggregator.vault import ledger
from connectors.contract import Batch, Cursor, Kind, Transient
from tests.sync.sync_world import Script, SyncWorld, batch, patient
from tests.vault.world import World
from tests.weaken import weakens

INTERVAL = 6 * 3600.0


def schedule(syncing: SyncWorld, jitter_percent: int = 0, worker: Worker | None = None) -> Schedule:
    return Schedule(worker or syncing.worker, tick_seconds=3600, jitter_percent=jitter_percent, at_once=4)


def wait(syncing: SyncWorld, connection: str) -> float:
    return syncing.row(connection).next_at - syncing.clock().timestamp()


def test_a_tick_pulls_what_is_due_and_nothing_else(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient())])
    syncing.connect()
    ticks = schedule(syncing)
    pulled = []
    for hours in (0, 5.9, 0.1, 1):
        syncing.clock.advance(hours=hours)
        ticks.tick()
        pulled.append((len(syncing.clinic.cursors), len(syncing.feed.cursors)))
    assert pulled == [(1, 1), (1, 1), (2, 2), (2, 2)]


def test_by_hand_everything_is_pulled_due_or_not(syncing: SyncWorld) -> None:
    syncing.connect()
    for _ in range(2):
        asyncio.run(sync(syncing.worker))
    assert (len(syncing.clinic.cursors), len(syncing.feed.cursors)) == (2, 2)


def test_jitter_adds_at_most_its_share_of_the_wait(syncing: SyncWorld) -> None:
    connections = [syncing.connect(account=str(number)) for number in range(12)]
    schedule(syncing, jitter_percent=10).tick()
    waits = [wait(syncing, connection) for connection in connections]
    assert all(INTERVAL <= one <= INTERVAL * 1.1 for one in waits)
    assert len(set(waits)) > 1


def test_jitter_after_a_failure_is_a_share_of_the_short_wait(syncing: SyncWorld) -> None:
    syncing.clinic.says([Transient("Away.")])
    connection = syncing.connect()
    schedule(syncing, jitter_percent=50).tick()
    assert 60 <= wait(syncing, connection) <= 90


def test_a_failing_connection_stops_no_other(syncing: SyncWorld) -> None:
    syncing.clinic.says([ValueError("unexpected")])
    syncing.other.says([batch(patient())])
    syncing.connect("klinik")
    syncing.connect("praxis")
    told = {outcome.authority: outcome.status for outcome in schedule(syncing).tick()}
    assert told == {"labor": "fresh", "klinik": "broken", "praxis": "fresh"}


def test_a_connection_whose_rows_were_changed_stops_no_other(syncing: SyncWorld) -> None:
    syncing.other.says([batch(patient())])
    broken, _ = syncing.connect("klinik"), syncing.connect("praxis")
    with syncing.store.write() as session:
        session.get_one(Connection, broken).settings = b"PRS1 forged"
    told = {outcome.connection: outcome.status for outcome in schedule(syncing).tick()}
    assert told[broken] == "broken"
    assert sorted(told.values()) == ["broken", "fresh", "fresh"]


def test_what_is_held_elsewhere_is_left_out(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    with syncing.store.write() as session:
        row = session.get_one(Connection, connection)
        row.lease, row.lease_until = "another", syncing.clock().timestamp() + 60
    assert [outcome.authority for outcome in schedule(syncing).tick()] == ["labor"]


def test_no_more_than_the_given_number_run_at_once(syncing: SyncWorld) -> None:
    running: list[int] = []
    most: list[int] = []

    def step() -> None:
        running.append(1)
        most.append(len(running))

    syncing.clinic.says([step, batch(), running.pop])
    for number in range(6):
        syncing.connect(account=str(number))
    asyncio.run(sync(syncing.worker, at_once=2))
    assert len(most) == 6
    assert max(most) <= 2


def test_a_tick_that_fails_is_logged_and_the_next_one_comes(
    syncing: SyncWorld, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> httpx.AsyncClient:
        raise OperatorError("http: no certificates are installed")

    ticks = schedule(syncing, worker=replace(syncing.worker, client=broken))
    syncing.connect()
    with caplog.at_level(logging.WARNING):
        told = {outcome.status for outcome in ticks.tick()}
    assert told == {"broken"}
    assert "no certificates are installed" in caplog.text


def test_a_disk_that_fails_one_run_still_lets_the_others_have_their_turn(
    syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    syncing.other.says([batch(patient())])
    first, second = sorted((syncing.connect("klinik"), syncing.connect("praxis")), key=lambda one: syncing.row(one).id)
    claim = Worker.claim

    def failing(worker: Worker, session: object, model: object, identity: object, *, due_only: bool) -> object:
        if identity == first:
            raise OSError(28, "no space left on device")
        return claim(worker, session, model, identity, due_only=due_only)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(Worker, "claim", failing)
    with pytest.raises(OSError, match="no space left"):
        asyncio.run(sync(syncing.worker))
    assert syncing.row(second).status == "fresh"
    assert schedule(syncing).tick() == []
    assert "sync: a tick failed: DiskFull: a disk is full: make room" in caplog.text


def test_a_disk_that_fails_in_the_middle_of_a_run_is_the_operators(
    syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing.clinic.says([batch(patient())])
    connection = syncing.connect()
    monkeypatch.setattr(ledger, "save", _disk_full)
    schedule(syncing).tick()
    row = syncing.row(connection)
    assert (row.status, row.error.partition(":")[0]) == ("broken", "a disk is full")


def _disk_full(*_: object) -> None:
    raise OSError(28, "no space left on device")


def test_a_schedule_that_was_stopped_leaves_no_thread(syncing: SyncWorld) -> None:
    before = set(threading.enumerate())
    ticked = threading.Event()
    syncing.clinic.says([ticked.set, batch(patient())])
    connection = syncing.connect()
    ticks = Schedule(syncing.worker, tick_seconds=1, jitter_percent=10, at_once=1)
    ticks.start()
    assert ticked.wait(20)
    ticks.stop()
    assert set(threading.enumerate()) == before
    assert syncing.row(connection).lease == ""


class _Hanging(Script):
    """A source that never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        self.cursors.append(cursor)
        yield batch(patient())
        self.asked.set()
        await asyncio.Event().wait()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", Kind)
def test_stopping_waits_for_no_source_and_gives_the_lease_back(world: World, kind: Kind) -> None:
    source = _Hanging()
    syncing = SyncWorld(world=world, clinic=source) if kind is Kind.ACCOUNT else SyncWorld(world=world, feed=source)
    connection = syncing.connect() if kind is Kind.ACCOUNT else syncing.verify()
    ticks = Schedule(syncing.worker, tick_seconds=1, jitter_percent=0, at_once=2)
    ticks.start()
    assert source.asked.wait(20)
    ticks.stop()
    with syncing.store.read() as session:
        leases = [row.lease for row in (*session.exec(select(Connection)), *session.exec(select(Feed)))]
    assert set(leases) == {""}
    assert syncing.row(connection).status == "late"
    assert ticks.tick() == []  # nothing begins any more


def test_by_hand_what_another_run_holds_is_told(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.run_feed()
    until = syncing.clock().timestamp() + 60
    with syncing.store.write() as session:
        session.exec(update(Connection).values(lease="another", lease_until=until))
        session.exec(update(Feed).values(lease="another", lease_until=until))
    feed, account = asyncio.run(sync(syncing.worker))
    assert (feed.authority, feed.vault, feed.status, feed.error) == (
        "labor",
        None,
        "late",
        "this feed is being synced already",
    )
    assert (account.authority, account.connection, account.status, account.error) == (
        "klinik",
        connection,
        "late",
        "this connection is being synced already",
    )
    assert (syncing.clinic.cursors, len(syncing.feed.cursors)) == ([], 1)


@pytest.mark.attack(51)
@weakens("aggregator.sync.run", "_SKEW_SECONDS", 0.0)
@pytest.mark.parametrize("ahead", [timedelta(seconds=2), timedelta(minutes=4)])
def test_another_servers_clock_that_is_ahead_takes_no_lease_and_makes_nothing_due(
    syncing: SyncWorld, ahead: timedelta
) -> None:
    connection = syncing.connect()
    syncing.world.clock.advance(seconds=ahead.total_seconds())
    syncing.run(connection)
    syncing.world.clock.advance(seconds=-ahead.total_seconds())
    claims = {due_only: claimed(syncing, connection, due_only=due_only) for due_only in (True, False)}
    assert claims[True] is None  # it was pulled just now
    lease = claims[False]
    assert lease is not None
    syncing.world.clock.advance(seconds=-ahead.total_seconds())
    assert claimed(syncing, connection, due_only=False) is None


def test_a_clock_that_was_set_back_by_a_day_neither_ends_syncing_nor_leaves_a_lease_for_ever(
    syncing: SyncWorld,
) -> None:
    connection = syncing.connect()
    syncing.run(connection)
    assert claimed(syncing, connection, due_only=False)
    syncing.world.clock.advance(days=-1)
    assert claimed(syncing, connection, due_only=True)


def claimed(syncing: SyncWorld, connection: str, *, due_only: bool) -> str | None:
    with syncing.store.write(connection) as session:
        return syncing.worker.claim(session, Connection, connection, due_only=due_only)


def test_the_feeds_due_time_is_its_own(syncing: SyncWorld) -> None:
    schedule(syncing).tick()
    with syncing.store.read() as session:
        row = session.get_one(Feed, feed_id(syncing.world.worker, "labor"))
    assert (row.status, row.next_at - syncing.clock().timestamp()) == ("fresh", INTERVAL)
