"""One batch into one vault: ledger, log and quarantine, in one transaction. Blind: nothing here can read the vault.

What takes long - checking, mapping, sealing - is done before the transaction begins: while it lasts nobody else writes,
and no reader gets a receipt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

import orjson
from sqlmodel import Session, col, delete, select

from aggregator.consent.mandate import Mandate
from aggregator.errors import Stale
from aggregator.sync.attached import decoded
from aggregator.sync.normalise import Normal, Normaliser, Refused, stamp
from aggregator.sync.quarantine import note_header, payload_header
from aggregator.sync.tables import Quarantine
from aggregator.vault import blob, blob_rows, counter, ledger, log, tables, vouching
from aggregator.vault.blob import Blob
from aggregator.vault.blob_store import BlobStore
from aggregator.vault.encoding import b64, canonical, instant
from aggregator.vault.envelope import Delete, Operation, Put, Remove, seal
from aggregator.vault.epochs import Writable
from aggregator.vault.keys import SectionKey
from aggregator.vault.ledger import Ledger, Line
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Deleted, Found, Item, Origin, Reason
from fhir_profiles.text import dumps

UNSORTED, BINARY = "unsorted", "Binary"
# Of what is, or may be, about another person nothing is kept, whatever a connector hands over with it.
SOMEBODY_ELSES = frozenset({Reason.OTHER_PERSON, Reason.NO_SUBJECT})


class EpochEnded(Stale):
    """The vault has a newer generation of keys: take them, and prepare the batch again."""


@dataclass(slots=True)
class Tally:
    """What one run did: versions written and resources ended; the items (local ids) that it wrote and set aside."""

    stored: int = 0
    deleted: int = 0
    written: set[str] = field(default_factory=set)
    aside: set[str] = field(default_factory=set)

    def copy(self) -> Tally:
        return Tally(self.stored, self.deleted, set(self.written), set(self.aside))


@dataclass(frozen=True, slots=True)
class Aside:
    """An item for the quarantine."""

    item: str
    reason: str
    origin: Origin
    detail: str = ""
    raw: bytes | None = None


@dataclass(slots=True)
class _Sorted:
    """One batch, sorted: operations by section name; how each item (local id) ended, the last word on it counts."""

    operations: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    aside: dict[str, Aside] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)

    def gone(self, section: str, locals_: Iterable[str]) -> None:
        """Binaries that left the section with what they were taken out of."""
        self.operations[section] += [Remove(local=local, resource_type=BINARY) for local in locals_]

    def settle(self, item: str) -> None:
        self.aside.pop(item, None)
        self.settled.add(item)

    def set_aside(self, aside: Aside) -> None:
        self.settled.discard(aside.item)
        self.aside[aside.item] = aside


@dataclass(frozen=True, slots=True)
class Prepared:
    """One batch, ready to be committed: sealed for one epoch, and without a look at the database.

    settled: the items that need not stand aside any more. listed: the local ids of a full listing that counts.
    blobs: those that each envelope names; they are stored already.
    """

    epoch: int
    envelopes: tuple[bytes, ...]
    blobs: tuple[tuple[Blob, ...], ...]
    aside: tuple[Quarantine, ...]
    settled: frozenset[str]
    listed: frozenset[str] | None


@dataclass(slots=True)
class VaultWriter:
    """Writes one source account's items into one vault. keys: of the epoch that it knows; renewed when that ends."""

    mandate: Mandate
    keys: Writable
    normaliser: Normaliser
    ledger: Ledger
    worker: WorkerKeys
    connection: str
    blobs: BlobStore
    tally: Tally = field(default_factory=Tally)

    def prepare(self, items: Iterable[Item], listed: frozenset[str] | None, now: datetime) -> Prepared:
        """Sort the items, store the blobs and seal what changed. Inside `all_or_nothing`, before the transaction."""
        made = _Sorted()
        for item in items:
            self._sort(item, instant(now), made)
        # A listing without this person's own Patient is somebody else's, or nobody's: it says nothing about this one.
        held = None
        if listed is not None and self.normaliser.patients & listed:
            held = frozenset(self.normaliser.local(source_id) for source_id in listed)
            self._end_unlisted(held, instant(now), made.operations)
        self.tally.aside = self.tally.aside - made.settled | made.aside.keys()
        return Prepared(
            self.keys.epoch,
            tuple(self._sealed(made.operations)),
            tuple(_blobs(operations) for _, operations in sorted(made.operations.items())),
            tuple(self._row(one, now) for one in made.aside.values()),
            frozenset(made.settled),
            held,
        )

    def commit(self, session: Session, prepared: Prepared) -> None:
        """Append what was prepared and keep the books. Raises Stale when another run was faster.

        EpochEnded where the sections have other keys by now: nothing is written under the old ones (fencing).
        """
        row = counter.head(session, self.mandate.vault)
        if row is None:
            raise Stale("the vault is gone")
        _require_epoch(row, prepared)
        first = log.append(session, row, prepared.envelopes) - len(prepared.envelopes) + 1
        for position, blobs in enumerate(prepared.blobs, first):
            blob_rows.record(session, self.mandate.vault, position, blobs)
        self._quarantine(session, prepared)
        ledger.save(session, self.ledger)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What a failed commit did not keep, this writer forgets as well."""
        lines, revision, last = dict(self.ledger.lines), self.ledger.revision, self.ledger.last
        patients, tally = set(self.normaliser.patients), self.tally.copy()
        try:
            yield
        except BaseException:
            self.ledger.lines, self.ledger.revision, self.ledger.last = lines, revision, last
            self.normaliser.patients, self.tally = patients, tally
            raise

    def _sort(self, item: Item, now: str, made: _Sorted) -> None:
        local = self.normaliser.local(item.origin.source_id)
        if isinstance(item, Found):
            self._found(local, item, now, made)
        elif isinstance(item, Deleted):
            made.settle(local)
            self._end(local, item.resource_type, self.normaliser.origin(item), now, made.operations)
        else:
            # Before the person is known the payload could be anybody's: it stays at the source, and a retry brings it.
            ours = self.normaliser.patients and item.reason not in SOMEBODY_ELSES
            aside = Aside(local, item.reason, item.origin)
            made.set_aside(replace(aside, detail=item.detail, raw=item.raw) if ours and item.raw else aside)

    def _found(self, local: str, item: Found, now: str, made: _Sorted) -> None:
        normal = self.normaliser.normalise(item)
        if isinstance(normal, Refused):
            raw = dumps(item.resource) if normal.keep else None
            made.set_aside(Aside(local, normal.reason, item.origin, normal.detail, raw))
        else:
            made.settle(local)
            self._put(normal, now, made)

    def _put(self, normal: Normal, now: str, made: _Sorted) -> None:
        section = self.mandate.sections[normal.section]  # its id
        before = self.ledger.lines.get(normal.local)
        tag = self.ledger.tag(normal.tag_content)
        if before and not before.deleted and (before.tag, before.section) == (tag, section):
            return
        resource_type = normal.resource["resourceType"]
        if before and before.section != section:
            left = self._name(before.section)
            made.operations[left].append(Remove(local=normal.local, resource_type=resource_type))
            made.gone(left, self._attached(normal.local, before))
        version = before.version + 1 if before else 1
        put = Put(
            local=normal.local,
            resource_type=resource_type,
            version=version,
            updated=now,
            resource=stamp(normal.resource, version, now),
            origin=normal.origin,
            warnings=normal.warnings,
            blob=self._blob(normal.data) if normal.data else None,
        )
        made.operations[normal.section].append(put)
        tags = self._attach(normal, before, version, now, made)
        self.ledger.lines[normal.local] = Line(tag, section, version, attached=tags)
        self.tally.stored += 1
        self.tally.written.add(normal.local)

    def _attach(self, normal: Normal, before: Line | None, version: int, now: str, made: _Sorted) -> tuple[bytes, ...]:
        """Put the Binaries that are new or changed, under their parent's version; returns all their tags.

        One that is as it was is neither sealed nor stored again.
        """
        section, operations = self.mandate.sections[normal.section], made.operations[normal.section]
        known = before.attached if before and not before.deleted and before.section == section else ()
        tags = tuple(self.ledger.tag(one.content()) for one in normal.attached)
        for number, (one, tag) in enumerate(zip(normal.attached, tags, strict=True)):
            if known[number : number + 1] != (tag,):
                put = Put(
                    local=one.local,
                    resource_type=BINARY,
                    version=version,
                    updated=now,
                    resource=stamp(one.resource, version, now),
                    origin=normal.origin,
                    blob=self._blob(one.data),
                )
                operations.append(put)
        for number in range(len(tags), len(known)):
            operations.append(_ended(self.normaliser.attached(normal.local, number), version, normal.origin, now))
        return tags

    def _attached(self, local: str, line: Line) -> list[str]:
        """The local ids of the Binaries that were taken out of a resource."""
        return [self.normaliser.attached(local, number) for number in range(len(line.attached))]

    def _blob(self, data: str) -> Blob:
        return blob.write(self.blobs, self.mandate.vault, decoded(data))

    def _end(
        self, local: str, resource_type: str, origin: dict[str, str], now: str, operations: dict[str, list[Operation]]
    ) -> None:
        before = self.ledger.lines.get(local)
        if before is None or before.deleted:
            return
        ended = replace(before, version=before.version + 1, deleted=True)
        operations[self._name(before.section)].append(
            Delete(local=local, resource_type=resource_type, version=ended.version, updated=now, origin=origin)
        )
        operations[self._name(before.section)] += [
            _ended(one, ended.version, origin, now) for one in self._attached(local, before)
        ]
        self.ledger.lines[local] = ended
        self.tally.deleted += 1

    def _end_unlisted(self, held: frozenset[str], now: str, operations: dict[str, list[Operation]]) -> None:
        """A full listing ended: what the ledger has beyond it is gone. The type is not known to a blind writer."""
        for local in self.ledger.live() - held:
            self._end(local, "", {"source": self.mandate.authority}, now, operations)

    def _sealed(self, operations: dict[str, list[Operation]]) -> Iterator[bytes]:
        """One envelope a section, each of which vouches for the one before."""
        number, writer = self.ledger.revision + 1, self.mandate.writer
        for name, made in sorted(operations.items()):
            previous = vouching.previous(self.ledger.last, writer)
            envelope = seal(self.mandate.vault, self._key(name), writer, number, made, previous)
            self.ledger.last = vouching.last(envelope)
            yield envelope

    def _quarantine(self, session: Session, prepared: Prepared) -> None:
        vault, source = self.mandate.vault, self.mandate.source
        standing = standing_items(session, vault, source)
        gone = standing & prepared.settled
        if prepared.listed is not None:
            # What stood aside and is neither listed nor came again in this run: the source has mended or dropped it.
            gone |= standing - prepared.listed - self.tally.aside
        if gone:
            session.exec(
                delete(Quarantine).where(
                    col(Quarantine.owner) == vault,
                    col(Quarantine.source) == source,
                    col(Quarantine.item).in_(gone),
                )
            )
        for one in prepared.aside:
            session.merge(one)

    def _row(self, one: Aside, now: datetime) -> Quarantine:
        head = note_header(self.mandate.vault, one.item)
        note = canonical({"source": self.mandate.authority, "locator": one.origin.locator})
        payload = None
        if one.raw is not None:
            told = {"detail": one.detail, "locator": one.origin.locator, "raw": b64(one.raw)}
            key = self._key(UNSORTED)
            payload = key.public.seal(payload_header(self.mandate.vault, one.item, key), orjson.dumps(told))
        return Quarantine(
            owner=self.mandate.vault,
            source=self.mandate.source,
            item=one.item,
            connection=self.connection,
            reason=one.reason,
            at=now.timestamp(),
            note=self.worker.seal(head, note),
            payload=payload,
        )

    def _name(self, section_id: str) -> str:
        return next(name for name, id_ in self.mandate.sections.items() if id_ == section_id)

    def _key(self, name: str) -> SectionKey:
        return self.keys.sections[self.mandate.sections[name]]


def _ended(local: str, version: int, origin: Mapping[str, str], now: str) -> Delete:
    return Delete(local=local, resource_type=BINARY, version=version, updated=now, origin=origin)


def _blobs(operations: Iterable[Operation]) -> tuple[Blob, ...]:
    return tuple(one.blob for one in operations if isinstance(one, Put) and one.blob)


def _require_epoch(row: tables.Vault, prepared: Prepared) -> None:
    if row.epoch != prepared.epoch:
        raise EpochEnded("the vault's keys were changed")


def standing_items(session: Session, owner: str, source: bytes) -> set[str]:
    """The items of one source that stand aside now."""
    found = session.exec(
        select(Quarantine.item).where(col(Quarantine.owner) == owner, col(Quarantine.source) == source)
    )
    return set(found)
