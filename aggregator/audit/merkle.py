"""Merkle trees over leaf hashes, and the path that leads one leaf up to the root.

https://www.rfc-editor.org/rfc/rfc9162#section-2.1: 0x00 is hashed before a leaf, 0x01 before a node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH = 32


def leaf_hash(data: bytes) -> bytes:
    """A leaf."""
    return hashlib.sha256(b"\0" + data).digest()


def tree(leaves: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """(root, path of each leaf) of at least one leaf hash; a path is its siblings, the lowest first."""
    if len(leaves) == 1:
        return leaves[0], [b""]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    (left, lefts), (right, rights) = tree(leaves[:split]), tree(leaves[split:])
    return _node(left, right), [*(path + right for path in lefts), *(path + left for path in rights)]


def root_of(leaf: bytes, index: int, size: int, path: bytes) -> bytes | None:
    """The root to which a path leads the leaf with this index in a tree of `size` leaves; None where it leads nowhere.

    https://www.rfc-editor.org/rfc/rfc9162#section-2.1.3.2
    """
    if not 0 <= index < size or len(path) % HASH:
        return None
    at, last, found = index, size - 1, leaf
    for start in range(0, len(path), HASH):
        if last == 0:
            return None
        sibling = path[start : start + HASH]
        if at & 1 or at == last:
            found = _node(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = _node(found, sibling)
        at, last = at >> 1, last >> 1
    return found if last == 0 else None


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()
