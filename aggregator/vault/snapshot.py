"""The truth, folded: one wrapped row per section and a manifest that the root signed (FORMAT.md section 7)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select

from aggregator.errors import Tampered
from aggregator.vault import log, tables
from aggregator.vault.encoding import b64, canonical, unb64
from aggregator.vault.envelope import Remove, line, parse_line
from aggregator.vault.fold import State, Version
from aggregator.vault.keys import Root, SectionSeed, verify
from aggregator.vault.log import Entry, first_link
from aggregator.vault.seal import header, unwrap, wrap


@dataclass(frozen=True, slots=True)
class Manifest:
    """What belongs to a snapshot: the log position and chain value it reaches, and the hash of each section's row.

    refused: log position -> hash of each envelope up to there that was not folded and lies in the log still.
    """

    position: int
    chain: bytes
    sections: Mapping[str, str]
    refused: Mapping[int, str] = field(default_factory=dict)


def manifest(session: Session, vault: tables.Vault) -> Manifest:
    """The newest snapshot's manifest, verified; position 0 where there is none. Raises Tampered."""
    row = session.get(tables.Snapshot, vault.id)
    if row is None:
        return Manifest(0, first_link(vault.id), {})
    verify(vault.verification_key, row.signature, b"PRA1/snapshot" + row.manifest, "snapshot")
    made = orjson.loads(row.manifest)
    if made["vault"] != vault.id or made["position"] != row.position:
        raise Tampered("a stored snapshot belongs elsewhere")
    refused = {int(position): sha256 for position, sha256 in made["refused"].items()}
    return Manifest(row.position, unb64(made["chain"]), made["sections"], refused)


def kept(session: Session, vault: str, listed: Manifest) -> list[Entry]:
    """The refused envelopes that the manifest lists, as far as they are still there and unchanged."""
    if not listed.refused:
        return []
    entries = log.until(session, vault, listed.position)
    return [entry for entry in entries if _sha256(entry.envelope) == listed.refused.get(entry.position)]


def read(session: Session, vault: str, listed: Manifest, seeds: Mapping[str, SectionSeed]) -> State:
    """The state of the sections whose seeds are given, by name. Raises Tampered for a missing or changed row."""
    state = State(listed.position)
    rows = session.exec(select(tables.SnapshotSection).where(tables.SnapshotSection.vault == vault)).all()
    boxes = {row.section: row.box for row in rows}
    for name, seed in seeds.items():
        if seed.id in listed.sections:
            state.sections[name] = _versions(vault, seed, boxes.get(seed.id, b""), listed.sections[seed.id])
    return state


def write(
    session: Session,
    vault: tables.Vault,
    root: Root,
    state: State,
    seeds: Mapping[str, SectionSeed],
    chain: bytes,
    refused: Sequence[Entry] = (),
) -> None:
    """Replace the snapshot and let the log before it go, but for what was refused.

    chain: the log's value at `state.position`.
    """
    session.exec(delete(tables.SnapshotSection).where(col(tables.SnapshotSection.vault) == vault.id))
    hashes = {}
    for name, resources in state.sections.items():
        lines = [
            line(version.operation, position=version.position, writer=version.writer)
            for kept in resources.values()
            for version in kept
        ]
        seed = seeds[name]
        box = wrap(seed.snapshot_key(), _header(vault.id, seed), b"\n".join(lines))
        hashes[seed.id] = _sha256(box)
        session.add(tables.SnapshotSection(vault=vault.id, section=seed.id, box=box))
    listed: dict[str, Any] = {"kind": "snapshot", "vault": vault.id, "position": state.position}
    listed["refused"] = {str(entry.position): _sha256(entry.envelope) for entry in refused}
    text = canonical(listed | {"chain": b64(chain), "sections": hashes})
    signature = root.sign(b"PRA1/snapshot" + text)
    session.merge(tables.Snapshot(vault=vault.id, position=state.position, manifest=text, signature=signature))
    log.forget(session, vault.id, state.position, refused)


def _versions(vault: str, seed: SectionSeed, box: bytes, sha256: str) -> dict[str, list[Version]]:
    if _sha256(box) != sha256:
        raise Tampered("a stored snapshot is not the one its manifest names")
    made: dict[str, list[Version]] = {}
    for text in unwrap(seed.snapshot_key(), _header(vault, seed), box).split(b"\n"):
        if text:
            operation, members = parse_line(text)
            if isinstance(operation, Remove):
                raise Tampered("a stored snapshot holds a removal")
            made.setdefault(operation.local, []).append(
                Version(int(members["position"]), str(members["writer"]), operation)
            )
    return made


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _header(vault: str, seed: SectionSeed) -> dict[str, Any]:
    return header("snapshot", vault, section=seed.id, epoch=seed.epoch)
