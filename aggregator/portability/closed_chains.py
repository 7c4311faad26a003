"""Receipts of earlier installations: closed chains, kept as the files they came in (FORMAT-EXPORT.md section 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlmodel import Session, col, select

from aggregator.audit import chain, receipts, verify
from aggregator.audit.tables import Receipt, SignedHead
from aggregator.audit.verify import Entry, Stored, Verdict
from aggregator.errors import Tampered
from aggregator.identity.accounts import Owner
from aggregator.vault.audit_key import AuditKey
from aggregator.vault.keys import Root
from aggregator.vault.seal import PrivateKey, header, unwrap, wrap
from aggregator.vault.tables import ClosedReceipts

_PART = 1024 * 1024  # bytes of lines at which a part closes


@dataclass(frozen=True, slots=True)
class ClosedChain:
    """One chain file. audit: opens its receipts; None where that is not there. key: what its heads are signed with."""

    vault: str
    text: bytes
    position: int
    head: bytes
    key: bytes
    rows: Sequence[Receipt]
    heads: Sequence[SignedHead]
    keys: Sequence[AuditKey] = ()
    audit: PrivateKey | None = None

    def entries(self) -> list[tuple[int, dict[str, Any] | None]]:
        """(position, entry); None for what does not open, or is nothing that a receipt says."""
        keys = dict[bytes, bytes]()
        return [(row.position, self._entry(keys, row)) for row in self.rows]

    def _entry(self, keys: dict[bytes, bytes], row: Receipt) -> dict[str, Any] | None:
        """Whoever made the file had the key: what opens may be anything."""
        if self.audit is None:
            return None
        try:
            entry = receipts.read_one(keys, self.vault, row, self.audit)
        except (Tampered, KeyError, ValueError, TypeError):
            return None
        return entry if isinstance(entry, dict) else None

    def verdict(self) -> Verdict:
        """Does it hold, by the key that it names itself?"""
        stored = Stored(
            vault=self.vault,
            position=self.position,
            head=self.head,
            entries=lambda behind: (
                Entry(row.position, row.opening, row.number, row.box) for row in self.rows if row.position > behind
            ),
            heads=self.heads,
            keys=self.keys,
        )
        return verify.examine(stored, self.key)


def parse(vault: str, text: bytes, audit: bytes | None = None) -> ClosedChain:
    """A chain file. audit: the seed of the key pair that its receipts are sealed to. Raises Tampered."""
    position, head, key, rows, heads = 0, chain.first_head(vault), b"", list[Receipt](), list[SignedHead]()
    keys = list[AuditKey]()
    try:
        for line in text.splitlines():
            told = orjson.loads(line)
            if told["line"] == "vault":
                position, head = int(told["position"]), bytes.fromhex(told["head"])
            elif told["line"] == "key":
                keys.append(_key(told))
            elif told["line"] == "head":
                key = bytes.fromhex(told["key"])
                heads.append(_head(vault, told, next((one.number for one in keys if one.key == key), 1)))
            else:
                rows.append(_receipt(vault, told))
    except (ValueError, KeyError, TypeError):
        raise Tampered("a chain of receipts is not of the format") from None
    return ClosedChain(vault, text, position, head, key, rows, heads, keys, PrivateKey(audit) if audit else None)


def numbers(session: Session, vault: str) -> Sequence[int]:
    """Which closed chains a vault has: from 1, the oldest first."""
    mine = select(ClosedReceipts.chain).where(ClosedReceipts.vault == vault).distinct()
    return session.exec(mine.order_by(col(ClosedReceipts.chain))).all()


def read(session: Session, owner: Owner, number: int) -> ClosedChain:
    """Raises Tampered."""
    mine = select(ClosedReceipts).where(ClosedReceipts.vault == owner.vault, ClosedReceipts.chain == number)
    parts = session.exec(mine.order_by(col(ClosedReceipts.part))).all()
    key = owner.root.owner_key()
    text = b"".join(unwrap(key, _header(owner.vault, number, part), row.box) for part, row in enumerate(parts))
    audit = owner.root.inherited.audit if owner.root.inherited else ()
    return parse(owner.vault, text, audit[number - 1] if number <= len(audit) else None)


def rows(root: Root, vault: str, number: int, text: bytes) -> Iterator[ClosedReceipts]:
    """What is stored of a chain file."""
    key = root.owner_key()
    for part, piece in enumerate(_pieces(text)):
        box = wrap(key, _header(vault, number, part), piece)
        yield ClosedReceipts(vault=vault, chain=number, part=part, box=box)


def _pieces(text: bytes) -> Iterator[bytes]:
    """Whole lines; one part at least."""
    piece = bytearray()
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= _PART:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)


def _header(vault: str, number: int, part: int) -> dict[str, Any]:
    return header("closed", vault, name=f"{number}/{part}")


def _key(told: dict[str, Any]) -> AuditKey:
    return AuditKey(
        number=int(told["number"]),
        key=bytes.fromhex(told["key"]),
        since=int(told["from"]),
        signature=bytes.fromhex(told["signature"]),
        vouched=bytes.fromhex(told["vouched"]),
    )


def _head(vault: str, told: dict[str, Any], key_number: int) -> SignedHead:
    return SignedHead(
        vault=vault,
        position=int(told["position"]),
        head=bytes.fromhex(told["head"]),
        leaf=int(told["leaf"]),
        size=int(told["size"]),
        path=bytes.fromhex(told["path"]),
        signature=bytes.fromhex(told["signature"]),
        key_number=key_number,
    )


def _receipt(vault: str, told: dict[str, Any]) -> Receipt:
    return Receipt(
        vault=vault,
        position=int(told["position"]),
        opening=bytes.fromhex(told["opening"]),
        number=int(told["number"]),
        box=bytes.fromhex(told["box"]),
    )
