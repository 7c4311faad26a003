"""A transaction beneath SQLAlchemy: for the few statements that every answer waits for.

They are SQLAlchemy's own constructs, so that one definition serves both databases, each compiled once to the text that
the driver takes (https://peps.python.org/pep-0249/). Run by SQLAlchemy, a commit of receipts costs four times as much.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPICursor, Dialect
from sqlalchemy.sql import ClauseElement

# Both take parameters by name.
_DIALECTS: Mapping[str, Dialect] = {
    "sqlite": sqlite.dialect(paramstyle="named"),
    "postgresql": PGDialect_psycopg(),  # type: ignore[no-untyped-call]
}


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
        """What it finds."""
        self._cursor.execute(_text(statement, self._database), values)
        return self._cursor.fetchall()

    def write(self, statement: ClauseElement, rows: Sequence[Mapping[str, Any]]) -> int:
        """Once for each of the rows; how many it changed."""
        text = _text(statement, self._database)
        if len(rows) == 1:  # psycopg sets a pipeline up for many: eight times the work of one
            self._cursor.execute(text, rows[0])
        else:
            self._cursor.executemany(text, rows)
        return self._cursor.rowcount


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
def _text(statement: ClauseElement, database: str) -> str:
    return str(statement.compile(dialect=_DIALECTS[database]))
