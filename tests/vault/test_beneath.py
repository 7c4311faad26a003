"""Beneath SQLAlchemy: the same statements on both databases, all of a transaction or nothing of it."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest
from sqlalchemy import bindparam
from sqlmodel import col, select

from aggregator.vault import beneath
from aggregator.vault.tables import EndedGrantee
from tests.vault.world import World

ROWS = [{"vault": "a", "grantee": bytes([n])} for n in range(3)]
INSERT = EndedGrantee.metadata.tables["ended_grantee"].insert()
SELECT = select(EndedGrantee.vault, EndedGrantee.grantee).where(col(EndedGrantee.vault) == bindparam("of"))


def stored(world: World) -> list[tuple[object, ...]]:
    with world.store.write_free("a") as (transaction, free):
        assert free == {"a"}
        return sorted(tuple(row) for row in transaction.rows(SELECT, {"of": "a"}))


def test_what_is_written_is_found(world: World) -> None:
    with world.store.write_free("a") as (transaction, _):
        assert transaction.write(INSERT, ROWS) == 3
    assert stored(world) == [("a", b"\0"), ("a", b"\1"), ("a", b"\2")]


def test_an_exception_leaves_nothing_and_holds_up_nobody(world: World) -> None:
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        written_twice(world)
    assert stored(world) == []


def written_twice(world: World) -> None:
    with world.store.write_free("a") as (transaction, _):
        transaction.write(INSERT, ROWS)
        transaction.write(INSERT, ROWS)


def test_it_runs_in_the_transaction_of_a_session(world: World) -> None:
    with world.store.write("a") as session:
        session.add(EndedGrantee(vault="a", grantee=b"\0"))
        session.flush()
        transaction = beneath.Beneath.of(session.connection(), session.info)
        assert len(transaction.rows(SELECT, {"of": "a"})) == 1
        transaction.write(INSERT, ROWS[1:])
    assert len(stored(world)) == 3
