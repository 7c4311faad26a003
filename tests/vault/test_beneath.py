"""Beneath SQLAlchemy: the same statements on both databases, all of a transaction or nothing of it."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from sqlalchemy import bindparam, update
from sqlmodel import col, select

from aggregator.vault.beneath import Beneath
from aggregator.vault.tables import EndedGrantee
from tests.vault.world import World

ROWS = [("a", bytes([n])) for n in range(200)]
TABLE = EndedGrantee.metadata.tables["ended_grantee"]
SELECT = select(EndedGrantee.vault, EndedGrantee.grantee).where(col(EndedGrantee.vault) == bindparam("of"))


def stored(world: World) -> list[tuple[object, ...]]:
    with world.store.write_free("a") as (transaction, free):
        assert free == {"a"}
        return sorted(tuple(row) for row in transaction.rows(SELECT, {"of": "a"}))


@pytest.mark.parametrize("number", [0, 1, 2, 7, 64, 200])
def test_what_is_written_is_found(world: World, number: int) -> None:
    with world.store.write_free("a") as (transaction, _):
        transaction.insert(TABLE, ROWS[:number])
    assert stored(world) == ROWS[:number]


def test_an_update_tells_how_many_rows_it_changed(world: World) -> None:
    change = update(TABLE).where(TABLE.c.grantee == bindparam("of")).values(vault=bindparam("to"))
    with world.store.write_free("a") as (transaction, _):
        transaction.insert(TABLE, ROWS)
        assert transaction.update(change, [{"to": "b", "of": b"\0"}]) == 1
        assert transaction.update(change, [{"to": "b", "of": bytes([n])} for n in (1, 2, 250)]) == 2
    assert stored(world) == ROWS[3:]


def test_an_exception_leaves_nothing_and_holds_up_nobody(world: World) -> None:
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        written_twice(world)
    assert stored(world) == []


def written_twice(world: World) -> None:
    with world.store.write_free("a") as (transaction, _):
        transaction.insert(TABLE, ROWS)
        transaction.insert(TABLE, ROWS)


def test_it_runs_in_the_transaction_of_a_session(world: World) -> None:
    with world.store.write("a") as session:
        session.add(EndedGrantee(vault="a", grantee=b"\0"))
        session.flush()
        transaction = Beneath.of(session.connection(), session.info)
        assert len(transaction.rows(SELECT, {"of": "a"})) == 1
        transaction.insert(TABLE, ROWS[1:])
    assert stored(world) == ROWS
