"""One run of one connection: pull, check, map, seal, and commit ledger, batch and cursor together.

A run holds its connection by a lease; every commit checks lease and mandate, so a run that lost either writes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from sqlalchemy import ColumnElement, true
from sqlmodel import Session, col, or_, update

from aggregator.consent.mandate import Mandate, open_mandate
from aggregator.consent.section_table import SectionTable
from aggregator.errors import AggregatorError, BlobsUnreachable, Stale
from aggregator.sync.normalise import Normaliser
from aggregator.sync.registry import Registry, Source
from aggregator.sync.tables import Connection
from aggregator.sync.writing import EpochEnded, Tally, VaultWriter, standing_items
from aggregator.vault import disk, epochs, ledger, tables
from aggregator.vault.blob_store import BlobStore
from aggregator.vault.encoding import canonical
from aggregator.vault.epochs import Writable
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import header
from aggregator.vault.store import Store
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import (
    Batch,
    Client,
    Clock,
    ConnectorError,
    Cursor,
    NeedsPatient,
    Transient,
)

logger = logging.getLogger(__name__)

FRESH, LATE, BROKEN, SIGN_IN = "fresh", "late", "broken", "sign-in"
UNEXPECTED = "unexpected failure"
_MOST_RESEALS = 5
_FIRST_BACKOFF = 60.0  # seconds; doubled with each failure in a row
_SKEW_SECONDS = (
    300.0  # servers' clocks are never quite the same: only what is further ahead was before ours was set back
)

T = TypeVar("T")

Progress = Callable[[int, int | None], None]
"""Called with (items so far, items in all where the source tells)."""


class LeaseLost(Stale):
    """Another run holds what this one held."""


class MandateEnded(Stale):
    """The patient ended the connection, or made it anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. found = stored + unchanged + quarantined; seconds: how long it took.

    (An item that changed twice within one run, or that was stored and then set aside, counts in both.)
    """

    connection: str
    vault: str | None
    authority: str
    connector: str
    found: int
    stored: int
    unchanged: int
    quarantined: int
    deleted: int
    status: str
    error: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """All that a syncing worker has: no key that opens a vault is among it."""

    store: Store
    keys: WorkerKeys
    key_service: KeyService
    registry: Registry
    table: SectionTable
    clock: Clock
    client: Callable[[], Client]
    blobs: BlobStore
    lease_seconds: float = 1800.0
    longest_backoff: float = 12 * 3600.0
    hold_seconds: float = 30 * 86400.0

    def due(self, model: Any) -> ColumnElement[bool]:
        """Its time has come; or it was last pulled in the future, before the clock was set back."""
        now = self.clock().timestamp()
        return or_(col(model.next_at) <= now, col(model.last_success) > now + _SKEW_SECONDS)

    def claim(self, session: Session, model: Any, identity: Any, *, due_only: bool) -> str | None:
        """Take the row's lease if nobody holds it: the token, or None. A conditional UPDATE, so two cannot both win.

        due_only: and if nobody has pulled it since it was found to be due.
        """
        token, now = secrets.token_hex(16), self.clock().timestamp()
        until = col(model.lease_until)
        # One that ends later than any taken now could was taken before the clock was set back.
        free = or_(col(model.lease) == "", until < now, until > now + self.lease_seconds + _SKEW_SECONDS)
        changed = session.exec(
            update(model)
            .where(col(model.id) == identity, free, self.due(model) if due_only else true())
            .values(lease=token, lease_until=now + self.lease_seconds)
        )
        return token if changed.rowcount == 1 else None

    def give_back(self, model: Any, identity: Any, lease: str) -> None:
        """End a lease that is still ours."""
        with self.store.write(str(identity)) as session:
            held = (col(model.id) == identity, col(model.lease) == lease)
            session.exec(update(model).where(*held).values(lease=""))

    def open(self, session: Session, row: Connection) -> Mandate:
        """The connection's mandate, checked against the key that the key service pinned. Raises Stale, Tampered."""
        stored = session.get(tables.Mandate, (row.vault, row.mandate))
        if stored is None or stored.ended:
            raise MandateEnded("the mandate of this connection has ended")
        try:
            return open_mandate(stored, self.keys, self.key_service.verification_key(row.vault))
        except Stale:  # its certificate says so, whatever the row beside it says
            raise MandateEnded("the mandate of this connection has ended") from None

    def writer(self, session: Session, row: Connection, source: Source, patients: set[str]) -> VaultWriter:
        """What writes this connection's items into its vault."""
        mandate = self.open(session, row)
        connector = f"{source.spec.name} {source.spec.version}"
        normaliser = Normaliser(mandate, self.table, connector, patients)
        books = ledger.load(session, mandate.vault, mandate.source, mandate.ledger_keys)
        sections = self.section_keys(session, row.vault)
        return VaultWriter(mandate, sections, normaliser, books, self.keys, row.id, self.blobs)

    def section_keys(self, session: Session, vault: str) -> Writable:
        """What sealing to the vault takes now, checked as its mandates are. Raises Tampered, RolledBack."""
        return epochs.writable(session, vault, self.key_service.verification_key(vault))

    def write(self, writer: VaultWriter, attempt: Callable[[], T]) -> T:
        """Prepare and commit one batch, all or nothing; once more for each rotation that comes between the two."""
        for _ in range(_MOST_RESEALS):
            try:
                with writer.all_or_nothing():
                    return attempt()
            except EpochEnded:
                with self.store.read() as session:
                    writer.keys = self.section_keys(session, writer.mandate.vault)
        raise Stale("the vault's keys keep changing")

    def settings(self, row: Connection) -> dict[str, Any]:
        """{authority, account}: what the connection was made with."""
        made: dict[str, Any] = orjson.loads(
            self.keys.open(settings_header(row.vault, row.id, row.mandate), row.settings)
        )
        return made

    def state(self, owner: str, identity: str, box: bytes | None) -> dict[str, Any]:
        """{cursor, patients}: where the last run ended."""
        if box is None:
            return {"cursor": None, "patients": []}
        made: dict[str, Any] = orjson.loads(self.keys.open(state_header(owner, identity), box))
        return made

    def seal_state(self, owner: str, identity: str, cursor: Cursor | None, patients: set[str]) -> bytes:
        return self.keys.seal(
            state_header(owner, identity), canonical({"cursor": cursor, "patients": sorted(patients)})
        )


def settings_header(vault: str, connection: str, mandate: str) -> dict[str, Any]:
    """Settings are bound to the mandate under which they were given: those of an older one are none any more."""
    return header("settings", vault, name=f"{connection}/{mandate}")


def state_header(owner: str, identity: str) -> dict[str, Any]:
    return header("state", owner, name=identity)


async def run(
    worker: Worker,
    connection: str,
    progress: Progress | None = None,
    *,
    again: bool = False,
    due_only: bool = False,
) -> Outcome:
    """Pull one account's connection. `again`: from the beginning, so that what stands aside is tried once more.

    Raises Stale when another run holds the connection or, with `due_only`, has just pulled it.
    """
    started = time.perf_counter()
    held = _claim(worker, connection, due_only=due_only)
    failure: Exception | None = None
    try:
        await held.pull(progress, again=again)
    except Exception as error:  # noqa: BLE001 - a connector may be a third party's: whatever it raises ends this run alone
        failure = error
    except (asyncio.CancelledError, KeyboardInterrupt):  # stopped: the next run need not wait for the lease to end
        worker.give_back(Connection, connection, held.lease)
        raise
    status, error_text = judge(connection, failure)
    held.finish(status, error_text, failure)
    return outcome(worker, held.row, held.source, held.writer, status, error_text, time.perf_counter() - started)


def _claim(worker: Worker, connection: str, *, due_only: bool) -> _Run:
    with worker.store.write(connection) as session:
        lease = worker.claim(session, Connection, connection, due_only=due_only)
        if lease is None:
            raise Stale("this connection is being synced already")
        return _Run(worker, session.get_one(Connection, connection), lease)


@dataclass(slots=True)
class _Run:
    """What one run of a connection holds. Source and writer are there once they could be opened.

    cursor: the stored one.
    """

    worker: Worker
    row: Connection
    lease: str
    source: Source | None = None
    writer: VaultWriter | None = None
    cursor: Cursor | None = None

    async def pull(self, progress: Progress | None, *, again: bool) -> None:
        """Open what the connection needs, then store batch by batch."""
        worker, row = self.worker, self.row
        settings, state = worker.settings(row), worker.state(row.vault, row.id, row.state)
        self.source = worker.registry.source(settings["authority"])
        with worker.store.read() as session:
            self.writer = worker.writer(session, row, self.source, set(state["patients"]))
        self.cursor = state["cursor"]
        done = 0
        async with worker.client() as client:
            connector = self.source.connector(settings["account"], client, worker.clock)
            async for batch in connector.pull(None if again else self.cursor):
                self._store(self.writer, batch)
                done += len(batch.items)
                if progress:
                    progress(done, batch.total)

    def _store(self, writer: VaultWriter, batch: Batch) -> None:
        """Items and the cursor behind them, together or not at all."""
        worker, row = self.worker, self.row
        cursor = self.cursor if batch.cursor is None else batch.cursor

        def attempt() -> None:
            prepared = writer.prepare(batch.items, batch.listed, worker.clock())
            box = worker.seal_state(row.vault, row.id, cursor, writer.normaliser.patients)
            with commit(worker, row, self.lease, Connection, row.vault) as session:
                require_mandate(session, row)
                writer.commit(session, prepared)
                session.exec(update(Connection).where(col(Connection.id) == row.id).values(state=box))

        worker.write(writer, attempt)
        self.cursor = cursor

    def finish(self, status: str, error: str, failure: Exception | None) -> None:
        """Say how it ended and when to come again, and give the lease back, unless another run has taken it."""
        worker, row = self.worker, self.row
        values = ending(worker, self.source, row.failures, status, error, failure)
        with worker.store.write(row.vault) as session:
            held = (col(Connection.id) == row.id, col(Connection.lease) == self.lease)
            session.exec(update(Connection).where(*held).values(lease="", **values))


@contextmanager
def commit(worker: Worker, row: Any, lease: str, model: Any, *names: str) -> Iterator[Session]:
    """One transaction that counts only while the lease is held (fencing). Raises LeaseLost.

    names: the vault that it changes, for `Store.write`.
    """
    with worker.store.write(*names) as session:
        until = worker.clock().timestamp() + worker.lease_seconds
        held = (col(model.id) == row.id, col(model.lease) == lease)
        if session.exec(update(model).where(*held).values(lease_until=until)).rowcount != 1:
            raise LeaseLost("another run took this connection over")
        yield session


def require_mandate(session: Session, row: Connection) -> None:
    """Inside a commit: nothing is written for a mandate that ended meanwhile (fencing). Raises MandateEnded."""
    mandate = session.get(tables.Mandate, (row.vault, row.mandate))
    if mandate is None or mandate.ended:
        raise MandateEnded("the mandate of this connection has ended")


def judge(what: str, failure: Exception | None) -> tuple[str, str]:
    """Status and sentence for the people who see a connection. Only messages that are known to hold no health data."""
    if failure is None:
        return FRESH, ""
    failure = disk.failure(failure) or failure
    told = str(failure) if isinstance(failure, ConnectorError | AggregatorError) else UNEXPECTED
    logger.warning("sync: %s: %s: %s", what, type(failure).__name__, told)
    if isinstance(failure, Transient | Stale | BlobsUnreachable):
        return LATE, told
    return (SIGN_IN if isinstance(failure, NeedsPatient) else BROKEN), told


def ending(
    worker: Worker, source: Source | None, failures: int, status: str, error: str, failure: Exception | None
) -> dict[str, Any]:
    """The columns that say how a run ended. `failures`: in a row before this run."""
    now = worker.clock().timestamp()
    if failure is None and source is not None:
        at = now + source.interval
        return {"status": status, "error": error, "failures": 0, "next_at": at, "last_success": now}
    at = now + _wait(failures, failure, worker.longest_backoff)
    return {"status": status, "error": error, "failures": failures + 1, "next_at": at}


def _wait(failures: int, failure: Exception | None, longest: float) -> float:
    """Seconds until the next try: the source's own wish, else doubling; a source cannot send us away for ever."""
    if isinstance(failure, Transient) and failure.retry_after is not None:
        return min(max(failure.retry_after.total_seconds(), 1.0), longest)
    return min(_FIRST_BACKOFF * 2.0 ** min(failures, 16), longest)


def not_run(worker: Worker, connection: str, why: str) -> Outcome:
    """The Outcome of a connection that another run holds: what stands aside is all that is known of it here."""
    with worker.store.read() as session:
        row = session.get_one(Connection, connection)
    source = worker.registry.find(worker.settings(row)["authority"])
    return outcome(worker, row, source, None, LATE, why, seconds=0.0)


def outcome(
    worker: Worker,
    row: Connection,
    source: Source | None,
    writer: VaultWriter | None,
    status: str,
    error: str,
    seconds: float,
) -> Outcome:
    """The Outcome of one connection. A run that could not open its mandate knows of no items."""
    with worker.store.read() as session:
        aside = standing_items(session, row.vault, row.source)
    tally = writer.tally if writer else Tally()
    shown = writer.ledger.lines.keys() | aside if writer else aside
    return Outcome(
        connection=row.id,
        vault=row.vault,
        authority=source.authority if source else "",
        connector=source.spec.name if source else "",
        found=len(shown),
        stored=tally.stored,
        unchanged=len(shown - tally.written - aside),
        quarantined=len(aside),
        deleted=tally.deleted,
        status=status,
        error=error,
        seconds=seconds,
    )
