"""A link's row: how it is found, what its three boxes hold, and how its key in the key service ends."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select

from aggregator.sharing.tables import Share, ShareTicket
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical
from aggregator.vault.key_service import SHARE, SHARES, KeyService, SignedGrant
from aggregator.vault.keys import Root
from aggregator.vault.seal import expand, header, unwrap, wrap

PURPOSE = "PATRQT"
"""Whoever has a link reads at the patient's request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What is asked of who comes. once: for one opening. passcode: its handle in hex; empty without one."""

    flag: str
    once: bool
    passcode: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What its owner is told. content: as `Content.told`. grantee: the handle of who has it, in hex.

    position: of the log, from which the file was made. key: of a link whose file is made again, else empty.
    """

    label: str
    made: str
    content: Mapping[str, Any]
    grantee: str
    position: int
    key: str = field(repr=False, default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The file that a link leads to, encrypted: JWE. updated: an instant; shown: how many resources it holds."""

    jwe: str
    updated: str
    shown: int


def handle(name: str) -> bytes:
    """What stands in the row for the 256 bits that the link says."""
    return expand(name.encode(), "id", 16)


def party(name: str) -> str:
    """Who has the link, as a grantee: only who knows what it says can say this."""
    return f"share/{expand(name.encode(), 'party').hex()}"


def link_id(row: Share) -> str:
    """What its owner calls it by, and receipts name: no secret."""
    return row.handle.hex()


def passcode_handle(key_service: KeyService, row_handle: bytes, passcode: str) -> str:
    """What stands for a passcode: without the key service nobody tries passcodes against it."""
    return key_service.handle("passcode", row_handle.hex(), passcode).hex()


def lock_gate(key_service: KeyService, row: Share, gate: Gate) -> bytes:
    return key_service.lock(row.vault, _bound("share-gate", row), canonical(asdict(gate)))


def gate(key_service: KeyService, row: Share) -> Gate:
    """Raises Tampered, Refused."""
    return Gate(**orjson.loads(key_service.unlock(row.vault, _bound("share-gate", row), row.gate)))


def seal_note(root: Root, row: Share, note: Note) -> bytes:
    return wrap(root.owner_key(), _bound("share-note", row), canonical(asdict(note)))


def note(root: Root, row: Share) -> Note:
    """Raises Tampered."""
    return Note(**orjson.loads(unwrap(root.owner_key(), _bound("share-note", row), row.note)))


def register(key_service: KeyService, root: Root, row: Share, grantee: bytes, made: datetime, file: File) -> None:
    """Sign what the link leads to and put it under a new key of the key service's."""
    until = datetime.fromtimestamp(row.expires, UTC)
    occasions = [[made.isoformat(), until.isoformat(), [PURPOSE]]]
    payload = canonical({"occasions": occasions, "file": asdict(file)})
    row.grant = SHARES + os.urandom(16).hex()
    stated = {"kind": SHARE, "vault": row.vault, "share": row.grant, "epoch": 0, "grantee": b64(grantee)}
    row.certificate = canonical(stated | {"body": hashlib.sha256(payload).hexdigest()})
    row.signature = root.sign(b"PRA1/share" + row.certificate)
    row.box = key_service.register_grant(signed(row), payload)


def signed(row: Share) -> SignedGrant:
    """As the key service takes it."""
    return SignedGrant(row.vault, row.grant, row.certificate, row.signature, row.box, SHARE)


def retire(session: Session, row: Share) -> tables.GrantIntent:
    """Leave the intent to destroy its key, and take the file away: in this transaction, for `Grants.destroy`."""
    row.box = b""
    session.exec(delete(ShareTicket).where(col(ShareTicket.share) == row.handle))
    return intend(session, row.vault, row.grant)


def intend(session: Session, vault: str, grant: str) -> tables.GrantIntent:
    """It held no seed, so nobody has lost one that could have been kept: the vault's keys stay."""
    intent = session.get(tables.GrantIntent, (vault, grant)) or tables.GrantIntent(vault=vault, grant=grant)
    session.add(intent)
    return intent


def of_vault(session: Session, vault: str) -> Sequence[Share]:
    """The newest first, as far as times of expiry tell."""
    return session.exec(select(Share).where(Share.vault == vault).order_by(col(Share.expires).desc())).all()


def _bound(kind: str, row: Share) -> dict[str, Any]:
    """Nobody who can write the database makes a link longer-lived, or puts one's gate before another's file."""
    return header(kind, row.vault, name=f"{link_id(row)}/{row.expires}")
