"""The audit chain: heads, Merkle roots of changed heads, and checking them (FORMAT.md section 9)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from aggregator.audit.tables import Receipt, SignedHeads
from aggregator.errors import Tampered
from aggregator.vault.keys import verify
from aggregator.vault.tables import Vault

LEAF = 32


def first_head(vault: str) -> bytes:
    """head_0."""
    return hashlib.sha256(b"PRA1/audit/" + vault.encode()).digest()


def next_head(head: bytes, opening: bytes, number: int, box: bytes) -> bytes:
    """head_n from head_{n-1} and the n-th receipt."""
    return hashlib.sha256(head + opening + struct.pack(">I", number) + hashlib.sha256(box).digest()).digest()


def leaf(vault: str, position: int, head: bytes) -> bytes:
    """A Merkle leaf's hash (RFC 6962: 0x00 before a leaf, 0x01 before a node)."""
    return hashlib.sha256(b"\0" + vault.encode() + struct.pack(">I", position) + head).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """https://www.rfc-editor.org/rfc/rfc6962#section-2.1, over leaf hashes; at least one."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that holds: how many receipts, its head, and the last position that a signature covers."""

    receipts: int
    head: bytes
    signed_upto: int


def holds(rows: Sequence[Receipt], row: Vault) -> bool:
    """Do these receipts, ordered by position, make the whole chain up to the vault's head? Signatures are `check`'s."""
    head = first_head(row.id)
    for expected, receipt in enumerate(rows, 1):
        if receipt.position != expected:
            return False
        head = next_head(head, receipt.opening, receipt.number, receipt.box)
    return (len(rows), head) == (row.audit_position, row.audit_head)


def check(session: Session, vault: str, audit_verification_key: bytes) -> Verified:
    """Walk a vault's chain and the signatures over its heads. Raises Tampered for an edit, a gap or a missing end."""
    row = session.get(Vault, vault)
    if row is None:
        raise Tampered("there is no such chain")
    signed = _signed_leaves(session, audit_verification_key)
    head, position, signed_upto = first_head(vault), 0, 0
    for receipt in session.exec(select(Receipt).where(Receipt.vault == vault).order_by(col(Receipt.position))):
        position += 1
        if receipt.position != position:
            raise Tampered("the audit chain has a gap")
        head = next_head(head, receipt.opening, receipt.number, receipt.box)
        if leaf(vault, position, head) in signed:
            signed_upto = position
    if (position, head) != (row.audit_position, row.audit_head):
        raise Tampered("the audit chain does not end where the vault's head says")
    if signed_upto != position:
        raise Tampered("the audit chain's head is not signed")
    return Verified(position, head, signed_upto)


def _signed_leaves(session: Session, key: bytes) -> set[bytes]:
    found: set[bytes] = set()
    for batch in session.exec(select(SignedHeads)):
        if not batch.leaves:
            raise Tampered("a stored audit head signs nothing")
        leaves = [batch.leaves[at : at + LEAF] for at in range(0, len(batch.leaves), LEAF)]
        verify(key, batch.signature, b"PRA1/heads" + merkle_root(leaves), "audit head")
        found.update(leaves)
    return found
