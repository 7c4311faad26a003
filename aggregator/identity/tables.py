"""Who may sign in. Logins, tokens and assertion ids are handles; what a row holds is wrapped."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class Account(SQLModel, table=True):
    """A login's handle and the vault it belongs to. `recovery_proof`: that the code was typed back, locked for it."""

    login: bytes = Field(primary_key=True)
    vault: str = Field(index=True)
    recovery_proof: bytes = b""


class Unlocker(SQLModel, table=True):
    """One way to the vault root. `parameters` is JSON (Argon2id), `box` the root in two locks."""

    vault: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    parameters: str
    box: bytes


class Attempts(SQLModel, table=True):
    """Tries at a password by login handle, existing or not; none before `next_at` (Unix seconds)."""

    login: bytes = Field(primary_key=True)
    failures: int
    next_at: float = Field(index=True)


class OwnerSession(SQLModel, table=True):
    """An unlocked owner: the root, under a key from the token and under the shred key."""

    __tablename__ = "owner_session"
    token: bytes = Field(primary_key=True)
    vault: str
    box: bytes
    expires: int
    unlocked_at: int


class AccessToken(SQLModel, table=True):
    """A client's access token: the row that the key service sealed when it admitted the client."""

    __tablename__ = "access_token"
    token: bytes = Field(primary_key=True)
    row: bytes
    expires: int


class UsedAssertion(SQLModel, table=True):
    """A client assertion's `jti`, until it expires."""

    __tablename__ = "used_assertion"
    handle: bytes = Field(primary_key=True)
    expires: int
