"""The audit chain's heads, and the Merkle trees over them."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from aggregator.audit import merkle
from aggregator.audit.chain import leaf, next_head


def root(leaves: list[bytes]) -> bytes:
    return merkle.tree(leaves)[0]


def test_every_part_of_a_receipt_is_in_the_head() -> None:
    base = {"head": bytes(32), "opening": bytes(16), "number": 1, "box": b"box"}
    others = [{"head": b"\1" * 32}, {"opening": b"\1" * 16}, {"number": 2}, {"box": b"boX"}]
    made = [next_head(**(base | other)) for other in [{}, *others]]  # type: ignore[arg-type] - each is a head's part
    assert len(set(made)) == 5


def test_every_part_of_a_leaf_is_in_it() -> None:
    assert len({leaf("a", 1, b"h"), leaf("b", 1, b"h"), leaf("a", 2, b"h"), leaf("a", 1, b"i")}) == 4


def test_the_roots_of_rfc_6962() -> None:
    """Its own definition, spelled out for one to five leaves."""

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\1" + left + right).digest()

    a, b, c, d, e = (hashlib.sha256(b"\0" + bytes([n])).digest() for n in range(5))
    assert root([a]) == a
    assert root([a, b]) == node(a, b)
    assert root([a, b, c]) == node(node(a, b), c)
    assert root([a, b, c, d]) == node(node(a, b), node(c, d))
    assert root([a, b, c, d, e]) == node(node(node(a, b), node(c, d)), e)


hashes = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


@given(hashes, hashes)
def test_other_leaves_give_another_root(one: list[bytes], other: list[bytes]) -> None:
    assert (root(one) == root(other)) == (one == other)


@given(hashes)
def test_every_leafs_path_leads_to_the_root_and_from_no_other_place(leaves: list[bytes]) -> None:
    found, paths = merkle.tree(leaves)
    for index, (one, path) in enumerate(zip(leaves, paths, strict=True)):
        assert merkle.root_of(one, index, len(leaves), path) == found
        assert merkle.root_of(one, index, len(leaves), path + bytes(32)) != found
        assert merkle.root_of(one, index, len(leaves), path[:-1]) != found or not path
        assert merkle.root_of(one, len(leaves), len(leaves), path) is None
        assert merkle.root_of(bytes(31) + b"x", index, len(leaves), path) != found
