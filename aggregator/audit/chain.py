"""The audit chain: its heads, and what the key service signs of them (FORMAT.md section 9; VERIFY.md checks them)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from sqlmodel import Session, col, select

from aggregator.audit import merkle
from aggregator.audit.tables import Receipt
from aggregator.vault.counter import Counter
from aggregator.vault.tables import Vault

SIGNED = b"PRA1/heads"
"""Before a Merkle root where it is signed."""


U32 = 1 << 32
"""Positions and numbers are below it."""


def first_head(vault: str) -> bytes:
    """head_0."""
    return hashlib.sha256(b"PRA1/audit/" + vault.encode()).digest()


def next_head(head: bytes, opening: bytes, number: int, box: bytes) -> bytes:
    """head_n from head_{n-1} and the n-th receipt."""
    return hashlib.sha256(head + opening + struct.pack(">I", number) + hashlib.sha256(box).digest()).digest()


def leaf(vault: str, position: int, head: bytes) -> bytes:
    """The hash of a head's leaf."""
    return merkle.leaf_hash(vault.encode() + struct.pack(">I", position) + head)


def holds(rows: Sequence[Receipt], row: Vault) -> bool:
    """Do these receipts, ordered by position, make the chain up to the vault's head? Signatures are `verify`'s."""
    head = first_head(row.id)
    for expected, receipt in enumerate(rows, 1):
        if receipt.position != expected or not 0 <= receipt.number < U32:
            return False
        head = next_head(head, receipt.opening, receipt.number, receipt.box)
    return (len(rows), head) == (row.audit_position, row.audit_head)


def extends(session: Session, row: Vault, before: Counter) -> bool:
    """Do the receipts behind what the key service remembers lead from its head to the vault's?"""
    head, position = before.audit_head, before.audit_position
    rows = select(Receipt).where(Receipt.vault == row.id, Receipt.position > position).order_by(col(Receipt.position))
    for receipt in session.exec(rows):
        position += 1
        if receipt.position != position:
            return False
        head = next_head(head, receipt.opening, receipt.number, receipt.box)
    return (position, head) == (row.audit_position, row.audit_head)
