"""A transaction beneath SQLAlchemy: for the few statements that every answer waits for.

They are SQLAlchemy's own constructs, so that one definition serves both databases, each compiled once to the text that
the driver takes (https://peps.python.org/pep-0249/). Run by SQLAlchemy, a commit of receipts costs four times as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, cast

from sqlalchemy import Insert, Table, Update, bindparam, insert
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPICursor, Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler
from sqlmodel import Session

# Both take parameters by their place, which costs their drivers less than names.
_DIALECTS: Mapping[str, Dialect] = {
    "sqlite": sqlite.dialect(),
    "postgresql": PGDialect_psycopg(paramstyle="format"),  # type: ignore[no-untyped-call]
}
_MOST_ROWS = 64  # in one statement


class Beneath:
    """The driver's cursor in an open transaction, and what its session carries."""

    def __init__(self, cursor: DBAPICursor, database: str, info: dict[str, Any]) -> None:
        """database: the name of its dialect."""
        self._cursor = cursor
        self._database = database
        self.info = info

    @classmethod
    def of(cls, connection: Connection, info: dict[str, Any]) -> Beneath:
        """In SQLAlchemy's own transaction, beside what it does there. What is unflushed is not seen."""
        return cls(connection.connection.cursor(), connection.dialect.name, info)

    def rows(self, statement: ClauseElement, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """What it finds. values: by the names of its parameters."""
        self._run(statement, [values])
        return self._cursor.fetchall()

    def update(self, statement: Update, many: Sequence[Mapping[str, Any]]) -> int:
        """Once with each of these values; how many rows it changed."""
        self._run(statement, many)
        return self._cursor.rowcount

    def insert(self, table: Table, rows: Sequence[Sequence[Any]]) -> None:
        """Values in the order of the table's columns."""
        while rows:
            size = min(1 << len(rows).bit_length() - 1, _MOST_ROWS)  # few statements, whatever the number
            text, _ = _compiled(_insert(table, size), self._database)
            self._cursor.execute(text, [value for row in rows[:size] for value in row])
            rows = rows[size:]

    def _run(self, statement: ClauseElement, many: Sequence[Mapping[str, Any]]) -> None:
        text, names = _compiled(statement, self._database)
        places = [[values[name] for name in names] for values in many]
        if len(places) == 1:  # psycopg sets a pipeline up for many
            self._cursor.execute(text, places[0])
        else:
            self._cursor.executemany(text, places)


def found(session: Session, statement: ClauseElement, values: Mapping[str, Any]) -> Sequence[Any] | None:
    """The one row that a SELECT finds in a session's own transaction, or None. What is unflushed is not seen.

    Of a row by its key, SQLAlchemy makes an object in 0.4 ms of CPU; this takes 0.03.
    """
    rows = Beneath.of(session.connection(), session.info).rows(statement, values)
    return rows[0] if rows else None


@contextmanager
def transaction(engine: Engine) -> Iterator[DBAPICursor]:
    """Committed at the end; rolled back by any exception, and its connection, which may be broken, not used again."""
    connection = engine.raw_connection()
    try:
        yield connection.cursor()
        connection.commit()
    except BaseException:
        with suppress(Exception):
            connection.rollback()
        connection.invalidate()
        raise
    finally:
        connection.close()


@cache
def _insert(table: Table, rows: int) -> Insert:
    names = table.columns.keys()
    return insert(table).values([{name: bindparam(f"{name}_{row}") for name in names} for row in range(rows)])


@cache
def _compiled(statement: ClauseElement, database: str) -> tuple[str, Sequence[str]]:
    """Its text, and which parameter stands in which place."""
    compiled = cast(SQLCompiler, statement.compile(dialect=_DIALECTS[database]))
    return compiled.string, compiled.positiontup or ()
