"""A disk that is full or broken, and a database that is gone, however that is told: by the system, SQLite, PostgreSQL.

https://www.sqlite.org/rescode.html, https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator

import psycopg

from aggregator.errors import DatabaseGone, DiskBroken, DiskFull, OperatorError

_SYSTEM: dict[int | None, type[OperatorError]] = {
    errno.ENOSPC: DiskFull,
    errno.EDQUOT: DiskFull,
    errno.EFBIG: DiskFull,
    errno.EIO: DiskBroken,
    errno.EROFS: DiskBroken,
}
_SQLITE: dict[int, type[OperatorError]] = {
    sqlite3.SQLITE_FULL: DiskFull,
    sqlite3.SQLITE_IOERR: DiskBroken,
    sqlite3.SQLITE_READONLY: DiskBroken,
    sqlite3.SQLITE_CANTOPEN: DiskBroken,
}
"""Primary result codes: an extended one has more bits above them."""
_POSTGRESQL: dict[str | None, type[OperatorError]] = {
    "53100": DiskFull,
    "58030": DiskBroken,
    "57P01": DatabaseGone,
    "57P02": DatabaseGone,
    "57P03": DatabaseGone,
    None: DatabaseGone,
}
"""SQLSTATE; none where the connection broke before the server said anything."""

_TOLD: dict[type[OperatorError], str] = {
    DiskFull: "a disk is full: make room where the store, the attachments and the key ring lie, and where this writes, "
    "then do the same again; nothing that was acknowledged is lost",
    DiskBroken: "a disk cannot be read or written: see whether it is broken, full or read-only, and whose the files "
    "of the store, the attachments and the key ring are, then do the same again; nothing of this was acknowledged",
    DatabaseGone: "the database does not answer: see that its server runs and has room, then do the same again; "
    "nothing that was acknowledged is lost",
}


def failure(error: BaseException) -> OperatorError | None:
    """What the operator is told where a disk is behind it; None where it is something else."""
    for one in _chain(error):
        if kind := _kind(one):
            return kind(_TOLD[kind])
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came of: SQLAlchemy's has the driver's behind it, a failed ROLLBACK what failed first."""
    while error:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _kind(error: BaseException) -> type[OperatorError] | None:
    match error:
        case sqlite3.Error():
            return _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        case psycopg.OperationalError():
            return _POSTGRESQL.get(error.sqlstate)
        case OSError():
            return _SYSTEM.get(error.errno)
    return None
