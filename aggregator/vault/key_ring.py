"""The embedded key service: rows under one master key, in a folder of its own.

    keys/master.key     32 bytes in hex: what ring.db lies under (master_key.py)
    keys/worker.key     what a syncing worker needs, with feed.key (worker_keys.py)
    keys/ring.db        SQLite: pinned verification keys, wrapped shred and grant keys (ring_rows.py, grant_keys.py)
    keys/counters.db    SQLite: what is remembered of each vault's head (counter_file.py)
    keys/destroyed      one line per destroyed key, only ever appended to (destroyed.py); it may lie elsewhere

The folder has mode 0700, each file 0600; a ring that others could read is not opened.

In the same process as the service this separation is hygiene, not a wall.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.errors import KeysMissing, OperatorError, Refused
from aggregator.vault import key_files, ring_folder, worker_keys
from aggregator.vault.audit_key import AuditKey
from aggregator.vault.counter import Counter, Opened
from aggregator.vault.counter_file import CounterFile
from aggregator.vault.destroyed import DestroyedList
from aggregator.vault.grant_keys import GrantKeys
from aggregator.vault.hold_key import HoldKey
from aggregator.vault.key_files import FolderLock
from aggregator.vault.key_service import Admission, Held, HoldClaim, Proof, SignedGrant, Ticket
from aggregator.vault.keys import handle
from aggregator.vault.master_key import FileKey, MasterKey
from aggregator.vault.openings import Openings
from aggregator.vault.ring_rows import RingRows
from aggregator.vault.seal import KEY_BYTES, PrivateKey, PublicKey, unwrap, wrap
from aggregator.vault.tickets import Tickets
from aggregator.vault.worker_keys import WorkerKeys


class KeyRing:
    """A KeyService in a folder. `create` makes a new one; opening never does."""

    def __init__(self, folder: Path, destroyed: Path | None = None, master: MasterKey | None = None) -> None:
        """destroyed: where the list of destroyed keys lies, if not in the folder. master: if not `master.key`."""
        if not folder.is_dir():
            raise KeysMissing(key_files.MISSING.format(folder))
        ring_folder.refuse_open_to_others(folder)
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
        self._tickets = Tickets(self._rows)
        self._grant_keys = GrantKeys(self._rows, self._tickets, self._openings)
        self._hold_key = HoldKey(self._rows)
        self._take_audit_key()
        self.ring = self._rows.name

    @classmethod
    def create(cls, folder: Path, destroyed: Path | None = None, master: MasterKey | None = None) -> KeyRing:
        """A new key ring, whole or not at all. Raises OperatorError when there is something in the folder."""
        ring_folder.create(folder, master)
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
        return self._grant_keys.holds(vault, grant)

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
        ring_folder.copy_keys(self._path, into)
        if self._list.path.exists():
            key_files.write(into / "destroyed", self._list.path.read_bytes())

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
        return self._rows.verification_key(vault)

    def lock(self, vault: str, head: dict[str, Any], plaintext: bytes) -> bytes:
        return wrap(self._rows.shred(vault), head, plaintext)

    def unlock(self, vault: str, head: dict[str, Any], box: bytes) -> bytes:
        return unwrap(self._rows.shred(vault), head, box)

    def generation(self, vault: str) -> int:
        found = self._rows.get("SELECT generation FROM unlockers WHERE vault = ?", vault)
        return int(found[0]) if found else 0

    def raise_generation(self, vault: str, generation: int) -> None:
        self._rows.destroy("unlockers", vault, str(generation))

    def register_grant(self, grant: SignedGrant, payload: bytes) -> bytes:
        return self._grant_keys.register(grant, payload)

    def open_grant(self, grant: SignedGrant, ticket: Ticket, opening: bytes, now: datetime) -> bytes:
        return self._grant_keys.open(grant, ticket, opening, now)

    def grants(self, vault: str) -> Mapping[str, bytes]:
        return self._grant_keys.of(vault)

    def destroy_grant(self, vault: str, grant: str, *, ended: bool = True) -> None:
        self._grant_keys.destroy(vault, grant, ended=ended)

    def rotation_due(self, vault: str) -> int:
        found = self._rows.get("SELECT epoch FROM exposed WHERE vault = ?", vault)
        return int(found[0]) if found else 0

    def admit(self, token: str, admission: Admission) -> bytes:
        return self._tickets.admit(token, admission)

    def admit_person(self, token: str, proof: Proof, now: datetime) -> bytes:
        return self._tickets.admit_person(token, proof, now)

    def identify(self, ticket: Ticket, now: datetime) -> Admission:
        return self._tickets.identify(ticket, now)

    def hold_public(self) -> PublicKey:
        return self._hold_key.public()

    def open_hold(self, claim: HoldClaim, held: Held, now: datetime) -> bytes:
        return self._hold_key.open(claim, held, now)

    def handle(self, purpose: str, *parts: str) -> bytes:
        return handle(self._rows.own("handles"), purpose, *parts)

    def sign_heads(self, merkle_root: bytes) -> bytes:
        return self._signing.sign(b"PRA1/heads" + merkle_root)

    def system_audit(self) -> PrivateKey:
        return PrivateKey(self._rows.own("system-audit"))

    def audit_verification_key(self) -> bytes:
        return self._signing.public_key().public_bytes_raw()

    def audit_keys(self) -> Sequence[AuditKey]:
        return self._audit_keys

    def _take_audit_key(self) -> None:
        self._signing = Ed25519PrivateKey.from_private_bytes(self._rows.own("audit-heads"))
        self._audit_keys = self._rows.audit_keys()
