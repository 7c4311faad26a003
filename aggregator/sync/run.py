"""One run of one connection: pull, check, map, seal, and commit ledger, batch and cursor together.

A run holds its connection by a lease; every commit checks lease and mandate, so a run that lost either writes nothing.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlmodel import Session, col, or_, update

from aggregator.consent.mandate import Mandate, open_mandate
from aggregator.consent.section_table import SectionTable
from aggregator.errors import AggregatorError, Stale
from aggregator.sync.normalise import Normaliser
from aggregator.sync.registry import Registry, Source
from aggregator.sync.tables import Connection
from aggregator.sync.writing import VaultWriter, standing_items
from aggregator.vault import ledger, tables
from aggregator.vault.encoding import canonical
from aggregator.vault.key_ring import WorkerKeys
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import header
from aggregator.vault.store import Store
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
_FIRST_BACKOFF = 60.0  # seconds; doubled with each failure in a row

Progress = Callable[[int, int | None], None]
"""Called with (items so far, items in all where the source tells)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. found = stored + unchanged + quarantined; times in seconds."""

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
    lease_seconds: float = 1800.0
    longest_backoff: float = 12 * 3600.0

    def claim(self, session: Session, model: Any, key: str, identity: Any) -> str | None:
        """Take the row's lease if nobody holds it: the token, or None. A conditional UPDATE, so two cannot both win."""
        token, now = secrets.token_hex(16), self.clock().timestamp()
        free = or_(col(model.lease) == "", col(model.lease_until) < now)
        changed = session.exec(
            update(model)
            .where(col(getattr(model, key)) == identity, free)
            .values(lease=token, lease_until=now + self.lease_seconds)
        )
        return token if changed.rowcount == 1 else None

    def open(self, session: Session, row: Connection) -> Mandate:
        """The connection's mandate, checked against the key that the key service pinned. Raises Stale, Tampered."""
        stored = session.get(tables.Mandate, (row.vault, row.mandate))
        if stored is None or stored.ended:
            raise Stale("the mandate of this connection has ended")
        return open_mandate(stored, self.keys, self.key_service.verification_key(row.vault))

    def writer(self, session: Session, row: Connection, source: Source, patients: set[str]) -> VaultWriter:
        """What writes this connection's items into its vault."""
        mandate = self.open(session, row)
        connector = f"{source.spec.name} {source.spec.version}"
        normaliser = Normaliser(mandate, self.table, connector, patients)
        books = ledger.load(session, mandate.vault, mandate.source, mandate.ledger_keys)
        return VaultWriter(mandate, normaliser, books, self.keys, row.id)

    def settings(self, row: Connection) -> dict[str, Any]:
        """{authority, account}: what the connection was made with."""
        made: dict[str, Any] = orjson.loads(self.keys.open(settings_header(row.vault, row.id), row.settings))
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


def settings_header(vault: str, connection: str) -> dict[str, Any]:
    return header("settings", vault, name=connection)


def state_header(owner: str, identity: str) -> dict[str, Any]:
    return header("state", owner, name=identity)


async def run(worker: Worker, connection: str, progress: Progress | None = None, *, again: bool = False) -> Outcome:
    """Pull one account's connection. `again`: from the beginning, so that what stands aside is tried once more.

    Raises Stale when another run holds the connection.
    """
    started = time.perf_counter()
    with worker.store.write() as session:
        lease = worker.claim(session, Connection, "id", connection)
        if lease is None:
            raise Stale("this connection is being synced already")
        row = session.get_one(Connection, connection)
    source = worker.registry.source(worker.settings(row)["authority"])
    writer: VaultWriter | None = None
    failure: Exception | None = None
    try:
        state = worker.state(row.vault, row.id, row.state)
        with worker.store.read() as session:
            writer = worker.writer(session, row, source, set(state["patients"]))
        await _pull(worker, row, lease, source, writer, None if again else state["cursor"], progress)
    except Exception as error:  # noqa: BLE001 - a connector may be a third party's: whatever it raises ends this run alone
        failure = error
    status, error_text = judge(row.id, failure)
    _finish(worker, row, lease, source, status, error_text, failure)
    return outcome(worker, row, source, writer, status, error_text, time.perf_counter() - started)


async def _pull(
    worker: Worker,
    row: Connection,
    lease: str,
    source: Source,
    writer: VaultWriter,
    cursor: str | None,
    progress: Progress | None,
) -> None:
    account = worker.settings(row)["account"]
    done = 0
    async with worker.client() as client:
        connector = source.connector(account, client, worker.clock)
        async for batch in connector.pull(Cursor(cursor) if cursor is not None else None):
            with commit(worker, row, lease, Connection) as session:
                writer.write(session, batch.items, batch.listed, worker.clock())
                _move_cursor(worker, session, row, batch, writer)
            done += len(batch.items)
            if progress:
                progress(done, batch.total)


def _move_cursor(worker: Worker, session: Session, row: Connection, batch: Batch, writer: VaultWriter) -> None:
    if batch.cursor is None:
        return
    box = worker.seal_state(row.vault, row.id, batch.cursor, writer.normaliser.patients)
    session.exec(update(Connection).where(col(Connection.id) == row.id).values(state=box))


@contextmanager
def commit(worker: Worker, row: Any, lease: str, model: Any) -> Iterator[Session]:
    """One transaction that counts only while the lease is held and the mandate lives (fencing). Raises Stale."""
    with worker.store.write() as session:
        until = worker.clock().timestamp() + worker.lease_seconds
        held = (col(model.id) == row.id, col(model.lease) == lease)
        if session.exec(update(model).where(*held).values(lease_until=until)).rowcount != 1:
            raise Stale("another run took this connection over")
        if isinstance(row, Connection):
            mandate = session.get(tables.Mandate, (row.vault, row.mandate))
            if mandate is None or mandate.ended:
                raise Stale("the mandate of this connection has ended")
        yield session


def judge(what: str, failure: Exception | None) -> tuple[str, str]:
    """Status and sentence for the people who see a connection. Only messages that are known to hold no health data."""
    if failure is None:
        return FRESH, ""
    told = str(failure) if isinstance(failure, ConnectorError | AggregatorError) else "unexpected failure"
    logger.warning("sync: %s: %s: %s", what, type(failure).__name__, told)
    if isinstance(failure, Transient | Stale):
        return LATE, told
    return (SIGN_IN if isinstance(failure, NeedsPatient) else BROKEN), told


def next_try(source: Source, now: datetime, failures: int, failure: Exception | None, longest: float) -> float:
    """When to pull again (Unix seconds): the interval, the source's own wish, or a doubling wait."""
    at = now.timestamp()
    if failure is None:
        return at + source.interval
    wait = min(_FIRST_BACKOFF * 2.0 ** min(failures, 16), longest)
    if isinstance(failure, Transient) and failure.retry_after is not None:
        return at + max(failure.retry_after.total_seconds(), 1.0)
    return at + wait


def _finish(
    worker: Worker, row: Connection, lease: str, source: Source, status: str, error: str, failure: Exception | None
) -> None:
    now = worker.clock()
    failures = row.failures + 1 if failure else 0
    values: dict[str, Any] = {"status": status, "error": error, "failures": failures, "lease": ""}
    values["next_at"] = next_try(source, now, row.failures, failure, worker.longest_backoff)
    if failure is None:
        values["last_success"] = now.timestamp()
    with worker.store.write() as session:
        held = (col(Connection.id) == row.id, col(Connection.lease) == lease)
        session.exec(update(Connection).where(*held).values(**values))


def outcome(
    worker: Worker,
    row: Connection,
    source: Source,
    writer: VaultWriter | None,
    status: str,
    error: str,
    seconds: float,
) -> Outcome:
    found, quarantined = standing(worker.store, row, writer) if writer else (0, 0)
    stored, deleted = (writer.tally.stored, writer.tally.deleted) if writer else (0, 0)
    return Outcome(
        connection=row.id,
        vault=row.vault,
        authority=source.authority,
        connector=source.spec.name,
        found=found,
        stored=stored,
        unchanged=found - stored - quarantined,
        quarantined=quarantined,
        deleted=deleted,
        status=status,
        error=error,
        seconds=seconds,
    )


def standing(store: Store, row: Connection, writer: VaultWriter) -> tuple[int, int]:
    """(found, quarantined): distinct items that this connection has ever shown, and those that stand aside now."""
    with store.read() as session:
        aside = standing_items(session, row.vault, row.source)
    return len(writer.ledger.lines.keys() | aside), len(aside)
