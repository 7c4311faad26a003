"""SQLite: one file with a write-ahead log. One writer at a time, which waits its turn; readers wait for nobody."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPICursor

from aggregator.errors import OperatorError
from aggregator.vault import beneath

# full: a receipt is durable when commit returns. secure_delete: nothing stays in free pages.
_PRAGMAS = ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON")
# A deferred transaction that turns to writing fails at once where an immediate one waits its turn.
_BEGIN = "BEGIN IMMEDIATE"
_PATIENCE = 30.0  # seconds, as everywhere
_PAUSE = 0.02
_TAKEN = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}  # passes, other than a full disk


class SQLite:
    """The file at `path`; its folder must exist, else OperatorError."""

    def __init__(self, path: Path) -> None:
        if not path.parent.is_dir():
            raise OperatorError(f"store: the folder {path.parent} does not exist; create it or set store.path")
        self.path = path
        self.place = str(path)
        self.engine = create_engine(
            f"sqlite:///{path}",
            connect_args={"check_same_thread": False, "isolation_level": None},
            hide_parameters=True,
        )
        self.reading = self.engine.execution_options(read_only=True)
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)

    def exists(self) -> bool:
        return self.path.exists()

    def lock(self, connection: Connection, names: tuple[str, ...]) -> None:
        """BEGIN IMMEDIATE has locked the whole database already."""

    @contextmanager
    def beneath(self, names: tuple[str, ...]) -> Iterator[tuple[DBAPICursor, frozenset[str]]]:
        """A transaction beneath SQLAlchemy, and which of the names nobody else holds: all, for the same reason."""
        with beneath.transaction(self.engine) as cursor:
            cursor.execute(_BEGIN)
            yield cursor, frozenset(names)

    def checkpoint(self) -> None:
        with self.reading.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def size(self) -> int:
        """The `-shm` file beside them is memory that several processes share."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())


def write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on. Of processes that do so at once SQLite refuses some, whatever their busy_timeout."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _TAKEN or time.monotonic() > until:
                raise
            time.sleep(_PAUSE)
        else:
            return


@contextmanager
def transaction(connection: sqlite3.Connection, lock: threading.Lock) -> Iterator[None]:
    """One at a time on a connection that several threads share; committed at the end, rolled back by any exception."""
    with lock:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _configure(connection: Any, _: Any) -> None:
    write_ahead(connection)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    reading = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if reading else _BEGIN)
