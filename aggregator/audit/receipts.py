"""A receipt for every access, durable before the answer leaves (FORMAT.md section 9).

One HPKE encapsulation per opened view; entries under keys derived from it; one commit, one fsync and one signature for
all receipts that wait at the same time.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

import orjson
from sqlalchemy import Table, bindparam, inspect, update
from sqlmodel import Session, SQLModel, col

from aggregator.audit import chain, merkle
from aggregator.audit.tables import Receipt, SignedHead
from aggregator.errors import Refused, RolledBack, Stale, Tampered
from aggregator.vault import counter
from aggregator.vault.beneath import Beneath
from aggregator.vault.counter import Counter
from aggregator.vault.key_service import KeyService
from aggregator.vault.seal import KEY_BYTES, PrivateKey, PublicKey, expand, header, lock, unlock
from aggregator.vault.store import Store
from aggregator.vault.tables import Vault

SYSTEM = "system"
"""The chain of refusals about vaults that do not exist."""

_MOST = 512  # receipts in one commit
_QUIET_TURNS = 2  # one reads a request, the next one answers it
_ENOUGH = 32  # receipts for which a commit waits no longer: beyond that its own cost is small beside theirs
_LANES = 8  # vaults that are waited for at a time, each with a thread and a connection of its own
_BLOCK = 128  # bytes an entry is filled up to a multiple of


@dataclass(frozen=True, slots=True)
class Condition:
    """What the vault must still be for the receipt to count: the view's grant version and log position."""

    grant_version: int
    log_position: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A receipt ready to be appended to its chain."""

    vault: str
    opening: bytes
    number: int
    box: bytes
    condition: Condition | None = None


class Opening:
    """The receipts of one opened view: draws the key, seals it once, numbers the entries."""

    def __init__(self, vault: str, audit_key: PublicKey) -> None:
        self.vault = vault
        self.id = os.urandom(16)
        self._audit_key = audit_key
        self._key = os.urandom(KEY_BYTES)
        self._number = 0

    def first(self, entry: dict[str, Any]) -> Sealed:
        """The opening's own receipt: carries the key for the others."""
        plaintext = orjson.dumps({"key": self._key.hex(), "entry": entry})
        return Sealed(self.vault, self.id, 0, self._audit_key.seal(_header(self.vault, self.id), plaintext))

    def next(self, entry: dict[str, Any], condition: Condition | None) -> Sealed:
        """The receipt of one answer through this view."""
        self._number += 1
        key, aad = _entry_key(self._key, self.vault, self.id, self._number)
        plaintext = orjson.dumps(entry)
        plaintext += b" " * (-len(plaintext) % _BLOCK)  # JSON ignores it; the length tells less
        box = lock(key, aad, plaintext)
        return Sealed(self.vault, self.id, self._number, box, condition)


def commit(session: Session, key_service: KeyService, batch: Sequence[Sealed]) -> list[bool]:
    """Append to the chains of all vaults in the batch; False where a receipt's condition no longer holds."""
    transaction = Beneath.of(session.connection(), session.info)
    heads, unsure = _heads(transaction, {sealed.vault for sealed in batch})
    for vault in unsure:
        if not _follows(session, vault):
            del heads[vault]  # nothing leaves from a vault that was rolled back: whoever opens it anew hears why
    return _append(transaction, key_service, batch, heads)


def _heads(transaction: Beneath, vaults: Collection[str]) -> tuple[dict[str, Counter], list[str]]:
    """The vaults' heads, and which of them are not what the key service remembers.

    Of one that it was never told of nothing is known: this transaction made the vault, or a crash came behind the one
    that did.
    """
    remembered = counter.remembered(transaction, vaults)
    heads = counter.heads(transaction, vaults)
    return heads, [vault for vault, head in heads.items() if remembered.get(vault, head) != head]


def _follows(session: Session, vault: str) -> bool:
    """Does the vault's row go on from what the key service remembers? Asked only where the two are not the same.

    A row that is ahead is another server's commit, or somebody's who has the database: unasked, the key service would
    sign the head of a chain that was written anew, and remember it.
    """
    try:
        return counter.head(session, vault) is not None
    except (RolledBack, Stale, Tampered, Refused):  # Refused: its keys are destroyed
        return False


def _append(
    transaction: Beneath, key_service: KeyService, batch: Sequence[Sealed], heads: Mapping[str, Counter]
) -> list[bool]:
    """Behind these heads; a vault that has none takes no receipt."""
    chains = {vault: _Chain(vault, head) for vault, head in heads.items()}
    done = [sealed.vault in chains and chains[sealed.vault].take(sealed) for sealed in batch]
    moved = [one for one in chains.values() if one.rows]
    if moved:
        if transaction.update(_MOVE_HEAD, [one.move() for one in moved]) != len(moved):
            raise Stale("a vault's head moved inside a commit")
        transaction.insert(_RECEIPTS, [row for one in moved for row in one.rows])
        transaction.insert(_SIGNED_HEADS, _signed(key_service, [(one.vault, one.position, one.head) for one in moved]))
        counter.now(transaction, {one.vault: one.moved() for one in moved})
    first = [one for one, durable in zip(batch, done, strict=True) if durable and one.number == 0]
    counter.opened(transaction, [(one.vault, one.opening) for one in first])
    return done


class _Chain:
    """One vault's chain as a commit is about to leave it."""

    def __init__(self, vault: str, found: Counter) -> None:
        self.vault, self.position, self.head = vault, found.audit_position, found.audit_head
        self.rows: list[tuple[str, int, bytes, int, bytes]] = []
        self._found = found
        self._conditions = (None, Condition(found.grant_version, found.log_position))

    def take(self, sealed: Sealed) -> bool:
        """Behind the others; False where its condition no longer holds."""
        if sealed.condition not in self._conditions:
            return False
        self.position += 1
        self.head = chain.next_head(self.head, sealed.opening, sealed.number, sealed.box)
        self.rows.append((self.vault, self.position, sealed.opening, sealed.number, sealed.box))
        return True

    def move(self) -> dict[str, Any]:
        """The parameters of `_MOVE_HEAD`."""
        return {
            "vault_id": self.vault,
            "before": self._found.audit_position,
            "grants": self._found.grant_version,
            "log": self._found.log_position,
            "position": self.position,
            "head": self.head,
        }

    def moved(self) -> Counter:
        return replace(self._found, audit_position=self.position, audit_head=self.head)


def _signed(key_service: KeyService, heads: Sequence[tuple[str, int, bytes]]) -> list[tuple[Any, ...]]:
    """One signature for all, and with each head what shows to its own vault that it was among them."""
    root, paths = merkle.tree([chain.leaf(*head) for head in heads])
    signature, number = key_service.sign_heads(root), key_service.audit_keys()[-1].number
    return [
        (*head, index, len(heads), path, signature, number)
        for index, (head, path) in enumerate(zip(heads, paths, strict=True))
    ]


def _table(model: type[SQLModel]) -> Table:
    return cast(Table, inspect(model).local_table)


_RECEIPTS, _SIGNED_HEADS = _table(Receipt), _table(SignedHead)
# The row is compared once more where it is written: what a second server did in between is then seen, not lost.
_MOVE_HEAD = (
    update(_table(Vault))
    .where(
        col(Vault.id) == bindparam("vault_id"),
        col(Vault.audit_position) == bindparam("before"),
        col(Vault.grant_version) == bindparam("grants"),
        col(Vault.log_position) == bindparam("log"),
    )
    .values(audit_position=bindparam("position"), audit_head=bindparam("head"))
)


_Waiting = tuple[Sealed, asyncio.Future[bool]]


class ReceiptWriter:
    """Group commit: while one batch is on its way to the disk, the next one gathers.

    A batch takes the vaults that nobody else changes just now; who writes one of them for long holds up no other's.
    """

    def __init__(self, store: Store, key_service: KeyService) -> None:
        self._store = store
        self._key_service = key_service
        self._waiting: list[_Waiting] = []
        self._held: dict[str, list[_Waiting]] = {}
        self._apart: set[asyncio.Task[None]] = set()
        self._flushing: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="receipts")
        self._lanes = ThreadPoolExecutor(max_workers=_LANES, thread_name_prefix="receipts-apart")

    async def write(self, sealed: Sealed) -> None:
        """Returns when the receipt is durable. Raises Stale when its condition no longer holds, Busy."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((sealed, future))
        if self._flushing is None or self._flushing.done():
            self._flushing = loop.create_task(self._flush())
        if not await future:
            raise Stale("the vault has moved on since this view was opened")

    def write_now(self, batch: Sequence[Sealed]) -> None:
        """The same without an event loop."""
        if not all(self._commit(batch)):
            raise Stale("the vault has moved on since this view was opened")

    def close(self) -> None:
        self._thread.shutdown()
        self._lanes.shutdown()

    async def _gather(self) -> None:
        """Let requests that are under way already join the batch: until two turns of the loop bring no one.

        A commit costs as much for eight receipts as for one; nobody waits for a request that is not yet there.
        """
        quiet, before = 0, len(self._waiting)
        while quiet < _QUIET_TURNS and before < _ENOUGH:
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(self._waiting) == before else 0
            before = len(self._waiting)

    async def _flush(self) -> None:
        while self._waiting:
            await self._gather()
            batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
            free = [one for one in batch if one[0].vault not in self._held]
            for one in batch:
                if one[0].vault in self._held:
                    self._set_aside(one)
            if free:
                await self._settle(self._thread, self._commit_free, free)

    def _set_aside(self, one: _Waiting) -> None:
        """Somebody else changes its vault just now: it waits for that apart, so that no other vault's receipt does."""
        vault = one[0].vault
        if vault not in self._held:
            self._held[vault] = []
            task = asyncio.get_running_loop().create_task(self._wait_for(vault))
            self._apart.add(task)
            task.add_done_callback(self._apart.discard)
        self._held[vault].append(one)

    async def _wait_for(self, vault: str) -> None:
        """What comes meanwhile waits behind: tried beside it, a vault that is busy all the time would have no turn."""
        try:
            while batch := self._held[vault][:_MOST]:
                del self._held[vault][:_MOST]
                await self._settle(self._lanes, self._commit, batch)
        finally:
            del self._held[vault]

    async def _settle(
        self,
        thread: ThreadPoolExecutor,
        work: Callable[[Sequence[Sealed]], Sequence[bool | None]],
        batch: list[_Waiting],
    ) -> None:
        """Commit, and tell everyone who waits for it."""
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(thread, work, [sealed for sealed, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, everyone who waits for this commit must hear of it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for one, durable in zip(batch, done, strict=True):
            if durable is None:
                self._set_aside(one)
            elif not one[1].done():
                one[1].set_result(durable)

    def _commit(self, batch: Sequence[Sealed]) -> list[bool]:
        with self._store.write(*{sealed.vault for sealed in batch}) as session:
            return commit(session, self._key_service, batch)

    def _commit_free(self, batch: Sequence[Sealed]) -> list[bool | None]:
        """None where another holds the vault, or its row takes a closer look: `_commit` has the time for both."""
        with self._store.write_free(*{sealed.vault for sealed in batch}) as (transaction, free):
            heads, unsure = _heads(transaction, free)
            sure = heads.keys() - unsure
            taken = [sealed for sealed in batch if sealed.vault in sure]
            done = iter(_append(transaction, self._key_service, taken, heads))
        return [next(done) if sealed.vault in sure else None for sealed in batch]


def read(rows: Sequence[Receipt], vault: str, audit: PrivateKey) -> list[tuple[int, dict[str, Any] | None]]:
    """(position, entry) of a chain in its owner's hands; None for a row that was changed: the others are still told."""
    keys: dict[bytes, bytes] = {}
    entries: list[tuple[int, dict[str, Any] | None]] = []
    for row in rows:
        try:
            entries.append((row.position, read_one(keys, vault, row, audit)))
        except Tampered:
            entries.append((row.position, None))
    return entries


def read_one(keys: dict[bytes, bytes], vault: str, row: Receipt, audit: PrivateKey) -> dict[str, Any]:
    """One entry. keys: opening id -> receipt key, of the openings before it; its own is added. Raises Tampered."""
    if row.number:
        return _open(keys, vault, row)
    made = orjson.loads(audit.open(_header(vault, row.opening), row.box))
    keys[row.opening] = bytes.fromhex(made["key"])
    entry: dict[str, Any] = made["entry"]
    return entry


def _open(keys: dict[bytes, bytes], vault: str, row: Receipt) -> dict[str, Any]:
    try:
        key, aad = _entry_key(keys[row.opening], vault, row.opening, row.number)
        entry: dict[str, Any] = orjson.loads(unlock(key, aad, row.box, "receipt"))
    except KeyError:
        raise Tampered("a stored receipt was changed") from None
    return entry


def _entry_key(key: bytes, vault: str, opening: bytes, number: int) -> tuple[bytes, bytes]:
    return expand(key, f"entry/{number}"), vault.encode() + opening + struct.pack(">I", number)


def _header(vault: str, opening: bytes) -> dict[str, Any]:
    return header("receipts", vault, name=opening.hex())
