"""Feeds: one source that carries many patients. Items are routed by keyed tags, only to people who were verified.

What nobody here is verified for stays at the source, or in the sealed hold where the source keeps nothing, and is
offered again when somebody is. A payload without a known subject, or about two people, is quarantined at the feed. Each
vault commits alone; the feed's cursor goes last.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlmodel import Session, col, delete, select, update

from aggregator.errors import AggregatorError, Stale
from aggregator.sync import hold, routes
from aggregator.sync.quarantine import note_header
from aggregator.sync.registry import Source
from aggregator.sync.routes import feed_id
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
from aggregator.sync.tables import Connection, Feed, Hold, Quarantine, Route
from aggregator.sync.writing import SOMEBODY_ELSES, Prepared, VaultWriter, standing_items
from aggregator.vault.encoding import canonical
from connectors.contract import Batch, Cursor, Item, Reason, Skipped


@dataclass(slots=True)
class _Sorted:
    """One batch: items by connection; by the tag under which they wait for somebody; and what is for nobody."""

    claimed: dict[str, list[Item]] = field(default_factory=lambda: defaultdict(list))
    unclaimed: list[tuple[bytes, Item]] = field(default_factory=list)
    aside: list[Skipped] = field(default_factory=list)


@dataclass(slots=True)
class _FeedRun:
    """What one run of a feed holds: a writer per connection, and what nobody claimed.

    failed: the connections whose vault could not be written; the cursor waits until it can. passed: how many unclaimed
    items lie before the cursor that this run began at.
    """

    worker: Worker
    source: Source
    feed: Feed
    lease: str
    writers: dict[str, VaultWriter | None] = field(default_factory=dict)
    failed: dict[str, AggregatorError] = field(default_factory=dict)
    unclaimed: set[str] = field(default_factory=set)
    passed: int = 0

    def batch(self, batch: Batch) -> None:
        """Every vault its own commit, then the feed's quarantine, hold and cursor."""
        made = self._sorted(batch.items)
        for connection, items in made.claimed.items():
            made.aside += self._write(connection, items, made)
        keeps = self.source.spec.keeps
        held = [] if keeps else self._held(made.unclaimed)
        with commit(self.worker, self.feed, self.lease, Feed, self.feed.id.hex()) as session:
            self._settle(session, batch.items)
            for row in (*(feed_quarantine(self.worker, self.source, item) for item in made.aside), *held):
                session.merge(row)
            if batch.cursor is not None and not (self.failed and keeps):
                state = self.worker.seal_state("", self.feed.id.hex(), batch.cursor, set())
                session.exec(update(Feed).where(col(Feed.id) == self.feed.id).values(state=state))

    def _sorted(self, items: tuple[Item, ...]) -> _Sorted:
        made = _Sorted()
        for item in items:
            if item.subject is None:
                made.aside.append(_of_nobody(item))
                continue
            with self.worker.store.read() as session:
                claim = routes.claim(session, self.worker.keys, self.source, item.subject)
            if claim.refused:
                made.aside.append(Skipped(claim.refused, item.origin, b""))
            elif not claim.connections:
                self._wait(made, claim.tag, item)
            for connection in claim.connections:
                made.claimed[connection].append(item)
        return made

    def _wait(self, made: _Sorted, tag: bytes, item: Item) -> None:
        made.unclaimed.append((tag, item))
        if self.source.spec.keeps:
            self.unclaimed.add(item.origin.source_id)

    def _held(self, unclaimed: list[tuple[bytes, Item]]) -> list[Hold]:
        worker = self.worker
        public, now = worker.key_service.hold_public(), worker.clock().timestamp()
        return hold.put(worker.keys, public, self.feed.id, unclaimed, now, worker.hold_seconds)

    def _settle(self, session: Session, items: tuple[Item, ...]) -> None:
        """What comes again need not stand aside for how it came before."""
        names = {feed_item(self.worker, item) for item in items}
        mine = (col(Quarantine.owner) == self.feed.id.hex(), col(Quarantine.item).in_(names))
        session.exec(delete(Quarantine).where(*mine))

    def _write(self, connection: str, items: list[Item], made: _Sorted) -> list[Skipped]:
        """One vault's own commit; where it fails, the other vaults still get theirs. Raises LeaseLost.

        Returns what turned out to be about somebody else. What a source does not keep, and this vault could not take,
        waits in the hold.
        """
        with self.worker.store.read() as session:
            row = session.get(Connection, connection)
        writer = self.writer(row) if row else None  # of a connection that is gone, a route may be left
        try:
            if row and writer:
                return self._commit(writer, row, items)
        except LeaseLost:
            raise
        except MandateEnded:
            self.writers[connection] = None
        except AggregatorError as error:
            if isinstance(error, Stale) and not self.source.spec.keeps:
                raise  # soon over: what was not acknowledged comes again, and need not wait for its person
            self.failed[connection] = error
        if not self.source.spec.keeps:
            made.unclaimed += self._tagged(items)
        return []

    def _tagged(self, items: list[Item]) -> list[tuple[bytes, Item]]:
        keys, authority = self.worker.keys, self.source.authority
        found = [(routes.main_tag(keys, authority, item.subject), item) for item in items if item.subject]
        return [(tag, item) for tag, item in found if tag]

    def _commit(self, writer: VaultWriter, row: Connection, items: list[Item]) -> list[Skipped]:
        def attempt() -> list[Skipped]:
            prepared, others = without_others(writer, items, self.worker.clock())
            state = self.worker.seal_state(row.vault, row.id, None, writer.normaliser.patients)
            with commit(self.worker, self.feed, self.lease, Feed, row.vault) as session:
                require_mandate(session, row)
                writer.commit(session, prepared)
                session.exec(update(Connection).where(col(Connection.id) == row.id).values(state=state))
            return others

        return self.worker.write(writer, attempt)

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


def without_others(writer: VaultWriter, items: Sequence[Item], now: datetime) -> tuple[Prepared, list[Skipped]]:
    """A batch ready for one vault, and what names two people: its subject this one, its content another.

    That is the feed's to set aside: in a patient's quarantine it would tell that somebody else's item came.
    """
    prepared = writer.prepare(items, None, now)
    others = {row.item for row in prepared.aside if row.reason in SOMEBODY_ELSES}
    writer.tally.aside -= others
    kept = tuple(row for row in prepared.aside if row.item not in others)
    origins = [item.origin for item in items if writer.normaliser.local(item.origin.source_id) in others]
    return replace(prepared, aside=kept), [Skipped(Reason.OTHER_PERSON, origin, b"") for origin in origins]


def _of_nobody(item: Item) -> Skipped:
    if isinstance(item, Skipped):
        return item
    return Skipped(Reason.NO_SUBJECT, item.origin, b"", "the feed does not say whose this is")


def feed_item(worker: Worker, item: Item) -> str:
    """The name of an item in a feed's quarantine."""
    return worker.keys.feed_tag("item", item.origin.source_id).hex()


def feed_quarantine(worker: Worker, source: Source, item: Skipped) -> Quarantine:
    """A row without payload: it is somebody's, nobody here knows whose. What the source keeps, a retry finds."""
    feed, name = feed_id(worker.keys, source.authority), feed_item(worker, item)
    note = {"source": source.authority, "locator": item.origin.locator}
    return Quarantine(
        owner=feed.hex(),
        source=feed,
        item=name,
        connection=feed.hex(),
        reason=item.reason,
        at=worker.clock().timestamp(),
        note=worker.keys.seal(note_header("", name), canonical(note)),
        payload=None,
    )


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
    held.passed = held.feed.waiting if cursor else 0
    done = 0
    if again and held.source.spec.keeps:  # what is still wrong comes back; what was mended does not
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
        kept = session.exec(
            update(Feed).where(*mine).values(lease="", waiting=held.passed + len(held.unclaimed), **values)
        )
        if kept.rowcount:
            served = col(Connection.id).in_(_connections(session, held.feed.id))
            session.exec(update(Connection).where(served).values(**values))


def _connections(session: Session, feed: bytes) -> list[str]:
    return sorted(set(session.exec(select(Route.connection).where(Route.feed == feed))))


def _served(held: _FeedRun, status: str, error: str) -> list[Outcome]:
    """An outcome for each connection: how the feed's run ended, or what kept this one vault from being written."""
    with held.worker.store.read() as session:
        rows = [row for served in _connections(session, held.feed.id) if (row := session.get(Connection, served))]
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
