"""What a provider adds to a record: sealed and appended as a sync's is, with the receipt in the same commit.

Create only, and blind: the party's own source, no look at what is there. Its ids are made of content, so what is sent
twice is stored once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from aggregator.consent.deposit import Permits
from aggregator.consent.mandate import Mandate
from aggregator.consent.section_table import SectionTable
from aggregator.errors import Refused, Stale
from aggregator.fhir.outcome import Issue, NotValid
from aggregator.fhir.validity import refuse_invalid
from aggregator.sync import whose
from aggregator.sync.normalise import Normaliser
from aggregator.sync.writing import SOMEBODY_ELSES, Prepared, VaultWriter
from aggregator.vault import counter, epochs, ledger
from aggregator.vault.blob_store import BlobStore
from aggregator.vault.store import Store
from aggregator.vault.worker_keys import WorkerKeys
from connectors.contract import Found, Origin
from fhir_profiles.text import Resource, dumps

_SOMEBODY_ELSE = "this is not about the patient it names, or it cannot be told whose it is"


@dataclass(frozen=True, slots=True)
class Added:
    """A resource as it lies in the record now. created: False where it lay there already."""

    resource_type: str
    local: str
    version: int
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What writing takes beside the mandate. verification_key: the one that the key service pinned for this vault."""

    store: Store
    blobs: BlobStore
    worker: WorkerKeys
    table: SectionTable
    verification_key: bytes


Sent = tuple[str, Resource]
"""What stands for its id at the source, and the resource."""

Receipt = Callable[[Session, int], bool]
"""(session, log position) -> is the receipt in this transaction: on condition that nothing ended meanwhile."""


def add(
    place: Place,
    mandate: Mandate,
    permits: Permits,
    sent: Sequence[Sent],
    now: datetime,
    receipt: Receipt,
    position: int | None = None,
) -> list[Added]:
    """Seal and append, all or nothing; durable with its receipt when it returns.

    sent: as `linked` gives it. position: the log's end, where the sender has judged what is there. Raises Refused for
    what the consents do not permit, NotValid for what cannot be taken, Stale where the record moved on.
    """
    for _, resource in sent:
        _refuse_unnamed(resource)
        refuse_invalid(resource)
        if not permits(resource, place.table.section_of(resource)):
            raise Refused("no consent permits to add this")
    writer = _writer(place, mandate)
    items = list(_items(sent, now))
    with writer.all_or_nothing():
        prepared = writer.prepare(items, None, now)
        _refuse_aside(prepared)
        with place.store.write(mandate.vault) as session:
            if position not in (None, counter.known_head(session, mandate.vault).log_position):
                raise Stale("the record is not the one that was judged")
            writer.commit(session, prepared)
            session.flush()
            row = counter.known_head(session, mandate.vault)
            if not receipt(session, row.log_position):
                raise Stale("the permission to add was changed")
    return [_added(writer, item) for item in items]


def linked(entries: Sequence[tuple[str, Resource]]) -> list[Sent]:
    """What is to be added, from (full URL, resource) of one Bundle: references within it point to what they will be."""
    sent = [(_source_id(resource), resource) for _, resource in entries]
    targets = {url: id_ for (url, _), (id_, _) in zip(entries, sent, strict=True) if url}
    targets |= {f"{one['resourceType']}/{one['id']}": id_ for id_, one in sent if isinstance(one.get("id"), str)}
    return [(id_, _pointed(resource, targets)) for id_, resource in sent]


def _source_id(resource: Resource) -> str:
    """The sender keeps no id that we know: its content stands for it."""
    content = ledger.content({name: value for name, value in resource.items() if name != "id"}, dumps)
    return f"{resource['resourceType']}/{hashlib.sha256(content).hexdigest()[:32]}"


def _pointed(node: Any, targets: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {
            name: targets.get(value, value)
            if name == "reference" and isinstance(value, str)
            else _pointed(value, targets)
            for name, value in node.items()
        }
    return [_pointed(one, targets) for one in node] if isinstance(node, list) else node


def _writer(place: Place, mandate: Mandate) -> VaultWriter:
    normaliser = Normaliser(mandate, place.table, "deposit", {f"Patient/{mandate.vault}.{mandate.patient}"})
    with place.store.read() as session:
        keys = epochs.writable(session, mandate.vault, place.verification_key)
        books = ledger.load(session, mandate.vault, mandate.source, mandate.ledger_keys)
    return VaultWriter(mandate, keys, normaliser, books, place.worker, "", place.blobs)


def _items(sent: Sequence[Sent], now: datetime) -> Iterator[Found]:
    for id_, resource in sent:
        bare = {name: value for name, value in resource.items() if name != "id"}
        yield Found(bare, Origin.of(dumps(bare), locator="deposit", source_id=id_, fetched_at=now))


def _refuse_unnamed(resource: Resource) -> None:
    """Whom it is about is said by a reference alone: a name or number that cannot be compared could be anybody's."""
    if whose.is_unnamed(resource):
        raise NotValid.at("", _SOMEBODY_ELSE)


def _refuse_aside(prepared: Prepared) -> None:
    """Nothing of a deposit stands aside: who brings it is there, and can mend it."""
    reasons = sorted({row.reason for row in prepared.aside})
    if reasons:
        told = [_SOMEBODY_ELSE if reason in SOMEBODY_ELSES else f"{reason}: not stored" for reason in reasons]
        raise NotValid(Issue(severity="error", code=NotValid.code, text=one) for one in told)


def _added(writer: VaultWriter, item: Found) -> Added:
    local = writer.normaliser.local(item.origin.source_id)
    line = writer.ledger.lines[local]
    return Added(item.resource["resourceType"], local, line.version, local in writer.tally.written)
