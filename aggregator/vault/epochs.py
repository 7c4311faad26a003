"""Generations of section keys: which there are, where each begins in the log, and what opens them (FORMAT.md, 5).

The root signs the list of epochs with the hash of the newest public keys; so neither a writer nor a reader takes a key,
or an epoch, from the database alone. Beside an epoch's keys lies the seed of the one before, wrapped under the new one:
whoever holds the newest seed of a section opens all that is older, and nobody the other way.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from sqlmodel import Session

from aggregator.errors import Stale, Tampered
from aggregator.vault import counter
from aggregator.vault.counter import Counter, Extends
from aggregator.vault.encoding import canonical
from aggregator.vault.keys import Root, SectionKey, SectionSeed, verify
from aggregator.vault.seal import PublicKey, expand, header, unwrap, wrap
from aggregator.vault.tables import SectionKeys, Vault

_SIGNED_AS = b"PRA1/keys"
_ID_BYTES = 8

Back = Callable[[SectionSeed], SectionSeed]
"""A section's seed -> that of the epoch before."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """A vault's root-signed list. firsts: the log position at which each epoch begins, the first one's first."""

    firsts: Sequence[int]
    keys: str

    @property
    def newest(self) -> int:
        return len(self.firsts)

    def at(self, position: int) -> int:
        """The epoch under which an envelope at this log position must be sealed."""
        return bisect.bisect_right(self.firsts, position)


def found(vault: Vault, root: Root, sections: Mapping[str, str]) -> SectionKeys:
    """Begin the first epoch of a new vault. sections: name -> id. The vault's row is changed in place."""
    return _begin(vault, root, sections, [1])


def rotate(session: Session, vault: Vault, root: Root, sections: Mapping[str, str]) -> None:
    """Begin the next epoch behind the log's present end, inside the caller's transaction. Raises Tampered.

    The public keys of the epoch that ends go: no writer may use them any more, and no reader needs them.
    """
    row = turned(vault, root, sections)
    ended = session.get(SectionKeys, (vault.id, row.epoch - 1))
    if ended is not None:
        ended.keys = b""
        session.add(ended)
    session.add_all([vault, row])


def turned(vault: Vault, root: Root, sections: Mapping[str, str]) -> SectionKeys:
    """The next epoch's keys, and the way back. The vault's row is changed in place. Raises Tampered."""
    listed = read(vault, root.verification_key)
    row = _begin(vault, root, sections, [*listed.firsts, vault.log_position + 1])
    old, new = ({id_: root.section(id_, epoch) for id_ in sections.values()} for epoch in (row.epoch - 1, row.epoch))
    row.earlier = packed({id_: _wrapped_before(vault.id, new[id_], old[id_]) for id_ in old})
    return row


def read(vault: Vault, verification_key: bytes) -> Epochs:
    """The list in the vault's row, under the key that the reader trusts. Raises Tampered.

    Nothing else vouches for the row's epoch: believed, it would let whoever has the database have grants compiled for
    keys that no section has, and so shut every grantee out.
    """
    verify(verification_key, vault.epochs_signature, _SIGNED_AS + vault.epochs, "list of epochs")
    made = orjson.loads(vault.epochs)
    if (made["kind"], made["vault"], made["epoch"]) != ("keys", vault.id, vault.epoch):
        raise Tampered("a vault's row names an epoch that there is not")
    return Epochs(made["from"], made["keys"])


def extends(pinned: Callable[[str], bytes]) -> Extends:
    """What the key service asks before it remembers a head: a later epoch is one that the vault's root has signed.

    pinned: vault -> the verification key that the key service pinned. Else one row, written once by whoever has the
    database, would have every honest one refused as older ever after. The answer is raised: Tampered.
    """

    def check(_: Session, vault: Vault, before: Counter) -> bool:
        if vault.epoch != before.epoch:
            read(vault, pinned(vault.id))
        return True

    return check


@dataclass(frozen=True, slots=True)
class Writable:
    """What sealing to a vault takes in its present epoch: section id -> public key."""

    epoch: int
    sections: Mapping[str, SectionKey]


def writable(session: Session, vault: str, verification_key: bytes) -> Writable:
    """The newest epoch's public keys, as the root signed them.

    verification_key: the one that the key service pinned. Raises Tampered, and RolledBack for an older list: the root
    signed that one too.
    """
    row = counter.head(session, vault)
    if row is None:
        raise Tampered("a vault's row is missing")
    listed = read(row, verification_key)
    raw = _keys_of(listed, session.get(SectionKeys, (vault, listed.newest)))
    keys = {id_: SectionKey(id_, listed.newest, PublicKey(key)) for id_, key in raw.items()}
    return Writable(listed.newest, keys)


def _keys_of(listed: Epochs, row: SectionKeys | None) -> Mapping[str, bytes]:
    """Section id -> public key. Raises Tampered where they are not those that the list names."""
    if row is None or hashlib.sha256(row.keys).hexdigest() != listed.keys:
        raise Tampered("a vault's public keys are not those that its root signed")
    return unpacked(row.keys)


class Seeds(Protocol):
    """What a reader opens sections with. ids: section name -> id of those that open."""

    @property
    def ids(self) -> Mapping[str, str]: ...

    def newest(self) -> int | None:
        """The newest epoch that opens; None where every one does."""

    def seed(self, name: str, epoch: int, back: Back) -> SectionSeed:
        """One section's seed in one epoch. Raises Tampered, KeyError for a section that does not open."""


@dataclass(frozen=True, slots=True)
class OwnersSeeds:
    """Every section in every epoch, from the root."""

    root: Root = field(repr=False)
    ids: Mapping[str, str]

    def newest(self) -> int | None:
        return None

    def seed(self, name: str, epoch: int, back: Back) -> SectionSeed:  # noqa: ARG002 - the root needs no way back
        return self.root.section(self.ids[name], epoch)


@dataclass(frozen=True, slots=True)
class GrantedSeeds:
    """Some sections, by the seeds of one epoch: earlier ones open from there, later ones do not."""

    given: Mapping[str, SectionSeed]

    @property
    def ids(self) -> Mapping[str, str]:
        return {name: seed.id for name, seed in self.given.items()}

    def newest(self) -> int | None:
        return min((seed.epoch for seed in self.given.values()), default=None)

    def seed(self, name: str, epoch: int, back: Back) -> SectionSeed:
        seed = self.given[name]
        if epoch > seed.epoch:
            raise Tampered("a stored box is of an epoch that these seeds do not open")
        while seed.epoch > epoch:
            seed = back(seed)
        return seed


@dataclass(slots=True)
class KeyChain:
    """A reader's seeds while one vault is being read: each section's in each epoch is derived once."""

    session: Session
    vault: str
    seeds: Seeds
    _made: dict[tuple[str, int], SectionSeed] = field(default_factory=dict)
    _boxes: dict[int, Mapping[str, bytes]] = field(default_factory=dict)

    @property
    def ids(self) -> Mapping[str, str]:
        """Section name -> id of those that open."""
        return self.seeds.ids

    def reach(self, epoch: int) -> None:
        """Raises Stale where the vault is in an epoch behind the reader's: its grant was made anew."""
        newest = self.seeds.newest()
        if newest is not None and newest < epoch:
            raise Stale("the vault's keys were changed, and this grant with them")

    def seed(self, name: str, epoch: int) -> SectionSeed:
        """Raises Tampered."""
        if (name, epoch) not in self._made:
            self._made[name, epoch] = self.seeds.seed(name, epoch, self._back)
        return self._made[name, epoch]

    def _back(self, seed: SectionSeed) -> SectionSeed:
        if seed.epoch not in self._boxes:
            row = self.session.get(SectionKeys, (self.vault, seed.epoch))
            self._boxes[seed.epoch] = unpacked(row.earlier) if row else {}
        return before(self.vault, seed, self._boxes[seed.epoch].get(seed.id, b""))


def _wrapped_before(vault: str, seed: SectionSeed, previous: SectionSeed) -> bytes:
    return wrap(expand(seed.seed, "earlier"), _before_header(vault, seed), previous.seed)


def before(vault: str, seed: SectionSeed, box: bytes) -> SectionSeed:
    """The section's seed in the epoch before. Raises Tampered."""
    raw = unwrap(expand(seed.seed, "earlier"), _before_header(vault, seed), box)
    return SectionSeed(seed.id, seed.epoch - 1, raw)


def packed(parts: Mapping[str, bytes]) -> bytes:
    """Section id -> bytes, as one column: 8 bytes of id, u16 length, the bytes; by id."""
    return b"".join(bytes.fromhex(id_) + struct.pack(">H", len(raw)) + raw for id_, raw in sorted(parts.items()))


def unpacked(data: bytes) -> dict[str, bytes]:
    """The inverse of `packed`. Raises Tampered."""
    parts, at = dict[str, bytes](), 0
    while at < len(data):
        start = at + _ID_BYTES + 2
        if start > len(data):
            raise Tampered("a vault's section keys are cut off")
        (length,) = struct.unpack_from(">H", data, at + _ID_BYTES)
        parts[data[at : at + _ID_BYTES].hex()] = data[start : start + length]
        at = start + length
    return parts


def _begin(vault: Vault, root: Root, sections: Mapping[str, str], firsts: Sequence[int]) -> SectionKeys:
    epoch = len(firsts)
    public = {id_: root.section(id_, epoch).private_key().public().raw for id_ in sections.values()}
    row = SectionKeys(vault=vault.id, epoch=epoch, keys=packed(public))
    stated = {"kind": "keys", "vault": vault.id, "epoch": epoch, "from": list(firsts)}
    vault.epoch = epoch
    vault.epochs = canonical(stated | {"keys": hashlib.sha256(row.keys).hexdigest()})
    vault.epochs_signature = root.sign(_SIGNED_AS + vault.epochs)
    return row


def _before_header(vault: str, seed: SectionSeed) -> dict[str, Any]:
    return header("seed", vault, section=seed.id, epoch=seed.epoch, name=str(seed.epoch - 1))
