"""What the scheduler and the worker know. Names of sources, settings and cursors are sealed to the worker domain."""

from __future__ import annotations

from sqlmodel import Field, SQLModel


class _Pulled(SQLModel):
    """What is pulled, how that went last, when it is due, and who pulls it just now. Times in Unix seconds."""

    status: str = "late"
    error: str = ""
    failures: int = 0
    last_success: float | None = None
    next_at: float = 0.0
    lease: str = ""
    lease_until: float = 0.0


class Connection(_Pulled, table=True):
    """One patient's account at a source, or one patient's place in a feed.

    settings: sealed {authority, account settings}. state: sealed {cursor, patients}. status, error: how the last run
    ended, in words that hold no health data. A run holds the row by its lease.
    """

    id: str = Field(primary_key=True)
    vault: str = Field(index=True)
    mandate: str
    source: bytes
    settings: bytes
    state: bytes | None = None
    is_feed: bool = False
    ended: bool = False


class Feed(_Pulled, table=True):
    """An operator's source that carries many patients: its cursor goes last, after every vault has committed."""

    id: bytes = Field(primary_key=True)
    state: bytes | None = None
    waiting: int = 0


class Route(SQLModel, table=True):
    """A verified person's keyed tag, and the connection that receives that person's items."""

    feed: bytes = Field(primary_key=True)
    tag: bytes = Field(primary_key=True)
    connection: str = Field(primary_key=True)


class Activation(SQLModel, table=True):
    """A practice's activation code: handle of the code, and the person it was given to, sealed to the worker domain."""

    code: bytes = Field(primary_key=True)
    feed: bytes
    person: bytes
    expires: float


class Quarantine(SQLModel, table=True):
    """An item that stands aside. `owner` is a vault, or a feed's handle in hex for what belongs to nobody known.

    note: sealed to the worker, {connection's source, locator}: what a retry needs. payload: sealed to the vault's
    `unsorted` section, {detail, locator, raw}; none for what is another person's or, in a feed, nobody's known.
    """

    owner: str = Field(primary_key=True)
    source: bytes = Field(primary_key=True)
    item: str = Field(primary_key=True)
    connection: str
    reason: str
    at: float
    note: bytes
    payload: bytes | None = None
