"""The append-only log of a vault: positions without gaps, each chained to the one before (FORMAT.md section 5)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import insert
from sqlmodel import Session, col, delete, select

from aggregator.errors import Tampered
from aggregator.vault.tables import LogEntry, Vault


@dataclass(frozen=True, slots=True)
class Entry:
    """An envelope at its position."""

    position: int
    envelope: bytes


def first_link(vault: str) -> bytes:
    """chain_0."""
    return hashlib.sha256(b"PRA1/log/" + vault.encode()).digest()


def link(chain: bytes, envelope: bytes) -> bytes:
    """chain_n from chain_{n-1} and the n-th envelope."""
    return hashlib.sha256(chain + hashlib.sha256(envelope).digest()).digest()


def append(session: Session, vault: Vault, envelopes: Sequence[bytes]) -> int:
    """Append inside the caller's transaction; positions and chain are assigned here. Returns the new log position."""
    rows = []
    for envelope in envelopes:
        vault.log_position += 1
        vault.chain = link(vault.chain, envelope)
        rows.append({"vault": vault.id, "position": vault.log_position, "chain": vault.chain, "envelope": envelope})
    if rows:
        session.execute(insert(LogEntry), rows)
        session.add(vault)
    return vault.log_position


def after(session: Session, vault: Vault, position: int, chain: bytes) -> list[Entry]:
    """The log behind `position`, whose chain value is `chain`. Raises Tampered for a gap, an edit or a missing end."""
    rows = session.exec(
        select(LogEntry.position, LogEntry.chain, LogEntry.envelope)
        .where(LogEntry.vault == vault.id, LogEntry.position > position)
        .order_by(col(LogEntry.position))
    ).all()
    for expected, (found, stated, envelope) in enumerate(rows, position + 1):
        chain = link(chain, envelope)
        if found != expected or stated != chain:
            raise Tampered("a vault's log has a gap or an edit")
    if chain != vault.chain:
        raise Tampered("a vault's log does not end where its head says")
    return [Entry(found, envelope) for found, _, envelope in rows]


def until(session: Session, vault: str, position: int) -> list[Entry]:
    """What is left of the log up to `position`, in order. Not verified: the chain begins behind it."""
    rows = session.exec(
        select(LogEntry).where(LogEntry.vault == vault, LogEntry.position <= position).order_by(col(LogEntry.position))
    )
    return [Entry(row.position, row.envelope) for row in rows]


def forget(session: Session, vault: str, upto: int, kept: Sequence[Entry] = ()) -> None:
    """Drop what a durable snapshot holds; these entries stay, outside the chain."""
    rows = [{"vault": vault, "position": one.position, "chain": b"", "envelope": one.envelope} for one in kept]
    session.exec(delete(LogEntry).where(col(LogEntry.vault) == vault, col(LogEntry.position) <= upto))
    if rows:
        session.execute(insert(LogEntry), rows)
