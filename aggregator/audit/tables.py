"""The audit chain's tables. Each has the vault first: a chain is checked with its own vault's rows alone."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class Receipt(SQLModel, table=True):
    """One access. `opening` is the view it came through, `number` its place in that view; 0 is the opening itself."""

    vault: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    opening: bytes
    number: int
    box: bytes


class SignedHead(SQLModel, table=True):
    """A head that a group commit left behind: its place in the commit's Merkle tree, and the signature over the root.

    leaf: counted from 0; size: leaves in the tree; path: the siblings from the leaf up, 32 bytes each.
    """

    __tablename__ = "signed_head"
    vault: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    head: bytes
    leaf: int
    size: int
    path: bytes
    signature: bytes
