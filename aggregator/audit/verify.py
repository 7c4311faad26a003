"""Does a vault's chain of receipts hold, and if not, what was done to it? VERIFY.md is the algorithm for strangers.

Checked against three witnesses: the heads that the key service signed, the head in the vault's row, and heads that
somebody remembers (the patient's app, a sheet of paper, the key service's counter).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

from sqlmodel import Session, col, select

from aggregator.audit import chain, merkle
from aggregator.audit.tables import AuditKeyRow, Receipt, SignedHead
from aggregator.errors import Tampered
from aggregator.vault.audit_key import AuditKey, trusted
from aggregator.vault.keys import verify
from aggregator.vault.tables import Vault

_AT_ONCE = 1000  # receipts read into memory at a time
_MOST_TRIED = 64  # receipts of a stretch in which an exchange of two is looked for: 2,016 pairs


class Kind(StrEnum):
    """What was done to a chain."""

    MISSING = "missing"
    SIGNATURE = "signature"
    DELETED = "deleted"
    TRUNCATED = "truncated"
    ADDED = "added"
    EDITED = "edited"
    REORDERED = "reordered"
    FOREIGN = "foreign"
    REWRITTEN = "rewritten"
    HEAD = "head"
    UNSIGNED = "unsigned"


_SENTENCES = {
    Kind.MISSING: "there is no such chain",
    Kind.SIGNATURE: "the head at receipt {first} is signed by another key, or by none",
    Kind.DELETED: "receipts were taken out, from {first} on",
    Kind.TRUNCATED: "the chain was cut off before receipt {first}",
    Kind.ADDED: "receipt {first} was added beside the chain",
    Kind.EDITED: "a receipt was changed, at {first} or behind it",
    Kind.REORDERED: "receipts were put in another order, from {first} on",
    Kind.FOREIGN: "receipt {first} belongs to another chain",
    Kind.REWRITTEN: "the chain was written anew from receipt {first} on, without the key service",
    Kind.HEAD: "the vault's row names another head than the signed one at receipt {first}",
    Kind.UNSIGNED: "no key service signed the chain's end, from receipt {first} on",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """first: the receipt from which on the chain cannot be trusted. witness: who remembers it otherwise."""

    kind: Kind
    first: int
    witness: str = ""

    def __str__(self) -> str:
        told = _SENTENCES[self.kind].format(first=self.first)
        return f"{told}; so remembers {self.witness}" if self.witness else told


@dataclass(frozen=True, slots=True)
class Verdict:
    """receipts: how many stand there, one behind another; head: what they make.

    signed_upto: the last position up to which every signed head agrees with them.
    """

    receipts: int
    head: bytes
    signed_upto: int
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Remembered:
    """A head that somebody kept: the whole of it, or its first bytes. witness: who, for the sentence."""

    vault: str
    position: int
    head: bytes
    witness: str


class Entry(NamedTuple):
    """What a head is made of."""

    position: int
    opening: bytes
    number: int
    box: bytes


Entries = Callable[[int], Iterable[Entry]]
"""Position -> the receipts behind it, in their order."""


def _nowhere(_opening: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One vault's chain as it lies there.

    position, head: what the vault's row says. heads: the signed ones, ascending. elsewhere: is this an opening of
    another vault's chain, as far as one knows?
    """

    vault: str
    position: int
    head: bytes
    entries: Entries
    heads: Sequence[SignedHead]
    keys: Sequence[AuditKey] = ()
    elsewhere: Callable[[bytes], bool] = _nowhere


def examine(stored: Stored, key: bytes, remembered: Sequence[Remembered] = ()) -> Verdict:
    """The first finding in VERIFY.md's order. key: an Ed25519 public key of the key service, from whom one trusts."""
    wrong = _wrongly_signed(stored, trusted(stored.keys, key))
    if wrong is not None:
        return Verdict(0, chain.first_head(stored.vault), 0, Finding(Kind.SIGNATURE, wrong))
    return _Walk.over(stored, {one.position for one in remembered}).verdict(remembered)


def _wrongly_signed(stored: Stored, keys: Mapping[int, bytes]) -> int | None:
    """The first head that no trusted key signed, or one that another had replaced by then."""
    number = 0
    for signed in stored.heads:
        if signed.key_number < number or not is_signed(signed, keys.get(signed.key_number, b"")):
            return signed.position
        number = signed.key_number
    newest = stored.keys[-1].number if stored.keys else 1
    return stored.heads[-1].position if stored.heads and number != newest else None


def check(
    session: Session, vault: str, audit_verification_key: bytes, remembered: Sequence[Remembered] = ()
) -> Verdict:
    """The verdict on a vault's chain in the database."""
    row = session.get(Vault, vault)
    if row is None:
        return Verdict(0, b"", 0, Finding(Kind.MISSING, 1))
    heads = session.exec(select(SignedHead).where(SignedHead.vault == vault).order_by(col(SignedHead.position))).all()
    stored = Stored(
        vault=vault,
        position=row.audit_position,
        head=row.audit_head,
        entries=lambda behind: _entries(session, vault, behind),
        heads=heads,
        keys=[one.told() for one in session.exec(select(AuditKeyRow).order_by(col(AuditKeyRow.number)))],
        elsewhere=lambda opening: _is_elsewhere(session, vault, opening),
    )
    return examine(stored, audit_verification_key, [one for one in remembered if one.vault == vault])


def is_signed(signed: SignedHead, key: bytes) -> bool:
    """Did this key sign the root to which the head's path leads?"""
    if not 0 < signed.position < chain.U32:
        return False
    leaf = chain.leaf(signed.vault, signed.position, signed.head)
    root = merkle.root_of(leaf, signed.leaf, signed.size, signed.path)
    if root is None:
        return False
    try:
        verify(key, signed.signature, chain.SIGNED + root, "audit head")
    except (Tampered, ValueError):  # no key is none of 32 bytes
        return False
    return True


def _entries(session: Session, vault: str, behind: int) -> Iterable[Entry]:
    columns = (col(Receipt.position), col(Receipt.opening), col(Receipt.number), col(Receipt.box))
    wanted = select(*columns).where(Receipt.vault == vault, col(Receipt.position) > behind).order_by(columns[0])
    with session.exec(wanted, execution_options={"yield_per": _AT_ONCE}) as rows:
        yield from (Entry(*row) for row in rows)


def _is_elsewhere(session: Session, vault: str, opening: bytes) -> bool:
    """Reads the whole table: asked of a chain that does not hold alone."""
    same = select(Receipt.vault).where(Receipt.opening == opening, col(Receipt.vault) != vault)
    return session.exec(same.limit(1)).first() is not None


@dataclass(frozen=True, slots=True)
class _Walk:
    """One pass along the receipts. heads: at the positions asked for; astray: where it could go no further."""

    stored: Stored
    receipts: int
    head: bytes
    heads: Mapping[int, bytes]
    astray: Finding | None

    @classmethod
    def over(cls, stored: Stored, also: Collection[int]) -> _Walk:
        wanted = {one.position for one in stored.heads} | {*also, stored.position}
        head, position, astray = chain.first_head(stored.vault), 0, None
        heads = {0: head}
        for entry in stored.entries(-1 << 31):
            astray = _astray(entry, position + 1)
            if astray:
                break
            position += 1
            head = chain.next_head(head, entry.opening, entry.number, entry.box)
            if position in wanted:
                heads[position] = head
        return cls(stored, position, head, heads, astray)

    def verdict(self, remembered: Sequence[Remembered]) -> Verdict:
        agreed = self._agreed()
        finding = self.astray or self._signed(agreed) or self._end(agreed) or self._memories(remembered)
        return Verdict(self.receipts, self.head, agreed, finding)

    def _agreed(self) -> int:
        """The last position up to which every signed head is the one that the receipts make."""
        agreed = 0
        for signed in self.stored.heads:
            if self.heads.get(signed.position) != signed.head:
                break
            agreed = signed.position
        return agreed

    def _signed(self, agreed: int) -> Finding | None:
        """A signed head among these receipts that they do not make."""
        for signed in self.stored.heads:
            if agreed < signed.position <= self.receipts:
                return self._explain(agreed, signed.position, signed.head)
        return None

    def _end(self, agreed: int) -> Finding | None:
        stored = self.stored
        if self.receipts < self._stated_end():
            return Finding(Kind.TRUNCATED, self.receipts + 1)
        if stored.position < self.receipts:
            return Finding(Kind.HEAD, agreed) if stored.position < agreed else Finding(Kind.ADDED, stored.position + 1)
        if agreed < self.receipts:
            if stored.head != self.head:
                return self._explain(agreed, self.receipts, stored.head)
            return Finding(Kind.UNSIGNED, agreed + 1)
        return Finding(Kind.HEAD, agreed) if stored.head != self.head else None

    def _stated_end(self) -> int:
        """How far the chain goes, says whoever says most."""
        return max(self.stored.position, self.stored.heads[-1].position if self.stored.heads else 0)

    def _memories(self, remembered: Sequence[Remembered]) -> Finding | None:
        """What was right once is found here alone: an earlier state brought back, or a chain signed twice."""
        kept = 0
        for one in sorted(remembered, key=lambda one: one.position):
            if one.position > self.receipts:
                return Finding(Kind.TRUNCATED, self.receipts + 1, one.witness)
            if not self.heads[one.position].startswith(one.head):
                return Finding(Kind.REWRITTEN, kept + 1, one.witness)
            kept = one.position
        return None

    def _explain(self, agreed: int, upto: int, wanted: bytes) -> Finding:
        """Why the receipts behind `agreed` do not make the head `wanted` at `upto`."""
        first = agreed + 1
        if (self.stored.position, self.stored.head) == (self.receipts, self.head):
            return Finding(Kind.REWRITTEN, first)
        if self.receipts < self._stated_end():
            return Finding(Kind.DELETED, first)
        begun = self._begun(agreed)
        stretch = [entry for entry in self.stored.entries(agreed) if entry.position <= upto]
        if _out_of_order(stretch) or _exchanged(self.heads[agreed], stretch, wanted):
            return Finding(Kind.REORDERED, first)
        for entry in stretch:
            if entry.opening in begun:
                continue
            if entry.number or self.stored.elsewhere(entry.opening):
                return Finding(Kind.FOREIGN, entry.position)
            begun.add(entry.opening)
        return Finding(Kind.EDITED, first)

    def _begun(self, upto: int) -> set[bytes]:
        """The openings that were begun up to this position."""
        found = set[bytes]()
        for entry in self.stored.entries(0):
            if entry.position > upto:
                break
            if not entry.number:
                found.add(entry.opening)
        return found


def _astray(entry: Entry, expected: int) -> Finding | None:
    """Why no head is made of this receipt, where `expected` should be."""
    if entry.position != expected:
        return Finding(Kind.DELETED, expected) if entry.position > expected else Finding(Kind.ADDED, entry.position)
    return None if 0 <= entry.number < chain.U32 else Finding(Kind.EDITED, expected)


def _out_of_order(stretch: Iterable[Entry]) -> bool:
    """Numbers of one opening ascend."""
    last: dict[bytes, int] = {}
    for entry in stretch:
        if entry.number <= last.get(entry.opening, -1):
            return True
        last[entry.opening] = entry.number
    return False


def _exchanged(head: bytes, stretch: Sequence[Entry], wanted: bytes) -> bool:
    """Would it be right with two of them exchanged?"""
    if len(stretch) > _MOST_TRIED:
        return False
    for one, other in combinations(range(len(stretch)), 2):
        tried = list(stretch)
        tried[one], tried[other] = tried[other], tried[one]
        if _head_of(head, tried) == wanted:
            return True
    return False


def _head_of(head: bytes, entries: Iterable[Entry]) -> bytes:
    for entry in entries:
        head = chain.next_head(head, entry.opening, entry.number, entry.box)
    return head
