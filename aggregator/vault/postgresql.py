"""PostgreSQL: writers of different vaults do not wait for each other, on however many machines they are.

A writer takes advisory locks before it reads (https://www.postgresql.org/docs/current/explicit-locking.html): shared on
the database and exclusive on each of its vaults, in one order, so that no two wait for each other in a ring; one that
names no vault takes the database for itself. With them READ COMMITTED is enough: what a writer reads is the newest, and
nobody changes it before it commits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import create_engine, event
from sqlalchemy.engine import URL, Connection, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import DBAPIError

from aggregator.errors import Busy, OperatorError
from aggregator.vault import beneath

_POOL, _OVERFLOW = 10, 30  # the web server's threads are 40, and each holds a connection for milliseconds
_WAIT_SECONDS = 30
_DATABASE = (20261121, 0)  # two integers: another space of keys than the vaults' one
_MOST_LOCKS = 1024  # the server's table holds 64 for each connection that it allows, 6,400 as installed
_SESSION = f"-c lock_timeout={_WAIT_SECONDS}s -c timezone=UTC"
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


class PostgreSQL:
    """The database at `url`. Raises OperatorError where it cannot be reached or does not keep what it committed."""

    def __init__(self, url: URL) -> None:
        self.place = f"postgresql {url.database} at {url.host or url.query.get('host', '')}"
        self.engine = create_engine(
            url,
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            pool_pre_ping=True,  # a server that was restarted costs nobody an error
            pool_size=_POOL,
            max_overflow=_OVERFLOW,
            pool_timeout=_WAIT_SECONDS,
            connect_args={"options": _SESSION, "connect_timeout": 10},
        )
        self.reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        event.listen(self.engine, "connect", _refuse_forgetful)
        event.listen(self.engine, "handle_error", _silence)
        self._try()

    def exists(self) -> bool:
        """Its tables may have been made already; it is somebody's once a key ring is bound to it."""
        with self.reading.connect() as connection:
            made = connection.exec_driver_sql("SELECT to_regclass('installation') IS NOT NULL").scalar_one()
            bound = "SELECT EXISTS (SELECT FROM installation)"
            return bool(made and connection.exec_driver_sql(bound).scalar_one())

    def lock(self, connection: Connection, names: tuple[str, ...]) -> None:
        """Raises Busy."""
        with _patience():
            self._lock(connection, names)

    @contextmanager
    def beneath(self, names: tuple[str, ...]) -> Iterator[tuple[DBAPICursor, frozenset[str]]]:
        """A transaction beneath SQLAlchemy, and which of the names nobody else holds: locked, without waiting.

        Waits for a holder of the whole database: Busy.
        """
        try:
            with beneath.transaction(self.engine) as cursor:
                yield cursor, _lock_free(cursor, names)
        except psycopg.errors.LockNotAvailable:
            raise Busy(_HELD) from None
        except psycopg.Error as error:
            _shorten(error)
            raise

    def _lock(self, connection: Connection, names: tuple[str, ...]) -> None:
        if not names or len(names) > _MOST_LOCKS:
            connection.exec_driver_sql(_LOCK_ALL, _DATABASE)
            return
        keys = sorted({_key(name) for name in names})
        connection.exec_driver_sql(_LOCK, (*_DATABASE, keys))

    def checkpoint(self) -> None:
        """The server writes its checkpoints itself."""

    def size(self) -> int:
        with self.reading.connect() as connection:
            return int(connection.exec_driver_sql(_SIZE).scalar_one())

    def _try(self) -> None:
        try:
            with self.reading.connect():
                return
        except DBAPIError as error:
            self.engine.dispose()
            raise OperatorError(f"store.url: {self.place} cannot be reached: {_why(error)}") from None


_LOCK_ALL = "SELECT pg_advisory_xact_lock(%s, %s)"
_LOCK = """
    SELECT pg_advisory_xact_lock_shared(%s, %s) UNION ALL SELECT pg_advisory_xact_lock(k) FROM unnest(%s::bigint[]) AS k
"""
_LOCK_FREE = """
    SELECT NULL::bigint FROM pg_advisory_xact_lock_shared(%s, %s) UNION ALL
    SELECT k FROM unnest(%s::bigint[]) AS k WHERE pg_try_advisory_xact_lock(k)
"""
_HELD = "another writer has held this record for too long; try again"
_SIZE = """
    SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""


@contextmanager
def _patience() -> Iterator[None]:
    """Who has waited for `_WAIT_SECONDS` hears Busy: it may try again, and nothing is broken."""
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise Busy(_HELD) from None
        raise


def _lock_free(cursor: DBAPICursor, names: tuple[str, ...]) -> frozenset[str]:
    if len(names) > _MOST_LOCKS:
        cursor.execute(_LOCK_ALL, _DATABASE)
        return frozenset(names)
    cursor.execute(_LOCK_FREE, (*_DATABASE, sorted({_key(name) for name in names})))
    taken = {key for (key,) in cursor.fetchall()}
    return frozenset(name for name in names if _key(name) in taken)


def _key(name: str) -> int:
    """64 bits of the name: two names that share them wait for each other, no more."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)


def _refuse_forgetful(connection: psycopg.Connection[Any], _: Any) -> None:
    """An acknowledged receipt that a power cut takes back is a broken promise: checked on each new connection."""
    found = connection.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in _DURABLE)).fetchone()
    connection.rollback()
    off = [name for name, value in zip(_DURABLE, found or (), strict=True) if value == "off"]
    if off:
        connection.close()
        raise OperatorError(
            f"store.url: this PostgreSQL does not keep what it has committed; set {' and '.join(off)} to on"
        )


def _silence(context: ExceptionContext) -> None:
    """Of what the server says, its sentence alone: details quote the values of rows."""
    error = context.original_exception
    if isinstance(error, psycopg.Error) and _shorten(error) and context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"({type(error).__name__}) {error.args[0]}",)


def _shorten(error: psycopg.Error) -> bool:
    if not error.diag.message_primary:
        return False
    error.args = (f"{error.sqlstate}: {error.diag.message_primary}",)
    return True


def _why(error: DBAPIError) -> str:
    lines = str(error.orig).strip().splitlines()
    return lines[-1] if lines else type(error.orig).__name__
