"""The embedded key service's counters, in a file of their own beside the ring. No secret is in it.

    keys/counters.db    SQLite with a write-ahead log: one row a vault, and the generation, which a restore opens

Several server processes share it; a counter that comes late and is smaller changes nothing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, closing
from pathlib import Path

from aggregator.errors import KeysMissing
from aggregator.vault import key_files
from aggregator.vault.counter import Counter
from aggregator.vault.sqlite import transaction, write_ahead

_SCHEMA = """
CREATE TABLE IF NOT EXISTS counter (
    vault TEXT PRIMARY KEY, log_position INTEGER NOT NULL, chain BLOB NOT NULL, grant_version INTEGER NOT NULL,
    epoch INTEGER NOT NULL, audit_position INTEGER NOT NULL, audit_head BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS before_restore AS SELECT * FROM counter WHERE 0;
CREATE TABLE IF NOT EXISTS generation (number INTEGER NOT NULL);
"""
# Each member is monotone by itself: two servers' commits on one vault may arrive in either order.
_ADVANCE = """
INSERT INTO counter VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (vault) DO UPDATE SET
    chain = CASE WHEN excluded.log_position > log_position THEN excluded.chain ELSE chain END,
    log_position = max(log_position, excluded.log_position),
    grant_version = max(grant_version, excluded.grant_version),
    epoch = max(epoch, excluded.epoch),
    audit_head = CASE WHEN excluded.audit_position > audit_position THEN excluded.audit_head ELSE audit_head END,
    audit_position = max(audit_position, excluded.audit_position)
"""
# A counter is durable before the answer leaves, as the commit that it counts.
_PRAGMAS = ("busy_timeout=30000", "synchronous=FULL")
_MOST = 500  # vaults in one question


class CounterFile:
    """A Memory in a file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            # SQLite would make an empty one, and every rolled-back vault would pass.
            raise KeysMissing(
                f"{path} is missing. Copy it back from the backup of the key ring: cp -p FOLDER/{path.name} {path}"
            )
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        write_ahead(self._db)
        for pragma in _PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def remembered(self, vaults: Collection[str]) -> Mapping[str, Counter]:
        found: dict[str, Counter] = {}
        wanted = list(vaults)
        for at in range(0, len(wanted), _MOST):
            some = wanted[at : at + _MOST]
            places = ", ".join("?" * len(some))
            with self._lock:
                rows = self._db.execute(f"SELECT * FROM counter WHERE vault IN ({places})", some).fetchall()  # noqa: S608
            found |= {vault: Counter(*values) for vault, *values in rows}
        return found

    def before_restore(self) -> Mapping[str, Counter]:
        """All counters as they are; while a restore has begun and not ended, as they were when it began."""
        with self._lock:
            begun = self._db.execute("SELECT * FROM before_restore").fetchall()
            rows = begun or self._db.execute("SELECT * FROM counter").fetchall()
        return {vault: Counter(*values) for vault, *values in rows}

    def generation(self) -> int:
        """How often a restore has begun, and one."""
        with self._lock:
            (number,) = self._db.execute("SELECT coalesce(max(number), 1) FROM generation").fetchone()
        return int(number)

    def new_generation(self, counters: Mapping[str, Counter]) -> int:
        """From these on: what was remembered is kept until `restored`, in case the database's commit fails.

        Returns the generation's number.
        """
        with self._writing():
            if not self._db.execute("SELECT 1 FROM before_restore").fetchone():
                self._db.execute("INSERT INTO before_restore SELECT * FROM counter")
            self._db.execute("DELETE FROM counter")
            self._db.executemany(_ADVANCE, _rows(counters))
            self._db.execute("INSERT INTO generation SELECT coalesce(max(number), 1) + 1 FROM generation")
        return self.generation()

    def restored(self) -> None:
        """The database's commit is durable: what was before is forgotten."""
        with self._writing():
            self._db.execute("DELETE FROM before_restore")

    def advance(self, counters: Mapping[str, Counter]) -> None:
        with self._writing():
            self._db.executemany(_ADVANCE, _rows(counters))

    def backup(self, into: Path) -> None:
        """A consistent copy, whoever writes meanwhile."""
        key_files.write(into, b"")
        with closing(sqlite3.connect(into)) as copy, self._lock:
            self._db.backup(copy)

    def _writing(self) -> AbstractContextManager[None]:
        return transaction(self._db, self._lock)


def _rows(counters: Mapping[str, Counter]) -> list[tuple[str | int | bytes, ...]]:
    return [
        (vault, one.log_position, one.chain, one.grant_version, one.epoch, one.audit_position, one.audit_head)
        for vault, one in counters.items()
    ]
