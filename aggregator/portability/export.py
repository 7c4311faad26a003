"""The whole record, for its owner to take along: FORMAT-EXPORT.md. Reads the truth; the owner's receipt comes first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlmodel import Session, col, select

from aggregator import __version__
from aggregator.audit import chain_file, receipts
from aggregator.audit.receipts import Opening, ReceiptWriter
from aggregator.audit.tables import Receipt
from aggregator.errors import Tampered
from aggregator.identity import grant_archive
from aggregator.identity.accounts import Owner
from aggregator.portability import archive, closed_chains
from aggregator.portability.archive import MANIFEST, File
from aggregator.portability.lines import Lines, authorities, lines
from aggregator.portability.readme import README
from aggregator.sync import quarantine
from aggregator.vault import blob, inheritance, ledger, tables, truth
from aggregator.vault.blob_store import BlobStore
from aggregator.vault.encoding import b64, canonical, instant
from aggregator.vault.epochs import OwnersSeeds
from aggregator.vault.key_service import KeyService
from aggregator.vault.keys import OWNER, Inherited
from aggregator.vault.seal import KEY_BYTES
from aggregator.vault.store import Store
from connectors.contract import Clock

FORMAT = 1
KIND = "aggregator-export"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What of an installation an export, an import or an erasure works on."""

    store: Store
    blobs: BlobStore
    key_service: KeyService
    receipts: ReceiptWriter
    clock: Clock


def export(place: Place, owner: Owner) -> Iterator[File]:
    """Every file of the export, the manifest last. The receipt is durable before this returns. Raises Tampered."""
    _receipt(place, owner)
    with place.store.read() as session:
        gathered = _gather(place, session, owner)
    return _files(place, owner, gathered)


def _receipt(place: Place, owner: Owner) -> None:
    with place.store.read() as session:
        row = truth.head(session, owner.vault, owner.root.verification_key)
    told = {"kind": "exported", "at": place.clock().isoformat(timespec="milliseconds"), "interaction": "operation"}
    told |= {"party": OWNER, "name": OWNER, "type": "", "query": "export"}
    opening = Opening(owner.vault, truth.audit_key(row, owner.root.verification_key))
    place.receipts.write_now([opening.first(told)])


@dataclass(slots=True)
class _Gathered:
    """What was read in one look at the database. small: files but for those of the record and of attachments."""

    record: Lines
    stated: dict[str, Any]
    small: list[File] = field(default_factory=list)


def _gather(place: Place, session: Session, owner: Owner) -> _Gathered:
    row = truth.head(session, owner.vault, owner.root.verification_key)
    found = truth.read(session, row, OwnersSeeds(owner.root, owner.sections))
    record = lines(found.state)
    stated: dict[str, Any] = {
        "format": FORMAT,
        "kind": KIND,
        "vault": owner.vault,
        "patient": owner.patient,
        "at": instant(place.clock()),
        "software": __version__,
        "sections": dict(sorted(record.sections.items())),
        "log": {"position": row.log_position, "chain": b64(row.chain)},
        "grants": row.grant_version,
        "receipts": {"position": row.audit_position, "head": row.audit_head.hex()},
        "refused": {str(position): reason for position, reason in sorted(found.refused.items())},
    }
    made = _Gathered(record, stated)
    made.small += _originals(session, owner)
    made.small.append(
        _ndjson("consents/versions.ndjson", _grants(session, place.key_service, owner, row.grant_version))
    )
    made.small += _receipts(place, session, owner)
    made.small.append(archive.of("keys.json", canonical(_keys(session, owner, authorities(found.state)))))
    return made


def _files(place: Place, owner: Owner, gathered: _Gathered) -> Iterator[File]:
    listed, missing = list[dict[str, Any]](), list[str]()
    for file in _all(place, owner, gathered, missing):
        counted = _Counted(file)
        yield File(file.path, file.size, counted)
        listed.append(counted.row())
    told = gathered.stated | {"missing": missing, "files": listed}
    yield archive.of(MANIFEST, orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")


def _all(place: Place, owner: Owner, gathered: _Gathered, missing: list[str]) -> Iterator[File]:
    yield archive.of("README.txt", README.encode())
    record = gathered.record
    for folder, files in (("fhir", record.current), ("provenance", record.beside), ("history", record.history)):
        for kind, texts in sorted(files.items()):
            yield _ndjson(f"{folder}/{kind}.ndjson", texts)
    for path, made in record.attachments.items():
        parts = blob.read(place.blobs, owner.vault, made)
        try:  # one that is gone must not keep the rest from its owner
            first = next(parts, b"")
        except Tampered:
            missing.append(path)
            continue
        yield File(path, made.size, _chained(first, parts))
    yield from gathered.small


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _ndjson(path: str, texts: Iterable[bytes]) -> File:
    return archive.of(path, b"".join(text + b"\n" for text in texts))


class _Counted:
    """The bytes of a file as they pass, for the manifest."""

    def __init__(self, file: File) -> None:
        self._file, self._bytes, self._lines, self._sha256 = file, 0, 0, hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for part in self._file.parts:
            self._bytes += len(part)
            self._lines += part.count(b"\n")
            self._sha256.update(part)
            yield part

    def row(self) -> dict[str, Any]:
        counted = self._lines if self._file.path.endswith(".ndjson") else None
        sha256 = self._sha256.hexdigest()
        return {"path": self._file.path, "bytes": self._bytes, "sha256": sha256, "lines": counted}


def _originals(session: Session, owner: Owner) -> Iterator[File]:
    index = list[bytes]()
    for number, one in enumerate(quarantine.kept(session, owner.vault, lambda epoch: owner.seed("unsorted", epoch)), 1):
        path = f"originals/{number:06d}.raw" if one.raw is not None else None
        if path is not None and one.raw is not None:
            yield archive.of(path, one.raw)
        told = {"item": one.item, "source": one.source.hex(), "reason": one.reason}
        told |= {"at": datetime.fromtimestamp(one.at, UTC).isoformat()}
        index.append(orjson.dumps(told | {"detail": one.detail, "locator": one.locator, "file": path}))
    if index:
        yield _ndjson("originals/index.ndjson", index)


def _grants(session: Session, key_service: KeyService, owner: Owner, newest: int) -> Iterator[bytes]:
    for version in range(1, newest + 1):
        kept = grant_archive.archive(session, key_service, owner, version)
        if not kept.missing:
            yield orjson.dumps({"version": version} | grant_archive.members(kept))


def _receipts(place: Place, session: Session, owner: Owner) -> Iterator[File]:
    key = place.key_service.audit_verification_key()
    yield archive.of("receipts/chain.ndjson", b"".join(chain_file.lines(session, owner.vault, key)))
    rows = session.exec(select(Receipt).where(Receipt.vault == owner.vault).order_by(col(Receipt.position))).all()
    yield _ndjson("receipts/entries.ndjson", _entries(receipts.read(rows, owner.vault, owner.root.audit)))
    for number in closed_chains.numbers(session, owner.vault):
        chain = closed_chains.read(session, owner, number)
        yield archive.of(f"receipts/closed-{number}.ndjson", chain.text)
        yield _ndjson(f"receipts/closed-{number}-entries.ndjson", _entries(chain.entries()))


def _entries(entries: Iterable[tuple[int, Mapping[str, Any] | None]]) -> Iterator[bytes]:
    return (orjson.dumps({"position": position, "entry": entry}) for position, entry in entries)


def _keys(session: Session, owner: Owner, names: Mapping[str, str]) -> dict[str, Any]:
    root, before = owner.root, owner.root.inherited
    rows: Sequence[tables.Ledger] = session.exec(
        select(tables.Ledger).where(tables.Ledger.vault == owner.vault).order_by(col(tables.Ledger.source))
    ).all()
    sources = sorted({row.source for row in rows} | {bytes.fromhex(one) for one in (before.content if before else ())})
    content = {source.hex(): root.ledger_keys(source)[KEY_BYTES:] for source in sources}
    closed = before.audit if before else ()
    inherited = Inherited(root.ids().key, root.tag_key(), content, (*closed, root.audit_seed()))
    ledgers = [_ledger(session, owner, row, names.get(row.source.hex(), "")) for row in rows]
    return inheritance.members(inherited) | {"ledgers": ledgers}


def _ledger(session: Session, owner: Owner, row: tables.Ledger, authority: str) -> dict[str, Any]:
    named = {id_: name for name, id_ in owner.sections.items()}
    held = ledger.load(session, owner.vault, row.source, owner.root.ledger_keys(row.source))
    told = [
        [local, one.tag.hex(), named[one.section], one.version, int(one.deleted), [tag.hex() for tag in one.attached]]
        for local, one in sorted(held.lines.items())
    ]
    return {"source": row.source.hex(), "authority": authority, "revision": held.revision, "lines": told}
