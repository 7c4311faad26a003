"""Ending a record for good: its keys are destroyed, and that nothing opens is tried, not assumed.

Order: an intent, the key service's keys, the tries, the attachments, then rows, certificate and receipt in one
transaction. A start finishes what a process left that died in between.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Table
from sqlmodel import Session, SQLModel, col, delete, select, update

from aggregator.audit import chain, receipts
from aggregator.audit.receipts import SYSTEM, Opening
from aggregator.errors import CallerError, Refused, Tampered
from aggregator.identity import sessions, unlockers
from aggregator.identity.tables import Account, Attempts, OwnerSession, Unlocker
from aggregator.portability.export import Place
from aggregator.sync.tables import Connection, Quarantine, Route
from aggregator.vault import counter, tables
from aggregator.vault.encoding import canonical, instant
from aggregator.vault.keys import verify
from aggregator.vault.seal import header
from aggregator.vault.tables import BlobRow, Erasure, Grant

OWNER_ORDER, OPERATOR_ORDER = "owner", "operator"
_SIGNED = b"PRA1/erasure"
_GRANT = "grant"

Secrets = Mapping[str, str]
"""Kind of unlocker -> the right password or code, where its owner has given it for this."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was done, and the key service's word for it. statement: canonical JSON, FORMAT-EXPORT.md section 6."""

    statement: bytes
    signature: bytes
    key: bytes = field(repr=False)

    def told(self) -> dict[str, Any]:
        """The statement, read."""
        made: dict[str, Any] = orjson.loads(self.statement)
        return made

    def as_json(self) -> dict[str, Any]:
        """{statement, text, signature, key}: the text is what was signed."""
        text = self.statement.decode()
        return {"statement": self.told(), "text": text, "signature": self.signature.hex(), "key": self.key.hex()}


def check(certificate: Certificate) -> None:
    """Raises Tampered where it is not signed by the key that it comes with."""
    verify(certificate.key, certificate.signature, _message(certificate.statement), "certificate")


def erase(place: Place, vault: str, by: str, retention_days: int, secrets: Secrets | None = None) -> Certificate:
    """For one that is erased already, the certificate that it has.

    Raises CallerError for a vault that is not here, Tampered where anything opens still: then its rows stay.
    """
    with place.store.write(vault) as session:
        if counter.head(session, vault) is None or vault == SYSTEM:
            return _earlier(place, session, vault)
        session.merge(Erasure(vault=vault, ordered_by=by, begun=int(place.clock().timestamp())))
        _stop(session, vault)
    return _finish(place, vault, retention_days, secrets or {})


def finish_erasures(place: Place, retention_days: int) -> int:
    """Finish every one that has begun and not ended; returns how many. Runs at start-up."""
    with place.store.read() as session:
        begun = session.exec(select(Erasure.vault).where(Erasure.certificate == b"")).all()
    for vault in begun:
        _finish(place, vault, retention_days, {})
    return len(begun)


def _earlier(place: Place, session: Session, vault: str) -> Certificate:
    """Who ordered it may not have seen it: the process or the disk ended first, and a start finished what was begun."""
    row = session.get(Erasure, vault)
    if row is None or not row.certificate:
        raise CallerError("there is no such record here")
    made = _certificate(place, row)
    check(made)
    if made.told()["vault"] != vault:
        raise Tampered("a certificate stands in another record's row")
    return made


def _certificate(place: Place, row: Erasure) -> Certificate:
    return Certificate(row.certificate, row.signature, place.key_service.audit_verification_key())


def _stop(session: Session, vault: str) -> None:
    """Nothing is written any more, and nobody is signed in to anything new."""
    session.exec(update(Connection).where(col(Connection.vault) == vault).values(ended=True))
    session.exec(update(tables.Mandate).where(col(tables.Mandate.vault) == vault).values(ended=True))


def _finish(place: Place, vault: str, retention_days: int, secrets: Secrets) -> Certificate:
    doors = _doors(place, vault, secrets)
    opened = Counter(door.kind for door in doors if door.opens())
    place.key_service.destroy_vault(vault)
    if any(door.opens() for door in doors):
        raise Tampered("the keys were destroyed, and something opens still; nothing was deleted")
    blobs = _delete_blobs(place, vault)
    with place.store.write() as session:
        row = session.get_one(Erasure, vault)
        grants = sum(1 for door in doors if door.kind == _GRANT)
        destroyed = {"shred_keys": 1, "grant_keys": grants, "attachments": blobs, "rows": _delete_rows(session, vault)}
        tried = {
            kind: {"tried": number, "opened_before": opened[kind], "opened_after": 0}
            for kind, number in Counter(door.kind for door in doors).items()
        }
        row.certificate = _statement(place, row, retention_days, destroyed, tried)
        row.signature = place.key_service.sign_heads(_digest(row.certificate))
        session.add(row)
        _receipt(place, session, vault, row.ordered_by)
    place.store.checkpoint()
    return _certificate(place, row)


@dataclass(frozen=True, slots=True)
class _Door:
    """Something that could open the vault: its row is held in memory, as somebody holds it who has a copy."""

    kind: str
    attempt: Callable[[], object] = field(repr=False)

    def opens(self) -> bool:
        """Does it, just now?"""
        try:
            self.attempt()
        except (Tampered, Refused):
            return False
        return True


def _doors(place: Place, vault: str, secrets: Secrets) -> list[_Door]:
    """Every unlocker, session and grant at its outer lock, and whole where its owner gave the secret."""
    service = place.key_service
    with place.store.read() as session:
        ways = session.exec(select(Unlocker).where(Unlocker.vault == vault)).all()
        signed_in = session.exec(select(OwnerSession).where(OwnerSession.vault == vault)).all()
        grants = session.exec(select(Grant).where(Grant.vault == vault)).all()
    doors = [_Door(way.kind, partial(unlockers.outer, service, way)) for way in ways]
    doors += [
        _Door(f"right {way.kind}", partial(unlockers.unlock, service, way, secrets[way.kind]))
        for way in ways
        if way.kind in secrets
    ]
    doors += [_Door("session", partial(sessions.outer, service, one)) for one in signed_in]
    doors += [_Door(_GRANT, partial(service.unlock, vault, _grant_header(one), one.box)) for one in grants]
    return doors


def _grant_header(row: Grant) -> dict[str, Any]:
    """What a grant's box is bound to."""
    return header("grant", row.vault, name=row.id)


def _delete_blobs(place: Place, vault: str) -> int:
    with place.store.read() as session:
        ids = session.exec(select(BlobRow.id).where(BlobRow.vault == vault)).all()
    for blob in ids:
        place.blobs.delete(blob)
    return len(ids)


def _delete_rows(session: Session, vault: str) -> int:
    """Every row of every table that is this vault's, whatever tables there are; but not the one that says it was."""
    logins = session.exec(select(Account.login).where(Account.vault == vault)).all()
    connections = session.exec(select(Connection.id).where(Connection.vault == vault)).all()
    number = session.exec(delete(Attempts).where(col(Attempts.login).in_(logins))).rowcount
    number += session.exec(delete(Route).where(col(Route.connection).in_(connections))).rowcount
    number += session.exec(delete(Quarantine).where(col(Quarantine.owner) == vault)).rowcount
    number += session.exec(delete(tables.Vault).where(col(tables.Vault.id) == vault)).rowcount
    for table in SQLModel.metadata.sorted_tables:
        if "vault" in table.c and table.name != Erasure.__tablename__:
            number += session.connection().execute(table.delete().where(_is(table, vault))).rowcount
    return number


def _is(table: Table, vault: str) -> ColumnElement[bool]:
    return table.c.vault == vault


def _statement(
    place: Place, row: Erasure, retention_days: int, destroyed: Mapping[str, int], tried: Mapping[str, Any]
) -> bytes:
    now = place.clock()
    until = now + timedelta(days=retention_days)
    return canonical(
        {
            "kind": "erasure",
            "vault": row.vault,
            "ordered_by": row.ordered_by,
            "at": instant(now),
            "destroyed": dict(destroyed),
            "tried": dict(tried),
            "key_backups": {"retention_days": retention_days, "until": instant(until)},
        }
    )


def _digest(statement: bytes) -> bytes:
    """What no Merkle root can be: those are hashes of what begins with 0x00 or 0x01."""
    return hashlib.sha256(_SIGNED + statement).digest()


def _message(statement: bytes) -> bytes:
    return chain.SIGNED + _digest(statement)


def _receipt(place: Place, session: Session, vault: str, by: str) -> None:
    """In the system's chain: the vault's own goes with it."""
    entry = {"kind": "erased", "at": instant(place.clock()), "party": by, "name": by, "query": vault}
    opening = Opening(SYSTEM, place.key_service.system_audit().public())
    receipts.commit(session, place.key_service, [opening.first(entry)])
