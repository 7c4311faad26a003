"""The keys that sign audit heads, one after the other (../audit/VERIFY.md section 3).

Each statement about a new key is signed twice: by the key before it, which names its heir, and by the new one, which
vouches for the one before. So whoever trusts any one of them finds out which the others are, and no third party can
put one between, before or behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from aggregator.errors import Tampered
from aggregator.vault.encoding import canonical
from aggregator.vault.keys import verify

SIGNED = b"PRA1/audit-key"
"""Before a statement where it is signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditKey:
    """number: from 1. since: Unix seconds, 0 for the first. signature: the key before's; vouched: its own."""

    number: int
    key: bytes
    since: int = 0
    signature: bytes = b""
    vouched: bytes = b""

    def statement(self, before: bytes) -> bytes:
        """What both sign. before: the public key that it follows."""
        told = {"kind": "audit-key", "number": self.number, "key": self.key.hex(), "before": before.hex()}
        return SIGNED + canonical(told | {"from": self.since})


def successor(before: AuditKey, old: Ed25519PrivateKey, new: Ed25519PrivateKey, since: int) -> AuditKey:
    """The next in the list."""
    made = AuditKey(number=before.number + 1, key=new.public_key().public_bytes_raw(), since=since)
    statement = made.statement(before.key)
    return replace(made, signature=old.sign(statement), vouched=new.sign(statement))


def trusted(keys: Sequence[AuditKey], key: bytes) -> dict[int, bytes]:
    """Number -> public key, of those in the list that the trusted one leads to. No list at all: it is the first.

    keys: by number, as anybody may have written them.
    """
    if not keys:
        return {1: key}
    at = next((index for index, one in enumerate(keys) if one.key == key), None)
    if at is None:
        return {}
    found = {keys[at].number: key}
    for before, one in pairwise(keys[at:]):
        if not _follows(before, one, before.key, one.signature):
            break
        found[one.number] = one.key
    for one, before in pairwise(reversed(keys[: at + 1])):
        if not _follows(before, one, one.key, one.vouched):
            break
        found[before.number] = before.key
    return found


def _follows(before: AuditKey, one: AuditKey, signer: bytes, signature: bytes) -> bool:
    if one.number != before.number + 1:
        return False
    try:
        verify(signer, signature, one.statement(before.key), "audit key")
    except Tampered:
        return False
    return True
