"""Links for who has no account. What a link is found by is a hash of what it says; all else lies in boxes."""

from __future__ import annotations

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class Share(SQLModel, table=True):
    """A link that somebody may open (FORMAT-LINKS.md).

    handle: the hash of the 256 bits that only the link says. grant: the id of its key in the key service; with it
    certificate, signature, and the encrypted file in two locks (`box`). gate: what is asked of who comes, under the
    shred key. note: what its owner is told of it, under the owner key. attempts: how many wrong passcodes are left.
    spent: a link for one opening was opened. expires: Unix seconds.
    """

    handle: bytes = Field(primary_key=True)
    vault: str = Field(index=True)
    grant: str = ""
    certificate: bytes = b""
    signature: bytes = b""
    box: bytes = b""
    gate: bytes = b""
    note: bytes = b""
    attempts: int
    spent: bool = False
    expires: int = Field(sa_type=BigInteger, index=True)


class ShareTicket(SQLModel, table=True):
    """The address of a file that was too long for a manifest, until it is fetched or has expired.

    token: its hash. row: the row that the key service sealed. note: who said to fetch it, under the shred key.
    """

    __tablename__ = "share_ticket"
    token: bytes = Field(primary_key=True)
    vault: str = Field(index=True)
    share: bytes
    row: bytes
    note: bytes = b""
    expires: int = Field(sa_type=BigInteger, index=True)
