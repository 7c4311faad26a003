"""Every row that is sealed to the worker, put under its newest key: `aggregator keys rotate --worker`.

A certificate names its body's hash, and a body stays as it is: no patient has to sign anything. Each batch is a
transaction of its own; whoever is killed between two begins anew and finds what was done already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import inspect, tuple_
from sqlmodel import SQLModel, select

from aggregator.consent import mandate
from aggregator.errors import Tampered
from aggregator.sync.activation import person_header
from aggregator.sync.quarantine import note_header
from aggregator.sync.run import settings_header, state_header
from aggregator.sync.tables import Activation, Connection, Feed, Quarantine
from aggregator.sync.verification import facts_header
from aggregator.vault import tables
from aggregator.vault.store import Store
from aggregator.vault.worker_keys import WorkerKeys

_AT_ONCE = 200  # rows in one transaction

Observe = Callable[[str, int], None]
"""Called with (a table's name, rows of it that are done)."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A column of boxes, and where each belongs."""

    table: type[SQLModel]
    column: str
    head: Callable[[Any], dict[str, Any]]


def _note(row: Quarantine) -> dict[str, Any]:
    return note_header("" if row.owner == row.source.hex() else row.owner, row.item)


_PLACES = (
    _Place(tables.Mandate, "box", lambda row: mandate.body_header(row.vault, row.id)),
    _Place(Connection, "settings", lambda row: settings_header(row.vault, row.id, row.mandate)),
    _Place(Connection, "state", lambda row: state_header(row.vault, row.id)),
    _Place(Connection, "verification", lambda row: facts_header(row.vault, row.id)),
    _Place(Feed, "state", lambda row: state_header("", row.id.hex())),
    _Place(Quarantine, "note", _note),
    _Place(Activation, "person", lambda row: person_header(row.code)),
)


@dataclass(slots=True)
class Resealed:
    """rows: under the newest key now. lost: opened with neither key, at their place, and were left as they are."""

    rows: int = 0
    lost: int = 0


def reseal(store: Store, keys: WorkerKeys, observe: Observe = lambda _table, _done: None) -> Resealed:
    """All of them. Nobody else may seal to the worker meanwhile."""
    made = Resealed()
    for place in _PLACES:
        last: tuple[Any, ...] | None = ()
        while last is not None:
            last = _batch(store, keys, place, last, made)
            observe(str(place.table.__tablename__), made.rows)
    return made


def _batch(
    store: Store, keys: WorkerKeys, place: _Place, after: tuple[Any, ...], made: Resealed
) -> tuple[Any, ...] | None:
    """One transaction over the rows behind a primary key; the last one's, or None at the table's end."""
    key = inspect(place.table).primary_key
    rows_behind = select(place.table).order_by(*key).limit(_AT_ONCE)
    if after:
        rows_behind = rows_behind.where(tuple_(*key) > tuple_(*after))
    with store.write() as session:
        rows = session.exec(rows_behind).all()
        for row in rows:
            _reseal(keys, place, row, made)
    return tuple(getattr(rows[-1], one.key) for one in key) if len(rows) == _AT_ONCE else None


def _reseal(keys: WorkerKeys, place: _Place, row: SQLModel, made: Resealed) -> None:
    box = getattr(row, place.column)
    if box is None or (isinstance(row, tables.Mandate) and row.grantee):  # a deposit's lies in the key service's locks
        return
    try:
        setattr(row, place.column, keys.reseal(place.head(row), box))
    except Tampered:
        made.lost += 1
        return
    made.rows += 1
