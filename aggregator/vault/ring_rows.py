"""The rows of the embedded key ring: SQLite, each key wrapped under the row key, which lies under the master key.

What was destroyed is a line in the list first, and then no row any more: whoever opens a ring from an older backup
applies the list before anything else.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.errors import KeysMissing, OperatorError, Refused, Tampered
from aggregator.vault import disk, key_files
from aggregator.vault.audit_key import AuditKey, successor
from aggregator.vault.destroyed import DestroyedList, Place
from aggregator.vault.master_key import MasterKey
from aggregator.vault.seal import KEY_BYTES, header, unwrap, wrap
from aggregator.vault.sqlite import transaction

# ring: one row. own: keys that must outlive the master key, each drawn once.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS ring (
    id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL, row_key BLOB NOT NULL,
    destroyed_size INTEGER NOT NULL, destroyed_head TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS own (name TEXT PRIMARY KEY, key BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS vault (id TEXT PRIMARY KEY, verification_key BLOB NOT NULL, shred BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS grant_key
    (vault TEXT, id TEXT, key BLOB NOT NULL, epoch INTEGER NOT NULL, grantee BLOB NOT NULL, PRIMARY KEY (vault, id));
CREATE TABLE IF NOT EXISTS exposed (vault TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS audit_key
    (number INTEGER PRIMARY KEY, key BLOB NOT NULL, since INTEGER NOT NULL, signature BLOB, vouched BLOB);
CREATE TABLE IF NOT EXISTS retired (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS erased (vault TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS unlockers (vault TEXT PRIMARY KEY, generation INTEGER NOT NULL);
"""
_EXPOSE = """
INSERT INTO exposed VALUES (?, ?) ON CONFLICT (vault) DO UPDATE SET epoch = max(epoch, excluded.epoch)
"""
_RAISE = """
INSERT INTO unlockers VALUES (?, ?) ON CONFLICT (vault) DO UPDATE SET generation = max(generation, excluded.generation)
"""
_AUDIT_KEY = "INSERT INTO audit_key VALUES (?, ?, ?, ?, ?)"
# No write-ahead log: a destroyed key must not live on in one.
_PRAGMAS = ("busy_timeout=30000", "journal_mode=DELETE", "synchronous=FULL", "secure_delete=ON")

OWN = ("audit-heads", "handles", "hold", "system-audit", "tickets")


class RingRows:
    """The rows in `file`, which must be there. Raises KeysMissing, OperatorError."""

    def __init__(self, file: Path, master: MasterKey, destroyed: DestroyedList) -> None:
        if not file.exists():
            # SQLite would make an empty one, and every vault would look like one that never was.
            raise KeysMissing(key_files.MISSING.format(file))
        self._lock = threading.Lock()
        self._destroyed = destroyed
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        try:
            for pragma in _PRAGMAS:
                self._db.execute(f"PRAGMA {pragma}")
            self.name, box = self._one_row()
            self._row_key = self._opened(file, master, box)
            self._own = {name: self._own_key(name) for name in OWN}
            self.apply()
        except BaseException:
            self._db.close()
            raise

    @classmethod
    def create(cls, file: Path, master: MasterKey) -> None:
        """New rows in a new file."""
        key_files.write(file, b"")
        db = sqlite3.connect(file, isolation_level=None)
        row_key = os.urandom(KEY_BYTES)
        db.executescript(_SCHEMA)
        empty = Place()
        values = (os.urandom(16).hex(), master.wrap(row_key), empty.size, empty.head)
        db.execute("INSERT INTO ring VALUES (1, ?, ?, ?, ?)", values)
        seeds = {name: os.urandom(KEY_BYTES) for name in OWN}
        own = [(name, wrap(row_key, _head("", f"own/{name}"), seed)) for name, seed in seeds.items()]
        db.executemany("INSERT INTO own VALUES (?, ?)", own)
        first = Ed25519PrivateKey.from_private_bytes(seeds["audit-heads"]).public_key().public_bytes_raw()
        db.execute(_AUDIT_KEY, (1, first, 0, b"", b""))
        db.close()

    def close(self) -> None:
        self._db.close()

    def own(self, name: str) -> bytes:
        """One of the ring's own keys."""
        return self._own[name]

    def get(self, query: str, *values: object) -> tuple[Any, ...] | None:
        with self._lock:
            found: tuple[Any, ...] | None = self._db.execute(query, values).fetchone()
        return found

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def must(self, query: str, *values: object) -> Any:
        """The first column. Raises Refused where there is no such row."""
        found = self.get(query, *values)
        if found is None:
            raise Refused("the key service holds no such key")
        return found[0]

    def run(self, statement: str, *values: object) -> None:
        with self._lock:
            self._db.execute(statement, values)

    def verification_key(self, vault: str) -> bytes:
        """The one that was pinned. Raises Refused."""
        return bytes(self.must("SELECT verification_key FROM vault WHERE id = ?", vault))

    def shred(self, vault: str) -> bytes:
        """The vault's shred key. Raises Refused where it is destroyed, or never was."""
        return self.unwrap(vault, "shred", self.must("SELECT shred FROM vault WHERE id = ?", vault))

    def wrap(self, vault: str, name: str, key: bytes) -> bytes:
        return wrap(self._row_key, _head(vault, name), key)

    def unwrap(self, vault: str, name: str, box: bytes) -> bytes:
        return unwrap(self._row_key, _head(vault, name), box)

    def destroy(self, *words: str) -> None:
        """A line in the list, then the rows."""
        self._destroyed.append(*words)
        self.apply()

    def audit_keys(self) -> list[AuditKey]:
        """By number."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM audit_key ORDER BY number").fetchall()
        return [AuditKey(number=row[0], key=row[1], since=row[2], signature=row[3], vouched=row[4]) for row in rows]

    def succeed_audit_key(self, since: int) -> None:
        """A new key that signs heads: the old one signs it and is gone, in one transaction."""
        seed, last = os.urandom(KEY_BYTES), self.audit_keys()[-1]
        old, new = (Ed25519PrivateKey.from_private_bytes(one) for one in (self.own("audit-heads"), seed))
        made = successor(last, old, new, since)
        with self._writing():
            self._db.execute(_AUDIT_KEY, (made.number, made.key, made.since, made.signature, made.vouched))
            box = self.wrap("", "own/audit-heads", seed)
            self._db.execute("UPDATE own SET key = ? WHERE name = 'audit-heads'", (box,))
        self._own["audit-heads"] = seed

    def listed_epochs(self) -> dict[str, int]:
        """Vault -> the newest epoch whose seeds a grant may have held, by what the whole list tells of those that went.

        Of those that came when one had ended, and are lost since, there is no line: they were of the next epoch.
        """
        found: dict[str, int] = {}
        for words, _ in self._destroyed.behind(Place()):
            match words:
                case ["grant", vault, _, epoch, how]:
                    found[vault] = max(found.get(vault, 0), int(epoch) + (how == "ended"))
        return found

    def retired(self, name: str) -> bool:
        """Is this worker key one that was destroyed?"""
        return self.get("SELECT 1 FROM retired WHERE name = ?", name) is not None

    def erased(self, vault: str) -> bool:
        """Was its shred key destroyed?"""
        return self.get("SELECT 1 FROM erased WHERE vault = ?", vault) is not None

    def apply(self) -> None:
        """Take away what the list names and this ring still has. Raises OperatorError for a list that was cut off."""
        with self._writing():
            place = Place(*self._db.execute("SELECT destroyed_size, destroyed_head FROM ring").fetchone())
            for words, reached in self._destroyed.behind(place):
                self._apply(words)
                place = reached
            self._db.execute("UPDATE ring SET destroyed_size = ?, destroyed_head = ?", (place.size, place.head))

    def backup(self, into: Path) -> None:
        """A consistent copy, whoever writes meanwhile."""
        key_files.write(into, b"")
        with closing(sqlite3.connect(into)) as copy, self._lock:
            self._db.backup(copy)

    def rewrap(self, master: MasterKey) -> None:
        """All rows under a new row key, that one under this master key: one transaction."""
        key, old = os.urandom(KEY_BYTES), self._row_key
        with self._writing():
            for vault, box in self._db.execute("SELECT id, shred FROM vault").fetchall():
                self._db.execute(
                    "UPDATE vault SET shred = ? WHERE id = ?", (_again(old, key, vault, "shred", box), vault)
                )
            for vault, one, box in self._db.execute("SELECT vault, id, key FROM grant_key").fetchall():
                again = _again(old, key, vault, f"grant/{one}", box)
                self._db.execute("UPDATE grant_key SET key = ? WHERE vault = ? AND id = ?", (again, vault, one))
            for name, box in self._db.execute("SELECT name, key FROM own").fetchall():
                again = _again(old, key, "", f"own/{name}", box)
                self._db.execute("UPDATE own SET key = ? WHERE name = ?", (again, name))
            self._db.execute("UPDATE ring SET row_key = ?", (master.wrap(key),))
        self._row_key = key

    def _apply(self, words: list[str]) -> None:
        match words:
            case ["grant", vault, one, epoch, how]:
                if how == "ended":  # its key may never have been in this ring, where it is from a backup
                    self._db.execute(_EXPOSE, (vault, int(epoch)))
                self._db.execute("DELETE FROM grant_key WHERE vault = ? AND id = ?", (vault, one))
            case ["vault", vault]:
                self._db.execute("DELETE FROM vault WHERE id = ?", (vault,))
                self._db.execute("DELETE FROM grant_key WHERE vault = ?", (vault,))
                self._db.execute("INSERT INTO erased VALUES (?) ON CONFLICT DO NOTHING", (vault,))
            case ["exposed", vault, epoch]:
                self._db.execute(_EXPOSE, (vault, int(epoch)))
            case ["worker", name]:
                self._db.execute("INSERT INTO retired VALUES (?) ON CONFLICT DO NOTHING", (name,))
            case ["unlockers", vault, generation]:
                self._db.execute(_RAISE, (vault, int(generation)))
            case _:
                raise OperatorError(f"{self._destroyed.path} holds a line that this version does not know")

    def _one_row(self) -> tuple[str, bytes]:
        try:
            found = self._db.execute("SELECT name, row_key FROM ring").fetchone()
        except sqlite3.DatabaseError as error:
            if disk.failure(error):
                raise
            found = None
        if found is None:
            raise OperatorError("ring.db holds no key ring; restore it from its backup")
        name, row_key = found
        return name, row_key

    def _opened(self, file: Path, master: MasterKey, box: bytes) -> bytes:
        try:
            key = master.unwrap(box)
        except Tampered:
            raise OperatorError(
                f"the master key is not the one that {file} lies under; restore the two together"
            ) from None
        master.settle()
        return key

    def _own_key(self, name: str) -> bytes:
        (box,) = self._db.execute("SELECT key FROM own WHERE name = ?", (name,)).fetchone()
        return self.unwrap("", f"own/{name}", box)

    def _writing(self) -> AbstractContextManager[None]:
        return transaction(self._db, self._lock)


def _again(old: bytes, new: bytes, vault: str, name: str, box: bytes) -> bytes:
    return wrap(new, _head(vault, name), unwrap(old, _head(vault, name), box))


def _head(vault: str, name: str) -> dict[str, Any]:
    return header("key", vault, name=name)
