"""The truth, folded: one wrapped row per section and a manifest that the root signed (FORMAT.md section 7)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlmodel import Session, col, delete, select

from aggregator.errors import Tampered
from aggregator.vault import tables
from aggregator.vault.encoding import b64, canonical, unb64
from aggregator.vault.envelope import Remove, line, parse_line
from aggregator.vault.fold import State, Version
from aggregator.vault.keys import Root, SectionSeed, verify
from aggregator.vault.log import first_link, forget
from aggregator.vault.seal import header, unwrap, wrap


@dataclass(frozen=True, slots=True)
class Manifest:
    """What belongs to a snapshot: the log position and chain value it reaches, and the hash of each section's row."""

    position: int
    chain: bytes
    sections: Mapping[str, str]


def manifest(session: Session, vault: tables.Vault) -> Manifest:
    """The newest snapshot's manifest, verified; position 0 where there is none. Raises Tampered."""
    row = session.get(tables.Snapshot, vault.id)
    if row is None:
        return Manifest(0, first_link(vault.id), {})
    verify(vault.verification_key, row.signature, b"PRA1/snapshot" + row.manifest, "snapshot")
    made = orjson.loads(row.manifest)
    if made["vault"] != vault.id or made["position"] != row.position:
        raise Tampered("a stored snapshot belongs elsewhere")
    return Manifest(row.position, unb64(made["chain"]), made["sections"])


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
    session: Session, vault: tables.Vault, root: Root, state: State, seeds: Mapping[str, SectionSeed], chain: bytes
) -> None:
    """Replace the snapshot and let the log before it go. `chain` is the log's value at `state.position`."""
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
        hashes[seed.id] = hashlib.sha256(box).hexdigest()
        session.add(tables.SnapshotSection(vault=vault.id, section=seed.id, box=box))
    listed: dict[str, Any] = {"kind": "snapshot", "vault": vault.id, "position": state.position}
    text = canonical(listed | {"chain": b64(chain), "sections": hashes})
    signature = root.sign(b"PRA1/snapshot" + text)
    session.merge(tables.Snapshot(vault=vault.id, position=state.position, manifest=text, signature=signature))
    forget(session, vault.id, state.position)


def _versions(vault: str, seed: SectionSeed, box: bytes, sha256: str) -> dict[str, list[Version]]:
    if hashlib.sha256(box).hexdigest() != sha256:
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


def _header(vault: str, seed: SectionSeed) -> dict[str, Any]:
    return header("snapshot", vault, section=seed.id, epoch=seed.epoch)
