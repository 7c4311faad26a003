"""The database of one installation: SQLite in a file, or PostgreSQL. A commit is on disk before it returns.

One way in to read, one to write. A writer says which vaults it changes and waits for whoever changes one of them;
SQLite has one writer at a time anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Select, event
from sqlalchemy.engine import URL, Engine
from sqlmodel import Session

from aggregator import migrations
from aggregator.config import StoreSettings
from aggregator.vault import beneath, counter
from aggregator.vault.beneath import Beneath
from aggregator.vault.postgresql import PostgreSQL
from aggregator.vault.sqlite import SQLite


class Store:
    """The database of one installation."""

    def __init__(self, where: Path | URL) -> None:
        """where: the SQLite file, whose folder must exist, or PostgreSQL's URL, password included.

        Raises OperatorError, for a PostgreSQL that does not keep what it has committed as well.
        """
        self.database: SQLite | PostgreSQL = PostgreSQL(where) if isinstance(where, URL) else SQLite(where)
        self._watch: counter.Watch | None = None

    def follow(self, memory: counter.Memory, *chains: counter.Extends) -> None:
        """From now on the key service hears of every head that a transaction moved, and heads are held against it."""
        self._watch = counter.Watch(memory, chains, self.database.reading)
        event.listen(self.database.engine, "begin", counter.begun)
        event.listen(self.database.engine, "before_execute", counter.note)

    @classmethod
    def of(cls, settings: StoreSettings) -> Store:
        """The store that the settings name; SQLite's folder is made. Raises OperatorError."""
        if settings.url:
            return cls(settings.database_url())
        settings.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(settings.path)

    @property
    def place(self) -> str:
        """Where it is, in words for an operator."""
        return self.database.place

    def exists(self) -> bool:
        """Is it an installation's already, to which a key ring belongs?"""
        return self.database.exists()

    def create(self) -> None:
        """Bring the tables to this version's, whoever else starts beside us. Raises OperatorError."""
        with self.database.reading.connect() as connection:
            if migrations.revision(connection) == migrations.head():
                return
        with self.database.engine.connect() as connection, connection.begin():
            self.database.lock(connection, ())
            migrations.upgrade(connection, self.place)

    @contextmanager
    def write(self, *names: str) -> Iterator[Session]:
        """One transaction, committed at the end, rolled back by any exception.

        names: the vaults whose rows it changes, or what else it changes alone (a feed, a connection). Whoever names
        the same waits for it from the beginning to the end, so what was read inside is still so when it commits. It
        must change nothing else. No name: the whole database, and everybody waits. Raises Busy.
        """
        with self._session(self.database.engine) as session:
            with session.begin():
                self.database.lock(session.connection(), names)
                yield session
                if self._watch:
                    counter.moved(session)
            if self._watch:
                counter.tell(session.info)

    @contextmanager
    def write_free(self, *names: str) -> Iterator[tuple[Beneath, frozenset[str]]]:
        """The same beneath SQLAlchemy, over those of the vaults that nobody changes just now, and which they are.

        Waits for no other.
        """
        info = self._info()
        with self.database.beneath(names) as (cursor, free):
            yield Beneath(cursor, self.database.engine.name, info), free
        if self._watch:
            counter.tell(info)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent look at the database that waits for no writer."""
        with self._session(self.database.reading) as session:
            yield session

    def rows(self, statement: Select[Any], values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """What one SELECT finds now, beneath SQLAlchemy: for what every request asks."""
        with beneath.transaction(self.database.engine) as cursor:
            return Beneath(cursor, self.database.engine.name, {}).rows(statement, values)

    def _session(self, engine: Engine) -> Session:
        return Session(engine, expire_on_commit=False, info=self._info())

    def _info(self) -> dict[str, Any]:
        return self._watch.info() if self._watch else {}

    def checkpoint(self) -> None:
        """SQLite: fold the write-ahead log into the file. PostgreSQL does that by itself."""
        self.database.checkpoint()

    def close(self) -> None:
        self.database.engine.dispose()

    def size(self) -> int:
        """Bytes of the data, with indexes and side files."""
        return self.database.size()
