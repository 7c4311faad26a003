"""Feeds: one source that carries many patients. Items are routed by keyed tags, only to people who were verified.

What nobody here is verified for stays at the source and is offered again when somebody is. A payload without a known
subject is quarantined at the feed. Each vault commits alone; the feed's cursor goes last.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select, update

from aggregator.consent.mandate import fold_name
from aggregator.errors import Stale
from aggregator.sync.registry import Source
from aggregator.sync.run import Outcome, Progress, Worker, commit, judge, next_try, outcome
from aggregator.sync.tables import Connection, Feed, Quarantine, Route
from aggregator.sync.writing import VaultWriter, standing_items
from aggregator.vault.encoding import b64, canonical
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
        yield keys.feed_tag(authority, "kvnr", number.strip().upper())
    if not numbers and subject.family and subject.birth_date:
        name = (fold_name(subject.family), fold_name(subject.given), subject.birth_date[:10])
        yield keys.feed_tag(authority, "name", *name)


@dataclass(slots=True)
class _FeedRun:
    """What one run of a feed holds: a writer per connection, and what nobody claimed."""

    worker: Worker
    source: Source
    feed: Feed
    lease: str
    writers: dict[str, VaultWriter] = field(default_factory=dict)
    rows: dict[str, Connection] = field(default_factory=dict)
    unclaimed: set[str] = field(default_factory=set)

    def batch(self, batch: Batch) -> None:
        """Every vault its own commit, then the feed's quarantine and cursor."""
        by_connection: dict[str, list[Item]] = defaultdict(list)
        lost: list[Skipped] = []
        for item in batch.items:
            self._route(item, by_connection, lost)
        for connection, items in by_connection.items():
            self._write(connection, items)
        with commit(self.worker, self.feed, self.lease, Feed) as session:
            for item in lost:
                session.merge(self._quarantine(item))
            if batch.cursor is not None:
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
        wanted = list(tags(self.worker.keys, self.source.authority, subject))
        with self.worker.store.read() as session:
            found = session.exec(
                select(Route.connection).where(col(Route.feed) == self.feed.id, col(Route.tag).in_(wanted))
            )
            return sorted(set(found))

    def _write(self, connection: str, items: list[Item]) -> None:
        writer = self.open_writer(connection)
        if writer is None:
            return
        with commit(self.worker, self.feed, self.lease, Feed) as session:
            writer.write(session, items, None, self.worker.clock())
            patients = writer.normaliser.patients
            state = self.worker.seal_state(writer.mandate.vault, connection, None, patients)
            session.exec(update(Connection).where(col(Connection.id) == connection).values(state=state))

    def open_writer(self, connection: str) -> VaultWriter | None:
        """The writer into one vault, opened once a run; None where its mandate has ended."""
        if connection not in self.writers:
            with self.worker.store.read() as session:
                row = session.get_one(Connection, connection)
                state = self.worker.state(row.vault, row.id, row.state)
                try:
                    self.writers[connection] = self.worker.writer(session, row, self.source, set(state["patients"]))
                except Stale:
                    return None
                self.rows[connection] = row
        return self.writers[connection]

    def _quarantine(self, item: Skipped) -> Quarantine:
        owner = self.feed.id.hex()
        name = self.worker.keys.feed_tag("item", item.origin.source_id).hex()
        head = header("quarantine", "", name=name)
        told = {"detail": item.detail, "locator": item.origin.locator, "raw": b64(item.raw)}
        return Quarantine(
            owner=owner,
            source=self.feed.id,
            item=name,
            connection=owner,
            reason=item.reason,
            at=self.worker.clock().timestamp(),
            note=self.worker.keys.seal(head, canonical(_note(self.source, item.origin))),
            payload=self.worker.keys.seal(head, orjson.dumps(told)) if item.raw else None,
        )


def _note(source: Source, origin: Origin) -> dict[str, str]:
    return {"source": source.authority, "locator": origin.locator}


async def run_feed(
    worker: Worker, source: Source, progress: Progress | None = None, *, again: bool = False
) -> list[Outcome]:
    """Pull a feed: one outcome for each connection it serves, and one for the feed itself. Raises Stale."""
    started = time.perf_counter()
    held = _claim(worker, source)
    failure: Exception | None = None
    try:
        await _pull(held, progress, again=again)
    except Exception as error:  # noqa: BLE001 - a connector may be a third party's: whatever it raises ends this run alone
        failure = error
    status, error_text = judge(held.feed.id.hex(), failure)
    _finish(held, status, error_text, failure)
    return _outcomes(held, status, error_text, time.perf_counter() - started)


def _claim(worker: Worker, source: Source) -> _FeedRun:
    identity = feed_id(worker.keys, source.authority)
    with worker.store.write() as session:
        if session.get(Feed, identity) is None:
            session.add(Feed(id=identity))
            session.flush()
        lease = worker.claim(session, Feed, "id", identity)
        if lease is None:
            raise Stale("this feed is being synced already")
        return _FeedRun(worker, source, session.get_one(Feed, identity), lease)


async def _pull(held: _FeedRun, progress: Progress | None, *, again: bool) -> None:
    state = held.worker.state("", held.feed.id.hex(), held.feed.state)
    cursor = None if again or state["cursor"] is None else Cursor(state["cursor"])
    done = 0
    if again:  # what is still wrong comes back; what was mended does not
        with commit(held.worker, held.feed, held.lease, Feed) as session:
            session.exec(delete(Quarantine).where(col(Quarantine.owner) == held.feed.id.hex()))
    async with held.worker.client() as client:
        async for batch in held.source.connector({}, client, held.worker.clock).pull(cursor):
            held.batch(batch)
            done += len(batch.items)
            if progress:
                progress(done, batch.total)


def _finish(held: _FeedRun, status: str, error: str, failure: Exception | None) -> None:
    worker, now = held.worker, held.worker.clock()
    at = next_try(held.source, now, held.feed.failures, failure, worker.longest_backoff)
    told: dict[str, Any] = {"status": status, "error": error}
    if failure is None:
        told["last_success"] = now.timestamp()
    with worker.store.write() as session:
        session.exec(
            update(Feed)
            .where(col(Feed.id) == held.feed.id, col(Feed.lease) == held.lease)
            .values(
                failures=held.feed.failures + 1 if failure else 0,
                lease="",
                next_at=at,
                waiting=len(held.unclaimed),
                **told,
            )
        )
        served = col(Connection.id).in_(_connections(session, held.feed.id))
        session.exec(update(Connection).where(served).values(**told))


def _connections(session: Session, feed: bytes) -> list[str]:
    return sorted(set(session.exec(select(Route.connection).where(Route.feed == feed))))


def _outcomes(held: _FeedRun, status: str, error: str, seconds: float) -> list[Outcome]:
    with held.worker.store.read() as session:
        served = _connections(session, held.feed.id)
        aside = len(standing_items(session, held.feed.id.hex(), held.feed.id))
    made = []
    for connection in served:
        writer = held.open_writer(connection)
        if writer is not None:
            made.append(outcome(held.worker, held.rows[connection], held.source, writer, status, error, 0.0))
    own = Outcome(
        connection=held.feed.id.hex(),
        vault=None,
        authority=held.source.authority,
        connector=held.source.spec.name,
        found=aside,
        stored=0,
        unchanged=0,
        quarantined=aside,
        deleted=0,
        status=status,
        error=error,
        seconds=seconds,
    )
    return [*made, own]
