"""The database under test: SQLite, or with `--store postgresql` a real server of this run's own.

Each test has databases of its own. On PostgreSQL they are used again: a test's rows go before the next one takes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import URL, make_url

from aggregator.config import StoreSettings
from aggregator.vault.store import Store
from tests.postgresql import Server

_server: Server | None = None
_taken: dict[Path, str] = {}  # a SQLite file's path, and the PostgreSQL database that stands for it
_free: list[str] = []
_SCHEMA = "schema_alone"


def start(kind: str) -> None:
    """kind: "sqlite" or "postgresql"."""
    global _server
    if kind == "postgresql":
        _server = Server()
        _server.create(_SCHEMA)
        store = Store(make_url(_server.url(_SCHEMA)))
        store.create()
        store.close()


def stop() -> None:
    if _server is not None:
        _server.stop()


def on_postgresql() -> bool:
    return _server is not None


def settings(file: Path) -> StoreSettings:
    """What stands in the configuration for a store in this file: the same file, the same database."""
    return StoreSettings(path=file) if _server is None else StoreSettings(url=_server.url(_database(_server, file)))


def store_in(file: Path) -> Store:
    made = Store.of(settings(file))
    made.create()
    return made


def copy(source: Path, target: Path) -> None:
    """The rows of one store into another, empty one. SQLite's files are copied by whoever copies the folder."""
    if _server is None:
        return
    with _server.connect(_database(_server, source)) as rows, _server.connect(_database(_server, target)) as made:
        for table in _filled(rows):
            with rows.cursor().copy(f"COPY {table} TO STDOUT (FORMAT BINARY)") as data:
                told = b"".join(data)
            with made.cursor().copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as into:
                into.write(told)


@contextmanager
def own_databases() -> Iterator[None]:
    """What is taken inside is given back at the end."""
    before = set(_taken)
    yield
    for file in set(_taken) - before:
        _free.append(_taken.pop(file))


@contextmanager
def empty(folder: Path) -> Iterator[Path | URL]:
    """A place for a store without any table."""
    if _server is None:
        yield folder / "empty.db"
        return
    name = _server.create(None)
    try:
        yield make_url(_server.url(name))
    finally:
        _server.drop(name)


def told(store: Store) -> str:
    """The store as an argument of another process, which opens it with `opened`."""
    return store.place if _server is None else store.database.engine.url.render_as_string()


def opened(place: str) -> Store:
    return Store(make_url(place) if "://" in place else Path(place))


def stored_bytes(store: Store) -> bytes:
    """Every byte that the database has on disk, its log included: what a thief of the disk has."""
    if _server is not None:
        return _server.stored_bytes(str(store.database.engine.url.database))
    return b"".join(file.read_bytes() for file in sorted(Path(store.place).parent.iterdir()))


def execute(store: Store, statement: str, values: tuple[object, ...] = ()) -> None:
    """A statement in SQLite's words, on either: `?` for a value, x'00' for bytes."""
    if _server is not None:
        statement = re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea", statement.replace("%", "%%")).replace("?", "%s")
    with store.write() as session:
        session.connection().exec_driver_sql(statement, values)


def _database(server: Server, file: Path) -> str:
    if file not in _taken:
        if _free:
            name = _free.pop()
            _clear(server, name)
        else:
            name = server.create(_SCHEMA)
        server.mark(name)
        _taken[file] = name
    return _taken[file]


def _clear(server: Server, name: str) -> None:
    server.disconnect(name)
    with server.connect(name) as connection:
        if tables := _filled(connection):
            connection.execute(f"TRUNCATE {', '.join(tables)}".encode())


def _filled(connection: psycopg.Connection[Any]) -> list[str]:
    """The tables that hold, or have held, rows."""
    query = """SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
               AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0 ORDER BY relname"""
    return [str(name) for (name,) in connection.execute(query)]
