"""Two runs at once, a lease or a mandate lost in mid-run, a crash at every commit, a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlmodel import select

from aggregator.errors import Stale
from aggregator.identity.accounts import SignedUp
from aggregator.sync.feeds import run_feed
from aggregator.sync.run import Outcome, run
from aggregator.sync.schedule import sync
from aggregator.sync.tables import Connection, Quarantine
from aggregator.vault import ledger
from connectors.contract import Batch, Cursor
from tests.sync.sync_world import (
    KilledHere,
    Script,
    SyncWorld,
    batch,
    broken_commits,
    condition,
    deleted,
    observation,
    patient,
    skipped,
)
from tests.vault.world import copy
from tests.weaken import weakens

DAY = 24.0


@pytest.mark.attack(51)
@weakens("aggregator.sync.run.Worker", "claim", lambda *_, **__: "lease")
def test_of_two_runs_at_once_one_is_stale_and_nothing_is_doubled(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), observation("o1"), cursor=None), batch(observation("o2"))])
    connection = syncing.connect()

    async def both() -> tuple[Outcome | BaseException, Outcome | BaseException]:
        runs = (run(syncing.worker, connection), run(syncing.worker, connection))
        return await asyncio.gather(*runs, return_exceptions=True)

    first, second = asyncio.run(both())
    assert isinstance(first, Outcome)
    assert (first.stored, first.status) == (3, "fresh")
    assert isinstance(second, Stale)
    assert len(syncing.clinic.cursors) == 1


@pytest.mark.attack(51)
@weakens("aggregator.sync.run.Worker", "claim", lambda *_, **__: "lease")
def test_two_schedulers_of_ten_workers_pull_one_connection_once(syncing: SyncWorld) -> None:
    syncing.clinic.says([batch(patient(), *(observation(f"o{n}") for n in range(20)))])
    syncing.connect()
    with ThreadPoolExecutor(2) as schedulers:
        jobs = [schedulers.submit(lambda: asyncio.run(sync(syncing.worker, at_once=10, due_only=True))) for _ in "ab"]
        outcomes = [one for job in jobs for one in job.result() if one.authority == "klinik"]
    assert sum(outcome.stored for outcome in outcomes) == 21
    assert len(syncing.clinic.cursors) == 1
    assert set(map(len, syncing.record()["results"].values())) == {1}


@pytest.mark.attack(51)
@pytest.mark.parametrize("loser", ["a lost lease", "an ended mandate", "a new mandate"])
def test_a_run_that_lost_its_right_writes_nothing_more(syncing: SyncWorld, loser: str) -> None:
    connection = syncing.connect()
    lose: dict[str, Callable[[], object]] = {
        "a lost lease": lambda: syncing.take_lease(connection),
        "an ended mandate": lambda: syncing.end(connection),
        "a new mandate": lambda: syncing.connect(),
    }
    syncing.clinic.says([batch(patient(), cursor="1"), lose[loser], batch(observation(), cursor="2")])
    outcome = syncing.run(connection)
    assert (outcome.status, outcome.found, outcome.stored) == ("late", 1, 1)
    assert syncing.versions("Observation/o1") == {}
    row = syncing.row(connection)
    assert syncing.worker.state(row.vault, row.id, row.state)["cursor"] == "1"


def test_a_run_that_lost_its_lease_says_nothing_about_the_connection(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.clinic.says([lambda: syncing.take_lease(connection), batch(patient())])
    before = syncing.row(connection)
    syncing.run(connection)
    after = syncing.row(connection)
    assert (after.lease, after.failures, after.next_at) == ("another", before.failures, before.next_at)


@pytest.mark.parametrize("what", ["an account", "a feed"])
def test_who_stops_a_run_by_hand_can_start_the_next_at_once(syncing: SyncWorld, what: str) -> None:
    async def stopped() -> None:
        task = asyncio.current_task()
        assert task is not None
        syncing.clinic.says([task.cancel, batch(patient())])
        syncing.feed.says([task.cancel, batch()])
        if what == "a feed":
            await run_feed(syncing.worker, syncing.registry.source("labor"))
        await run(syncing.worker, connection)

    connection = syncing.connect()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())
    syncing.clinic.says([batch(patient())])
    syncing.feed.says([batch()])
    assert [outcome.status for outcome in asyncio.run(sync(syncing.worker))] == ["fresh", "fresh"]


def test_an_ended_connection_is_not_pulled(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.end(connection)
    asyncio.run(sync(syncing.worker))
    assert syncing.clinic.cursors == []


def test_a_failed_commit_counts_nothing_and_moves_no_cursor(
    syncing: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = syncing.connect()
    syncing.clinic.says([batch(patient(), observation(), skipped("file/a"), cursor="1")])

    def full(*_: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(ledger, "save", full)
    outcome = syncing.run(connection)
    assert outcome.status == "broken"
    assert outcome.error.startswith("a disk is full: ")
    assert (outcome.found, outcome.stored, outcome.quarantined) == (0, 0, 0)
    assert (syncing.versions("Patient/p1"), syncing.aside()) == ({}, {})
    assert syncing.row(connection).state is None


# --- kill -9 at every durable step

BATCHES = [
    batch(patient(), observation("o1"), condition("E11.90"), cursor="1"),
    batch(observation("o2", value="bad"), observation("o3"), skipped("file/a"), cursor="2"),
    batch(condition("F32.1"), observation("o2", value=2), cursor="3"),
    batch(deleted("Observation/o1"), observation("o3", value=9), cursor="4"),
    batch(patient(), listed=["Patient/p1", "Condition/c1", "Observation/o2", "file/a"], cursor="5"),
]


class Resuming(Script):
    """Goes on behind the batch whose cursor it is given."""

    async def pull(self, cursor: Cursor | None) -> AsyncIterator[Batch]:
        for one in BATCHES[int(cursor or 0) :]:
            yield one


def left_behind(syncing: SyncWorld, connection: str) -> dict[str, object]:
    """Everything of a sync that lasts, comparable between copies of one world."""
    row = syncing.row(connection)
    with syncing.store.read() as session:
        aside = sorted((one.item, one.reason) for one in session.exec(select(Quarantine)))
        writer = syncing.worker.writer(session, row, syncing.registry.source("klinik"), set())
    state = syncing.worker.state(row.vault, row.id, row.state)
    return {"record": syncing.record(), "aside": aside, "ledger": writer.ledger.lines, "state": state}


@pytest.mark.attack(48, 49)
def test_killed_at_any_commit_and_run_again_it_ends_as_if_undisturbed(
    template: tuple[Path, SignedUp], tmp_path: Path
) -> None:
    with _copied(template, tmp_path / "whole") as whole:
        connection = whole.connect()
        with broken_commits(0) as begun:
            assert whole.run(connection).status == "fresh"
        expected = left_behind(whole, connection)
    assert len(begun) == 1 + len(BATCHES) + 1  # the claim, the batches, the end
    for number in range(1, len(begun) + 1):
        with _copied(template, tmp_path / str(number)) as killed:
            assert left_behind(killed, _killed_at(killed, number)) == expected, f"killed at commit {number}"


@contextmanager
def _copied(template: tuple[Path, SignedUp], folder: Path) -> Iterator[SyncWorld]:
    source, signed_up = template
    world = copy(source, signed_up.owner, folder)
    yield SyncWorld(world=world, clinic=Resuming())
    world.close()


def _killed_at(syncing: SyncWorld, number: int) -> str:
    """The process is killed once; the next one begins when the dead one's lease has run out."""
    connection = syncing.connect()
    with broken_commits(number), pytest.raises(KilledHere):
        syncing.run(connection)
    with syncing.store.write() as session:
        session.get_one(Connection, connection).lease_until = 0.0
    assert syncing.run(connection).status == "fresh"
    return connection


# --- clocks


@pytest.mark.attack(50)
@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_clock_that_jumps_in_mid_run_loses_nothing(syncing: SyncWorld, jump: float) -> None:
    syncing.clinic.says(
        [batch(patient(), cursor="1"), lambda: syncing.clock.advance(hours=jump), batch(observation(), cursor="2")]
    )
    outcome = syncing.run(syncing.connect())
    assert (outcome.stored, outcome.status) == (2, "fresh")


@pytest.mark.attack(50)
@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_run_that_died_before_the_clock_jumped_does_not_hold_the_connection(syncing: SyncWorld, jump: float) -> None:
    connection = syncing.connect()
    with broken_commits(2), pytest.raises(KilledHere):
        syncing.run(connection)
    syncing.clock.advance(hours=jump)
    assert syncing.run(connection).status == "fresh"


@pytest.mark.attack(50)
@weakens("aggregator.sync.run", "_SKEW_SECONDS", 1e9)
def test_what_was_pulled_in_a_future_that_never_came_is_due(syncing: SyncWorld) -> None:
    connection = syncing.connect()
    syncing.clock.advance(hours=DAY)
    syncing.run(connection)
    syncing.clock.advance(hours=-DAY)
    asyncio.run(sync(syncing.worker, due_only=True))
    assert len(syncing.clinic.cursors) == 2


@pytest.mark.attack(50)
@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_versions_go_up_whatever_the_clock_says(syncing: SyncWorld, jump: float) -> None:
    syncing.clinic.says([batch(patient(), observation(value=1))], [batch(observation(value=2))])
    connection = syncing.connect()
    syncing.run(connection)
    syncing.clock.advance(hours=jump)
    syncing.run(connection)
    assert syncing.versions("Observation/o1") == {"results": ["1", "2"]}
    assert syncing.resource("Observation/o1")["valueQuantity"]["value"] == 2
