"""What an owner writes into the own record: sealed and appended as the owner's, with its receipt in the same commit.

What is long is done before the transaction: while that lasts nobody else writes. A sync that commits in between makes
nobody's write fail: it is prepared anew on what is there then, the last time inside the transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

from sqlmodel import Session

from aggregator.consent.section_table import SectionTable
from aggregator.errors import Stale
from aggregator.identity.accounts import Owner
from aggregator.identity.owner_changes import Change, Changes, Present, Written
from aggregator.sync.attached import decoded
from aggregator.vault import blob, blob_rows, tables, truth
from aggregator.vault.blob import Blob
from aggregator.vault.blob_store import BlobStore
from aggregator.vault.envelope import Operation, Put
from aggregator.vault.epochs import OwnersSeeds
from aggregator.vault.mask import BINARY
from aggregator.vault.store import Store
from connectors.contract import Clock

_TRIES = 3

Receipt = Callable[[Session, int], bool]
"""(session, log position) -> is the receipt in this transaction."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A write before its commit. position: of the log that it was made from, None where it looked at nothing."""

    position: int | None
    operations: Mapping[str, Sequence[Operation]]
    brought: Set[str]
    written: list[Written]


class OwnerWriting:
    """Writes as the owner of a record."""

    def __init__(self, store: Store, blobs: BlobStore, table: SectionTable, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._table = table
        self._clock = clock

    def write(
        self, owner: Owner, changes: Sequence[Change], receipt: Receipt, judged_at: int | None = None
    ) -> list[Written]:
        """All of these, or nothing; durable with the receipt when it returns.

        judged_at: the log position of the view in which the caller's conditions were judged. Raises Stale where the
        record has moved on from there, and what `Changes.make` raises.
        """
        for _ in range(_TRIES):
            with self._store.read() as session:
                ready = self._prepare(session, _head(session, owner), owner, changes)
            with self._store.write(owner.vault) as session:
                row = _head(session, owner)
                if ready.position in (None, row.log_position):
                    return _commit(session, row, owner, ready, receipt, judged_at)
        with self._store.write(owner.vault) as session:
            row = _head(session, owner)
            ready = self._prepare(session, row, owner, changes)
            return _commit(session, row, owner, ready, receipt, judged_at)

    def _prepare(self, session: Session, row: tables.Vault, owner: Owner, changes: Sequence[Change]) -> _Ready:
        looks = any(not change.new or change.resource_type == BINARY for change in changes)
        present = _present(session, row, owner) if looks else {}
        making = Changes(owner, self._table, partial(self._blob, owner.vault), self._clock(), present)
        written = making.make(changes)
        return _Ready(row.log_position if looks else None, making.operations, making.brought, written)

    def _blob(self, vault: str, data: str) -> Blob:
        return blob.write(self._blobs, vault, decoded(data))


def _head(session: Session, owner: Owner) -> tables.Vault:
    return truth.head(session, owner.vault, owner.root.verification_key)


def _present(session: Session, row: tables.Vault, owner: Owner) -> Present:
    state = truth.read(session, row, OwnersSeeds(owner.root, owner.sections)).state
    return {versions[-1].operation.local: (section, versions) for section, versions in state.newest()}


def _commit(
    session: Session, row: tables.Vault, owner: Owner, ready: _Ready, receipt: Receipt, judged_at: int | None
) -> list[Written]:
    """One envelope a section. row: as `truth.head` gave it in this transaction."""
    if judged_at not in (None, row.log_position):
        raise Stale("the record has changed since the conditions were judged")
    for section, operations in sorted(ready.operations.items()):
        position = owner.append(session, row, section, operations)
        blobs = [one.blob for one in operations if isinstance(one, Put) and one.blob and one.blob.id in ready.brought]
        blob_rows.record(session, owner.vault, position, blobs)
    session.flush()
    if not receipt(session, row.log_position):
        raise Stale("the receipt of this write does not count")
    return ready.written
