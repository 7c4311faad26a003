"""What the key service remembers of each vault's head, so that a database that was rolled back is noticed.

Order (FORMAT.md section 10): database commit, counter, answer. The store tells the key service of every head that a
transaction moved, so no writer can forget to; whoever acts on a vault's row reads it by `head`, which compares the two.
A crash between commit and counter leaves the database ahead: accepted where it extends what is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

from sqlalchemy import (
    BindParameter,
    ClauseElement,
    Connection,
    Engine,
    Insert,
    Table,
    Update,
    bindparam,
    inspect,
    select,
)
from sqlmodel import Session, col

from aggregator.errors import RolledBack, Stale
from aggregator.vault.beneath import Beneath
from aggregator.vault.tables import Vault

_WATCH, _CHECKED, _HEADS, _OPENINGS, _WRITTEN = "watch", "checked", "heads", "openings", "written"
_MOST = 512  # vaults in one question


@dataclass(frozen=True, slots=True)
class Counter:
    """A vault's head: it only ever grows, and at one position there is one chain."""

    log_position: int
    chain: bytes
    grant_version: int
    epoch: int
    audit_position: int
    audit_head: bytes

    @classmethod
    def of(cls, row: Any) -> Counter:
        """What a vault's row says, as the ORM or a statement has it."""
        return cls(row.log_position, row.chain, row.grant_version, row.epoch, row.audit_position, row.audit_head)

    def behind(self, remembered: Counter) -> bool:
        """Is this older than what is remembered, or another history of the same length?"""
        return (
            self.log_position < remembered.log_position
            or self.grant_version < remembered.grant_version
            or self.epoch < remembered.epoch
            or self.audit_position < remembered.audit_position
            or (self.log_position == remembered.log_position and self.chain != remembered.chain)
            or (self.audit_position == remembered.audit_position and self.audit_head != remembered.audit_head)
        )


Opened = tuple[str, bytes]
"""(vault, opening id) of an `opened` receipt that is durable."""


class Memory(Protocol):
    """The part of the key service that remembers."""

    def remembered(self, vaults: Collection[str]) -> Mapping[str, Counter]:
        """The counters of these vaults; one that was never told of has none."""

    def advance(self, counters: Mapping[str, Counter], openings: Collection[Opened] = ()) -> None:
        """What is durable in the database. Each member only grows: what comes late and is smaller is ignored."""


Extends = Callable[[Session, Vault, Counter], bool]
"""Does the vault's chain, as it lies in the database, go on from what is remembered?"""


@dataclass(frozen=True, slots=True)
class Watch:
    """What a store's sessions are held against."""

    memory: Memory
    chains: Sequence[Extends]
    reading: Engine

    def info(self) -> dict[str, Any]:
        """What a new session carries."""
        return {_WATCH: self, _CHECKED: set(), _HEADS: {}, _OPENINGS: []}


def head(session: Session, vault: str) -> Vault | None:
    """The vault's row; None where there is none. Raises RolledBack, and Stale where this transaction began too early.

    Compared once in a transaction: what comes after that is the transaction's own.
    """
    watch: Watch | None = session.info.get(_WATCH)
    if watch is None or vault in session.info[_CHECKED]:
        return session.get(Vault, vault)
    remembered = watch.memory.remembered([vault]).get(vault)
    row = session.get(Vault, vault)
    if row is not None:
        _compare(session, watch, row, remembered)
        session.info[_CHECKED].add(vault)
    return row


def known_head(session: Session, vault: str) -> Vault:
    """The same for a vault that must be there."""
    row = head(session, vault)
    if row is None:
        raise RolledBack
    return row


def remembered(transaction: Beneath, vaults: Collection[str]) -> Mapping[str, Counter]:
    """For one who reads rows itself, many at once."""
    watch: Watch | None = transaction.info.get(_WATCH)
    return watch.memory.remembered(vaults) if watch else {}


def heads(transaction: Beneath, vaults: Collection[str]) -> dict[str, Counter]:
    """What the rows of these vaults say; one that is not there has none."""
    found: dict[str, Counter] = {}
    wanted = sorted(vaults)
    for at in range(0, len(wanted), _MOST):
        some = wanted[at : at + _MOST]
        places = 1 << (len(some) - 1).bit_length()  # a power of two: few statements, whatever the number
        some += some[-1:] * (places - len(some))
        rows = transaction.rows(_heads(places), {f"vault_{place}": vault for place, vault in enumerate(some)})
        found |= {vault: Counter(*values) for vault, *values in rows}
    return found


@cache
def _heads(places: int) -> ClauseElement:
    vaults: list[BindParameter[str]] = [bindparam(f"vault_{place}") for place in range(places)]
    return select(
        col(Vault.id),
        col(Vault.log_position),
        col(Vault.chain),
        col(Vault.grant_version),
        col(Vault.epoch),
        col(Vault.audit_position),
        col(Vault.audit_head),
    ).where(col(Vault.id).in_(vaults))


def _compare(session: Session, watch: Watch, row: Vault, before: Counter | None) -> None:
    now = Counter.of(row)
    if now == before:
        return
    if before is None:  # it was made, and the process died before the key service heard of it
        watch.memory.advance({row.id: now})
        return
    if now.behind(before):
        raise _older(watch.reading, row.id, before)
    if not _extends(session, watch, row, before):
        raise RolledBack
    watch.memory.advance({row.id: now})


def _extends(session: Session, watch: Watch, row: Vault, before: Counter) -> bool:
    return all(extends(session, row, before) for extends in watch.chains)


def _older(reading: Engine, vault: str, before: Counter) -> RolledBack | Stale:
    """Another server may have committed since this transaction began: a fresh look tells."""
    with reading.connect() as connection:
        found = heads(Beneath.of(connection, {}), [vault]).get(vault)
    return RolledBack() if found is None or found.behind(before) else Stale("the vault has moved on")


# What a transaction moved.

_TABLE = cast(Table, inspect(Vault).local_table)


def begun(connection: Connection) -> None:
    """A listener for the engine's `begin`: nothing is moved yet."""
    connection.info[_WRITTEN] = set()


def note(
    connection: Connection,
    statement: Any,
    many: Sequence[Mapping[str, Any]],
    one: Mapping[str, Any],
    execution_options: Mapping[str, Any],
) -> None:
    """A listener for the engine's `before_execute`: which vaults' rows are written, by the ORM or beneath it."""
    _ = execution_options  # SQLAlchemy wants the whole signature
    if isinstance(statement, Insert | Update) and cast(Table, statement.table).name == _TABLE.name:
        for row in many or [one]:
            # Both are the row's key: updates name it by the first, inserts by the second.
            connection.info[_WRITTEN].add(row["vault_id"] if "vault_id" in row else row["id"])


def now(transaction: Beneath, heads: Mapping[str, Counter]) -> None:
    """From one who has just written these heads and knows them whole: they need not be read again."""
    transaction.info.setdefault(_HEADS, {}).update(heads)


def opened(transaction: Beneath, openings: Collection[Opened]) -> None:
    """This transaction holds the `opened` receipts of these: once it is durable the key service hears of them."""
    transaction.info.setdefault(_OPENINGS, []).extend(openings)


def moved(session: Session) -> None:
    """Before a session's commit: the heads that it is about to make durable, read once more where it wrote them."""
    session.flush()
    connection = session.connection()
    session.info[_HEADS] |= heads(Beneath.of(connection, session.info), connection.info[_WRITTEN])


def tell(info: Mapping[str, Any]) -> None:
    """After the commit, before anybody hears of it. info: what its session carries."""
    watch: Watch = info[_WATCH]
    if info[_HEADS] or info[_OPENINGS]:
        watch.memory.advance(info[_HEADS], info[_OPENINGS])
