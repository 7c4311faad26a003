"""What one vault costs beside many: rows of a real small vault, copied under other ids into every table that has them.

The copies do not open, since their headers name the first vault; sizes, indexes and pages are those of real ones.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Column, LargeBinary, Table, insert, select
from sqlmodel import Session, SQLModel

from aggregator.audit.receipts import Condition, Opening
from aggregator.vault import tables, view
from aggregator.vault.keys import new_vault_id
from aggregator.vault.seal import PublicKey
from fhir_profiles.text import Resource
from tests import databases
from tests.bench.figure import Figure, middle, repeated
from tests.bench.installation import Installation, install

_VAULT = ("vault", "owner")
_AT_ONCE = 500
_Rows = tuple[Table, Column[Any], list[dict[str, Any]]]
"""A table, the column that names the vault, and one vault's rows."""


def many(folder: Path, resources: Sequence[Resource], numbers: Sequence[int], runs: int) -> Iterator[Figure]:
    """Open time, receipt time and stored bytes of one vault, at each of these numbers of vaults."""
    made = install(folder, resources[0]["id"])
    made.take_in(resources)
    made.permit()
    mine = view.owner(made.owner.root, made.owner.sections, made.owner.patient)
    service, root = made.service, made.owner.root
    view.open_view(service.store, made.owner.vault, mine, service.indexer, root).close()
    service.store.checkpoint()
    with service.store.read() as session:
        template = list(_rows(session, made))  # taken once: the receipts that are measured below are not copied
    there, values = 1, _size(template)
    for number in numbers:
        before = service.store.size()
        _copy(made, template, number - there)
        service.store.checkpoint()
        databases.analyze(service.store)
        grown, added = service.store.size() - before, number - there
        there = number
        opening = lambda: view.open_view(service.store, made.owner.vault, mine, service.indexer, root).close()  # noqa: E731
        beside = f"beside {number} vaults of {len(resources)} resources"
        yield Figure(name=f"open one {beside}", value=_median(opening, runs) * 1e3, unit="ms", better="lower")
        receipt = _receipt(made)
        yield Figure(name=f"one receipt {beside}", value=_median(receipt, runs) * 1e3, unit="ms", better="lower")
        yield Figure(
            name=f"stored for one {beside}", value=grown / added, unit="bytes", better="lower", reference=values
        )
    made.close()


def _median(work: Callable[[], object], runs: int) -> float:
    return middle(repeated(work, runs))


def _receipt(made: Installation) -> Callable[[], object]:
    with made.service.store.read() as session:
        row = session.get_one(tables.Vault, made.owner.vault)
    opening = Opening(row.id, PublicKey(row.audit_key))
    condition = Condition(row.grant_version, row.log_position)
    asyncio.run(made.service.receipts.write(opening.first({"kind": "opened"})))
    return lambda: asyncio.run(made.service.receipts.write(opening.next({"kind": "answered"}, condition)))


def _tables() -> Iterator[tuple[Table, Column[Any]]]:
    """Every table that has a vault's rows, and the column that names it."""
    for table in SQLModel.metadata.sorted_tables:
        names = ("id",) if table.name == tables.Vault.__tablename__ else _VAULT
        yield from ((table, table.c[name]) for name in names if name in table.c)


def _rows(session: Session, made: Installation) -> Iterator[_Rows]:
    for table, column in _tables():
        found = session.execute(select(table).where(column == made.owner.vault)).mappings().all()
        yield table, column, [dict(row) for row in found]


def _size(template: Iterable[_Rows]) -> int:
    """Bytes of one vault's values alone: what pages and indexes add is told by the figure beside it."""
    values = (value for _, _, rows in template for row in rows for value in row.values())
    return sum(len(value) if isinstance(value, bytes | str) else 8 for value in values)


def _copy(made: Installation, template: Sequence[_Rows], number: int) -> None:
    for start in range(0, number, _AT_ONCE):
        names = [new_vault_id() for _ in range(min(_AT_ONCE, number - start))]
        with made.service.store.write() as session:
            for table, column, rows in template:
                copies = [_other(table, column, row, name) for name in names for row in rows]
                if copies:
                    session.execute(insert(table), copies)


def _other(table: Table, column: Column[Any], row: dict[str, Any], name: str) -> dict[str, Any]:
    """The row for another vault; a key that does not name the vault is drawn anew."""
    made = row | {column.name: name}
    if not column.primary_key:
        for key in table.primary_key:
            blob = isinstance(key.type, LargeBinary)
            made[key.name] = os.urandom(16) if blob else secrets.token_hex(16)
    return made
