"""The view: in memory, exactly the resources that one caller may see. Everything that is answered is a function of one.

Opening takes an image that is still right, or builds it from the truth. What a grantee's view holds is decided here
and nowhere else: sections whose seeds the grant carries (the coarse net), then the decision on each resource (the
second lock).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from aggregator.errors import Tampered
from aggregator.vault import beneath, blob_rows, snapshot, tables, truth
from aggregator.vault.encoding import milliseconds
from aggregator.vault.envelope import Delete, Put
from aggregator.vault.epochs import KeyChain, OwnersSeeds, Seeds
from aggregator.vault.fold import State
from aggregator.vault.image import Fetch, Image, Outside, Record, Tombstone, UnreadableImage, build
from aggregator.vault.index_rows import Indexer
from aggregator.vault.keys import OWNER, Root, handle
from aggregator.vault.mask import BINARY, bare, mask, part_of, references
from aggregator.vault.seal import header, unwrap, wrap
from aggregator.vault.store import Store
from fhir_profiles.attachments import attachments
from fhir_profiles.text import Resource, dumps, reread

DIRECTORY = "directory"
"""The section whose resources a view holds only where a permitted one refers to them."""

IDENTITY = "identity"

_Places = dict[str, tuple[str, Put]]
"""("Type/id" -> section, its newest version). Not parsed: a record of 100,000 would take gigabytes."""

_TRIES = 2
_IMAGE = select(tables.ImageRow.built_for, tables.ImageRow.box).where(
    col(tables.ImageRow.vault) == bindparam("vault"), col(tables.ImageRow.reader) == bindparam("reader")
)

Permits = Callable[[str, Resource], bool]
"""(section, resource) -> may this caller see it: the second lock."""


@dataclass(slots=True)
class View:
    """What one caller sees of one vault, at one log position, under one grant version, until `until`.

    patient: the local id of the vault's Patient.
    """

    vault: str
    reader: str
    image: Image
    log_position: int
    grant_version: int
    until: datetime | None = None
    patient: str = ""

    def close(self) -> None:
        self.image.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who opens: the seeds at hand, the key that the reader trusts, and the key of its images.

    depends: what else its image depends on (grant version, section table, purpose, periods), as text.
    patient: the local id of the vault's Patient.
    permits: None for the owner, who sees all.
    """

    id: str
    seeds: Seeds
    verification_key: bytes
    image_key: bytes = field(repr=False)
    patient: str
    depends: str = ""
    permits: Permits | None = None
    until: datetime | None = None


def owner(root: Root, sections: Mapping[str, str], patient: str) -> Reader:
    """The owner: every section, in every epoch there is."""
    return Reader(
        id=OWNER,
        seeds=OwnersSeeds(root, sections),
        verification_key=root.verification_key,
        image_key=root.image_key(),
        patient=patient,
    )


def open_view(store: Store, vault: str, reader: Reader, indexer: Indexer, root: Root | None = None) -> View:
    """The reader's view of the vault as it is now. With the root at hand, building folds the log into a new snapshot.

    Two may open at once, and others write meanwhile: what was built is stored only where the vault is still as it was
    read. Who holds the root then looks again at what the other one has stored; where that goes on, the view is one of
    its own, with its bodies in it. Raises Tampered. Reading from the view of whoever holds the root raises Stale once
    there is a newer snapshot.
    """
    for _ in range(_TRIES):
        with store.read() as session:
            row = truth.head(session, vault, reader.verification_key)
            image = _stored_image(store, session, row, reader, indexer)
            found = None if image else truth.read(session, row, reader.seeds)
        if found is not None:
            image = _build(store, found, reader, indexer, root)
        if image is not None:
            break
    else:
        assert found is not None  # noqa: S101 - it was read, and could not be stored
        image = Image.open(_data(found, reader, indexer, None))
    return View(vault, reader.id, image, row.log_position, row.grant_version, reader.until, reader.patient)


def fresh_view(store: Store, vault: str, reader: Reader, indexer: Indexer) -> View:
    """The same for a reader who looks once: nothing of it is stored. Raises Tampered."""
    with store.read() as session:
        found = truth.read(session, truth.head(session, vault, reader.verification_key), reader.seeds)
    image = Image.open(_data(found, reader, indexer, None))
    return View(vault, reader.id, image, found.vault.log_position, found.vault.grant_version, None, reader.patient)


def _data(found: truth.Truth, reader: Reader, indexer: Indexer, bodies: Outside | None) -> bytes:
    """bodies: where they lie, where the image does not hold them itself."""
    resources = _permitted(found.vault.id, found.state, reader) if reader.permits else whole(found.state)
    return build(
        resources, indexer, () if reader.permits else _tombstones(found.state), bodies, indexer.frame(found.vault.id)
    )


def read_truth(store: Store, vault: str, reader: Reader) -> State:
    """The state itself, history included: for the owner's own questions about the past."""
    with store.read() as session:
        row = truth.head(session, vault, reader.verification_key)
        return truth.read(session, row, reader.seeds).state


def look(session: Session, row: tables.Vault, reader: Reader) -> list[Record]:
    """What the reader's view would hold now. row: as `truth.head` gave it. Nothing is stored, nobody is answered."""
    return list(_permitted(row.id, truth.read(session, row, reader.seeds).state, reader))


_APPOINTED = "/by:"


def _built_for(
    row: tables.Vault, reader: Reader, indexer: Indexer, texts: snapshot.Texts | None, appointed: str = ""
) -> str:
    """What an image depends on, the snapshot that has its bodies too.

    The reader's own part is keyed: a grant's periods are the Consent's, not a row's. appointed: the certificates there
    were, where an envelope was refused: a mended one lets it in.
    """
    own = handle(reader.image_key, "depends", reader.depends).hex()
    place = f"{row.log_position}.{row.epoch}"
    mended = _APPOINTED + appointed if appointed else ""
    return "/".join((place, str(indexer.version), own, *([texts.id] if texts else []))) + mended


def _stored_image(store: Store, session: Session, row: tables.Vault, reader: Reader, indexer: Indexer) -> Image | None:
    """The image at rest, where it is still right. One that does not open is a cache that is not there."""
    stored = beneath.found(session, _IMAGE, {"vault": row.id, "reader": reader.id})
    if stored is None:
        return None
    built_for, box = stored
    texts = snapshot.stored(session, row.id) if reader.permits is None else None
    appointed = truth.appointed(session, row.id) if _APPOINTED in built_for else ""
    for bodies in (texts, None):
        if built_for == _built_for(row, reader, indexer, bodies, appointed):
            try:
                data = unwrap(reader.image_key, _header(row.id, reader, built_for), box)
                return Image.open(data, _fetch(store, reader, bodies))
            except (Tampered, UnreadableImage):
                return None
    return None


def _fetch(store: Store, reader: Reader, texts: snapshot.Texts | None) -> Fetch | None:
    """What gives the bodies that the reader's image does not hold."""
    if texts is None:
        return None

    def fetch(section: str, part: int) -> bytes:
        with store.read() as session:
            epoch = texts.epoch(reader.seeds.ids[section])
            return texts.fetch(session, KeyChain(session, texts.vault, reader.seeds).seed(section, epoch), part)

    return fetch


def _build(store: Store, found: truth.Truth, reader: Reader, indexer: Indexer, root: Root | None) -> Image | None:
    """The image, and with the root the snapshot that has its bodies; None where another has replaced that one."""
    row = found.vault
    made = _snapshot(found, reader, root) if root and not found.settled else None
    texts, bodies = (made.texts, made.bodies) if made else (found.texts, found.bodies) if root else (None, None)
    data = _data(found, reader, indexer, bodies)
    built_for = _built_for(row, reader, indexer, texts, found.appointed)
    box = wrap(reader.image_key, _header(row.id, reader, built_for), data)
    with store.write(row.id) as session:
        kept = _unchanged(session, found)
        if kept:
            session.merge(tables.ImageRow(vault=row.id, reader=reader.id, built_for=built_for, box=box))
            if made:
                snapshot.write(session, made)
                left = {entry.position for entry in made.refused}
                blob_rows.forget(session, row.id, made.position, _named(found.state), left)
    return Image.open(data, _fetch(store, reader, texts)) if kept or not root else None


def _unchanged(session: Session, found: truth.Truth) -> bool:
    """Is the vault as it was read: its log's end, its epoch and its snapshot? Another opener may have been faster."""
    row, now = found.vault, session.get(tables.Vault, found.vault.id)
    same = now is not None and (now.log_position, now.epoch) == (row.log_position, row.epoch)
    return same and snapshot.stored(session, row.id) == found.texts


def _snapshot(found: truth.Truth, reader: Reader, root: Root) -> snapshot.Made:
    """Under the newest epoch; what was refused stays in the log, as evidence and in case its mandate is mended."""
    seeds = {name: root.section(section, found.vault.epoch) for name, section in reader.seeds.ids.items()}
    return snapshot.make(found.vault, root, found.state, seeds, found.left)


def _named(state: State) -> set[str]:
    """The blobs that any version names."""
    puts = (version.operation for version in state.every() if isinstance(version.operation, Put))
    return {put.blob.id for put in puts if put.blob}


def whole(state: State) -> Iterable[Record]:
    """Every current resource, as its owner sees it."""
    return (_record(section, put, put.resource) for section, put in state.current())


def _tombstones(state: State) -> Iterable[Tombstone]:
    for _, versions in state.newest():
        newest = versions[-1].operation
        if isinstance(newest, Delete):
            # A listing that no longer shows a resource tells its id alone: the type stands in an earlier version.
            kinds = (version.operation.resource_type for version in reversed(versions))
            yield Tombstone(
                resource_type=next(filter(None, kinds), ""),
                local=newest.local,
                version=newest.version,
                updated=milliseconds(newest.updated),
            )


def _permitted(vault: str, state: State, reader: Reader) -> Iterator[Record]:
    """A grantee's view: permitted resources, of the directory what they refer to, the patient at least bare.

    A Binary is in it with the resource that it was taken out of: it was a part of that one.
    """
    permits = reader.permits or (lambda _section, _resource: True)
    kept, directory, parts, targets = _Places(), _Places(), _Places(), set[str]()
    for section, put in state.current():
        if put.local == reader.patient and section != IDENTITY:
            continue  # a writer's forgery: who holds this section alone cannot see that the owner wrote the Patient
        resource = reread(put.resource)
        if permits(section, resource):
            place = parts if put.resource_type == BINARY else directory if section == DIRECTORY else kept
            place[f"{put.resource_type}/{resource['id']}"] = (section, put)
            if place is kept:
                targets.update(references(resource))
    patient = f"Patient/{vault}.{reader.patient}"
    _refer(targets, kept, directory)
    _add_parts(kept, parts)
    visible = kept.keys() | {patient}
    for section, put in kept.values():
        yield _record(section, put, _masked(put.resource, visible))
    if patient not in kept:
        yield _bare_patient(vault, reader)


def _masked(body: bytes, visible: Set[str]) -> bytes:
    resource = reread(body)
    masked = mask(resource, visible)
    return body if masked is resource else dumps(masked)


def _add_parts(kept: _Places, parts: _Places) -> None:
    """Of the Binaries those whose whole is kept, lies in the same section and points to them."""
    for name, (section, binary) in parts.items():
        if _is_part(kept, name, section, reread(binary.resource)):
            kept[name] = (section, binary)


def _is_part(kept: _Places, name: str, section: str, binary: Resource) -> bool:
    whole = kept.get(part_of(binary) or "")
    if whole is None or whole[0] != section:
        return False
    return any(attachment.get("url") == name for attachment in attachments(reread(whole[1].resource)))


def _refer(targets: Iterable[str], kept: _Places, directory: _Places) -> None:
    """Move into `kept` these of the directory, and what they refer to there."""
    waiting = set(targets) & directory.keys()
    while waiting:
        name = waiting.pop()
        kept[name] = found = directory.pop(name)
        waiting.update(directory.keys() & references(reread(found[1].resource)))


def _bare_patient(vault: str, reader: Reader) -> Record:
    body = dumps(bare({"resourceType": "Patient", "id": f"{vault}.{reader.patient}"}))
    return Record(resource_type="Patient", local=reader.patient, version=1, updated=0, section=IDENTITY, body=body)


def _record(section: str, put: Put, body: bytes) -> Record:
    return Record(
        resource_type=put.resource_type,
        local=put.local,
        version=put.version,
        updated=milliseconds(put.updated),
        section=section,
        body=body,
        blob=put.blob,
    )


def _header(vault: str, reader: Reader, built_for: str) -> dict[str, str | int]:
    return header("image", vault, name=reader.id, writer=built_for)
