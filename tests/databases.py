"""The database under test: SQLite, or with `--store postgresql` a real server of this run's own.

Each test has databases of its own. On PostgreSQL they are used again: a test's rows go before the next one takes it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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
_WORDS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile("%"), "%%"),
    (re.compile(r"\?"), "%s"),
    (re.compile(r"\bx'([0-9a-f]*)'"), r"'\\x\1'::bytea"),
    (re.compile(r"\bzeroblob\((\d+)\)"), lambda found: rf"'\x{'00' * int(found[1])}'::bytea"),
    (
        re.compile(r"CAST\(replace\((\w+), (.+?), ('[^']*'|%s)\) AS BLOB\)"),
        r"convert_to(replace(convert_from(\1, 'UTF8'), \2, \3), 'UTF8')",
    ),
    (re.compile(r"\bAS BLOB\b"), "AS bytea"),
)


def start(kind: str, *, on_disk: bool = False) -> None:
    """kind: "sqlite" or "postgresql". on_disk: not in memory, so that durability costs its time."""
    global _server
    if kind == "postgresql":
        _server = Server(on_disk)
        _make_schema(_server)


def _make_schema(server: Server) -> None:
    server.create(_SCHEMA)
    store = Store(make_url(server.url(_SCHEMA)))
    store.create()
    store.close()


def stop() -> None:
    if _server is not None:
        _server.stop()


@contextmanager
def instead(other: Server) -> Iterator[None]:
    """Inside, the databases are this server's, whatever they are outside."""
    global _server, _taken, _free
    before = _server, _taken, _free
    _server, _taken, _free = other, {}, []
    try:
        _make_schema(other)
        yield
    finally:
        _server, _taken, _free = before


def server() -> Server | None:
    """The server under the tests; None on SQLite."""
    return _server


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


def analyze(store: Store) -> None:
    """What PostgreSQL does by itself within a minute or so of a change: its plans are not those for an empty table."""
    if _server is not None:
        execute(store, "ANALYZE")


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
    """A statement in SQLite's words, on either."""
    with store.write() as session:
        session.connection().exec_driver_sql(words(statement), values)


def refuse_inserts(store: Store, table: str, told: str) -> None:
    """From here on the database refuses every new row of a table, as a full disk would."""
    if _server is None:
        execute(store, f"CREATE TRIGGER full BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, '{told}'); END")
        return
    body = f"BEGIN RAISE EXCEPTION '{told}'; END"
    execute(store, f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
    execute(store, f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION full_disk()")


def allow_inserts(store: Store, table: str) -> None:
    execute(store, "DROP TRIGGER full" if _server is None else f"DROP TRIGGER full_disk ON {table}")


def is_written(store: Store) -> bool:
    """Is somebody inside `Store.write` just now?"""
    if _server is None:
        with closing(sqlite3.connect(store.place, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            return False
    query = """SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
               WHERE d.datname = current_database() AND locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted)"""
    with store.database.reading.connect() as connection:
        return bool(connection.exec_driver_sql(query).scalar_one())


def words(statement: str) -> str:
    """SQLite's words in those of the database under test: `?` for a value, bytes as x'00' and zeroblob(1)."""
    if _server is None:
        return statement
    for pattern, replacement in _WORDS:
        statement = pattern.sub(replacement, statement)
    return statement


def _database(server: Server, file: Path) -> str:
    if file not in _taken:
        name = ""
        while _free and not _clear(server, name := _free.pop()):
            server.drop(name)
            name = ""
        name = name or server.create(_SCHEMA)
        server.mark(name)
        _taken[file] = name
    return _taken[file]


def _clear(server: Server, name: str) -> bool:
    """Ready for the next test? Not where this one changed the tables themselves."""
    server.disconnect(name)
    with server.connect(name) as connection, server.connect(_SCHEMA) as pattern:
        if _shape(connection) != _shape(pattern):
            return False
        if tables := _filled(connection):
            connection.execute(f"TRUNCATE {', '.join(tables)}".encode())
    return True


def _shape(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Tables, indexes, columns and functions."""
    return connection.execute(
        """SELECT relname::text, attname::text FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
           WHERE relnamespace = 'public'::regnamespace AND NOT attisdropped
           UNION ALL SELECT proname::text, '' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
           ORDER BY 1, 2"""
    ).fetchall()


def _filled(connection: psycopg.Connection[Any]) -> list[str]:
    """The tables that hold, or have held, rows."""
    query = """SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
               AND relname <> 'alembic_version' AND pg_relation_size(oid) > 0 ORDER BY relname"""
    return [str(name) for (name,) in connection.execute(query)]
