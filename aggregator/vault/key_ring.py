"""The embedded key service: rows under one master key, in a folder of its own.

    keys/master.key     32 bytes in hex: what ring.db lies under (master_key.py)
    keys/worker.key     what a syncing worker needs, with feed.key (worker_keys.py)
    keys/ring.db        SQLite: pinned verification keys, wrapped shred and grant keys (ring_rows.py)
    keys/counters.db    SQLite: what is remembered of each vault's head (counter_file.py)
    keys/destroyed      one line per destroyed key, only ever appended to (destroyed.py); it may lie elsewhere

The folder has mode 0700, each file 0600; a ring that others could read is not opened.

In the same process as the service this separation is hygiene, not a wall.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.errors import KeysMissing, OperatorError, Refused
from aggregator.vault import key_files, worker_keys
from aggregator.vault.audit_key import AuditKey
from aggregator.vault.counter import Counter, Opened
from aggregator.vault.counter_file import CounterFile
from aggregator.vault.destroyed import DestroyedList
from aggregator.vault.encoding import b64, unb64
from aggregator.vault.key_files import FolderLock
from aggregator.vault.key_service import (
    DEPOSIT,
    GRANT,
    PERSON,
    PERSONS_PURPOSE,
    Admission,
    Held,
    HoldClaim,
    Proof,
    SignedGrant,
    Ticket,
)
from aggregator.vault.keys import handle, verify
from aggregator.vault.master_key import FileKey, MasterKey
from aggregator.vault.ring_rows import RingRows
from aggregator.vault.seal import KEY_BYTES, PrivateKey, PublicKey, header, unwrap, wrap
from aggregator.vault.worker_keys import WorkerKeys

FILES = ("master.key", "worker.key", "feed.key", "ring.db", "counters.db", "destroyed")
_KEY_FILES = ("master.key", worker_keys.FILE, worker_keys.NEW, worker_keys.FEED)

_CERTIFICATES = {GRANT: "grant", DEPOSIT: "mandate"}  # what the root has signed it as
_LONGEST_NAME = 64
_CLAIM_SECONDS = 300  # a claim to held items is made in the request that verifies
_PROOF_SECONDS = 300  # a person's proof is made in the request that opens
_OPENING_LIFE = 60.0  # seconds between the receipt and the opening that it permits


class KeyRing:
    """A KeyService in a folder. `create` makes a new one; opening never does."""

    def __init__(self, folder: Path, destroyed: Path | None = None, master: MasterKey | None = None) -> None:
        """destroyed: where the list of destroyed keys lies, if not in the folder. master: if not `master.key`."""
        if not folder.is_dir():
            raise KeysMissing(key_files.MISSING.format(folder))
        _refuse_open_to_others(folder)
        self._path = folder
        self._folder = FolderLock(folder)
        self._list = DestroyedList(destroyed or folder / "destroyed")
        with ExitStack() as opened:
            opened.callback(self._folder.close)
            self._master = master or FileKey(folder / "master.key")
            self._rows = RingRows(folder / "ring.db", self._master, self._list)
            opened.callback(self._rows.close)
            self._counters = CounterFile(folder / "counters.db")
            opened.pop_all()
        self._openings = Openings()
        self._take_audit_key()
        self.ring = self._rows.name

    @classmethod
    def create(cls, folder: Path, destroyed: Path | None = None, master: MasterKey | None = None) -> KeyRing:
        """A new key ring, whole or not at all. Raises OperatorError when there is something in the folder."""
        if folder.exists() and any(folder.iterdir()):
            raise OperatorError(f"{folder} is not empty; a new key ring never replaces what is there")
        made = folder.with_name(f".{folder.name}.part")
        rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700, parents=True)
        worker_keys.create(made)
        key_files.write(made / "counters.db", b"")
        RingRows.create(made / "ring.db", master or FileKey.create(made / "master.key"))
        made.rename(folder)
        key_files.sync_folder(folder.parent)
        return cls(folder, destroyed, master)

    def close(self) -> None:
        self._rows.close()
        self._counters.close()
        self._folder.close()

    def holds_vault(self, vault: str) -> bool:
        """Is there a shred key of this vault?"""
        return self._rows.get("SELECT 1 FROM vault WHERE id = ?", vault) is not None

    def holds_grant(self, vault: str, grant: str) -> bool:
        """Is this grant's key there still?"""
        return self._rows.get("SELECT 1 FROM grant_key WHERE vault = ? AND id = ?", vault, grant) is not None

    def listed_epochs(self) -> Mapping[str, int]:
        """Vault -> the newest epoch that grants were of, as far as the list of destroyed keys tells."""
        return self._rows.listed_epochs()

    def expose(self, vault: str, epoch: int) -> None:
        """Grants up to this epoch have ended, whether or not their keys are there: the vault's must be a later one."""
        self._rows.destroy("exposed", vault, str(epoch))

    def before_restore(self) -> Mapping[str, Counter]:
        """All counters; see CounterFile."""
        return self._counters.before_restore()

    def counter_generation(self) -> int:
        """Which generation of counters this is: 1, and one more with each restore."""
        return self._counters.generation()

    def new_generation(self, counters: Mapping[str, Counter]) -> int:
        """Counters of a database that is being restored, just before its commit; the new generation's number."""
        return self._counters.new_generation(counters)

    def restored(self) -> None:
        """Just after it."""
        self._counters.restored()

    def backup(self, into: Path) -> None:
        """All that the ring is, into an empty folder; the list of destroyed keys last, so that it lacks nothing."""
        self._rows.backup(into / "ring.db")
        self._counters.backup(into / "counters.db")
        for name in _KEY_FILES:
            if (self._path / name).exists():  # a master key in a token is backed up with the token
                key_files.write(into / name, (self._path / name).read_bytes())
        if self._list.path.exists():
            key_files.write(into / "destroyed", self._list.path.read_bytes())

    @classmethod
    def restore(cls, backup: Path, folder: Path, destroyed: Path) -> None:
        """Put a backup in an empty folder's place. The list of destroyed keys that is there already counts.

        Killed anywhere, it is done again: the list is always in the folder, or in what the folder was.
        """
        before = folder.with_name(f".{folder.name}.before")
        if before.exists() and not folder.exists():  # killed between the two names
            before.rename(folder)
        found = list(folder.iterdir()) if folder.exists() else []
        if any(path != destroyed for path in found):
            raise OperatorError(
                f"{folder} is not empty; a key ring never replaces what is there: move it away, but not its list of "
                "destroyed keys"
            )
        if not (backup / "ring.db").exists():
            raise OperatorError(f"{backup} holds no backup of a key ring")
        rmtree(before, ignore_errors=True)
        made = folder.with_name(f".{folder.name}.part")
        rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700, parents=True)
        for name in (*_KEY_FILES, "ring.db", "counters.db"):
            if (backup / name).exists():
                key_files.write(made / name, (backup / name).read_bytes())
        kept = destroyed if destroyed.exists() else backup / "destroyed"
        if kept.exists() and destroyed.parent == folder:
            key_files.write(made / "destroyed", kept.read_bytes())
        elif kept.exists() and kept != destroyed:
            key_files.write(destroyed, kept.read_bytes())
        if folder.exists():
            folder.rename(before)
        made.rename(folder)
        key_files.sync_folder(folder.parent)
        rmtree(before, ignore_errors=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else uses the ring meanwhile: OperatorError where somebody does."""
        self._folder.alone()
        try:
            yield
        finally:
            self._folder.shared()

    def rotate_master(self) -> None:
        """A new master key, and a new row key under it: no vault is touched, and every other key stays what it is.

        Nobody else may use the ring meanwhile: OperatorError. A crash leaves the old or the new, whole.
        """
        with self.alone():
            successor = self._master.successor()
            self._rows.rewrap(successor)
            successor.settle()
            self._master = successor

    def rotate_audit(self, now: datetime) -> None:
        """A new key signs audit heads, which the old one has signed. Nobody else may use the ring: OperatorError.

        Chains end under it once `audit.keys.settle` was asked, at the next start at the latest.
        """
        with self.alone():
            self._rows.succeed_audit_key(int(now.timestamp()))
            self._take_audit_key()

    def worker_keys(self) -> WorkerKeys:
        """The worker's, as they lie in the folder. Raises OperatorError for a key that was destroyed elsewhere."""
        found = WorkerKeys.read(self._path)
        if not self._rows.retired(found.old_name()):
            return found
        if not found.changing:
            raise OperatorError(
                f"{self._path / worker_keys.FILE} was put back from a backup: it was replaced since. Put the newer one "
                "back, or replace it again with: aggregator keys rotate --worker"
            )
        worker_keys.settle(self._path)  # killed between the list's line and the file's new name
        return WorkerKeys.read(self._path)

    @contextmanager
    def changing_worker_key(self) -> Iterator[WorkerKeys]:
        """A new worker key, for a context that puts every row under it; at its end the old one is destroyed.

        Nobody else may use the ring meanwhile: OperatorError. What ends the context early leaves both keys; the next
        one goes on from there.
        """
        with self.alone():
            both = worker_keys.begin(self._path)
            yield both
            self._rows.destroy("worker", both.old_name())
            worker_keys.settle(self._path)

    def remembered(self, vaults: Collection[str]) -> Mapping[str, Counter]:
        return self._counters.remembered(vaults)

    def advance(self, counters: Mapping[str, Counter], openings: Collection[Opened] = ()) -> None:
        if counters:
            self._counters.advance(counters)
        self._openings.add(openings)

    def create_vault(self, vault: str, verification_key: bytes) -> None:
        if self._rows.erased(vault):  # else whoever takes the id would be who Consents of others name by it
            raise Refused("this record was here, and was erased; it does not come back under its id")
        shred = self._rows.wrap(vault, "shred", os.urandom(KEY_BYTES))
        if not self.remembered([vault]):  # an import that ended before its commit has left a key that locks nothing
            self._rows.run("DELETE FROM vault WHERE id = ?", vault)
        self._rows.run("INSERT INTO vault VALUES (?, ?, ?)", vault, verification_key, shred)

    def destroy_vault(self, vault: str) -> None:
        self._rows.destroy("vault", vault)

    def verification_key(self, vault: str) -> bytes:
        return bytes(self._rows.must("SELECT verification_key FROM vault WHERE id = ?", vault))

    def lock(self, vault: str, head: dict[str, Any], plaintext: bytes) -> bytes:
        return wrap(self._shred(vault), head, plaintext)

    def unlock(self, vault: str, head: dict[str, Any], box: bytes) -> bytes:
        return unwrap(self._shred(vault), head, box)

    def generation(self, vault: str) -> int:
        found = self._rows.get("SELECT generation FROM unlockers WHERE vault = ?", vault)
        return int(found[0]) if found else 0

    def raise_generation(self, vault: str, generation: int) -> None:
        self._rows.destroy("unlockers", vault, str(generation))

    def register_grant(self, grant: SignedGrant, payload: bytes) -> bytes:
        certificate = self._check(grant, payload)
        key = os.urandom(KEY_BYTES)
        box, grantee = self._rows.wrap(grant.vault, f"grant/{grant.id}", key), unb64(certificate["grantee"])
        row = (grant.vault, grant.id, box, certificate["epoch"], grantee)
        self._rows.run("INSERT INTO grant_key VALUES (?, ?, ?, ?, ?)", *row)
        return wrap(self._shred(grant.vault), _grant_header(grant), wrap(key, _grant_header(grant), payload))

    def open_grant(self, grant: SignedGrant, ticket: Ticket, opening: bytes, now: datetime) -> bytes:
        if not self._openings.use((grant.vault, opening)):
            raise Refused("no receipt of this opening is known to the key service")
        admission = self.identify(ticket, now)
        key = self._grant_key(grant)
        payload = unwrap(key, _grant_header(grant), self.unlock(grant.vault, _grant_header(grant), grant.box))
        certificate = self._check(grant, payload)
        if not _is_grantee(certificate, self.handle("party", admission.party)):
            raise Refused("this grant is another party's")
        if not _is_occasion(orjson.loads(payload)["occasions"], admission.purpose, now):
            raise Refused("this grant opens nothing now for this purpose of use")
        return payload

    def grants(self, vault: str) -> Mapping[str, bytes]:
        return dict(self._rows.all("SELECT id, grantee FROM grant_key WHERE vault = ?", vault))

    def destroy_grant(self, vault: str, grant: str, *, ended: bool = True) -> None:
        if not (_is_word(vault) and _is_word(grant)):  # an intent is a row: what else it names, no key has
            return
        found = self._rows.get("SELECT epoch FROM grant_key WHERE vault = ? AND id = ?", vault, grant)
        epoch = int(found[0]) if found else 0
        self._rows.destroy("grant", vault, grant, str(epoch), "ended" if ended else "replaced")

    def rotation_due(self, vault: str) -> int:
        found = self._rows.get("SELECT epoch FROM exposed WHERE vault = ?", vault)
        return int(found[0]) if found else 0

    def admit(self, token: str, admission: Admission) -> bytes:
        if admission.party.startswith(PERSON):
            raise Refused("a person is admitted by a proof alone")
        return self._admit(token, admission)

    def admit_person(self, token: str, proof: Proof, now: datetime) -> bytes:
        verify(self.verification_key(proof.vault), proof.signature, b"PRA1/proof" + proof.statement, "proof")
        stated = orjson.loads(proof.statement)
        if not _proves(stated, proof.vault, token):
            raise Refused("this proof is for something else")
        if not _is_of_now(stated["expires"], now):
            raise Refused("this proof is of another time")
        party = Admission(party=PERSON + proof.vault, purpose=PERSONS_PURPOSE, scopes=(), expires=stated["expires"])
        return self._admit(token, party)

    def _admit(self, token: str, admission: Admission) -> bytes:
        return wrap(self._ticket_key(token), header("token", ""), orjson.dumps(asdict(admission)))

    def identify(self, ticket: Ticket, now: datetime) -> Admission:
        made = orjson.loads(unwrap(self._ticket_key(ticket.token), header("token", ""), ticket.row))
        if _is_over(made["expires"], now):
            raise Refused("the token has expired")
        made["scopes"] = tuple(made["scopes"])
        return Admission(**made)

    def handle(self, purpose: str, *parts: str) -> bytes:
        return handle(self._rows.own("handles"), purpose, *parts)

    def sign_heads(self, merkle_root: bytes) -> bytes:
        return self._signing.sign(b"PRA1/heads" + merkle_root)

    def system_audit(self) -> PrivateKey:
        return PrivateKey(self._rows.own("system-audit"))

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
        return PrivateKey(self._rows.own("hold"))

    def audit_keys(self) -> Sequence[AuditKey]:
        return self._audit_keys

    def _take_audit_key(self) -> None:
        self._signing = Ed25519PrivateKey.from_private_bytes(self._rows.own("audit-heads"))
        self._audit_keys = self._rows.audit_keys()

    def audit_verification_key(self) -> bytes:
        return self._signing.public_key().public_bytes_raw()

    def _check(self, grant: SignedGrant, payload: bytes) -> dict[str, Any]:
        signed_as = f"PRA1/{_CERTIFICATES[grant.kind]}".encode() + grant.certificate
        verify(self.verification_key(grant.vault), grant.signature, signed_as, grant.kind)
        certificate: dict[str, Any] = orjson.loads(grant.certificate)
        if "grantee" not in certificate or not _is_about(certificate, grant, payload):
            raise Refused("this grant's certificate is another's")
        return certificate

    def _grant_key(self, grant: SignedGrant) -> bytes:
        box = self._rows.must("SELECT key FROM grant_key WHERE vault = ? AND id = ?", grant.vault, grant.id)
        return self._rows.unwrap(grant.vault, f"grant/{grant.id}", box)

    def _shred(self, vault: str) -> bytes:
        return self._rows.unwrap(vault, "shred", self._rows.must("SELECT shred FROM vault WHERE id = ?", vault))

    def _ticket_key(self, token: str) -> bytes:
        # The token is 256 random bits: mixed with a key of the ring's, neither alone opens the row.
        return hmac.digest(self._rows.own("tickets"), token.encode(), "sha256")


def _is_of_now(expires: int, now: datetime) -> bool:
    return now.timestamp() < expires <= now.timestamp() + _PROOF_SECONDS


def _proves(stated: dict[str, Any], vault: str, token: str) -> bool:
    named = (stated["kind"], stated["vault"], stated["token"], stated["purpose"])
    return named == ("proof", vault, hashlib.sha256(token.encode()).hexdigest(), PERSONS_PURPOSE)


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


def _is_word(name: str) -> bool:
    """May it stand in the list of destroyed keys? A space or a line break in it would make another line of its own."""
    return name.isascii() and name.isalnum() and len(name) <= _LONGEST_NAME


# Each of these stands for one thing that is asked before a grant opens.


def _is_over(expires: int, now: datetime) -> bool:
    return expires <= now.timestamp()


def _is_about(certificate: dict[str, Any], grant: SignedGrant, payload: bytes) -> bool:
    kind = _CERTIFICATES[grant.kind]
    stated = (certificate["kind"], certificate["vault"], certificate.get(kind), certificate["body"])
    return stated == (kind, grant.vault, grant.id, hashlib.sha256(payload).hexdigest())


def _is_grantee(certificate: dict[str, Any], party: bytes) -> bool:
    return bool(certificate["grantee"] == b64(party))


def _is_occasion(occasions: list[tuple[str, str, list[str]]], purpose: str, now: datetime) -> bool:
    return any(
        datetime.fromisoformat(low) <= now < datetime.fromisoformat(high) and purpose in purposes
        for low, high, purposes in occasions
    )


def _grant_header(grant: SignedGrant) -> dict[str, Any]:
    return header(grant.kind, grant.vault, name=grant.id)


def _refuse_open_to_others(folder: Path) -> None:
    for path in (folder, *(folder / name for name in FILES)):
        if path.exists():
            key_files.refuse_open_to_others(path)
