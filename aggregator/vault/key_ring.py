"""The embedded key service: rows under one master key, in a folder of its own.

    keys/master.key     32 bytes in hex, mode 0600: what everything below is wrapped under
    keys/worker.key     32 bytes in hex, mode 0600: all that a syncing worker needs
    keys/ring.db        SQLite: pinned verification keys, wrapped shred and grant keys
    keys/counters.db    SQLite: what is remembered of each vault's head (counter_file.py)
    keys/destroyed      one line per destroyed key, only ever appended to

In the same process as the service this separation is hygiene, not a wall.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.errors import KeysMissing, OperatorError, Refused
from aggregator.vault.counter import Counter, Opened
from aggregator.vault.counter_file import CounterFile
from aggregator.vault.encoding import b64
from aggregator.vault.key_service import Admission, Held, HoldClaim, SignedGrant, Ticket
from aggregator.vault.keys import handle, verify
from aggregator.vault.seal import KEY_BYTES, PrivateKey, PublicKey, expand, header, unwrap, wrap

_SCHEMA = """
CREATE TABLE IF NOT EXISTS vault (id TEXT PRIMARY KEY, verification_key BLOB NOT NULL, shred BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS grant_key
    (vault TEXT, id TEXT, key BLOB NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (vault, id));
CREATE TABLE IF NOT EXISTS exposed (vault TEXT PRIMARY KEY, epoch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS unlockers (vault TEXT PRIMARY KEY, generation INTEGER NOT NULL);
"""
_EXPOSE = """
INSERT INTO exposed SELECT vault, epoch FROM grant_key WHERE vault = ? AND id = ?
ON CONFLICT (vault) DO UPDATE SET epoch = max(epoch, excluded.epoch)
"""
# No write-ahead log: a destroyed key must not live on in one.
_PRAGMAS = ("journal_mode=DELETE", "synchronous=FULL", "secure_delete=ON", "busy_timeout=30000")

_CLAIM_SECONDS = 300  # a claim to held items is made in the request that verifies
_OPENING_LIFE = 60.0  # seconds between the receipt and the opening that it permits

_MISSING = "{} is missing. Restore the key ring from its backup; without it nothing in the store can be opened"


class WorkerKeys:
    """What the syncing worker holds: opens mandates, settings and cursors, and nothing that it seals to a section."""

    def __init__(self, seed: bytes) -> None:
        self._private = PrivateKey(seed)
        self._feed = expand(seed, "feed")

    @classmethod
    def read(cls, folder: Path) -> WorkerKeys:
        """From keys/worker.key. Raises KeysMissing, OperatorError."""
        return cls(_read_key(folder / "worker.key"))

    def public(self) -> PublicKey:
        return self._private.public()

    def open(self, head: dict[str, Any], box: bytes) -> bytes:
        return self._private.open(head, box)

    def seal(self, head: dict[str, Any], plaintext: bytes) -> bytes:
        return self.public().seal(head, plaintext)

    def feed_tag(self, *parts: str) -> bytes:
        """A routing tag under the operator's feed key."""
        return handle(self._feed, *parts)


class KeyRing:
    """A KeyService in a folder. `create` makes a new one; opening never does."""

    def __init__(self, folder: Path) -> None:
        self._master = _read_key(folder / "master.key")
        if not (folder / "ring.db").exists():
            # SQLite would make an empty one, and every vault would look like one that never was.
            raise KeysMissing(_MISSING.format(folder / "ring.db"))
        self._folder = folder
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / "ring.db", check_same_thread=False, isolation_level=None)
        for pragma in _PRAGMAS:
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)
        self._counters = CounterFile(folder / "counters.db")
        self._openings = Openings()
        self._signing = Ed25519PrivateKey.from_private_bytes(expand(self._master, "audit-heads"))
        self.ring = handle(self._master, "ring").hex()

    @classmethod
    def create(cls, folder: Path) -> KeyRing:
        """A new key ring. Raises OperatorError when one is there."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("master.key", "worker.key"):
            _write_key(folder / name)
        for name in ("ring.db", "counters.db"):
            (folder / name).touch(mode=0o600)
        return cls(folder)

    def close(self) -> None:
        self._db.close()
        self._counters.close()

    def remembered(self, vaults: Collection[str]) -> Mapping[str, Counter]:
        return self._counters.remembered(vaults)

    def advance(self, counters: Mapping[str, Counter], openings: Collection[Opened] = ()) -> None:
        if counters:
            self._counters.advance(counters)
        self._openings.add(openings)

    def create_vault(self, vault: str, verification_key: bytes) -> None:
        shred = self._wrap(vault, "shred", os.urandom(KEY_BYTES))
        with self._lock:
            self._db.execute("INSERT INTO vault VALUES (?, ?, ?)", (vault, verification_key, shred))

    def verification_key(self, vault: str) -> bytes:
        return self._row("SELECT verification_key FROM vault WHERE id = ?", vault)[0]

    def lock(self, vault: str, head: dict[str, Any], plaintext: bytes) -> bytes:
        return wrap(self._shred(vault), head, plaintext)

    def unlock(self, vault: str, head: dict[str, Any], box: bytes) -> bytes:
        return unwrap(self._shred(vault), head, box)

    def generation(self, vault: str) -> int:
        with self._lock:
            found = self._db.execute("SELECT generation FROM unlockers WHERE vault = ?", (vault,)).fetchone()
        return int(found[0]) if found else 0

    def raise_generation(self, vault: str, generation: int) -> None:
        raised = "ON CONFLICT (vault) DO UPDATE SET generation = max(generation, excluded.generation)"
        with self._lock:
            self._db.execute(f"INSERT INTO unlockers VALUES (?, ?) {raised}", (vault, generation))  # noqa: S608

    def register_grant(self, grant: SignedGrant, payload: bytes) -> bytes:
        certificate = self._check(grant, payload)
        key = os.urandom(KEY_BYTES)
        with self._lock:
            row = (grant.vault, grant.id, self._wrap(grant.vault, f"grant/{grant.id}", key), certificate["epoch"])
            self._db.execute("INSERT INTO grant_key VALUES (?, ?, ?, ?)", row)
        return wrap(self._shred(grant.vault), _grant_header(grant), wrap(key, _grant_header(grant), payload))

    def open_grant(self, grant: SignedGrant, ticket: Ticket, opening: bytes, now: datetime) -> bytes:
        if not self._openings.use((grant.vault, opening)):
            raise Refused("no receipt of this opening is known to the key service")
        admission = self.identify(ticket, now)
        key = self._grant_key(grant)
        payload = unwrap(key, _grant_header(grant), self.unlock(grant.vault, _grant_header(grant), grant.box))
        certificate = self._check(grant, payload)
        if certificate["grantee"] != b64(self.handle("party", admission.party)):
            raise Refused("this grant is another party's")
        if not _is_occasion(orjson.loads(payload)["occasions"], admission.purpose, now):
            raise Refused("this grant opens nothing now for this purpose of use")
        return payload

    def destroy_grant(self, vault: str, grant: str, *, ended: bool = True) -> None:
        with self._lock:
            if ended:  # before the key goes: a crash between the two is made good by doing both again
                self._db.execute(_EXPOSE, (vault, grant))
            with (self._folder / "destroyed").open("a") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(f"grant {vault} {grant}\n")
                file.flush()
                os.fsync(file.fileno())
            self._db.execute("DELETE FROM grant_key WHERE vault = ? AND id = ?", (vault, grant))

    def rotation_due(self, vault: str) -> int:
        with self._lock:
            found = self._db.execute("SELECT epoch FROM exposed WHERE vault = ?", (vault,)).fetchone()
        return int(found[0]) if found else 0

    def admit(self, token: str, admission: Admission) -> bytes:
        return wrap(self._ticket_key(token), header("token", ""), orjson.dumps(asdict(admission)))

    def identify(self, ticket: Ticket, now: datetime) -> Admission:
        made = orjson.loads(unwrap(self._ticket_key(ticket.token), header("token", ""), ticket.row))
        if made["expires"] <= now.timestamp():
            raise Refused("the token has expired")
        made["scopes"] = tuple(made["scopes"])
        return Admission(**made)

    def handle(self, purpose: str, *parts: str) -> bytes:
        return handle(expand(self._master, "handles"), purpose, *parts)

    def sign_heads(self, merkle_root: bytes) -> bytes:
        return self._signing.sign(b"PRA1/heads" + merkle_root)

    def system_audit(self) -> PrivateKey:
        return PrivateKey(expand(self._master, "system-audit"))

    def hold_public(self) -> PublicKey:
        return self._hold().public()

    def open_hold(self, claim: HoldClaim, held: Held, now: datetime) -> bytes:
        verify(self.verification_key(claim.vault), claim.signature, b"PRA1/hold" + claim.statement, "claim")
        stated = orjson.loads(claim.statement)
        if not _covers(stated, claim, held) or abs(now.timestamp() - stated["at"]) > _CLAIM_SECONDS:
            raise Refused("this claim opens no such item")
        if held.expires <= now.timestamp():
            raise Refused("this item is held no longer")
        return self._hold().open(held.header(), held.box)

    def _hold(self) -> PrivateKey:
        return PrivateKey(expand(self._master, "hold"))

    def audit_verification_key(self) -> bytes:
        return self._signing.public_key().public_bytes_raw()

    def _check(self, grant: SignedGrant, payload: bytes) -> dict[str, Any]:
        verify(self.verification_key(grant.vault), grant.signature, b"PRA1/grant" + grant.certificate, "grant")
        certificate: dict[str, Any] = orjson.loads(grant.certificate)
        stated = (certificate["vault"], certificate["grant"], certificate["body"])
        if stated != (grant.vault, grant.id, hashlib.sha256(payload).hexdigest()):
            raise Refused("this grant's certificate is another's")
        return certificate

    def _grant_key(self, grant: SignedGrant) -> bytes:
        row = self._row("SELECT key FROM grant_key WHERE vault = ? AND id = ?", grant.vault, grant.id)
        return self._unwrap(grant.vault, f"grant/{grant.id}", row[0])

    def _shred(self, vault: str) -> bytes:
        row = self._row("SELECT shred FROM vault WHERE id = ?", vault)
        return self._unwrap(vault, "shred", row[0])

    def _row(self, query: str, *values: str) -> tuple[bytes]:
        with self._lock:
            found = self._db.execute(query, values).fetchone()
        if found is None:
            raise Refused("the key service holds no such key")
        row: tuple[bytes] = found
        return row

    def _wrap(self, vault: str, name: str, key: bytes) -> bytes:
        return wrap(expand(self._master, "rows"), header("key", vault, name=name), key)

    def _unwrap(self, vault: str, name: str, box: bytes) -> bytes:
        return unwrap(expand(self._master, "rows"), header("key", vault, name=name), box)

    def _ticket_key(self, token: str) -> bytes:
        # The token is 256 random bits: mixed with the master key, neither alone opens the row.
        return hmac.digest(expand(self._master, "tickets"), token.encode(), "sha256")


def _covers(stated: dict[str, Any], claim: HoldClaim, held: Held) -> bool:
    named = (stated["kind"], stated["vault"], stated["feed"])
    return named == ("hold", claim.vault, held.feed.hex()) and held.tag.hex() in stated["tags"]


class Openings:
    """The `opened` receipts that are durable and were not used yet. Each opens one grant, within a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[Opened, float] = {}

    def add(self, openings: Collection[Opened]) -> None:
        now = time.monotonic()
        with self._lock:
            while self._until and next(iter(self._until.values())) <= now:  # the oldest are the first
                del self._until[next(iter(self._until))]
            self._until |= dict.fromkeys(openings, now + _OPENING_LIFE)

    def use(self, opening: Opened) -> bool:
        with self._lock:
            return self._until.pop(opening, 0.0) > time.monotonic()


def _is_occasion(occasions: list[tuple[str, str, list[str]]], purpose: str, now: datetime) -> bool:
    return any(
        datetime.fromisoformat(low) <= now < datetime.fromisoformat(high) and purpose in purposes
        for low, high, purposes in occasions
    )


def _grant_header(grant: SignedGrant) -> dict[str, Any]:
    return header("grant", grant.vault, name=grant.id)


def _write_key(path: Path) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise OperatorError(f"{path} is there already; a new key ring never replaces one") from None
    with os.fdopen(fd, "w") as file:
        file.write(os.urandom(KEY_BYTES).hex() + "\n")
        file.flush()
        os.fsync(file.fileno())


def _read_key(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise OperatorError(f"{path} can be read by others; run: chmod 600 {path}")
        key = bytes.fromhex(path.read_text())
    except FileNotFoundError:
        raise KeysMissing(_MISSING.format(path)) from None
    except ValueError:
        raise OperatorError(f"{path} does not hold 32 bytes in hex; restore it from its backup") from None
    if len(key) != KEY_BYTES:
        raise OperatorError(f"{path} does not hold 32 bytes in hex; restore it from its backup")
    return key
