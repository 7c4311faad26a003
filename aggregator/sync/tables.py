"""What the scheduler and the worker know. Names of sources, settings and cursors are sealed to the worker domain."""

from __future__ import annotations

from sqlalchemy import BigInteger
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
    ended, in words that hold no health data. A run holds the row by its lease. verification: in a feed, sealed [facts].
    """

    id: str = Field(primary_key=True)
    vault: str = Field(index=True)
    mandate: str
    source: bytes
    settings: bytes
    state: bytes | None = None
    verification: bytes | None = None
    is_feed: bool = False
    ended: bool = False


class Feed(_Pulled, table=True):
    """An operator's source that carries many patients: its cursor goes last, after every vault has committed.

    waiting: items at the source that nobody is verified for; what comes twice between full pulls counts twice.
    """

    id: bytes = Field(primary_key=True)
    state: bytes | None = None
    waiting: int = 0


class Route(SQLModel, table=True):
    """A verified person's keyed tag, and the connection that receives that person's items.

    level: 1 to 3, how sure the verification was. mac: under the operator's feed key, over all the others.
    """

    feed: bytes = Field(primary_key=True)
    tag: bytes = Field(primary_key=True)
    connection: str = Field(primary_key=True, index=True)
    level: int
    mac: bytes = b""


class Hold(SQLModel, table=True):
    """An item of a feed that keeps nothing, which nobody is verified for yet. Times in Unix seconds.

    tag, item: keyed handles of whose it may be and of the item. box: sealed to the hold key in the key service. mac:
    under the operator's feed key, over all but `at`.
    """

    feed: bytes = Field(primary_key=True)
    tag: bytes = Field(primary_key=True)
    item: bytes = Field(primary_key=True)
    at: float
    expires: int = Field(sa_type=BigInteger, index=True)
    box: bytes
    mac: bytes = b""


class Activation(SQLModel, table=True):
    """A practice's activation code: handle of the code, and the person it was given to, sealed to the worker domain."""

    code: bytes = Field(primary_key=True)
    feed: bytes
    person: bytes
    expires: float


class WrongCodes(SQLModel, table=True):
    """How many activation codes a vault's owner has tried in vain since `since` (Unix seconds)."""

    vault: str = Field(primary_key=True)
    tries: int
    since: float


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
