"""The truth, folded: each section's versions in wrapped rows, and a manifest that the root signed (FORMAT.md, 7).

Current bodies lie here and nowhere else: the owner's image, made together with it, only names their places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import bindparam
from sqlmodel import Session, col, delete, select

from aggregator.errors import Stale, Tampered
from aggregator.vault import beneath, log, tables
from aggregator.vault.counter import Counter, Extends
from aggregator.vault.encoding import b64, canonical, unb64
from aggregator.vault.epochs import KeyChain
from aggregator.vault.fold import State, Version
from aggregator.vault.image import Outside
from aggregator.vault.keys import Root, SectionSeed, verify
from aggregator.vault.log import Entry, first_link
from aggregator.vault.part import Part, bodies
from aggregator.vault.part import parts as split
from aggregator.vault.part import read as read_part
from aggregator.vault.seal import header, unwrap, wrap

UNSORTED = "unsorted"
"""The section that no grant opens: what a resource was before it moved is kept there, and not where it went, whose
readers have no business with it, nor where it was, whose readers have lost it."""


_MANIFEST = select(tables.Snapshot.manifest).where(col(tables.Snapshot.vault) == bindparam("vault"))
_TEXT = select(tables.SnapshotSection.box).where(
    col(tables.SnapshotSection.vault) == bindparam("vault"),
    col(tables.SnapshotSection.section) == bindparam("section"),
    col(tables.SnapshotSection.part) == bindparam("part"),
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What belongs to a snapshot: the log position and chain value it reaches, and of each section its rows' hashes.

    epochs: section id -> the epoch whose snapshot key its rows lie under. refused: log position -> hash of each
    envelope up to there that was not folded and lies in the log still. numbers: mandate's writer -> section id -> the
    highest number of its envelopes so far.
    """

    position: int
    chain: bytes
    sections: Mapping[str, Sequence[str]]
    epochs: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[int, str] = field(default_factory=dict)
    numbers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def manifest(session: Session, vault: tables.Vault, verification_key: bytes) -> Manifest:
    """The newest snapshot's manifest, under the key that the reader trusts; position 0 where there is none.

    Raises Tampered.
    """
    row = session.get(tables.Snapshot, vault.id)
    if row is None:
        return Manifest(0, first_link(vault.id), {})
    verify(verification_key, row.signature, b"PRA1/snapshot" + row.manifest, "snapshot")
    made = orjson.loads(row.manifest)
    if made["vault"] != vault.id or made["position"] != row.position:
        raise Tampered("a stored snapshot belongs elsewhere")
    refused = {int(position): sha256 for position, sha256 in made["refused"].items()}
    chain = unb64(made["chain"])
    return Manifest(row.position, chain, made["sections"], made["epochs"], refused, made["numbers"])


def extends(pinned: Callable[[str], bytes]) -> Extends:
    """What the key service asks before it remembers a head: does the log lead there from what it remembers?

    What a newer snapshot let go is not there any more: that snapshot stands for it, where the root signed it and the
    log leads on from its end. pinned: vault -> the verification key that the key service pinned, since whoever has the
    database alone can write any row, that of a snapshot too.
    """

    def check(session: Session, vault: tables.Vault, before: Counter) -> bool:
        if before.log_position == vault.log_position:
            return True
        try:
            position, chain = before.log_position, before.chain
            if session.get(tables.Snapshot, vault.id) is not None:
                listed = manifest(session, vault, pinned(vault.id))
                if listed.position > position:
                    position, chain = listed.position, listed.chain
            log.after(session, vault, position, chain)
        except Tampered:
            return False
        return True

    return check


def kept(session: Session, vault: str, listed: Manifest) -> list[Entry]:
    """The refused envelopes that the manifest lists, as far as they are still there and unchanged."""
    if not listed.refused:
        return []
    entries = log.until(session, vault, listed.position)
    return [entry for entry in entries if _sha256(entry.envelope) == listed.refused.get(entry.position)]


def read(session: Session, vault: str, listed: Manifest, chain: KeyChain) -> tuple[State, Outside]:
    """The state of the sections that the chain opens, and where in the texts their newest bodies lie.

    Raises Tampered for a missing or changed row.
    """
    state, texts, starts = State(listed.position), list[tuple[str, int, int]](), dict[tuple[str, str], int]()
    state.numbers |= {(by, id_): number for by, told in listed.numbers.items() for id_, number in told.items()}
    before = 0
    for name, id_ in chain.ids.items():
        if listed.sections.get(id_) is not None:
            found = state.sections[name] = dict[str, list[Version]]()
            for part, sha256 in enumerate(listed.sections[id_]):
                row = session.get(tables.SnapshotSection, (vault, id_, part))
                if row is None or _sha256(row.box) != sha256:
                    raise Tampered("a stored snapshot is not the one its manifest names")
                text = _unwrapped(vault, chain.seed(name, listed.epochs[id_]), part, row.box)
                for version, start in read_part(text):
                    local = version.operation.local
                    (state.moved if version.left else found).setdefault(local, []).append(version)
                    if not version.left:
                        starts[name, local] = before + start
                texts.append((name, part, len(bodies(text))))
                before += texts[-1][2]
    return state, Outside(texts=texts, starts=starts)


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of the stored snapshot with this manifest, one by one, for bodies that an image only names."""

    vault: str
    manifest: bytes

    @property
    def id(self) -> str:
        """Which snapshot: the hash of its manifest."""
        return _sha256(self.manifest)

    def epoch(self, section: str) -> int:
        """The epoch that this section's rows are of."""
        return int(orjson.loads(self.manifest)["epochs"][section])

    def fetch(self, session: Session, seed: SectionSeed, part: int) -> bytes:
        """One text. Raises Stale where another snapshot has replaced this one, Tampered where none has."""
        (box,) = beneath.found(session, _TEXT, {"vault": self.vault, "section": seed.id, "part": part}) or (b"",)
        if _sha256(box) != orjson.loads(self.manifest)["sections"][seed.id][part]:
            now = stored(session, self.vault)
            raise Tampered("a stored snapshot was changed") if now == self else Stale("there is a newer snapshot")
        return bodies(_unwrapped(self.vault, seed, part, box))


def stored(session: Session, vault: str) -> Texts | None:
    """The texts of the newest snapshot. Nothing is verified: who asks knows the `id` of the one that is meant."""
    row = beneath.found(session, _MANIFEST, {"vault": vault})
    return Texts(vault, row[0]) if row else None


@dataclass(frozen=True, slots=True)
class Made:
    """A snapshot before it is stored. bodies: where in its texts each resource's newest version lies."""

    texts: Texts
    position: int
    signature: bytes
    boxes: Mapping[tuple[str, int], bytes]
    refused: Sequence[Entry]
    bodies: Outside


def make(
    vault: tables.Vault, root: Root, state: State, seeds: Mapping[str, SectionSeed], refused: Sequence[Entry] = ()
) -> Made:
    """The snapshot of the state, which reaches as far as the vault's row says. `refused` stays in the log.

    seeds: of the vault's newest epoch, so what is at rest no longer opens with the seeds of an ended grant.
    """
    kept = {name: [*resources.values()] for name, resources in state.sections.items()}
    if state.moved:
        kept.setdefault(UNSORTED, []).extend(state.moved.values())
    parts = [(name, number, part) for name, versions in kept.items() for number, part in enumerate(split(versions))]
    boxes = {(seeds[name].id, number): _wrapped(vault.id, seeds[name], number, part) for name, number, part in parts}
    hashes: dict[str, list[str]] = {seeds[name].id: [] for name in kept}
    for (section, _), box in boxes.items():
        hashes[section].append(_sha256(box))
    listed: dict[str, Any] = {"kind": "snapshot", "vault": vault.id, "position": state.position}
    listed["refused"] = {str(entry.position): _sha256(entry.envelope) for entry in refused}
    listed["epochs"] = {seeds[name].id: seeds[name].epoch for name in kept}
    listed["numbers"] = _numbers(state)
    text = canonical(listed | {"chain": b64(vault.chain), "sections": hashes})
    signature = root.sign(b"PRA1/snapshot" + text)
    return Made(Texts(vault.id, text), state.position, signature, boxes, refused, _bodies(parts))


def write(session: Session, made: Made) -> None:
    """Replace the stored snapshot and let the log before it go, but for what was refused."""
    vault, manifest = made.texts.vault, made.texts.manifest
    session.exec(delete(tables.SnapshotSection).where(col(tables.SnapshotSection.vault) == vault))
    for (section, part), box in made.boxes.items():
        session.add(tables.SnapshotSection(vault=vault, section=section, part=part, box=box))
    session.merge(tables.Snapshot(vault=vault, position=made.position, manifest=manifest, signature=made.signature))
    log.forget(session, vault, made.position, made.refused)


def _bodies(parts: Iterable[tuple[str, int, Part]]) -> Outside:
    texts, starts, start = list[tuple[str, int, int]](), dict[tuple[str, str], int](), 0
    for name, number, part in parts:
        texts.append((name, number, len(part.bodies)))
        starts |= {(name, local): start + place for local, place in part.starts.items()}
        start += len(part.bodies)
    return Outside(texts=texts, starts=starts)


def _wrapped(vault: str, seed: SectionSeed, number: int, part: Part) -> bytes:
    return wrap(seed.snapshot_key(), _header(vault, seed, number), part.text())


def _unwrapped(vault: str, seed: SectionSeed, part: int, box: bytes) -> bytes:
    return unwrap(seed.snapshot_key(), _header(vault, seed, part), box)


def _numbers(state: State) -> dict[str, dict[str, int]]:
    made: dict[str, dict[str, int]] = {}
    for (writer, section), number in state.numbers.items():
        made.setdefault(writer, {})[section] = number
    return made


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _header(vault: str, seed: SectionSeed, part: int) -> dict[str, Any]:
    return header("snapshot", vault, section=seed.id, epoch=seed.epoch, name=str(part))
