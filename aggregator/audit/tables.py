"""The audit chain's tables."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class Receipt(SQLModel, table=True):
    """One access. `opening` is the view it came through, `number` its place in that view; 0 is the opening itself."""

    vault: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    opening: bytes
    number: int
    box: bytes


class SignedHeads(SQLModel, table=True):
    """One group commit: the leaves whose heads it changed, and the key service's signature over their Merkle root."""

    __tablename__ = "signed_heads"
    id: int | None = Field(default=None, primary_key=True)
    leaves: bytes
    signature: bytes
