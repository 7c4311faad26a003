"""A record that was taken along, in another installation: the same under new keys (FORMAT-EXPORT.md section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from aggregator.audit import receipts
from aggregator.audit.receipts import Opening
from aggregator.errors import Tampered
from aggregator.identity import grant_archive
from aggregator.identity.accounts import Accounts, Owner, SignedUp
from aggregator.identity.grant_archive import Archived
from aggregator.portability import closed_chains, manifest, record
from aggregator.portability.archive import Files
from aggregator.portability.closed_chains import ClosedChain
from aggregator.portability.export import Place
from aggregator.portability.lines import authorities
from aggregator.portability.manifest import WRONG, Export, Listed, refused, require_section, values
from aggregator.sync.quarantine import Kept, note_header, seal_payload
from aggregator.sync.tables import Quarantine
from aggregator.vault import blob, blob_rows, counter, inheritance, ledger, snapshot, tables
from aggregator.vault.blob import Blob
from aggregator.vault.encoding import canonical
from aggregator.vault.envelope import Put
from aggregator.vault.fold import State
from aggregator.vault.keys import OWNER, IdKey, Inherited
from aggregator.vault.ledger import Ledger, Line
from aggregator.vault.seal import PublicKey
from aggregator.vault.worker_keys import WorkerKeys

_TAG_BYTES, _MOST_VERSIONS, _MOST_ATTACHED = 8, 2**31 - 1, 2**16 - 1


@dataclass(frozen=True, slots=True)
class Imported:
    """What came in. sources: the authorities to connect again. finding: what is wrong with the receipts."""

    signed_up: SignedUp
    resources: int
    attachments: int
    sources: Sequence[str]
    finding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """An export, parsed: all that goes into the vault but for the attachments' bytes."""

    export: Export
    inherited: Inherited
    state: State
    attached: record.Attached
    ledgers: Sequence[Mapping[str, Any]]
    grants: Mapping[int, Archived]
    aside: Sequence[Kept]
    chains: Sequence[ClosedChain]
    names: Mapping[str, str]


def import_record(
    place: Place, worker: WorkerKeys, accounts: Accounts, files: Files, login: str, password: str
) -> Imported:
    """Check all of it, then bring it in, or nothing. Raises CallerError, Tampered."""
    made = _parse(manifest.read(files))
    _refuse_known(place, made.export.manifest.vault)
    blobs = _attachments(place, made, files)
    record.attach(made.state, made.attached, blobs)
    owner = accounts.heir(made.export.manifest.vault, made.inherited)

    def fill(session: Session, row: tables.Vault) -> None:
        _fill(place, worker, session, row, owner, made)

    signed_up = accounts.found(login, password, owner, fill, "aggregator import")
    resources = sum(1 for _ in made.state.current())
    findings = [str(found) for chain in made.chains if (found := chain.verdict().finding)]
    sources = sorted({made.names[one["source"]] for one in made.ledgers if made.names.get(one["source"])})
    return Imported(signed_up, resources, len(blobs), sources, "; ".join(findings))


def _refuse_known(place: Place, vault: str) -> None:
    """In the database, or remembered by the key service: erased here, or of a database that was rolled back."""
    with place.store.read() as session:
        known, erased = counter.head(session, vault), session.get(tables.Erasure, vault)
    if known is not None:
        raise refused("this record is here already")
    if erased is not None or place.key_service.remembered([vault]):
        raise refused("this record was here, and was erased; it does not come back under its id")


def _parse(export: Export) -> _Record:
    """Raises CallerError."""
    try:
        told = manifest.parsed(export.texts["keys.json"])
        inherited = inheritance.read_members(told)
        ledgers = [_ledger(one, inherited) for one in told["ledgers"]]
    except WRONG:
        raise refused("its keys cannot be read") from None
    state, attached = record.state(export, IdKey(inherited.ids))
    names = {**authorities(state), **{one["source"]: one["authority"] for one in ledgers if one["authority"]}}
    try:
        return _Record(
            export=export,
            inherited=inherited,
            state=state,
            attached=attached,
            ledgers=ledgers,
            grants=_grants(export),
            aside=[_aside(export, one) for one in values(export, "originals/index.ndjson")],
            chains=_chains(export, inherited),
            names=names,
        )
    except (*WRONG, Tampered):
        raise refused("its consents, originals or receipts cannot be read") from None


def _ledger(told: Mapping[str, Any], inherited: Inherited) -> Mapping[str, Any]:
    """{source, authority, revision, lines: {local: Line by section name}}. Raises as what it is unsound in."""
    source, revision = bytes.fromhex(told["source"]), told["revision"]
    if len(source) != 16 or source.hex() not in inherited.content or not 1 <= revision <= _MOST_VERSIONS:
        raise ValueError("no ledger")
    lines = {local: _line(*rest) for local, *rest in told["lines"]}
    if not all(record.LOCAL.fullmatch(local) for local in lines) or len(lines) != len(told["lines"]):
        raise ValueError("no local id")
    return {"source": source.hex(), "authority": str(told["authority"]), "revision": revision, "lines": lines}


def _line(tag: str, section: str, version: int, deleted: int, attached: Sequence[str]) -> Line:
    tags = [bytes.fromhex(one) for one in (tag, *attached)]
    sound = all(len(one) == _TAG_BYTES for one in tags) and len(attached) <= _MOST_ATTACHED and deleted in (0, 1)
    if not sound or type(version) is not int or not 1 <= version <= _MOST_VERSIONS:
        raise ValueError("no line of a ledger")
    return Line(tags[0], require_section(section), version, bool(deleted), tuple(tags[1:]))


def _grants(export: Export) -> Mapping[int, Archived]:
    made = {one["version"]: grant_archive.read_members(one) for one in values(export, "consents/versions.ndjson")}
    if not all(type(version) is int and 1 <= version <= export.manifest.grants for version in made):
        raise ValueError("no grant version")
    return made


def _aside(export: Export, told: Mapping[str, Any]) -> Kept:
    source = bytes.fromhex(told["source"])
    if len(source) != 16 or not record.LOCAL.fullmatch(told["item"]):
        raise ValueError("no item")
    return Kept(
        item=told["item"],
        source=source,
        connection="",
        reason=_text(told["reason"]),
        at=datetime.fromisoformat(told["at"]).timestamp(),
        detail=_text(told["detail"]),
        locator=_text(told["locator"]),
        raw=export.texts[told["file"]] if told["file"] is not None else None,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _chains(export: Export, inherited: Inherited) -> Sequence[ClosedChain]:
    """The closed ones, the oldest first, then the one that closes now."""
    paths = [f"receipts/closed-{number}.ndjson" for number in range(1, len(inherited.audit))]
    paths.append("receipts/chain.ndjson")
    seeds = zip(paths, inherited.audit, strict=True)
    return [closed_chains.parse(export.manifest.vault, export.texts[path], seed) for path, seed in seeds]


def _attachments(place: Place, made: _Record, files: Files) -> Mapping[str, Blob]:
    """Seal each into a blob of its own, while it is read a second time. What no commit names is swept."""
    blobs = dict[str, Blob]()
    for file in files():
        if file.path in made.attached:
            sealed = blob.write(place.blobs, made.export.manifest.vault, file.parts)
            listed = made.export.manifest.files[file.path]
            if Listed(file.path, sealed.size, sealed.sha256, listed.lines) != listed:
                raise refused("it was changed while it was read")
            blobs[file.path] = sealed
    return blobs


def _fill(place: Place, worker: WorkerKeys, session: Session, row: tables.Vault, owner: Owner, made: _Record) -> None:
    """Everything but account and unlockers, in their transaction."""
    told = made.export.manifest
    row.log_position, row.chain = told.position, told.chain
    # A version of its own, in which nobody has a grant: what was open elsewhere is not open here.
    row.grant_version = told.grants + 1
    archives = {**made.grants, row.grant_version: Archived([], {})}
    session.add_all([grant_archive.archive_row(owner.root, row.id, version, one) for version, one in archives.items()])
    session.flush()
    seeds = {name: owner.seed(name, row.epoch) for name in owner.sections}
    snapshot.write(session, snapshot.make(row, owner.root, made.state, seeds))
    _name_blobs(session, row.id, made.state)
    for one in made.ledgers:
        _store_ledger(session, owner, one)
    for item in made.aside:
        session.add(_quarantine(worker, owner, row.epoch, item, made.names.get(item.source.hex(), "")))
    for number, chain in enumerate(made.chains, 1):
        session.add_all(closed_chains.rows(owner.root, row.id, number, chain.text))
    session.flush()
    _receipt(place, session, row, made.chains[-1])


def _name_blobs(session: Session, vault: str, state: State) -> None:
    known = set[str]()
    for version in state.every():
        put = version.operation
        if isinstance(put, Put) and put.blob and put.blob.id not in known:
            known.add(put.blob.id)
            blob_rows.record(session, vault, version.position, [put.blob])


def _store_ledger(session: Session, owner: Owner, told: Mapping[str, Any]) -> None:
    source = bytes.fromhex(told["source"])
    lines = {
        local: Line(line.tag, owner.sections[line.section], line.version, line.deleted, line.attached)
        for local, line in told["lines"].items()
    }
    ledger.save(session, Ledger(owner.vault, source, owner.root.ledger_keys(source), 0, lines))
    session.get_one(tables.Ledger, (owner.vault, source)).revision = told["revision"]


def _quarantine(worker: WorkerKeys, owner: Owner, epoch: int, one: Kept, authority: str) -> Quarantine:
    note = canonical({"source": authority, "locator": one.locator})
    return Quarantine(
        owner=owner.vault,
        source=one.source,
        item=one.item,
        connection=one.connection,
        reason=one.reason,
        at=one.at,
        note=worker.seal(note_header(owner.vault, one.item), note),
        payload=seal_payload(owner.vault, one, owner.seed("unsorted", epoch)),
    )


def _receipt(place: Place, session: Session, row: tables.Vault, closed: ClosedChain) -> None:
    """The new chain's first: it names the head of the one that is closed."""
    finding = closed.verdict().finding
    reason = f"{closed.position} receipts of an earlier installation, up to head {closed.head.hex()}"
    entry = {
        "kind": "imported",
        "at": place.clock().isoformat(timespec="milliseconds"),
        "interaction": "operation",
        "party": OWNER,
        "name": OWNER,
        "type": "",
        "query": "import",
        "reason": f"{reason}; {finding}" if finding else reason,
    }
    receipts.commit(session, place.key_service, [Opening(row.id, PublicKey(row.audit_key)).first(entry)])
