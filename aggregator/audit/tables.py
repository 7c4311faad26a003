"""The audit chain's tables. A chain is checked with its own vault's rows, and the list of keys, alone."""

from __future__ import annotations

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from aggregator.vault.audit_key import AuditKey


class Receipt(SQLModel, table=True):
    """One access. `opening` is the view it came through, `number` its place in that view; 0 is the opening itself."""

    vault: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    opening: bytes
    number: int
    box: bytes


class SignedHead(SQLModel, table=True):
    """A head that a group commit left behind: its place in the commit's Merkle tree, and the signature over the root.

    leaf: counted from 0; size: leaves in the tree; path: the siblings from the leaf up, 32 bytes each. key_number: of
    the key that signed.
    """

    __tablename__ = "signed_head"
    vault: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    head: bytes
    leaf: int
    size: int
    path: bytes
    signature: bytes
    key_number: int = 1


class AuditKeyRow(SQLModel, table=True):
    """A key that signs heads, or did. settled: every chain's newest head is signed by it or by a newer one."""

    __tablename__ = "audit_key"
    number: int = Field(primary_key=True)
    key: bytes
    since: int = Field(sa_type=BigInteger)
    signature: bytes
    vouched: bytes
    settled: bool = False

    @classmethod
    def of(cls, one: AuditKey) -> AuditKeyRow:
        return cls(number=one.number, key=one.key, since=one.since, signature=one.signature, vouched=one.vouched)

    def told(self) -> AuditKey:
        return AuditKey(
            number=self.number, key=self.key, since=self.since, signature=self.signature, vouched=self.vouched
        )
