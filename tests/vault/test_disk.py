"""A disk that is full or broken, and a database that is gone: found whoever tells of it."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from aggregator.errors import DatabaseGone, DiskBroken, DiskFull
from aggregator.vault import disk
from aggregator.vault.sqlite import transaction
from tests.full_disk import room

INSERT = "INSERT INTO t VALUES (zeroblob(100000))"


def raised(act: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is what is asked
        act()
    return caught.value


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    made = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
    made.execute("CREATE TABLE t (v BLOB)")
    return made


def test_sqlite_whose_pages_are_all_taken_is_a_full_disk(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA max_page_count = 3")
    found = disk.failure(raised(lambda: database.execute(INSERT)))
    assert isinstance(found, DiskFull)
    assert str(found).startswith("a disk is full: make room where the store")


def test_sqlite_that_may_not_write_is_a_broken_disk(database: sqlite3.Connection) -> None:
    with room(8192):
        assert isinstance(disk.failure(raised(lambda: database.execute(INSERT))), DiskBroken)
    database.execute("PRAGMA query_only = ON")
    assert isinstance(disk.failure(raised(lambda: database.execute(INSERT))), DiskBroken)


def test_what_failed_first_is_told_and_not_the_rollback_that_failed_behind_it(database: sqlite3.Connection) -> None:
    """SQLite rolls back by itself where the disk is full."""
    database.execute("PRAGMA max_page_count = 3")

    def write() -> None:
        with transaction(database, Lock()):
            database.execute(INSERT)

    assert isinstance(disk.failure(raised(write)), DiskFull)


def test_a_file_that_cannot_grow_is_a_full_disk(tmp_path: Path) -> None:
    with room(10):
        assert isinstance(disk.failure(raised(lambda: (tmp_path / "file").write_bytes(bytes(20)))), DiskFull)
    assert isinstance(disk.failure(raised(lambda: Path("/dev/full").write_bytes(b"1"))), DiskFull)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.EDQUOT, "quota"), DiskFull),
        (OSError(errno.EIO, "broken"), DiskBroken),
        (OSError(errno.EROFS, "read-only"), DiskBroken),
        (psycopg.errors.DiskFull(), DiskFull),
        (psycopg.errors.IoError(), DiskBroken),
        (psycopg.errors.AdminShutdown(), DatabaseGone),
        (psycopg.errors.CrashShutdown(), DatabaseGone),
        (psycopg.errors.CannotConnectNow(), DatabaseGone),
        (psycopg.OperationalError("server closed the connection unexpectedly"), DatabaseGone),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else type(one).__name__,
)
def test_each_kind_is_found_behind_sqlalchemys_error(error: Exception, kind: type[Exception]) -> None:
    def wrapped() -> None:
        try:
            raise error
        except Exception as inner:
            raise OperationalError("COMMIT", None, inner) from inner

    found = disk.failure(raised(wrapped))
    assert type(found) is kind is type(disk.failure(error))


def test_all_else_is_no_disks_fault(database: sqlite3.Connection) -> None:
    for error in (ValueError("x"), OSError(errno.ENOENT, "x"), psycopg.errors.UniqueViolation(), sqlite3.Error("x")):
        assert disk.failure(error) is None
    assert disk.failure(raised(lambda: database.execute("SELECT nothing"))) is None
    hidden = ValueError("x")
    with suppress(ValueError):
        try:
            raise OSError(errno.ENOSPC, "x")
        except OSError:
            raise hidden from None
    assert disk.failure(hidden) is None
