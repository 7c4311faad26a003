"""Who may sign in. Logins, tokens and assertion ids are handles; what a row holds is wrapped."""

from __future__ import annotations

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class Account(SQLModel, table=True):
    """A login's handle and the vault it belongs to. free_from: a released login's, in Unix seconds."""

    login: bytes = Field(primary_key=True)
    vault: str = Field(index=True)
    free_from: int | None = Field(default=None, sa_type=BigInteger)


class Unlocker(SQLModel, table=True):
    """One way to the vault root. `parameters` is JSON (Argon2id, or a passkey's), `box` the root in two locks.

    generation: one below the key service's is dead. label: for its owner alone. proof: that a recovery code was typed
    back, locked for this row.
    """

    vault: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    kind: str
    created: int = Field(sa_type=BigInteger)
    generation: int
    parameters: str
    label: bytes
    box: bytes
    proof: bytes = b""


class Passkey(SQLModel, table=True):
    """Where the unlocker of a passkey is, by its credential id's handle, and how often it says it was used."""

    credential: bytes = Field(primary_key=True)
    vault: str
    unlocker: str
    sign_count: int = Field(sa_type=BigInteger)


class Attempts(SQLModel, table=True):
    """Tries by a login's handle, existing or not, or an address's; none before `next_at` (Unix seconds)."""

    login: bytes = Field(primary_key=True)
    failures: int
    next_at: float = Field(index=True)


class Allowance(SQLModel, table=True):
    """How much of a grantee's allowance is used in the window that ends then (Unix seconds), by a handle of both."""

    handle: bytes = Field(primary_key=True)
    until: int = Field(sa_type=BigInteger, index=True)
    used: int = Field(sa_type=BigInteger)


class Invitation(SQLModel, table=True):
    """Somebody may sign up with the code that has this handle, until it expires or is used."""

    code: bytes = Field(primary_key=True)
    expires: int


class OwnerSession(SQLModel, table=True):
    """An unlocked owner: the root, under a key from the token and under the shred key.

    id: what its owner ends it by; it is no secret. unlocker: what it was opened with. label: the device, for its owner
    alone. seen: the hour of the last request. Times are Unix seconds.
    """

    __tablename__ = "owner_session"
    token: bytes = Field(primary_key=True)
    vault: str = Field(index=True)
    id: str
    unlocker: str
    box: bytes
    label: bytes
    expires: int = Field(sa_type=BigInteger)
    unlocked_at: int = Field(sa_type=BigInteger)
    seen: int = Field(sa_type=BigInteger)


class AccessToken(SQLModel, table=True):
    """A client's access token: the row that the key service sealed when it admitted the client.

    family: of an app's, all that one approval gave; empty of others.
    """

    __tablename__ = "access_token"
    token: bytes = Field(primary_key=True)
    row: bytes
    expires: int
    family: bytes = Field(default=b"", index=True)


class HandedOut(SQLModel, table=True):
    """A request, launch, code or refresh token of an app (handed_out.py), by its handle. family: as above.

    used: once, and brought again it is noticed; its box is empty then.
    """

    __tablename__ = "handed_out"
    token: bytes = Field(primary_key=True)
    family: bytes = Field(index=True)
    box: bytes
    expires: int = Field(sa_type=BigInteger, index=True)
    used: bool = False


class UsedAssertion(SQLModel, table=True):
    """The `jti` of a client assertion or a DPoP proof, or a passkey's challenge, until it expires."""

    __tablename__ = "used_assertion"
    handle: bytes = Field(primary_key=True)
    expires: int = Field(index=True)


class AccessRequest(SQLModel, table=True):
    """A provider's request to read, sealed to the patient; under `system` where there is no such patient.

    requester: the provider's handle; about: of the provider and the patient as it was named. Times are Unix seconds.
    """

    __tablename__ = "access_request"
    vault: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    requester: bytes = Field(index=True)
    about: bytes = Field(index=True)
    asked: int = Field(sa_type=BigInteger)
    expires: int = Field(sa_type=BigInteger)
    closed: bool = False
    box: bytes


class Notice(SQLModel, table=True):
    """Something that a patient is told at once, sealed to the patient. `at`: Unix seconds.

    what: the handle of its kind and whom it is about. A row that was seen stays: the next time is not the first.
    """

    vault: str = Field(primary_key=True)
    what: bytes = Field(primary_key=True)
    at: int = Field(sa_type=BigInteger)
    seen: bool = False
    box: bytes


class RegisteredClient(SQLModel, table=True):
    """A client that came while the service ran. told: what it claims and how that was verified, as JSON.

    seal: the key service's, over all of the row. at: since when it is in its state, in Unix seconds.
    """

    __tablename__ = "registered_client"
    id: str = Field(primary_key=True)
    state: str = Field(index=True)
    at: int = Field(sa_type=BigInteger)
    told: str
    seal: bytes


class OpenIdLink(SQLModel, table=True):
    """Whose record a sign-in provider's word finds: issuer and subject as a handle. provider: its name here."""

    __tablename__ = "openid_link"
    subject: bytes = Field(primary_key=True)
    vault: str = Field(index=True)
    provider: str
