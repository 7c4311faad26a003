"""Feeds: one source that carries many patients. Items are routed by keyed tags, only to people who were verified.

What nobody here is verified for stays at the source and is offered again when somebody is. A payload without a known
subject is quarantined at the feed. Each vault commits alone; the feed's cursor goes last.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlmodel import Session, col, delete, select, update

from aggregator.consent.mandate import comparable_name, comparable_number
from aggregator.errors import AggregatorError, Stale
from aggregator.sync.registry import Source
from aggregator.sync.run import (
    LATE,
    LeaseLost,
    MandateEnded,
    Outcome,
    Progress,
    Worker,
    commit,
    ending,
    judge,
    outcome,
    require_mandate,
)
from aggregator.sync.tables import Connection, Feed, Quarantine, Route
from aggregator.sync.writing import VaultWriter, standing_items
from aggregator.vault.encoding import canonical
from aggregator.vault.key_ring import WorkerKeys
from aggregator.vault.seal import header
from connectors.contract import Batch, Cursor, Item, Origin, Reason, Skipped, Subject
from fhir_profiles.codes import KVNR


def feed_id(keys: WorkerKeys, authority: str) -> bytes:
    """A feed's handle."""
    return keys.feed_tag("feed", authority)


def tags(keys: WorkerKeys, authority: str, subject: Subject) -> Iterator[bytes]:
    """The keyed tags by which an item finds its person: the insurance number, else name and birth date."""
    numbers = [identifier.value for identifier in subject.identifiers if identifier.system == KVNR]
    for number in numbers:
        yield keys.feed_tag(authority, "kvnr", comparable_number(number))
    name = comparable_name(subject)
    if not numbers and name:
        yield keys.feed_tag(authority, "name", *name)


@dataclass(slots=True)
class _FeedRun:
    """What one run of a feed holds: a writer per connection, and what nobody claimed.

    failed: the connections whose vault could not be written; the cursor waits until it can.
    """

    worker: Worker
    source: Source
    feed: Feed
    lease: str
    writers: dict[str, VaultWriter | None] = field(default_factory=dict)
    failed: dict[str, AggregatorError] = field(default_factory=dict)
    unclaimed: set[str] = field(default_factory=set)

    def batch(self, batch: Batch) -> None:
        """Every vault its own commit, then the feed's quarantine and cursor."""
        by_connection: dict[str, list[Item]] = defaultdict(list)
        lost: list[Skipped] = []
        for item in batch.items:
            self._route(item, by_connection, lost)
        for connection, items in by_connection.items():
            self._write(connection, items)
        with commit(self.worker, self.feed, self.lease, Feed, self.feed.id.hex()) as session:
            for item in lost:
                session.merge(self._quarantine(item))
            if batch.cursor is not None and not self.failed:
                state = self.worker.seal_state("", self.feed.id.hex(), batch.cursor, set())
                session.exec(update(Feed).where(col(Feed.id) == self.feed.id).values(state=state))

    def _route(self, item: Item, by_connection: dict[str, list[Item]], lost: list[Skipped]) -> None:
        if item.subject is None:
            if isinstance(item, Skipped):
                lost.append(item)
            else:
                lost.append(Skipped(Reason.NO_SUBJECT, item.origin, b"", "the feed does not say whose this is"))
            return
        claimed = self._claimed(item.subject)
        if not claimed:
            self.unclaimed.add(item.origin.source_id)
        for connection in claimed:
            by_connection[connection].append(item)

    def _claimed(self, subject: Subject) -> list[str]:
        """The connections of the one person whose item this is; nobody's where two people share name and birth date."""
        wanted = list(tags(self.worker.keys, self.source.authority, subject))
        with self.worker.store.read() as session:
            found = session.exec(
                select(Route.connection).where(col(Route.feed) == self.feed.id, col(Route.tag).in_(wanted))
            )
            connections = sorted(set(found))
        by_number = any(identifier.system == KVNR for identifier in subject.identifiers)
        return connections if by_number or len(connections) == 1 else []

    def _write(self, connection: str, items: list[Item]) -> None:
        """One vault's own commit; where it fails, the other vaults still get theirs. Raises LeaseLost."""
        with self.worker.store.read() as session:
            row = session.get_one(Connection, connection)
        writer = self.writer(row)
        if writer is None:
            return
        try:
            self._commit(writer, row, items)
        except LeaseLost:
            raise
        except MandateEnded:
            self.writers[connection] = None
        except AggregatorError as error:
            self.failed[connection] = error

    def _commit(self, writer: VaultWriter, row: Connection, items: list[Item]) -> None:
        with writer.all_or_nothing():
            prepared = writer.prepare(items, None, self.worker.clock())
            state = self.worker.seal_state(row.vault, row.id, None, writer.normaliser.patients)
            with commit(self.worker, self.feed, self.lease, Feed, row.vault) as session:
                require_mandate(session, row)
                writer.commit(session, prepared)
                session.exec(update(Connection).where(col(Connection.id) == row.id).values(state=state))

    def writer(self, row: Connection) -> VaultWriter | None:
        """The writer into one vault, opened once a run; None where its mandate ended or it cannot be opened."""
        if row.id not in self.writers:
            try:
                state = self.worker.state(row.vault, row.id, row.state)
                with self.worker.store.read() as session:
                    self.writers[row.id] = self.worker.writer(session, row, self.source, set(state["patients"]))
            except MandateEnded:
                self.writers[row.id] = None
            except AggregatorError as error:
                self.writers[row.id], self.failed[row.id] = None, error
        return self.writers[row.id]

    def _quarantine(self, item: Skipped) -> Quarantine:
        owner = self.feed.id.hex()
        name = self.worker.keys.feed_tag("item", item.origin.source_id).hex()
        head = header("quarantine", "", name=name)
        return Quarantine(
            owner=owner,
            source=self.feed.id,
            item=name,
            connection=owner,
            reason=item.reason,
            at=self.worker.clock().timestamp(),
            note=self.worker.keys.seal(head, canonical(_note(self.source, item.origin))),
            payload=None,  # it is somebody's, nobody here knows whose: it stays at the source, and a retry finds it
        )


def _note(source: Source, origin: Origin) -> dict[str, str]:
    return {"source": source.authority, "locator": origin.locator}


async def run_feed(
    worker: Worker,
    source: Source,
    progress: Progress | None = None,
    *,
    again: bool = False,
    due_only: bool = False,
) -> list[Outcome]:
    """Pull a feed: one outcome for each connection it serves, and one for the feed itself.

    Raises Stale when another run holds the feed or, with `due_only`, has just pulled it.
    """
    started = time.perf_counter()
    held = _claim(worker, source, due_only=due_only)
    failure: Exception | None = None
    try:
        await _pull(held, progress, again=again)
    except Exception as error:  # noqa: BLE001 - a connector may be a third party's: whatever it raises ends this run alone
        failure = error
    except (asyncio.CancelledError, KeyboardInterrupt):  # stopped: the next run need not wait for the lease to end
        worker.give_back(Feed, held.feed.id, held.lease)
        raise
    status, error_text = judge(held.feed.id.hex(), failure)
    _finish(held, status, error_text, failure)
    return [*_served(held, status, error_text), _own(worker, source, status, error_text, time.perf_counter() - started)]


def _claim(worker: Worker, source: Source, *, due_only: bool) -> _FeedRun:
    identity = feed_id(worker.keys, source.authority)
    with worker.store.write() as session:
        if session.get(Feed, identity) is None:
            session.add(Feed(id=identity))
            session.flush()
        lease = worker.claim(session, Feed, identity, due_only=due_only)
        if lease is None:
            raise Stale("this feed is being synced already")
        return _FeedRun(worker, source, session.get_one(Feed, identity), lease)


async def _pull(held: _FeedRun, progress: Progress | None, *, again: bool) -> None:
    state = held.worker.state("", held.feed.id.hex(), held.feed.state)
    cursor = None if again or state["cursor"] is None else Cursor(state["cursor"])
    done = 0
    if again:  # what is still wrong comes back; what was mended does not
        with commit(held.worker, held.feed, held.lease, Feed, held.feed.id.hex()) as session:
            session.exec(delete(Quarantine).where(col(Quarantine.owner) == held.feed.id.hex()))
    async with held.worker.client() as client:
        async for batch in held.source.connector({}, client, held.worker.clock).pull(cursor):
            held.batch(batch)
            done += len(batch.items)
            if progress:
                progress(done, batch.total)


def _finish(held: _FeedRun, status: str, error: str, failure: Exception | None) -> None:
    """Say how it ended and when to come again, and give the lease back, unless another run has taken it."""
    values = ending(held.worker, held.source, held.feed.failures, status, error, failure)
    mine = (col(Feed.id) == held.feed.id, col(Feed.lease) == held.lease)
    with held.worker.store.write() as session:
        kept = session.exec(update(Feed).where(*mine).values(lease="", waiting=len(held.unclaimed), **values))
        if kept.rowcount:
            served = col(Connection.id).in_(_connections(session, held.feed.id))
            session.exec(update(Connection).where(served).values(**values))


def _connections(session: Session, feed: bytes) -> list[str]:
    return sorted(set(session.exec(select(Route.connection).where(Route.feed == feed))))


def _served(held: _FeedRun, status: str, error: str) -> list[Outcome]:
    """An outcome for each connection: how the feed's run ended, or what kept this one vault from being written."""
    with held.worker.store.read() as session:
        rows = [session.get_one(Connection, served) for served in _connections(session, held.feed.id)]
    made = []
    for row in rows:
        writer = held.writer(row)
        ended = _failed(held, row, held.failed[row.id]) if row.id in held.failed else (status, error)
        made.append(outcome(held.worker, row, held.source, writer, *ended, seconds=0.0))
    return made


def _failed(held: _FeedRun, row: Connection, failure: AggregatorError) -> tuple[str, str]:
    status, error = judge(row.id, failure)
    with held.worker.store.write(row.vault) as session:
        session.exec(update(Connection).where(col(Connection.id) == row.id).values(status=status, error=error))
    return status, error


def feed_not_run(worker: Worker, source: Source, why: str) -> Outcome:
    """The outcome of a feed that another run holds."""
    return _own(worker, source, LATE, why, seconds=0.0)


def _own(worker: Worker, source: Source, status: str, error: str, seconds: float) -> Outcome:
    """The feed's own outcome: what stands aside because nobody knows whose it is."""
    identity = feed_id(worker.keys, source.authority)
    with worker.store.read() as session:
        aside = len(standing_items(session, identity.hex(), identity))
    return Outcome(
        connection=identity.hex(),
        vault=None,
        authority=source.authority,
        connector=source.spec.name,
        found=aside,
        stored=0,
        unchanged=0,
        quarantined=aside,
        deleted=0,
        status=status,
        error=error,
        seconds=seconds,
    )
