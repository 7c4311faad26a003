"""Which blobs the database names: a row goes in with the log entry that brought its blob.

Order: the object is durable, then the row. An object that no row names is swept once it is a day old: younger, it may
be an upload whose commit is still to come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import islice

from sqlmodel import Session, col, delete, func, select

from aggregator.vault.blob import Blob, stored_size
from aggregator.vault.blob_store import BlobStore
from aggregator.vault.store import Store
from aggregator.vault.tables import BlobRow

_DAY, _HOUR = 24 * 3600.0, 3600.0
_AT_ONCE = 500  # ids in one question to the database


def record(session: Session, vault: str, position: int, blobs: Iterable[Blob]) -> None:
    """Inside the commit that appends: the entry at this log position brought these."""
    for blob in blobs:
        session.add(BlobRow(vault=vault, id=blob.id, position=position, size=stored_size(vault, blob.size)))


def forget(session: Session, vault: str, upto: int, named: Set[str], left: Set[int]) -> None:
    """Inside the commit of a snapshot: what came up to it and is named by nothing in it any more.

    left: the positions that were refused: nobody knows what they name.
    """
    rows = session.exec(select(BlobRow).where(BlobRow.vault == vault, BlobRow.position <= upto))
    for row in rows.all():
        if row.id not in named and row.position not in left:
            session.delete(row)


def erase(session: Session, vault: str) -> Sequence[str]:
    """All of a vault's rows; the ids are for deleting the objects once this is committed."""
    ids = session.exec(select(BlobRow.id).where(BlobRow.vault == vault)).all()
    session.exec(delete(BlobRow).where(col(BlobRow.vault) == vault))
    return ids


def stored_bytes(store: Store) -> int:
    """What all blobs that are named take at rest."""
    with store.read() as session:
        return int(session.exec(select(func.sum(BlobRow.size))).one() or 0)


def named(store: Store) -> Iterator[str]:
    """The id of every blob that a row names: what a backup has to hold."""
    with store.read() as session:
        yield from session.exec(select(BlobRow.id).order_by(col(BlobRow.id)))


class Sweeper:
    """Lets go what no row names: an object older than a day, by its store's clock, that was so an hour ago already.

    The hour is by a clock that nobody sets: were the other one put forward, an upload whose commit is still to come
    would look old. A commit follows its uploads within minutes.
    """

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store, self._blobs = store, blobs
        self._first_seen: dict[str, float] = {}

    def sweep(self, now: float, steady: float) -> int:
        """How many went. now: Unix time. steady: seconds of a clock that only goes forward."""
        self._blobs.clean(now - _DAY)
        nameless = set(self._nameless(now - _DAY))
        self._first_seen = {blob: self._first_seen.get(blob, steady) for blob in nameless}
        gone = {blob for blob, seen in self._first_seen.items() if steady - seen >= _HOUR}
        for blob in gone:
            self._blobs.delete(blob)
            del self._first_seen[blob]
        return len(gone)

    def _nameless(self, before: float) -> Iterator[str]:
        old = (blob for blob, written in self._blobs.ids() if written < before)
        while some := list(islice(old, _AT_ONCE)):
            with self._store.read() as session:
                known = set(session.exec(select(BlobRow.id).where(col(BlobRow.id).in_(some))))
            yield from (blob for blob in some if blob not in known)
