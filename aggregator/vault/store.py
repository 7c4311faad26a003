"""The database: one engine, two ways in. SQLite with a write-ahead log; every commit is on disk before it returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlmodel import Session, SQLModel, create_engine

from aggregator.errors import OperatorError

# full: a receipt is durable when commit returns. secure_delete: nothing stays in free pages.
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON", "secure_delete=ON")


class Store:
    """The database of one installation. `path` is the SQLite file; its folder must exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.parent.is_dir():
            raise OperatorError(f"store: the folder {path.parent} does not exist; create it or set store.path")
        self._engine = _engine(path)

    def create(self) -> None:
        """Make the tables that are not there yet."""
        SQLModel.metadata.create_all(self._engine)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, begun at once (BEGIN IMMEDIATE), committed at the end, rolled back by any exception."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent look at the database that waits for no writer."""
        with Session(self._engine.execution_options(read_only=True), expire_on_commit=False) as session:
            yield session

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the database file."""
        with self._engine.connect().execution_options(read_only=True) as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._engine.dispose()

    def size(self) -> int:
        """Bytes of the database and its side files."""
        return sum(file.stat().st_size for file in self.path.parent.glob(self.path.name + "*"))


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "isolation_level": None})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that turns to writing fails at once where an immediate one waits its turn.
        reading = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
