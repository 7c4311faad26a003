"""The vault's tables. No column says in clear what a vault is about: ids are random, everything else is a box.

Every table but `Installation` has the vault as the first part of its key, so that it can be sharded by it.
"""

from __future__ import annotations

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class Installation(SQLModel, table=True):
    """One row: which key ring belongs to this store, and the format it was written in.

    generation: of the key service's counters; a restore opens a new one, so what was there before it is told apart.
    """

    id: int = Field(primary_key=True)
    key_ring: str
    format: int
    generation: int = 1


class Vault(SQLModel, table=True):
    """The head of a vault: a receipt updates it on condition that grant version and log position are its view's."""

    id: str = Field(primary_key=True)
    verification_key: bytes
    audit_key: bytes  # public, with `certificate` over both
    certificate: bytes
    sections: bytes  # wrapped under the owner key: name -> random id
    inherited: bytes = b""  # wrapped under the owner key: what an imported vault keeps of the one before; else empty
    log_position: int = 0
    chain: bytes
    grant_version: int = 0
    grant_mark: bytes = b""  # keyed: the key service made this version; empty in one that came with the vault
    epoch: int = 1
    epochs: bytes = b""  # root-signed: where each epoch begins, and the hash of the newest one's public keys
    epochs_signature: bytes = b""
    audit_position: int = 0
    audit_head: bytes


class SectionKeys(SQLModel, table=True):
    """One epoch of a vault's sections: their public keys, while it is the newest, and the way back to the one before.

    earlier: per section, the previous epoch's seed wrapped under this one; empty in the first epoch.
    """

    __tablename__ = "section_keys"
    vault: str = Field(primary_key=True)
    epoch: int = Field(primary_key=True)
    keys: bytes
    earlier: bytes = b""


class LogEntry(SQLModel, table=True):
    """One envelope in a vault's log."""

    __tablename__ = "log"
    vault: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    chain: bytes
    envelope: bytes


class Snapshot(SQLModel, table=True):
    """The root-signed manifest of the newest snapshot."""

    vault: str = Field(primary_key=True)
    position: int
    manifest: bytes
    signature: bytes


class SnapshotSection(SQLModel, table=True):
    """A part of one section's lines in the newest snapshot; parts are numbered from 0."""

    __tablename__ = "snapshot_section"
    vault: str = Field(primary_key=True)
    section: str = Field(primary_key=True)
    part: int = Field(primary_key=True)
    box: bytes


class BlobRow(SQLModel, table=True):
    """A blob that an operation at this log position names. `size`: its bytes at rest, padded."""

    __tablename__ = "blob"
    vault: str = Field(primary_key=True)
    id: str = Field(primary_key=True, index=True)
    position: int
    size: int = Field(sa_type=BigInteger)


class Ledger(SQLModel, table=True):
    """What one source account has shown so far."""

    vault: str = Field(primary_key=True)
    source: bytes = Field(primary_key=True)
    revision: int
    box: bytes


class Mandate(SQLModel, table=True):
    """Permission to write: an open certificate, and a body sealed to the worker.

    grantee: of a deposit, whose body lies in two locks as a grant's does; empty for a connection's.
    """

    vault: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    certificate: bytes
    signature: bytes
    box: bytes
    version: int = 1
    ended: bool = False
    grantee: bytes = Field(default=b"", index=True)


class Grant(SQLModel, table=True):
    """Permission to read, as compiled from all active Consents at `version`."""

    vault: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    grantee: bytes = Field(index=True)
    certificate: bytes
    signature: bytes
    box: bytes


class GrantIntent(SQLModel, table=True):
    """A grant whose key must still be destroyed: written with the new grant version, cleared when it is done.

    ended: its grantee lost something, so the vault's keys must change as well.
    """

    __tablename__ = "grant_intent"
    vault: str = Field(primary_key=True)
    grant: str = Field(primary_key=True)
    ended: bool = False


class EndedGrantee(SQLModel, table=True):
    """A grantee whose grant the owner ended: it gets none again until a Consent that names it is signed anew."""

    __tablename__ = "ended_grantee"
    vault: str = Field(primary_key=True)
    grantee: bytes = Field(primary_key=True)


class GrantArchive(SQLModel, table=True):
    """All grant versions stay, wrapped under the owner key: what was open to whom, and when."""

    __tablename__ = "grant_archive"
    vault: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    box: bytes


class ClosedReceipts(SQLModel, table=True):
    """A part of an earlier installation's chain of receipts, as it was imported; wrapped under the owner key."""

    __tablename__ = "closed_receipts"
    vault: str = Field(primary_key=True)
    chain: int = Field(primary_key=True)
    part: int = Field(primary_key=True)
    box: bytes


class Erasure(SQLModel, table=True):
    """A vault that was erased, or, without a certificate, is being erased. `begun`: Unix seconds."""

    vault: str = Field(primary_key=True)
    ordered_by: str
    begun: int = Field(sa_type=BigInteger)
    certificate: bytes = b""
    signature: bytes = b""


class ImageRow(SQLModel, table=True):
    """A reader's disposable image. `built_for` is what it depends on: log position, versions, period."""

    __tablename__ = "image"
    vault: str = Field(primary_key=True)
    reader: str = Field(primary_key=True)
    built_for: str
    box: bytes
